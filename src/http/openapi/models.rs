//! The paths of models. They are those of records in other words, so that they are made from them:
//! once for any model, and once for each configured one, with its own types.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use utoipa::Modify;
use utoipa::openapi::OpenApi;

use crate::models::Model;

/// The schemas of records, and what they are for models.
const SCHEMAS: &[(&str, &str)] = &[
    ("StoredRecord", "ModelDocument"),
    ("RecordPage", "ModelDocumentPage"),
    ("MergePatch", "ModelMergePatch"),
    ("RecordDraft", "ModelDraft"),
];
const RECORDS: &str = "/records/{system}";
const MODELS: &str = "/models/{model}/{system}";
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
        for (path, item) in of_records {
            let Ok(item) = serde_json::to_value(&item) else { continue };
            let parameter = json!({
                "name": "model", "in": "path", "required": true, "description": "The name of the model.",
                "schema": { "type": "string", "pattern": "^[a-z][a-z0-9-]*$" }, "example": "contact",
            });
            let mut item = rename(&item, SCHEMAS, "", ANY_MODEL);
            for operation in operations(&mut item) {
                operation.insert("tags".to_owned(), json!(["Models"]));
                drop_examples(operation);
                if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                    parameters.insert(0, parameter.clone());
                }
            }
            if let Ok(item) = serde_json::from_value(item) {
                document.paths.paths.insert(path.replacen(RECORDS, MODELS, 1), item);
            }
        }
    }
}

/// The document with the paths and the types of these models.
pub(super) fn add_models(document: &mut Value, models: &[Arc<Model>]) {
    for model in models {
        add_model(document, model);
    }
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
    let example = json!({ "fields": model.example() });
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    let generic: Vec<(String, Value)> = paths
        .iter()
        .filter(|(path, _)| path.starts_with(MODELS))
        .map(|(path, item)| (path.clone(), item.clone()))
        .collect();
    for (path, item) in generic {
        let mut item = rename(&item, schemas, ANY_MODEL, &format!("Of{name}"));
        for operation in operations(&mut item) {
            operation.insert("tags".to_owned(), json!([model.title]));
            add_example(operation, &example);
            let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { continue };
            parameters.retain(|parameter| parameter["name"] != "model");
            for parameter in parameters.iter_mut().filter(|parameter| parameter["name"] == "system") {
                parameter["schema"] = json!({ "type": "string", "enum": systems });
                parameter["example"] = json!(systems.first());
            }
        }
        paths.insert(path.replacen(MODELS, &format!("/models/{}/{{system}}", model.name), 1), item);
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

fn operations(item: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let methods = ["get", "post", "patch", "delete"];
    let members = item.as_object_mut().into_iter().flatten();
    members.filter(move |(name, _)| methods.contains(&name.as_str())).filter_map(|(_, one)| one.as_object_mut())
}

fn drop_examples(operation: &mut Map<String, Value>) {
    for content in contents(operation) {
        content.shift_remove("examples");
    }
}

fn add_example(operation: &mut Map<String, Value>, example: &Value) {
    for (kind, content) in contents_by_type(operation) {
        if kind != "application/json-patch+json" {
            content.insert("example".to_owned(), example.clone());
        }
    }
}

fn contents(operation: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    contents_by_type(operation).map(|(_, content)| content)
}

fn contents_by_type(operation: &mut Map<String, Value>) -> impl Iterator<Item = (&String, &mut Map<String, Value>)> {
    let body = operation.get_mut("requestBody").and_then(|body| body.get_mut("content"));
    let contents = body.and_then(Value::as_object_mut).into_iter().flatten();
    contents.filter_map(|(kind, content)| Some((kind, content.as_object_mut()?)))
}
