//! The document of one system: the general one with the fields of the system's collection as types,
//! and with examples made from them.

use serde_json::{Map, Value, json};

use crate::catalog::{CollectionSchema, Purpose};
use crate::system::System;
use crate::vendors::FieldSchema;

/// The schemas that have `fields`, and what of the collection's schema these are.
const TYPED: [(&str, Purpose); 3] =
    [("StoredRecord", Purpose::Record), ("RecordDraft", Purpose::Create), ("MergePatch", Purpose::Update)];

/// The text of the document; `general` is that of the general one.
pub(crate) fn system_document(general: &[u8], system: &System, schema: Option<&CollectionSchema>) -> String {
    let mut document: Value = serde_json::from_slice(general).unwrap_or_default();
    let name = system.name.as_str();
    set(&mut document, "/info/title", format!("records-gateway: {name}").into());
    name_the_system(&mut document, name, system.adapter.capabilities().id_example);
    if let Some(schema) = schema {
        add_types(&mut document, schema);
        add_examples(&mut document, system, schema);
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value;
    }
}

/// The parameters `system` and `id` of every path.
fn name_the_system(value: &mut Value, name: &str, id_example: &str) {
    match value {
        Value::Object(object) => {
            let is_path = object.get("in").is_some_and(|place| place == "path");
            match object.get("name").and_then(Value::as_str).filter(|_| is_path) {
                Some("system") => {
                    object.insert("schema".to_owned(), json!({ "type": "string", "enum": [name] }));
                    object.insert("example".to_owned(), name.into());
                }
                Some("id")
                    if object.get("example").is_some_and(|id| id.as_str().is_some_and(|id| id.contains(':'))) =>
                {
                    object.insert("example".to_owned(), id_example.into());
                }
                _ => object.values_mut().for_each(|value| name_the_system(value, name, id_example)),
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| name_the_system(value, name, id_example)),
        _ => {}
    }
}

fn add_types(document: &mut Value, schema: &CollectionSchema) {
    let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") else { return };
    for (name, purpose) in TYPED {
        let fields = format!("{name}Fields");
        if let Some(place) = schemas.get_mut(name).and_then(|schema| schema.pointer_mut("/properties/fields")) {
            *place = json!({ "$ref": format!("#/components/schemas/{fields}") });
            schemas.insert(fields, Value::Object(schema.fields_schema(purpose)));
        }
    }
}

fn add_examples(document: &mut Value, system: &System, schema: &CollectionSchema) {
    let fields = &schema.schema.fields;
    let change: Map<String, Value> = fields.iter().filter(|field| field.is_updatable).take(1).map(sample).collect();
    let draft = |field: &&FieldSchema| field.is_creatable && field.is_required;
    let mut draft: Map<String, Value> = fields.iter().filter(draft).map(sample).collect();
    if draft.is_empty() {
        draft.extend(fields.iter().filter(|field| field.is_creatable).take(1).map(sample));
    }
    let patch = "/paths/~1records~1{system}~1{id}/patch/requestBody/content";
    let post = "/paths/~1records~1{system}/post/requestBody/content";
    for (content, kind, fields) in [
        (patch, "application~1merge-patch+json", &change),
        (patch, "application~1json", &change),
        (post, "application~1json", &draft),
    ] {
        let summary = format!("Fields of {}", schema.schema.title);
        let example = json!({ system.name.as_str(): { "summary": summary, "value": { "fields": fields } } });
        set(document, &format!("{content}/{kind}/examples"), example);
    }
    if let Some((name, value)) = change.iter().next() {
        let pointer = crate::record::json_pointer("/fields", &[name]);
        let operations = json!([{ "op": "add", "path": pointer, "value": value }]);
        let example = json!({ "One field": { "summary": "Sets a field", "value": operations } });
        set(document, &format!("{patch}/application~1json-patch+json/examples"), example);
    }
}

/// A value that the schema allows, as far as a type shows it.
fn sample(field: &FieldSchema) -> (String, Value) {
    let schema = &field.value;
    let first = |list: &str| schema.get(list).and_then(Value::as_array).and_then(|values| values.first());
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    let value = if let Some(value) = first("enum").or(first("oneOf").and_then(|choice| choice.get("const"))) {
        value.clone()
    } else {
        match (kind, schema.get("format").and_then(Value::as_str)) {
            (Some("integer" | "number"), _) => json!(1),
            (Some("boolean"), _) => json!(true),
            (Some("object"), _) => json!({}),
            (Some("array"), _) => json!([]),
            (_, Some("email")) => json!("ada@example.com"),
            (_, Some("uuid")) => json!("7777780d-71a0-df11-708c-000c2968299e"),
            (_, Some("date-time")) => json!("2026-01-31T12:00:00Z"),
            (_, Some("uri")) => json!("https://example.com/"),
            (_, Some("phone")) => json!("+44 20 7946 0001"),
            _ if schema.contains_key("pattern") => json!("644779a07470b332c82b8d00"),
            _ => json!("text"),
        }
    };
    (field.name.clone(), value)
}
