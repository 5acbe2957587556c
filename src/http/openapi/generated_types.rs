//! The schema of a collection's fields in a form that generators of clients turn into types that
//! read every record.

use serde_json::{Map, Value};

use crate::catalog::SchemaPurpose;

/// Adapts the schema of `fields`. It says less than the schema that writes are checked against, and
/// nothing else.
pub(super) fn adapt(mut schema: Map<String, Value>, purpose: SchemaPurpose) -> Map<String, Value> {
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        for field in fields.values_mut().filter_map(Value::as_object_mut) {
            adapt_number(field);
        }
    }
    if purpose == SchemaPurpose::Record {
        // A field that the vendor has added since breaks no client.
        schema.insert("additionalProperties".to_owned(), true.into());
    }
    schema
}

/// Generators take a number without a format for one of 32 bits.
fn adapt_number(field: &mut Map<String, Value>) {
    let kinds: Vec<&str> = match field.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        Some(Value::String(kind)) => vec![kind],
        _ => Vec::new(),
    };
    let is_bounded = field.contains_key("oneOf")
        || field.contains_key("enum")
        || ["minimum", "maximum"].iter().all(|bound| field.get(*bound).is_some_and(Value::is_i64));
    match kinds.as_slice() {
        ["number"] => {
            field.insert("format".to_owned(), "double".into());
        }
        ["integer"] if is_bounded => {
            field.insert("format".to_owned(), "int64".into());
        }
        ["integer"] => {
            field.shift_remove("type");
            field.insert("description".to_owned(), "A whole number of any size.".into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_have_formats_that_hold_their_values() {
        let schema = json!({ "type": "object", "additionalProperties": false, "properties": {
            "Position": { "type": ["integer", "null"], "minimum": i32::MIN, "maximum": i32::MAX },
            "Points": { "type": ["integer", "null"] },
            "Costs": { "type": "number" },
            "Industry": { "type": "integer", "oneOf": [{ "const": 1, "title": "Accounting" }] },
            "Hidden": { "type": ["boolean", "integer", "null"], "minimum": 0, "maximum": 1 },
            "Name": { "type": "string" },
        } });
        let adapted = |purpose| Value::Object(adapt(schema.as_object().cloned().unwrap_or_default(), purpose));
        let record = adapted(SchemaPurpose::Record);
        let fields = &record["properties"];
        assert_eq!((&fields["Position"]["format"], &fields["Industry"]["format"]), (&json!("int64"), &json!("int64")));
        assert_eq!(fields["Points"], json!({ "description": "A whole number of any size." }));
        assert_eq!(fields["Costs"]["format"], "double");
        assert_eq!(
            (&fields["Hidden"], &fields["Name"]),
            (&schema["properties"]["Hidden"], &json!({ "type": "string" }))
        );
        assert_eq!(record["additionalProperties"], true);
        assert_eq!(adapted(SchemaPurpose::Update)["additionalProperties"], false);
    }
}
