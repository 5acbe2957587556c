//! Documents that are spliced by hand or only read, as the document shows them.
#![expect(dead_code, reason = "described, never constructed")]

use serde_json::Value;
use utoipa::ToSchema;

use crate::record::{Operation, VendorCallLog};

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

/// A merge patch (RFC 7396) of a record: only members of `fields` can change; null removes or resets.
#[derive(ToSchema)]
pub(crate) struct MergePatch {
    /// What changes.
    #[schema(value_type = Option<Object>, nullable = false)]
    fields: Option<Value>,
}

/// A JSON Patch (RFC 6902) of a record: only what lies below `/fields` can change; `test` may name any path.
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

/// A page of operations, newest first.
#[derive(ToSchema)]
pub(crate) struct OperationPage {
    /// The operations.
    items: Vec<Operation>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// A page of the ledger, oldest first.
#[derive(ToSchema)]
pub(crate) struct LedgerPage {
    /// The entries.
    items: Vec<LedgerEntry>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// One entry of the ledger: never a field's value.
#[derive(ToSchema)]
pub(crate) struct LedgerEntry {
    /// Its place, without gaps.
    seq: u64,
    /// When (RFC 3339, UTC).
    at: String,
    /// `intent` before the vendor is called, `outcome` after.
    #[schema(pattern = "^(intent|outcome)$")]
    event: String,
    /// The operation's id.
    operation: String,
    /// `X-Request-Id` of the request.
    request_id: String,
    /// Who.
    caller: String,
    /// In which system.
    system: String,
    /// Which record; null before a create was answered.
    #[schema(required = true)]
    record: Option<String>,
    /// What.
    action: String,
    /// `If-Match` as it was understood.
    precondition: Option<String>,
    /// JSON Pointers of what was to change.
    paths: Vec<String>,
    /// The losses that were accepted.
    losses: Vec<String>,
    /// The vendor calls made.
    calls: Vec<VendorCallLog>,
    /// The operation's state after an outcome.
    state: Option<String>,
    /// The problem's name.
    problem: Option<String>,
    /// The record's tag afterwards, when proven.
    etag_after: Option<String>,
    /// The hash of the entry before.
    prev: String,
    /// This entry's hash.
    hash: String,
}

/// The configured systems.
#[derive(ToSchema)]
pub(crate) struct SystemList {
    /// In the order of the configuration.
    items: Vec<crate::http::systems::SystemView<'static>>,
}

/// How the process is.
#[derive(ToSchema)]
pub(crate) struct Status {
    /// `up` or `ready`.
    #[schema(example = "up")]
    status: String,
}
