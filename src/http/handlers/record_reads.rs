//! Reading records.

use crate::http::context::RequestContext;
use crate::http::error::{ApiError, HandlerResult};
use crate::http::headers::accept;
use crate::http::openapi::{ListParams, ReadHeaderParams, RecordPath, SystemPath};
use crate::http::representation::Representation;
use crate::http::response::{self, ReadPreconditions};
use crate::metrics::DetectedBy;
use crate::problem::ProblemKind;
use crate::record::Action;
use crate::system::{RecordPage, RecordView};

/// `GET` and `HEAD /records/{system}/{id}`.
#[utoipa::path(get, path = "/records/{system}/{id}", tag = "Records", operation_id = "getRecord",
    summary = "Read a record", description = "The record with its tag.",
    params(RecordPath, ReadHeaderParams),
    responses((status = 200, description = "The record", body = RecordView),
        (status = 304, description = "The caller has the current state")))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    let representation = Representation::from_path(&context)?;
    let system = context.authorize_system(Action::Read)?;
    let id = representation.record_id(system, &context.path_param("id")?)?;
    accept::require_json(context.headers())?;
    let part = Representation::vendor_part(&context.query(representation.record_params())?)?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let record = context.gateway().read(system, &id, &context.caller_context()?).await?;
    let etag = representation.etag_of(&record);
    let json = representation.record_json(&record, etag.as_deref(), part, &context.api().metrics);
    let response = preconditions.respond(
        response::hold_body(system, json.into())?,
        etag.as_deref(),
        representation.describedby_link(system, &record.id),
    );
    response.map_err(|mut error: ApiError| {
        if error.problem.kind == ProblemKind::PreconditionFailed {
            context.api().metrics.precondition_failure(system.index, DetectedBy::Gateway);
        }
        error.problem.system = Some(system.name.as_str().to_owned());
        error
    })
}

/// `GET` and `HEAD /records/{system}?collection=&filter[NAME]=&limit=&cursor=`.
#[utoipa::path(get, path = "/records/{system}", tag = "Records", operation_id = "listRecords",
    summary = "List records", description = "A page of a collection's records, in the vendor's order.",
    params(SystemPath, ListParams),
    responses((status = 200, description = "A page", body = RecordPage)))]
pub(in crate::http) async fn list(context: RequestContext) -> HandlerResult {
    let representation = Representation::from_path(&context)?;
    let system = context.authorize_system(Action::Read)?;
    accept::require_json(context.headers())?;
    let query = context.query(representation.list_params())?;
    let (limit, part) = (query.limit()?, Representation::vendor_part(&query)?);
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let collection = representation.collection(system, query.get("collection"))?;
    let conditions = representation.conditions(system, &query.filters())?;
    let caller_context = context.caller_context()?;
    // The gateway's cursor is bound to the collection, this one to the path and the parameters.
    let cursor = query.decode_cursor(|inner| Some(inner.to_owned()))?;
    let page =
        context.gateway().list(system, &collection, &conditions, limit, cursor.as_deref(), &caller_context).await;
    let mut page = page.map_err(|mut problem| {
        representation.translate_problem(&context, &mut problem);
        problem
    })?;
    page.next = page.next.map(|inner| query.encode_cursor(&inner));
    let link = query.next_link_header(&representation.path(system.name.as_str(), None), page.next.as_deref());
    let json = representation.page_json(&page, part, &context.api().metrics);
    preconditions.respond(response::hold_body(system, json.into())?, None, link)
}
