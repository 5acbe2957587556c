//! Many requests in one (contract 4.10).

use std::rc::Rc;

use actix_web::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use tokio::time::Instant;

use super::batches;
use crate::http::batch::raw::RawBatch;
use crate::http::batch::request::{BatchBounds, BatchRequest};
use crate::http::batch::response;
use crate::http::batch::routes::ItemRoutes;
use crate::http::batch::run::{BatchContext, Runner};
use crate::http::body;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers::{self, BodyType, accept};
use crate::http::openapi::{BatchBody, BatchHeaderParams, BatchResult, StoredBatch, examples};
use crate::problem::{Problem, ProblemKind};

/// The headers that are an item's: the batch's own would be dropped silently.
const ITEM_HEADERS: [HeaderName; 5] = [
    IF_MATCH,
    IF_NONE_MATCH,
    HeaderName::from_static("accept-loss"),
    HeaderName::from_static("require-guarantee"),
    HeaderName::from_static("if-plan"),
];

/// `POST /batch`.
#[utoipa::path(post, path = "/batch", tag = "Records", operation_id = "runBatch",
    summary = "Many requests in one",
    description = "Every item is a request to `/records/...` or `/models/{model}/...`; its response is that of the request alone. \
        Send an `Idempotency-Key` to make repeating safe; without one a POST item may be made twice.",
    params(BatchHeaderParams),
    request_body(description = "The items", content(
        (BatchBody = "application/json", examples(
            ("Two records" = (summary = "Reads one record and changes another", value = json!(examples::batch()))))))),
    responses((status = 200, description = "Every item succeeded, or its write still runs", content(
            (BatchResult = "application/json"), (String = "application/x-ndjson"))),
        (status = 202, description = "Stored, and running: `Prefer: respond-async`", body = StoredBatch),
        (status = 207, description = "Some items failed; `summary` counts them", body = BatchResult)))]
pub(in crate::http) async fn run(context: RequestContext) -> HandlerResult {
    // The caller, and the trace that all items continue.
    context.op_context()?;
    let as_lines = accept::require_json_or_lines(context.headers())?;
    let limits = context.api().batch_limits;
    let (_, body) = body::read_up_to(&context, &[BodyType::Json], limits.max_body).await?;
    context.query(&[])?;
    check_headers(&context)?;
    let key = headers::parse_idempotency_key(context.headers())?;
    let prefer = headers::parse_prefer(context.headers());
    let max_items = if prefer.respond_async { limits.max_async_items } else { limits.max_items };
    let bounds = BatchBounds { max_items, max_concurrency: limits.max_concurrency };
    let request = BatchRequest::parse(&body, &ItemRoutes::new(), bounds)?;
    if prefer.respond_async {
        return batches::begin(&context, key, &RawBatch::parse(&body)?, request.systems(), prefer.wait).await;
    }
    let state = Rc::clone(context.state());
    let name = state.request_id.0.to_string();
    let deadline = Instant::now() + limits.deadline;
    let runner = Runner::new(BatchContext { state, key, name, is_stored: false, deadline }, request);
    Ok(if as_lines { response::lines(runner) } else { response::whole(runner).await })
}

/// Refuses a condition that would count for no item.
fn check_headers(context: &RequestContext) -> Result<(), Problem> {
    let Some(name) = ITEM_HEADERS.into_iter().find(|name| context.headers().contains_key(name)) else { return Ok(()) };
    let detail = format!("{name} belongs to an item: put it into the item's headers, or into those beside items");
    Err(ProblemKind::MalformedRequest.with_detail(detail))
}
