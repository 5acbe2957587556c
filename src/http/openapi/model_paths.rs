//! The paths of models. They are those of records in other words, so that they are made from them:
//! once for any model, and once for each configured one, with its own types.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use utoipa::Modify;
use utoipa::openapi::OpenApi;

use super::prefill::{SampleSystem, fill_model_bodies, operations, parameters};
use crate::models::{Model, SystemMap};
use crate::vendors::AdapterFactory;

/// The schemas of records, and what they are for models.
const SCHEMAS: &[(&str, &str)] = &[
    ("StoredRecord", "ModelDocument"),
    ("RecordPage", "ModelDocumentPage"),
    ("MergePatch", "ModelMergePatch"),
    ("RecordDraft", "ModelDraft"),
];
const RECORDS: &str = "/records/{system}";
pub(super) const MODELS: &str = "/models/{model}/{system}";
/// The end of the operations' ids of any model.
const ANY_MODEL: &str = "OfModel";

/// Adds the paths of any model.
pub(super) struct ModelPaths;

impl Modify for ModelPaths {
    fn modify(&self, document: &mut OpenApi) {
        let of_records: Vec<_> = document
            .paths
            .paths
            .iter()
            .filter(|(path, _)| path.starts_with(RECORDS))
            .map(|(path, item)| (path.clone(), item.clone()))
            .collect();
        let vendor_part = vendor_part_parameter(document);
        for (path, item) in of_records {
            let Ok(item) = serde_json::to_value(&item) else { continue };
            let parameter = json!({
                "name": "model", "in": "path", "required": true, "description": "The name of the model.",
                "schema": { "type": "string", "pattern": "^[a-z][a-z0-9-]*$" }, "example": "contact",
            });
            let mut item = rename(&item, SCHEMAS, "", ANY_MODEL);
            for (method, operation) in operations(&mut item) {
                operation.insert("tags".to_owned(), json!(["Models"]));
                drop_examples(operation);
                if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                    parameters.insert(0, parameter.clone());
                    parameters.extend(vendor_part.clone().filter(|_| method == "get"));
                }
            }
            if let Ok(item) = serde_json::from_value(item) {
                document.paths.paths.insert(path.replacen(RECORDS, MODELS, 1), item);
            }
        }
    }
}

/// `vendor` in the query of a read, as the list of all systems declares it.
fn vendor_part_parameter(document: &OpenApi) -> Option<Value> {
    let list = serde_json::to_value(document.paths.paths.get("/models/{model}")?).ok()?;
    let parameters = list.pointer("/get/parameters")?.as_array()?;
    parameters.iter().find(|parameter| parameter.get("name").is_some_and(|name| name == "vendor")).cloned()
}

/// The vendor of each system.
pub type VendorOfSystem<'v> = &'v dyn Fn(&str) -> Option<&'static AdapterFactory>;

/// The document with the paths and the types of these models.
pub(super) fn add_models(document: &mut Value, models: &[Arc<Model>], vendor_of: VendorOfSystem<'_>) {
    for model in models {
        add_model(document, model);
    }
    // The system that keeps most of a model shows most of it.
    let fullest = |model: &Model| model.maps.iter().rev().max_by_key(|map| map.entries.len()).cloned();
    let mut mapped = models.iter().filter_map(|model| Some((model, fullest(model)?)));
    for (model, map) in mapped.clone() {
        fill_in(document, &path_of(model), model, (&map, &map), vendor_of);
    }
    if let Some((model, map)) = mapped.next() {
        fill_in(document, MODELS, model, (&map, &map), vendor_of);
    }
}

/// Fills in the requests of a model's paths for one of its systems; `drafted` has the fields of a
/// new record.
pub(super) fn fill_in(
    document: &mut Value,
    path: &str,
    model: &Model,
    (map, drafted): (&SystemMap, &SystemMap),
    vendor_of: VendorOfSystem<'_>,
) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (_, item) in paths.iter_mut().filter(|(one, _)| one.starts_with(path)) {
        for (method, operation) in operations(item) {
            for parameter in parameters(operation).filter(|parameter| is_named(parameter, "model")) {
                parameter.insert("example".to_owned(), (*model.name).into());
            }
            if let Some(factory) = vendor_of(map.system.as_str()) {
                let name = map.system.as_str();
                let sample = SampleSystem { name, factory, collection: map.collection.as_deref() };
                sample.fill_parameters(method, operation);
            }
            fill_model_bodies(operation, map, drafted);
        }
    }
}

/// The paths of a model's documents begin so.
pub(super) fn path_of(model: &Model) -> String {
    format!("/models/{}/{{system}}", model.name)
}

fn is_named(parameter: &Map<String, Value>, name: &str) -> bool {
    parameter.get("name").is_some_and(|own| own == name)
}

fn add_model(document: &mut Value, model: &Model) {
    let name = type_name(document, model);
    let page = format!("{name}Page");
    let (whole, patch, new) = (format!("{name}Document"), format!("{name}Patch"), format!("{name}Draft"));
    let schemas = [
        ("ModelDocument", whole.as_str()),
        ("ModelDocumentPage", &page),
        ("ModelMergePatch", &patch),
        ("ModelDraft", &new),
    ];
    let typed = [(name.clone(), fields_schema(model))];
    let documents = schemas.iter().map(|(generic, own)| {
        let of_fields = json!({ "$ref": format!("#/components/schemas/{name}") });
        let mut schema = component(document, generic).clone();
        if let Some(fields) = schema.pointer_mut("/properties/fields") {
            *fields = of_fields;
        }
        ((*own).to_owned(), rename(&schema, &schemas, "", ""))
    });
    let added: Vec<(String, Value)> = typed.into_iter().chain(documents).collect();
    if let Some(components) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        components.extend(added);
    }
    add_paths(document, model, &name, &schemas);
}

fn add_paths(document: &mut Value, model: &Model, name: &str, schemas: &[(&str, &str)]) {
    let systems: Vec<&str> = model.maps.iter().map(|map| map.system.as_str()).collect();
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    let generic: Vec<(String, Value)> = paths
        .iter()
        .filter(|(path, _)| path.starts_with(MODELS))
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    for (path, item) in generic {
        let mut item = rename(&item, schemas, ANY_MODEL, &format!("Of{name}"));
        for (_, operation) in operations(&mut item) {
            operation.insert("tags".to_owned(), json!([model.title]));
            if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                parameters.retain(|parameter| parameter["name"] != "model");
            }
            for parameter in parameters(operation).filter(|parameter| is_named(parameter, "system")) {
                parameter.insert("schema".to_owned(), json!({ "type": "string", "enum": systems }));
                parameter.insert("example".to_owned(), json!(systems.first()));
            }
        }
        paths.insert(path.replacen(MODELS, &path_of(model), 1), item);
    }
}

/// The schema of the fields, with an example of all of them.
fn fields_schema(model: &Model) -> Value {
    let mut schema = model.schema();
    if let Value::Object(members) = &mut schema {
        members.insert("examples".to_owned(), json!([model.example()]));
    }
    schema
}

/// The name of the type of a model: `customer-order` is `CustomerOrder`.
fn type_name(document: &Value, model: &Model) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    let name: String = model.name.split('-').map(capital).collect();
    let is_taken = |name: &str| {
        [
            name.to_owned(),
            format!("{name}Document"),
            format!("{name}Page"),
            format!("{name}Patch"),
            format!("{name}Draft"),
        ]
        .iter()
        .any(|name| !component(document, name).is_null())
    };
    if is_taken(&name) { format!("{name}Model") } else { name }
}

fn component<'d>(document: &'d Value, name: &str) -> &'d Value {
    document.pointer(&format!("/components/schemas/{name}")).unwrap_or(&Value::Null)
}

/// The same with references to other schemas, and with other ids of its operations.
fn rename(item: &Value, schemas: &[(&str, &str)], old_end: &str, new_end: &str) -> Value {
    match item {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let renamed = match (name.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => rename_reference(target, schemas),
                    ("operationId", Some(id)) => rename_operation(id, old_end, new_end),
                    _ => rename(value, schemas, old_end, new_end),
                };
                (name.clone(), renamed)
            };
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(elements) => elements.iter().map(|element| rename(element, schemas, old_end, new_end)).collect(),
        scalar => scalar.clone(),
    }
}

fn rename_reference(target: &str, schemas: &[(&str, &str)]) -> Value {
    let found = schemas.iter().find(|(old, _)| target.strip_prefix("#/components/schemas/") == Some(old));
    found.map_or_else(|| target.into(), |(_, new)| format!("#/components/schemas/{new}").into())
}

/// Links also lead to operations that are the same for all.
fn rename_operation(id: &str, old_end: &str, new_end: &str) -> Value {
    match id.strip_suffix(old_end) {
        Some(start) if id.contains("Record") || id.contains("review") => format!("{start}{new_end}").into(),
        _ => id.into(),
    }
}

fn drop_examples(operation: &mut Map<String, Value>) {
    let body = operation.get_mut("requestBody").and_then(|body| body.get_mut("content"));
    for (_, content) in body.and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(content) = content.as_object_mut() {
            content.shift_remove("examples");
        }
    }
}
