//! What Swagger UI fills in for a system, so that "Execute" works at once in the sandbox.

use serde_json::{Map, Value, json};

use crate::models::SystemMap;
use crate::record::Action;
use crate::vendors::AdapterFactory;

/// A system that requests of the document go to.
#[derive(Clone, Copy)]
pub(super) struct SampleSystem<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its vendor.
    pub factory: &'static AdapterFactory,
    /// The collection that requests are about.
    pub collection: Option<&'s str>,
}

impl SampleSystem<'_> {
    /// Fills in the parameters of an operation of records or of documents.
    pub(super) fn fill_parameters(&self, method: &str, operation: &mut Map<String, Value>) {
        let is_delete = method == "delete";
        let is_create = operation.get("operationId").and_then(Value::as_str).is_some_and(is_create);
        let action = match (is_delete, is_create) {
            (true, _) => Action::Delete,
            (_, true) => Action::Create,
            _ => Action::Update,
        };
        for parameter in parameters(operation) {
            let is_record_id = parameter.get("example").and_then(Value::as_str).is_some_and(|id| id.contains(':'));
            let example = match parameter.get("name").and_then(Value::as_str) {
                Some("system") => Some(self.name.to_owned()),
                Some("id") if is_record_id => Some(self.record_id(is_delete).to_owned()),
                Some("Accept-Loss") => self.factory.losses_of(action),
                _ => continue,
            };
            match example {
                Some(example) => parameter.insert("example".to_owned(), example.into()),
                None => parameter.shift_remove("example"),
            };
        }
    }

    fn record_id(&self, is_delete: bool) -> &'static str {
        let deletable = self.factory.samples.deletable_id.filter(|_| is_delete);
        deletable.unwrap_or_else(|| self.factory.sample_id(self.collection))
    }
}

/// Whether an operation makes a record, or previews that.
pub(super) fn is_create(operation_id: &str) -> bool {
    operation_id.starts_with("createRecord") || operation_id.starts_with("previewNewRecord")
}

/// Fills in the bodies of an operation on documents of a model.
pub(super) fn fill_model_bodies(operation: &mut Map<String, Value>, map: &SystemMap, drafted: &SystemMap) {
    let is_create = operation.get("operationId").and_then(Value::as_str).is_some_and(is_create);
    let body = operation.get_mut("requestBody").and_then(|body| body.get_mut("content"));
    for (kind, content) in body.and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(content) = content.as_object_mut() else { continue };
        let example = if kind == "application/json-patch+json" {
            map.example_json_patch()
        } else if is_create {
            json!({ "fields": drafted.example(true) })
        } else {
            json!({ "fields": map.example(false) })
        };
        content.insert("example".to_owned(), example);
    }
}

/// The operations of a path, with their methods.
pub(super) fn operations(item: &mut Value) -> impl Iterator<Item = (&String, &mut Map<String, Value>)> {
    const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];
    let members = item.as_object_mut().into_iter().flatten();
    let operations = members.filter(|(name, _)| METHODS.contains(&name.as_str()));
    operations.filter_map(|(name, one)| Some((name, one.as_object_mut()?)))
}

/// The parameters of an operation.
pub(super) fn parameters(operation: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
    parameters.filter_map(Value::as_object_mut)
}
