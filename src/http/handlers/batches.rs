//! Asynchronous batches (contract 4.10).

use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, LOCATION, RETRY_AFTER};
use tokio::time::Instant;

use crate::access::Permission;
use crate::http::batch::outcome::Summary;
use crate::http::batch::raw::RawBatch;
use crate::http::batch::response as batch_response;
use crate::http::batch::stored::{self, Head, HeadState};
use crate::http::context::{RequestContext, store_unavailable};
use crate::http::error::HandlerResult;
use crate::http::headers::accept;
use crate::http::openapi::{BatchListParams, BatchPath, StoredBatch};
use crate::http::query::QueryParams;
use crate::http::response::{self, ReadPreconditions};
use crate::journal::BatchRow;
use crate::problem::{Problem, ProblemKind};
use crate::record::JsonObjectWriter;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// How often a batch is read that its caller waits for.
const WAIT_POLL: Duration = Duration::from_millis(100);
/// The items in the response to a batch that has just been stored.
const FIRST_PAGE: usize = 100;

/// Stores a batch and begins it: 202, or its whole response if it is over within `wait`.
///
/// # Errors
/// 503.
pub(super) async fn begin(
    context: &RequestContext,
    key: Option<String>,
    raw: &RawBatch,
    systems: Vec<String>,
    wait: Option<Duration>,
) -> HandlerResult {
    let begun = stored::begin(Rc::clone(context.state()), context.caller()?, key, raw, systems);
    let id = context.before_deadline(begun).await?.map_err(|error| store_unavailable(&error))?;
    context.api().metrics.batch_size(raw.len());
    let until = context.end_of_wait(wait.unwrap_or_default());
    while Instant::now() + WAIT_POLL < until {
        tokio::time::sleep(WAIT_POLL).await;
        let batch = find(context, &id).await?;
        if batch.has_ended() && raw.len() <= context.api().batch_limits.max_items {
            let rows = context.read_store(context.gateway().journal().batch_rows(&id, 0, raw.len())).await?;
            let items: Vec<String> = rows.into_iter().filter_map(|row| row.response).collect();
            let mut response = batch_response::document(&batch.summary(context).await?, &items);
            if let Ok(applied) = format!("wait={}", wait.unwrap_or_default().as_secs()).try_into() {
                response.headers_mut().insert(PREFERENCE_APPLIED, applied);
            }
            return Ok(response);
        }
    }
    accepted(context, &find(context, &id).await?).await
}

/// 202 with the batch.
async fn accepted(context: &RequestContext, batch: &Batch) -> HandlerResult {
    let (items, next) = batch.page(context, 0, FIRST_PAGE).await?;
    let path = format!("/batches/{}", batch.id);
    let next = next.map(|position| QueryParams::default().of_path(&path).encode_cursor(&position.to_string()));
    let body = batch.to_json(&batch.summary(context).await?, &items, next.as_deref());
    let mut response = HttpResponse::Accepted();
    response.insert_header(response::NO_STORE).insert_header((LOCATION, path));
    if !batch.has_ended() {
        response.insert_header((RETRY_AFTER, response::POLL_INTERVAL_SECS));
    }
    Ok(response.content_type("application/json").body(body))
}

/// `GET` and `HEAD /batches/{id}`.
#[utoipa::path(get, path = "/batches/{id}", tag = "Records", operation_id = "getBatch",
    summary = "Follow an asynchronous batch", description = "How far the batch is, and a page of its items.",
    params(BatchPath, BatchListParams),
    responses((status = 200, description = "The batch", body = StoredBatch)))]
pub(in crate::http) async fn get(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let id = context.path_param("id")?.into_owned();
    accept::require_json(context.headers())?;
    let params = context.query(&["limit", "cursor"])?;
    let limit = params.limit()?;
    let from = params.decode_cursor(|place| place.parse::<i64>().ok().filter(|position| *position >= 0))?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let batch = find(&context, &id).await?;
    let (items, next) = batch.page(&context, from.unwrap_or_default(), limit).await?;
    let next = next.map(|position| params.encode_cursor(&position.to_string()));
    let body = batch.to_json(&batch.summary(&context).await?, &items, next.as_deref());
    let link = params.next_link_header(&format!("/batches/{id}"), next.as_deref());
    let mut response = preconditions.respond(body.into(), None, link)?;
    if !batch.has_ended() {
        response.headers_mut().insert(RETRY_AFTER, response::POLL_INTERVAL_SECS.into());
    }
    Ok(response)
}

/// `DELETE /batches/{id}`: no further item begins.
#[utoipa::path(delete, path = "/batches/{id}", tag = "Records", operation_id = "cancelBatch",
    summary = "Cancel an asynchronous batch", description = "No further item begins; those that have begun continue.",
    params(BatchPath),
    responses((status = 202, description = "Nothing of the batch begins any more", body = StoredBatch)))]
pub(in crate::http) async fn cancel(context: RequestContext) -> HandlerResult {
    context.caller()?;
    let id = context.path_param("id")?.into_owned();
    accept::require_json(context.headers())?;
    context.query(&[])?;
    let mut batch = find(&context, &id).await?;
    if !batch.has_ended() {
        batch.state.is_cancelled = true;
        let row = BatchRow { response: serde_json::to_string(&batch.state).ok(), ..batch.row.clone() };
        let saved = context.gateway().journal().save_batch_rows(vec![row]);
        context.before_deadline(saved).await?.map_err(|error| store_unavailable(&error))?;
    }
    accepted(&context, &batch).await
}

/// A stored batch.
struct Batch {
    id: String,
    row: BatchRow,
    head: Head,
    state: HeadState,
}

/// # Errors
/// 404 for a batch that the caller may not see.
async fn find(context: &RequestContext, id: &str) -> Result<Batch, Problem> {
    let unknown = || ProblemKind::BatchNotFound.with_detail("there is no batch of this id that you may see");
    let rows = context.read_store(context.gateway().journal().batch_rows(id, BatchRow::HEAD, 1)).await?;
    let row = rows.into_iter().find(|row| row.position == BatchRow::HEAD).ok_or_else(unknown)?;
    let head: Head = serde_json::from_str(&row.request).map_err(|_| unknown())?;
    let caller = context.caller()?;
    let operates = || head.systems.iter().all(|system| caller.can(system, Permission::Operate));
    if head.caller.name() != caller.name() && !operates() {
        return Err(unknown());
    }
    let state = stored::parse_state(row.response.as_deref());
    Ok(Batch { id: id.to_owned(), row, head, state })
}

impl Batch {
    fn has_ended(&self) -> bool {
        self.row.status != BatchRow::OPEN
    }

    fn state_name(&self) -> &'static str {
        match (self.state.is_cancelled, self.has_ended()) {
            (true, _) => "cancelled",
            (false, true) => "done",
            (false, false) => "running",
        }
    }

    async fn summary(&self, context: &RequestContext) -> Result<Summary, Problem> {
        let counts = context.read_store(context.gateway().journal().batch_counts(&self.id)).await?;
        Ok(Summary::of_stored(&counts, self.has_ended() || self.state.is_cancelled))
    }

    /// The documents of a page of items, and the position of the next one.
    async fn page(
        &self,
        context: &RequestContext,
        from: i64,
        limit: usize,
    ) -> Result<(Vec<String>, Option<i64>), Problem> {
        let journal = context.gateway().journal();
        let mut rows = context.read_store(journal.batch_rows(&self.id, from, limit.saturating_add(1))).await?;
        let next = rows.get(limit).map(|row| row.position);
        rows.truncate(limit);
        let document = |row: BatchRow| row.response.unwrap_or_else(|| stored::waiting_item(&row.request).to_string());
        Ok((rows.into_iter().map(document).collect(), next))
    }

    fn to_json(&self, summary: &Summary, items: &[String], next: Option<&str>) -> String {
        JsonObjectWriter::new()
            .string("id", &self.id)
            .string("state", self.state_name())
            .string("caller", &self.head.caller.name().0)
            .string("started_at", &self.head.started_at)
            .serialized("finished_at", &self.state.finished_at)
            .serialized("summary", summary)
            .raw("items", &["[", &items.join(","), "]"].concat())
            .serialized("next", &next)
            .finish()
    }
}
