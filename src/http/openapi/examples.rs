//! Bodies to try out, one per vendor.

use serde_json::{Value, json};

/// A merge patch of a BlueDolphin object definition.
pub(crate) fn bluedolphin() -> Value {
    json!({"fields": {"properties": {"Supplier": {"value": "Microsoft"}}}})
}

/// A merge patch of a Pretectum data object.
pub(crate) fn pretectum() -> Value {
    json!({"fields": {"Status": "Premium", "First Name": "Ada"}})
}

/// A merge patch of a Matrix42 fragment.
pub(crate) fn matrix42() -> Value {
    json!({"fields": {"Description": "Facility Management", "DefaultSubject": null}})
}

/// A JSON Patch that fits any system.
pub(crate) fn json_patch() -> Value {
    json!([
        {"op": "test", "path": "/fields/Status", "value": "Standard"},
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

/// A new Pretectum data object.
pub(crate) fn new_pretectum() -> Value {
    json!({
        "collection": "20240115103000000a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5:20240115103100000a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5:20240925103000000a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5",
        "fields": {"First Name": "Ada", "Email": "ada@example.org", "Status": "Standard"}
    })
}

/// A new BlueDolphin object definition.
pub(crate) fn new_bluedolphin() -> Value {
    json!({
        "collection": "object-definitions",
        "fields": {"name": "New Application", "object_template_id": "58edcaf2829327621cecc9e5", "roles": []}
    })
}

/// A new Matrix42 fragment.
pub(crate) fn new_matrix42() -> Value {
    json!({"collection": "SPSScCategoryClassBase", "fields": {"Description": "Facility Management"}})
}
