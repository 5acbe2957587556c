//! The bodies of requests as the document shows them; `write_request` parses them.
#![expect(dead_code, reason = "described, never constructed")]

use serde_json::Value;
use utoipa::ToSchema;

/// A new record.
#[derive(ToSchema)]
pub(crate) struct NewRecord {
    /// Where to create it; the configured collection if it is left out.
    #[schema(nullable = false)]
    collection: Option<String>,
    /// The vendor's own names and values.
    #[schema(value_type = Object)]
    fields: Value,
}

/// A merge patch (RFC 7396) of a record: only members of `fields` can change; null removes or
/// resets.
#[derive(ToSchema)]
pub(crate) struct MergePatch {
    /// What changes.
    #[schema(value_type = Option<Object>, nullable = false)]
    fields: Option<Value>,
}

/// A JSON Patch (RFC 6902) of a record: only what lies below `/fields` can change; `test` may name
/// any path.
#[derive(ToSchema)]
pub(crate) struct JsonPatch(Vec<PatchOperation>);

/// One operation of a JSON Patch.
#[derive(ToSchema)]
pub(crate) struct PatchOperation {
    /// `add`, `remove`, `replace`, `move`, `copy` or `test`.
    #[schema(pattern = "^(add|remove|replace|move|copy|test)$")]
    op: String,
    /// JSON Pointer.
    #[schema(pattern = "^(/([^/~]|~[01])*)*$")]
    path: String,
    /// JSON Pointer, for `move` and `copy`.
    #[schema(nullable = false, pattern = "^(/([^/~]|~[01])*)*$")]
    from: Option<String>,
    /// For `add`, `replace` and `test`.
    #[schema(required = false)]
    value: Value,
}
