//! Bodies to try out: those of every vendor in the registry, and a JSON Patch.

use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{Content, OpenApi, RefOr};

use super::operations::operations_mut;
use super::prefill::operations;
use crate::vendors::{AdapterFactory, VENDORS};

/// A JSON Patch of the record that the parameters name.
pub(crate) fn json_patch() -> Value {
    json!([
        {"op": "test", "path": "/fields/Last Name", "value": "Lovelace"},
        {"op": "replace", "path": "/fields/Status", "value": "Premium"}
    ])
}

/// A batch that reads a record and changes another.
pub(crate) fn batch() -> Value {
    json!({"items": [
        {"id": "read", "method": "GET", "path": "/records/architecture/object-definitions:640b3d7d4a28b925fcf8b9a2"},
        {"id": "change", "method": "PATCH",
            "path": "/records/itsm/SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e",
            "headers": {"If-Match": "*"}, "body": {"fields": {"Description": "Facility Management"}}}
    ]})
}

/// Adds each vendor's samples to the bodies of writes.
pub(super) struct VendorExamples;

impl Modify for VendorExamples {
    fn modify(&self, document: &mut OpenApi) {
        for operation in operations_mut(document) {
            let is_create = match operation.operation_id.as_deref() {
                Some("createRecord" | "previewNewRecord") => true,
                Some("updateRecord" | "previewRecord") => false,
                _ => continue,
            };
            let Some(RefOr::T(body)) = operation.request_body.as_mut() else { continue };
            for (media_type, content) in &mut body.content {
                if let (RefOr::T(content), true) = (content, media_type != "application/json-patch+json") {
                    for vendor in VENDORS {
                        add_example(content, vendor, is_create);
                    }
                }
            }
        }
    }
}

/// Puts the samples of this vendor before the others: Swagger UI fills in the first.
pub(super) fn put_first(document: &mut Value, vendor: &str) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, operation) in paths.flat_map(|(_, item)| operations(item)) {
        let body = operation.get_mut("requestBody").and_then(|body| body.get_mut("content"));
        let contents = body.and_then(Value::as_object_mut).into_iter().flatten();
        for examples in contents.filter_map(|(_, content)| content.get_mut("examples")?.as_object_mut()) {
            if let Some(first) = examples.shift_remove(vendor) {
                examples.shift_insert(0, vendor.to_owned(), first);
            }
        }
    }
}

fn add_example(content: &mut Content, vendor: &AdapterFactory, is_create: bool) {
    let samples = vendor.samples;
    let (summary, text) =
        if is_create { (samples.create_summary, samples.create) } else { (samples.patch_summary, samples.patch) };
    let value = serde_json::from_str(text).ok();
    let example = ExampleBuilder::new().summary(summary).value(value).build();
    content.examples.insert(samples.title.to_owned(), RefOr::T(example));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_every_vendor_are_bodies_of_its_writes() {
        for vendor in VENDORS {
            for text in [vendor.samples.patch, vendor.samples.create] {
                let body: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(body["fields"].is_object(), "{text}");
            }
            let create: Value = serde_json::from_str(vendor.samples.create).expect("JSON");
            assert!((vendor.is_collection)(create["collection"].as_str().expect("a collection")), "{create}");
        }
    }
}
