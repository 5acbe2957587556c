//! Reading records.

use super::headers::accept;
use super::openapi::{CollectionPath, ListParams, ReadHeaderParams, RecordPath};
use super::query::QueryParams;
use super::response::{self, ReadPreconditions};
use super::service::{HandlerResult, RequestContext};
use crate::gateway::{RecordPage, RecordView};
use crate::problem::ProblemKind;
use crate::record::{Action, percent_encode_id};

/// `GET` and `HEAD /records/{system}/{id}`.
#[utoipa::path(get, path = "/records/{system}/{id}", tag = "Records", operation_id = "getRecord",
    summary = "Read a record", description = "The record with its tag.",
    params(RecordPath, ReadHeaderParams),
    responses((status = 200, description = "The record", body = RecordView),
        (status = 304, description = "The caller has the present state")))]
pub(super) async fn show(inbound: &RequestContext<'_>, system: &str, raw_id: &str) -> HandlerResult {
    let system = inbound.authorize_system(system, Action::Read)?;
    let id = inbound.api.records.record_id(system, raw_id)?;
    accept::require_json(inbound.headers)?;
    QueryParams::read(inbound.query, &[])?;
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let record = inbound.api.records.read(system, &id, &inbound.op_context()?).await?;
    let answer = conditions.respond(response::record_json(&record), record.etag.as_deref(), None);
    answer.map_err(|mut refused| {
        if refused.problem.name == ProblemKind::PreconditionFailed {
            inbound.api.records.count_precondition_failure(system);
        }
        refused.problem.system = Some(system.name.as_str().to_owned());
        refused
    })
}

/// `GET` and `HEAD /records/{system}?collection=&limit=&cursor=`.
#[utoipa::path(get, path = "/records/{system}", tag = "Records", operation_id = "listRecords",
    summary = "List records", description = "A page of a collection's records, in the vendor's order.",
    params(CollectionPath, ListParams),
    responses((status = 200, description = "A page", body = RecordPage)))]
pub(super) async fn list(inbound: &RequestContext<'_>, system: &str) -> HandlerResult {
    let system = inbound.authorize_system(system, Action::Read)?;
    accept::require_json(inbound.headers)?;
    let query = QueryParams::read(inbound.query, &["collection", "limit", "cursor"])?;
    let limit = query.limit()?;
    let conditions = ReadPreconditions::read(inbound.headers)?;
    let collection = inbound.api.records.collection(system, query.get("collection"))?;
    let ask = inbound.op_context()?;
    let page = inbound.api.records.list(system, &collection, limit, query.get("cursor"), &ask).await?;
    let path = format!("/records/{}", percent_encode_id(system.name.as_str()));
    let link = query.next_link_header(&path, page.next.as_deref());
    conditions.respond(response::to_json(&page), None, link)
}
