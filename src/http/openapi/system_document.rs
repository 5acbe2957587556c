//! The document of one system: the general one with the fields of the system's collection as types,
//! and with examples made from them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::examples::put_first;
use super::generated_types::adapt;
use super::model_paths::{MODELS, fill_in, path_of};
use super::prefill::{SampleSystem, operations, parameters};
use crate::catalog::{CollectionSchema, SchemaPurpose};
use crate::models::{MapEntry, Model, SystemMap};
use crate::system::System;
use crate::vendors::{FieldSchema, find_vendor};

/// The schemas that have `fields`, and what of the collection's schema these are.
const TYPED: [(&str, SchemaPurpose); 3] = [
    ("StoredRecord", SchemaPurpose::Record),
    ("RecordDraft", SchemaPurpose::Create),
    ("MergePatch", SchemaPurpose::Update),
];

/// The text of the document; `general` is that of the general one.
pub(crate) fn system_document(
    general: &[u8],
    models: &[Arc<Model>],
    system: &System,
    schema: Option<&CollectionSchema>,
) -> String {
    let mut document: Value = serde_json::from_slice(general).unwrap_or_default();
    set(&mut document, "/info/title", format!("records-gateway: {}", system.name).into());
    keep_models_of(&mut document, models, system, schema);
    name_the_system(&mut document, system);
    if let Some(factory) = find_vendor(system.adapter.capabilities().vendor) {
        put_first(&mut document, factory.samples.title);
    }
    if let Some(schema) = schema {
        // Another collection has other fields.
        if configured_collection(system).is_some() {
            add_types(&mut document, schema);
        }
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

/// Only models with a map of the system have documents of its records.
fn keep_models_of(document: &mut Value, models: &[Arc<Model>], system: &System, schema: Option<&CollectionSchema>) {
    let name = system.name.as_str();
    let vendor_of = |_: &str| find_vendor(system.adapter.capabilities().vendor);
    let schema = |map: &SystemMap| schema.filter(|_| map.collection.as_deref() == sample_collection(system));
    let mut of_system = models.iter().filter_map(|model| Some((model, model.map_of(name)?)));
    for (model, map) in of_system.clone() {
        let drafted = creatable(map, schema(map));
        fill_in(document, &path_of(model), model, (map, &drafted), &vendor_of);
    }
    match of_system.next() {
        Some((model, map)) => {
            fill_in(document, MODELS, model, (map, &creatable(map, schema(map))), &vendor_of);
        }
        None => drop_paths(document, MODELS),
    }
    for model in models.iter().filter(|model| model.map_of(name).is_none()) {
        drop_paths(document, &path_of(model));
    }
}

/// The map of the fields that a new record can have.
fn creatable(map: &SystemMap, schema: Option<&CollectionSchema>) -> SystemMap {
    let known = |entry: &&MapEntry| schema?.schema.fields.iter().find(|field| field.name == entry.place.member());
    let is_creatable = |entry: &&MapEntry| known(entry).is_none_or(|field| field.is_creatable);
    SystemMap { entries: map.entries.iter().filter(is_creatable).cloned().collect(), ..map.clone() }
}

fn drop_paths(document: &mut Value, start: &str) {
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|path, _| !path.starts_with(start));
    }
}

fn configured_collection(system: &System) -> Option<&str> {
    system.policy.collection.iter().chain(&system.policy.collections).next().map(String::as_str)
}

/// The collection that the examples are about.
pub(crate) fn sample_collection(system: &System) -> Option<&str> {
    let of_example = system.adapter.capabilities().id_example.rsplit_once(':').map(|(collection, _)| collection);
    configured_collection(system).or(of_example)
}

/// Every parameter that names a system names this one.
fn name_the_system(document: &mut Value, system: &System) {
    let name = system.name.as_str();
    let factory = find_vendor(system.adapter.capabilities().vendor);
    let collection = sample_collection(system);
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, item) in paths.iter_mut().filter(|(path, _)| path.contains("/{system}")) {
        for (method, operation) in operations(item) {
            for parameter in parameters(operation) {
                let own = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
                // A model names its own collection.
                let is_required = !path.starts_with("/models/")
                    && (system.policy.collection.is_none() || path.contains("{collection}"));
                if own == "system" {
                    parameter.insert("schema".to_owned(), json!({ "type": "string", "enum": [name] }));
                    parameter.insert("example".to_owned(), name.into());
                } else if let Some(collection) = collection.filter(|_| own == "collection" && is_required) {
                    parameter.insert("example".to_owned(), collection.into());
                }
            }
            if let Some(factory) = factory.filter(|_| path.starts_with("/records/")) {
                SampleSystem { name, factory, collection }.fill_parameters(method, operation);
            }
        }
    }
}

fn add_types(document: &mut Value, schema: &CollectionSchema) {
    let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") else { return };
    for (name, purpose) in TYPED {
        let fields = format!("{name}Fields");
        if let Some(place) = schemas.get_mut(name).and_then(|schema| schema.pointer_mut("/properties/fields")) {
            *place = json!({ "$ref": format!("#/components/schemas/{fields}") });
            schemas.insert(fields, Value::Object(adapt(schema.fields_schema(purpose), purpose)));
        }
    }
}

fn add_examples(document: &mut Value, system: &System, schema: &CollectionSchema) {
    let fields = &schema.schema.fields;
    let changed = |field| sample(field, "A changed text");
    let made = |field| sample(field, "A new text");
    let change: Map<String, Value> = fields.iter().filter(|field| field.is_updatable).take(1).map(changed).collect();
    let draft = |field: &&FieldSchema| field.is_creatable && field.is_required;
    let mut draft: Map<String, Value> = fields.iter().filter(draft).map(made).collect();
    if draft.is_empty() {
        draft.extend(fields.iter().filter(|field| field.is_creatable).take(1).map(made));
    }
    let mut json_patch = Vec::new();
    if let Some((name, value)) = change.iter().next() {
        let pointer = crate::record::json_pointer("/fields", &[name]);
        json_patch.push(json!({ "op": "add", "path": pointer, "value": value }));
    }
    let change = json!({ "fields": change });
    let mut draft = Map::from_iter([("fields".to_owned(), Value::Object(draft))]);
    if let Some(collection) = sample_collection(system).filter(|_| system.policy.collection.is_none()) {
        draft.insert("collection".to_owned(), collection.into());
    }
    let draft = Value::Object(draft);
    for (path, is_create) in [
        ("~1records~1{system}~1{id}/patch", false),
        ("~1records~1{system}~1{id}~1preview/post", false),
        ("~1records~1{system}/post", true),
        ("~1records~1{system}~1preview/post", true),
    ] {
        let content = format!("/paths/{path}/requestBody/content");
        let example = |value: &Value| {
            let summary = format!("Fields of {}", schema.schema.title);
            json!({ system.name.as_str(): { "summary": summary, "value": value } })
        };
        for kind in ["application~1merge-patch+json", "application~1json"] {
            let value = if is_create { &draft } else { &change };
            set(document, &format!("{content}/{kind}/examples"), example(value));
        }
        let operations = example(&Value::Array(json_patch.clone()));
        set(document, &format!("{content}/application~1json-patch+json/examples"), operations);
    }
}

/// A value that the schema allows, as far as a type shows it.
fn sample(field: &FieldSchema, text: &str) -> (String, Value) {
    let schema = &field.value;
    let first = |list: &str| schema.get(list).and_then(Value::as_array).and_then(|values| values.first());
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    let longest = schema.get("maxLength").and_then(Value::as_u64).and_then(|max| usize::try_from(max).ok());
    let longest = longest.unwrap_or(usize::MAX);
    let value = if let Some(value) =
        first("examples").or(first("enum")).or(first("oneOf").and_then(|choice| choice.get("const")))
    {
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
            _ => text.chars().take(longest).collect::<String>().into(),
        }
    };
    (field.name.clone(), value)
}
