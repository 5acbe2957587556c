//! Parameters as the document shows them. `headers` and `query` parse them.
#![expect(dead_code, reason = "described, never constructed")]

use std::collections::BTreeMap;

use utoipa::IntoParams;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::problem::ProblemKind;
use crate::record::OperationState;

/// The names of all problems.
fn problem_names() -> Object {
    let names = ProblemKind::ALL.iter().map(|problem| problem.as_str());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RecordPath {
    /// The configured name of the system.
    #[param(example = "crm", pattern = "^[a-z][a-z0-9-]*$")]
    system: String,
    /// The record's id, `collection:key`, as one percent-encoded path segment. Where the system has
    /// a configured collection, the key alone is enough. `GET /systems/{system}` shows the form.
    #[param(
        example = "202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i:20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6:20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7:20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5"
    )]
    id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SystemPath {
    /// The configured name of the system.
    #[param(example = "crm", pattern = "^[a-z][a-z0-9-]*$")]
    system: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SchemaPath {
    /// The configured name of the system.
    #[param(example = "architecture", pattern = "^[a-z][a-z0-9-]*$")]
    system: String,
    /// The collection, as one percent-encoded path segment.
    #[param(example = "object-definitions")]
    collection: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SchemaParams {
    /// What the schema is to describe: `fields` of a record, of a new record, or of a merge patch.
    #[param(rename = "for", inline)]
    purpose: Option<SchemaPurpose>,
}

/// What a schema describes.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum SchemaPurpose {
    /// A record.
    Record,
    /// A new record.
    Create,
    /// A merge patch.
    Update,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// The most items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next` of the previous page of the same query.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OperationPath {
    /// The operation's id: the last segment of `Operation` or `Location`.
    #[param(example = "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")]
    id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct BatchPath {
    /// The batch's id: the last segment of `Location`.
    #[param(example = "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")]
    id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BatchListParams {
    /// The most items of the page.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
    /// `next` of the page before, unchanged.
    #[param(nullable = false, min_length = 1)]
    cursor: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ProblemPath {
    /// The last segment of a problem's `type`.
    #[param(example = "precondition-failed")]
    name: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Which collection; the configured one if it is left out.
    #[param(min_length = 1)]
    collection: Option<String>,
    /// `filter[NAME]=VALUE`: only records whose member NAME of `fields` has this value; several
    /// must hold together. `GET /systems/{system}` says which members can be filtered by.
    #[param(style = DeepObject, explode, value_type = Option<BTreeMap<String, String>>, example = json!({}))]
    filter: Option<BTreeMap<String, String>>,
    /// The most items of the page; a page may be shorter, even empty, and have a `next`.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next` of the previous page of the same query.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// The order of a list.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ListOrder {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

/// The kind of a write.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum WriteAction {
    /// A create.
    Create,
    /// An update.
    Update,
    /// A delete.
    Delete,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OperationListParams {
    /// Only of this system.
    #[param(min_length = 1)]
    system: Option<String>,
    /// Only of this record.
    #[param(min_length = 1)]
    record: Option<String>,
    /// Only in this state.
    state: Option<OperationState>,
    /// Only of this caller.
    #[param(min_length = 1)]
    caller: Option<String>,
    /// Only of this kind.
    #[param(inline)]
    action: Option<WriteAction>,
    /// Begun not earlier than this (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// Begun earlier than this (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
    /// `asc` is oldest first.
    #[param(inline)]
    order: Option<ListOrder>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LedgerListParams {
    /// Only of this system.
    #[param(min_length = 1)]
    system: Option<String>,
    /// Only of this record.
    #[param(min_length = 1)]
    record: Option<String>,
    /// Only of this caller.
    #[param(min_length = 1)]
    caller: Option<String>,
    /// Only of this operation.
    #[param(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    operation: Option<String>,
    /// Only with this problem, by its name.
    #[param(schema_with = problem_names)]
    problem: Option<String>,
    /// Not earlier than this (RFC 3339).
    #[param(format = DateTime)]
    since: Option<String>,
    /// Earlier than this (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
    /// `asc` is oldest first.
    #[param(inline)]
    order: Option<ListOrder>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangeListParams {
    /// Only of this system.
    #[param(min_length = 1)]
    system: Option<String>,
    /// Only of records of this collection.
    #[param(min_length = 1)]
    collection: Option<String>,
    /// Only of this record.
    #[param(min_length = 1)]
    record: Option<String>,
    /// Where to begin: `first` (the oldest event that is kept), `now`, or `next` of the previous
    /// response to the same query.
    #[param(min_length = 1, default = "first")]
    since: Option<String>,
    /// The most events of the response.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// For how many seconds the response is held while there is no event; at most the deadline.
    #[param(minimum = 0)]
    wait: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEventId {
    /// The id of the last event that the client has; it replaces `since`.
    #[param(rename = "Last-Event-ID", nullable = false)]
    last_event_id: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LedgerVerifyParams {
    /// The number of the first entry; the first that is kept if it is left out.
    #[param(minimum = 1, default = 1)]
    from: Option<i64>,
    /// The most entries to verify.
    #[param(minimum = 1, maximum = 10_000, default = 10_000)]
    limit: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct ReadHeaderParams {
    /// Tags that the caller has; 304 if one of them is the current one.
    #[param(rename = "If-None-Match", nullable = false, pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#)]
    if_none_match: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// The record's `ETag` with its quotes, a list of them, or `*` if any state will do. Weak tags
    /// never match.
    #[param(rename = "If-Match", example = "*", pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#)]
    if_match: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct BatchHeaderParams {
    /// Makes repeating this batch safe: every write item without a key of its own has this key with
    /// its id, and a repetition runs only the items that have no stored response. With
    /// `respond-async` a repetition is the first batch, unless that is over and has left something
    /// to do: then a new batch does the rest.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        pattern = r#"^("([!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$"#
    )]
    idempotency_key: Option<String>,
    /// `respond-async`: store the batch and respond 202. `wait=N` beside it waits for its end
    /// first.
    #[param(rename = "Prefer", nullable = false)]
    prefer: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct WriteHeaderParams {
    /// Makes repeating this request safe: the same key with the same request gets the stored
    /// response.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        pattern = r#"^("([!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$"#
    )]
    idempotency_key: Option<String>,
    /// `return=representation`, `respond-async`, `wait=N` (RFC 7240); `rebase=disjoint` with one
    /// tag in `If-Match` of a PATCH; `handling=lenient` to send what breaks the vendor's schema,
    /// with a warning, and `handling=strict` to refuse it.
    #[param(rename = "Prefer", nullable = false)]
    prefer: Option<String>,
    /// The names of losses that are acceptable, such as `linked-questions, source-connections`.
    #[param(rename = "Accept-Loss", nullable = false)]
    accept_loss: Option<String>,
    /// `native`: refuse the write rather than guard it in the gateway.
    #[param(rename = "Require-Guarantee", nullable = false, pattern = "^native$")]
    require_guarantee: Option<String>,
    /// The `plan` of a preview: the write is made only if it is still that very write.
    #[param(rename = "If-Plan", nullable = false, pattern = r#"^"p\.[!#-~]*"$"#)]
    if_plan: Option<String>,
}

/// What a preview previews.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
enum PreviewAction {
    Update,
    Delete,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PreviewParams {
    /// `delete` previews a DELETE, which needs no body.
    #[param(inline, nullable = false)]
    action: Option<PreviewAction>,
}
