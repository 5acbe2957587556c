//! Reading records.

use crate::http::context::RequestContext;
use crate::http::error::{ApiError, HandlerResult};
use crate::http::headers::accept;
use crate::http::openapi::{CollectionPath, ListParams, ReadHeaderParams, RecordPath};
use crate::http::query::FILTER;
use crate::http::response::{self, ReadPreconditions};
use crate::metrics::DetectedBy;
use crate::problem::ProblemKind;
use crate::record::{Action, percent_encode_id};
use crate::system::{RecordPage, RecordView};

/// `GET` and `HEAD /records/{system}/{id}`.
#[utoipa::path(get, path = "/records/{system}/{id}", tag = "Records", operation_id = "getRecord",
    summary = "Read a record", description = "The record with its tag.",
    params(RecordPath, ReadHeaderParams),
    responses((status = 200, description = "The record", body = RecordView),
        (status = 304, description = "The caller has the current state")))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    let system = context.authorize_system(Action::Read)?;
    let id = system.record_id(&context.path_param("id")?)?;
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let record = context.gateway().read(system, &id, &context.op_context()?).await?;
    let response = preconditions.respond(
        response::hold_body(system, response::record_json(&record).into())?,
        record.etag.as_deref(),
        response::describedby_link(system, &record.id),
    );
    response.map_err(|mut error: ApiError| {
        if error.problem.name == ProblemKind::PreconditionFailed {
            context.api().metrics.precondition_failure(system.index, DetectedBy::Gateway);
        }
        error.problem.system = Some(system.name.as_str().to_owned());
        error
    })
}

/// `GET` and `HEAD /records/{system}?collection=&filter[NAME]=&limit=&cursor=`.
#[utoipa::path(get, path = "/records/{system}", tag = "Records", operation_id = "listRecords",
    summary = "List records", description = "A page of a collection's records, in the vendor's order.",
    params(CollectionPath, ListParams),
    responses((status = 200, description = "A page", body = RecordPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    let system = context.authorize_system(Action::Read)?;
    accept::require_json(context.headers())?;
    let query = context.query(&["collection", "limit", "cursor", FILTER])?;
    let limit = query.limit()?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let collection = system.collection(query.get("collection"))?;
    let op_context = context.op_context()?;
    let page =
        context.gateway().list(system, &collection, &query.filters(), limit, query.get("cursor"), &op_context).await?;
    let path = format!("/records/{}", percent_encode_id(system.name.as_str()));
    let link = query.next_link_header(&path, page.next.as_deref());
    preconditions.respond(response::hold_body(system, response::page_json(&page).into())?, None, link)
}
