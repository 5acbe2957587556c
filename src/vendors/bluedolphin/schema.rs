//! The members of an object definition, from the vendor's pages "Create", "Get" and "Update object
//! definition". They are the same in every tenant.

use serde_json::{Value, json};

use crate::vendors::schema::{FieldSchema, RecordSchema};

/// The name of the collection, for people.
pub(super) const TITLE: &str = "Object definitions";

/// The members of a definition as callers see it.
pub(super) fn definition_schema() -> RecordSchema {
    let text = || json!({ "type": "string", "minLength": 1, "maxLength": 255 });
    let id = || json!({ "type": "string", "pattern": "^[0-9a-z]{24}$", "examples": ["644779a07470b332c82b8d00"] });
    let name = FieldSchema { is_nullable: false, is_required: true, ..FieldSchema::new("name", text()) };
    let shown = |name: &str, value: Value| FieldSchema {
        is_nullable: false,
        is_creatable: false,
        ..FieldSchema::new(name, value)
    };
    let created = |name: &str, value: Value| FieldSchema {
        is_nullable: false,
        is_shown: false,
        is_updatable: false,
        ..FieldSchema::new(name, value)
    };
    let fields = vec![
        name,
        shown("type", json!({ "type": "object" })).read_only(),
        shown("status", json!({ "type": "string", "enum": ["active", "disabled"] })),
        // Null empties them.
        FieldSchema { is_nullable: true, ..shown("properties", properties()) },
        FieldSchema { is_nullable: true, ..shown("questionnaires", questionnaires()) },
        FieldSchema { is_required: true, ..created("object_template_id", id()) },
        created("roles", json!({ "type": "array", "items": { "type": "string" } })),
    ];
    RecordSchema { title: TITLE.to_owned(), fields, is_closed: true }
}

/// In a patch null removes an entry, or a value. The vendor shows some values as `""`, and refuses
/// to set them.
fn properties() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "minLength": 1, "maxLength": 255 },
        "additionalProperties": {
            "type": ["object", "null"],
            "properties": {
                "value": { "type": ["string", "null"], "maxLength": 255 },
                "locked": { "type": ["boolean", "null"] }
            },
            "additionalProperties": false
        }
    })
}

fn questionnaires() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[0-9a-z]{24}$" },
        "additionalProperties": { "type": ["object", "null"] }
    })
}
