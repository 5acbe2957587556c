//! The bodies of requests as the document shows them; `write_request` parses them.
#![expect(dead_code, reason = "described, never constructed")]

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A new record.
#[derive(ToSchema)]
pub(crate) struct RecordDraft {
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

/// A JSON Patch (RFC 6902) of a record: only what lies below `/fields` can change, and below
/// `/vendor` of a model's document; `test` may name any path.
#[derive(ToSchema)]
pub(crate) struct JsonPatch(Vec<PatchOperation>);

/// The operations of a JSON Patch.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum PatchOperationName {
    /// Adds a member or an element, or replaces a member.
    Add,
    /// Removes a value.
    Remove,
    /// Replaces a value.
    Replace,
    /// Moves a value.
    Move,
    /// Copies a value.
    Copy,
    /// Compares a value: the patch is applied only if it is equal.
    Test,
}

/// One operation of a JSON Patch.
#[derive(ToSchema)]
pub(crate) struct PatchOperation {
    /// What it does.
    op: PatchOperationName,
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

/// Many requests in one.
#[derive(ToSchema)]
#[schema(as = Batch)]
pub(crate) struct BatchBody {
    /// `stop`: after the first failure no further item begins. Default `continue`.
    #[schema(nullable = false)]
    on_failure: Option<crate::http::batch::request::OnFailure>,
    /// How many items run at once; `batch_concurrency` limits it further.
    #[schema(nullable = false, minimum = 1, maximum = 32, default = 8)]
    concurrency: Option<u8>,
    /// Headers of every item that does not have its own.
    #[schema(value_type = Option<Object>, nullable = false)]
    headers: Option<Value>,
    /// The items. Those of one record run one after another in this order, the others in parallel.
    #[schema(min_items = 1)]
    items: Vec<BatchItemBody>,
}

/// The methods of the paths that an item can name.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
enum ItemMethod {
    /// Reads.
    Get,
    /// Creates.
    Post,
    /// Changes.
    Patch,
    /// Deletes.
    Delete,
}

/// One request of a batch.
#[derive(ToSchema)]
#[schema(as = BatchItem)]
pub(crate) struct BatchItemBody {
    /// Its name in this batch; its position if it is left out.
    #[schema(nullable = false, pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: Option<String>,
    /// The method.
    method: ItemMethod,
    /// A path of `/records/...` or `/models/...`, without a query. `{x}` instead of the id is the
    /// record of item x.
    #[schema(
        pattern = "^/(records|models/[^/?#]+)/[^/?#]+(/[^/?#]+)?$",
        example = "/records/architecture/object-definitions:640b3d7d4a28b925fcf8b9a2"
    )]
    path: String,
    /// Its headers, such as `If-Match`. The value `{x}` of `If-Match` is the tag of item x.
    #[schema(value_type = Option<Object>, nullable = false)]
    headers: Option<Value>,
    /// The body, as the request alone has it.
    #[schema(required = false)]
    body: Value,
    /// Earlier items that must succeed before.
    #[schema(nullable = false)]
    depends_on: Option<Vec<String>>,
}

/// The outcome of a batch.
#[derive(ToSchema)]
pub(crate) struct BatchResult {
    /// How many items have ended how.
    summary: crate::http::batch::outcome::Summary,
    /// The items, in the order of the batch.
    items: Vec<BatchItemResult>,
}

/// The outcome of an item: the response that the request alone would have got.
#[derive(ToSchema)]
pub(crate) struct BatchItemResult {
    /// Its name.
    id: String,
    /// The HTTP status.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// The headers, their names in lower case.
    #[schema(value_type = Object)]
    headers: Value,
    /// The body: a record, an operation or a problem.
    #[schema(required = false, value_type = Object)]
    body: Value,
}

/// How far an asynchronous batch is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BatchPhase {
    /// Some of its items have not ended.
    Running,
    /// Every item has ended.
    Done,
    /// What had begun has ended, and the rest was cancelled.
    Cancelled,
}

/// An asynchronous batch.
#[derive(ToSchema)]
pub(crate) struct StoredBatch {
    /// Its id.
    id: String,
    /// `running`, `done` or `cancelled`.
    state: BatchPhase,
    /// The name of the caller.
    caller: String,
    /// When it was stored (RFC 3339, UTC).
    started_at: String,
    /// When nothing of it was left to run; null before.
    #[schema(required = true)]
    finished_at: Option<String>,
    /// How many of all its items have ended how.
    summary: crate::http::batch::outcome::Summary,
    /// A page of its items, in their order.
    items: Vec<StoredItem>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// The outcome of an item of an asynchronous batch, or that it has not ended.
#[derive(ToSchema)]
pub(crate) struct StoredItem {
    /// Its name.
    id: String,
    /// The HTTP status; null until the item has ended.
    #[schema(required = true)]
    status: Option<u16>,
    /// The headers, their names in lower case.
    #[schema(value_type = Option<Object>, nullable = false)]
    headers: Option<Value>,
    /// The body: a record, an operation or a problem.
    #[schema(required = false, value_type = Object)]
    body: Value,
}
