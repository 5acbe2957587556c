//! Many requests in one (contract 4.10).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use actix_web::web::ThinData;
use bytes::Bytes;
use tokio::time::Instant;

use super::stored_batches::{self, AsyncBatch};
use crate::http::batch::context::BatchContext;
use crate::http::batch::request::{BatchBounds, BatchRequest};
use crate::http::batch::response;
use crate::http::batch::routes::ItemRoutes;
use crate::http::batch::run::Runner;
use crate::http::batch::stored_form::RawBatch;
use crate::http::batch_registry::BatchMemory;
use crate::http::body;
use crate::http::compat;
use crate::http::context::{RequestContext, store_unavailable};
use crate::http::error::HandlerResult;
use crate::http::headers::{self, BodyType, accept, names};
use crate::http::openapi::{BatchBody, BatchHeaderParams, BatchResult, StoredBatch, examples};
use crate::http::state::SharedApiState;
use crate::http::write_request::WriteMode;
use crate::problem::{Problem, ProblemKind};
use crate::writes::Prefer;

/// When to try again while other batches take the memory.
const RETRY_WITHOUT_MEMORY: Duration = Duration::from_secs(5);

/// The headers that are an item's: the batch's own would be dropped silently.
const ITEM_ONLY_HEADERS: [HeaderName; 5] =
    [IF_MATCH, IF_NONE_MATCH, names::ACCEPT_LOSS, names::REQUIRE_GUARANTEE, names::IF_PLAN];

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
pub(in crate::http) async fn run(context: RequestContext, shared: ThinData<Arc<SharedApiState>>) -> HandlerResult {
    let batch = parse(&context, WriteMode::Execute).await?;
    if batch.prefer.respond_async {
        let raw = RawBatch::parse(&batch.body)?;
        let ParsedBatch { body, key, prefer, request, memory, .. } = batch;
        let fingerprint = fingerprint_of(&body);
        let batch = AsyncBatch { key, fingerprint, systems: request.systems(), raw, memory, wait: prefer.wait };
        return stored_batches::begin(&context, shared.0, batch).await;
    }
    respond(&context, WriteMode::Execute, batch).await
}

/// `POST /batch/preview`.
#[utoipa::path(post, path = "/batch/preview", tag = "Records", operation_id = "previewBatch",
    summary = "Preview many requests",
    description = "The body is that of `POST /batch`. Each write is previewed, as by the preview of that request \
        alone, and nothing is written; a `GET` gets its response. An item that needs the record or the tag of another one \
        (`{x}`) is 424 where a preview has none. With an `Idempotency-Key` it shows what would be replayed.",
    params(BatchHeaderParams),
    request_body(description = "The items", content(
        (BatchBody = "application/json", examples(
            ("Two records" = (summary = "Reads one record and previews a change of another", value = json!(examples::batch()))))))),
    responses((status = 200, description = "Every item can be previewed", content(
            (BatchResult = "application/json"), (String = "application/x-ndjson"))),
        (status = 207, description = "Some items cannot be previewed, or would be refused", body = BatchResult)))]
pub(in crate::http) async fn preview(context: RequestContext) -> HandlerResult {
    let batch = parse(&context, WriteMode::Preview).await?;
    if let Some(key) = batch.key.as_ref().filter(|_| batch.prefer.respond_async) {
        stored_batches::check_key(&context, key, fingerprint_of(&batch.body)).await?;
    }
    respond(&context, WriteMode::Preview, batch).await
}

/// What the key of an asynchronous batch is bound to.
fn fingerprint_of(body: &Bytes) -> [u8; 32] {
    headers::fingerprint("POST", "/batch", "", body, None)
}

/// A batch as it was sent.
struct ParsedBatch {
    /// Whether its response is a line for each item.
    as_lines: bool,
    body: Bytes,
    key: Option<String>,
    prefer: Prefer,
    request: BatchRequest,
    memory: BatchMemory,
}

/// Checks the batch as a whole, in the order of contract 4.10.
async fn parse(context: &RequestContext, mode: WriteMode) -> Result<ParsedBatch, Problem> {
    // The caller, and the trace that all items continue.
    context.caller_context()?;
    let as_lines = accept::require_json_or_lines(context.headers())?;
    let limits = context.api().batch_limits;
    let (_, body) = body::read_up_to(context, &[BodyType::Json], limits.max_body).await?;
    context.query(&[])?;
    check_headers(context)?;
    let key = headers::parse_idempotency_key(context.headers())?;
    let prefer = headers::parse_prefer(context.headers());
    let is_stored = prefer.respond_async && mode == WriteMode::Execute;
    let max_items = if is_stored { limits.max_async_items } else { limits.max_items };
    let bounds = BatchBounds { max_items, max_concurrency: limits.max_concurrency };
    let memory = context.api().process.batches.reserve(body.len()).ok_or_else(no_memory)?;
    let request = BatchRequest::parse(&body, &ItemRoutes::new(), bounds)?;
    Ok(ParsedBatch { as_lines, body, key, prefer, request, memory })
}

/// Runs the items while the caller waits.
async fn respond(context: &RequestContext, mode: WriteMode, batch: ParsedBatch) -> HandlerResult {
    let ParsedBatch { as_lines, key, request, memory, .. } = batch;
    let state = Rc::clone(context.state());
    let name = state.request_id.0.to_string();
    let deadline = Instant::now() + context.api().batch_limits.deadline;
    let shared = BatchContext { state, key, name, is_stored: false, mode, deadline };
    let mut runner = Runner::new(shared, request, memory);
    context.before_deadline(runner.load_claimed_items()).await?.map_err(|error| store_unavailable(&error))?;
    let watch = context.http_request().map(compat::disconnect_watch);
    let is_disconnected = move || watch.as_ref().is_some_and(|is_disconnected| is_disconnected());
    Ok(if as_lines {
        response::stream_lines(runner, is_disconnected)
    } else {
        response::run_to_document(runner, is_disconnected).await
    })
}

/// 503 while other batches take the memory.
fn no_memory() -> Problem {
    let detail = "other batches take all the memory that there is for batches; nothing was sent";
    ProblemKind::Overloaded.with_detail(detail).retry_after(RETRY_WITHOUT_MEMORY)
}

/// Refuses a condition that would count for no item.
fn check_headers(context: &RequestContext) -> Result<(), Problem> {
    let Some(name) = ITEM_ONLY_HEADERS.into_iter().find(|name| context.headers().contains_key(name)) else {
        return Ok(());
    };
    let detail = format!("{name} belongs to an item: put it into the item's headers, or into those beside items");
    Err(ProblemKind::MalformedRequest.with_detail(detail))
}
