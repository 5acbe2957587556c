//! The conditions of a list, typed by the collection's schema.

use serde_json::Value;

use crate::catalog::{CollectionSchema, Requester};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    FieldError, ListCondition, RawJson, SchemaRule, VendorError, VendorErrorKind, is_whole_number, json_pointer,
};
use crate::system::System;
use crate::vendors::{FieldFilter, FieldSchema, ValueForm};

/// The conditions as values. Without conditions no schema is needed.
///
/// # Errors
/// `rejected` for a member that lists cannot be filtered by, and for a value of another type or
/// form; the vendor's problem if the schema cannot be read.
pub(super) async fn parse(
    system: &System,
    collection: &str,
    conditions: &[ListCondition],
    requester: Requester<'_>,
) -> Result<Vec<FieldFilter>, Problem> {
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let parse_by = |schema: &CollectionSchema| {
        let parsed = conditions.iter().map(|condition| parse_condition(system, collection, schema, condition));
        let (mut filters, mut errors) = (Vec::new(), Vec::new());
        for one in parsed {
            match one {
                Ok(filter) => filters.push(filter),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(filters) } else { Err(errors) }
    };
    let to_problem = |fault: VendorError| match fault.kind {
        VendorErrorKind::Unsupported => ProblemKind::Rejected.with_detail("lists of this system take no filters"),
        _ => system.collection_error_to_problem(&fault),
    };
    let schema = system.catalog.schema(collection, requester).await.map_err(to_problem)?;
    if let Ok(filters) = parse_by(&schema) {
        return Ok(filters);
    }
    // As with writes, only the schema of this moment refuses.
    let schema = system.catalog.schema_for_refusal(collection, requester).await.map_err(to_problem)?;
    parse_by(&schema).map_err(|errors| system.rejected_problem(errors))
}

/// One condition as a value of the member that it names.
fn parse_condition(
    system: &System,
    collection: &str,
    schema: &CollectionSchema,
    condition: &ListCondition,
) -> Result<FieldFilter, FieldError> {
    let filterable = system.adapter.capabilities().filters;
    let name = &condition.member;
    let Some(field) = schema.field(name).filter(|field| field.is_shown) else {
        let known = schema.schema.fields.iter().filter(|field| field.is_shown && filterable.allows(&field.name));
        let names = known.map(|field| field.name.as_str());
        return Err(FieldError::unknown_member(name, names).rule(SchemaRule::Unknown));
    };
    if !filterable.allows(name) {
        let detail = "lists of this system cannot be filtered by this member";
        return Err(FieldError::new(json_pointer("/fields", &[name]), detail).rule(SchemaRule::Unknown));
    }
    let value = parse_value(field, &condition.spellings)?;
    let form_error = |detail: String| {
        let detail = format!("lists cannot be filtered by this value; {detail}");
        FieldError::new(json_pointer("/fields", &[name]), detail).rule(SchemaRule::Format)
    };
    // A text of the form of a write, such as a reference, in the form that records show.
    let shown = system.adapter.to_read_form(collection, name, &RawJson::from(&value)).and_then(|shown| shown.value());
    if shown.is_none() && !schema.matches_pattern(field, &value) {
        let pattern = field.value.get("pattern").and_then(Value::as_str).unwrap_or_default();
        return Err(form_error(format!("it must match {pattern}")));
    }
    let (value, form) = (shown.unwrap_or(value), ValueForm::for_field(field));
    let value = match value {
        Value::String(text) => Value::String(form.parse(&text).ok_or_else(|| {
            let format = field.value.get("format").and_then(Value::as_str).unwrap_or_default();
            form_error(format!("the member has the format {format}"))
        })?),
        other => other,
    };
    Ok(FieldFilter { field: name.clone(), value, form })
}

/// The text of a condition as a value of the field. Of several spellings only one may have the
/// field's type: a list is compared with one value.
fn parse_value(field: &FieldSchema, spellings: &[String]) -> Result<Value, FieldError> {
    let types: Vec<&str> = match field.value.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut values: Vec<Value> = spellings.iter().filter_map(|text| parse_text(&types, text)).collect();
    values.dedup();
    let detail = match values.pop() {
        Some(value) if values.is_empty() => return Ok(value),
        Some(_) => format!("lists cannot be filtered by this value; it is one of {} here", spellings.join(", ")),
        None => format!("lists cannot be filtered by this value; the member holds {}", types.join(" or ")),
    };
    Err(FieldError::new(json_pointer("/fields", &[&field.name]), detail).rule(SchemaRule::Type))
}

fn parse_text(types: &[&str], text: &str) -> Option<Value> {
    let has = |name: &str| types.contains(&name);
    match text {
        "true" | "false" if has("boolean") => Some(Value::Bool(text == "true")),
        // Some vendors show a flag as a number.
        "0" | "1" if has("boolean") => Some(Value::Bool(text == "1")),
        _ if has("integer") || has("number") => {
            let is_number = |value: &Value| match value {
                Value::Number(number) => has("number") || is_whole_number(number.as_str()),
                _ => false,
            };
            serde_json::from_str::<Value>(text).ok().filter(is_number)
        }
        _ if types.is_empty() || has("string") => Some(Value::from(text)),
        _ => None,
    }
}
