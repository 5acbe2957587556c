//! Asynchronous batches (contract 4.10).

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use tokio::time::Instant;

use crate::access::{Permission, Principal};
use crate::http::batch::head::{self, BatchHead, BatchState};
use crate::http::batch::outcome::Summary;
use crate::http::batch::repeat::find_unfinished;
use crate::http::batch::response as batch_response;
use crate::http::batch::stored::{NewBatch, StoreResult};
use crate::http::batch::stored_form::RawBatch;
use crate::http::batch_registry::BatchMemory;
use crate::http::context::{RequestContext, store_unavailable};
use crate::http::error::HandlerResult;
use crate::http::headers::{accept, names};
use crate::http::openapi::{BatchListParams, BatchPath, BatchPhase, StoredBatch};
use crate::http::query::QueryParams;
use crate::http::response::{self, ReadPreconditions};
use crate::http::state::SharedApiState;
use crate::journal::{BatchRow, IdempotencyClaim, IdempotencyState, JournalError};
use crate::problem::{Problem, ProblemKind};
use crate::record::JsonObjectWriter;

/// How often a batch is read that its caller waits for.
const WAIT_POLL: Duration = Duration::from_millis(100);
/// The items in the response to a batch that has just been stored.
const FIRST_PAGE: usize = 100;

/// What the keys of asynchronous batches begin with. No key of a caller holds a space.
const KEY_PREFIX: &str = "asynchronous batch: ";

/// A batch that runs without its caller.
pub(super) struct AsyncBatch {
    /// `Idempotency-Key` of the batch.
    pub(super) key: Option<String>,
    /// What the key is bound to.
    pub(super) fingerprint: [u8; 32],
    /// The systems that its items name.
    pub(super) systems: Vec<String>,
    pub(super) raw: RawBatch,
    pub(super) memory: BatchMemory,
    /// How long the caller waits for the end of it.
    pub(super) wait: Option<Duration>,
}

/// Stores a batch and begins it: 202, or its whole response if it is over within `wait`. A
/// repetition is the first batch, unless that is over and has left something to do: then a new
/// batch replays what the first one made, and does the rest.
///
/// # Errors
/// 422 for another batch's key; 503 where nothing of it begins; 504 where the store has not said
/// so.
pub(super) async fn begin(context: &RequestContext, shared: Arc<SharedApiState>, batch: AsyncBatch) -> HandlerResult {
    let AsyncBatch { key, fingerprint, systems, raw, memory, wait } = batch;
    let caller = context.caller()?.clone();
    let claim = key.as_ref().map(|key| claim_of(&caller, key, fingerprint));
    let repeats = match &claim {
        Some(claim) => context.read_journal(find_unfinished(context.gateway().journal(), claim)).await?,
        None => None,
    };
    let head = BatchHead {
        caller,
        has_token: context.api().authenticator.has_tokens(),
        request_id: context.state().request_id.0.to_string(),
        started_at: head::now_text(),
        systems,
        key,
        repeats,
        options: raw.options(),
    };
    let batch = NewBatch::new(&shared, &head, (&raw, claim), memory);
    let mut id = batch.id.to_string();
    let mut is_repetition = false;
    // It continues without this request, which only waits for it.
    let stored = context.before_deadline(actix_web::rt::spawn(batch.begin(shared))).await;
    match stored {
        Ok(Ok(StoreResult::Stored)) => context.api().metrics.batch_size(raw.len()),
        Ok(Ok(StoreResult::Repetition(first))) => {
            context.api().metrics.idempotent_replay();
            (id, is_repetition) = (first.as_str().to_owned(), true);
        }
        Ok(Ok(StoreResult::KeyReused)) => return Err(key_reused().into()),
        Ok(Ok(StoreResult::NotStored)) => return Err(store_unavailable(&JournalError::Unavailable).into()),
        Ok(Ok(StoreResult::Unknown) | Err(_)) | Err(_) => return Err(perhaps_stored(&id).into()),
    }
    // Its items are in flight by themselves.
    if let Some(admitted) = context.state().admitted() {
        admitted.release_in_flight();
    }
    let mut shown = match wait_for_end(context, &id, raw.len(), wait).await {
        Ok(Some(shown)) => shown,
        // The batch runs, whether or not the store can be read now.
        Ok(None) | Err(_) => match read_accepted(context, &id).await {
            Ok(shown) => shown,
            // The first batch may be over.
            Err(error) if is_repetition => return Err(error),
            Err(_) => accepted_unread(&id, &head, raw.len()),
        },
    };
    if is_repetition {
        shown.headers_mut().insert(names::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(shown)
}

fn claim_of(caller: &Principal, key: &str, fingerprint: [u8; 32]) -> IdempotencyClaim {
    let (caller, key) = (caller.name().0.to_string(), [KEY_PREFIX, key].concat());
    IdempotencyClaim { caller, key, fingerprint, is_of_stored_batch: true }
}

/// Whether a batch could be stored under a key, as its preview asks.
///
/// # Errors
/// 422 for another batch's key.
pub(super) async fn check_key(context: &RequestContext, key: &str, fingerprint: [u8; 32]) -> Result<(), Problem> {
    let claim = claim_of(context.caller()?, key, fingerprint);
    match context.read_journal(context.gateway().journal().lookup_idempotency_key(&claim)).await? {
        Some(IdempotencyState::Mismatch) => Err(key_reused()),
        _ => Ok(()),
    }
}

/// The 202 with the batch as it is now.
async fn read_accepted(context: &RequestContext, id: &str) -> HandlerResult {
    respond_accepted(context, &find(context, id).await?).await
}

/// 422: the key of another batch.
fn key_reused() -> Problem {
    let detail = "This Idempotency-Key was used before with another batch. Use a new key for a new batch.";
    ProblemKind::IdempotencyKeyReused.with_detail(detail)
}

/// The whole response to a batch that is over before its caller stops waiting.
async fn wait_for_end(
    context: &RequestContext,
    id: &str,
    len: usize,
    wait: Option<Duration>,
) -> Result<Option<HttpResponse>, Problem> {
    let until = context.end_of_wait(wait.unwrap_or_default());
    let has_one_page = len <= context.api().batch_limits.max_items;
    // A process that stops does not wait: the batch is there.
    while Instant::now() + WAIT_POLL < until && !context.gateway().is_draining() {
        tokio::time::sleep(WAIT_POLL).await;
        let batch = find(context, id).await?;
        if batch.has_ended && (batch.state.is_cancelled || !has_one_page) {
            return Ok(None);
        }
        if batch.has_ended {
            let rows = context.read_journal(context.gateway().journal().batch_rows(id, 0, len)).await?;
            let items: Vec<String> = rows.into_iter().map(item_document).collect();
            let mut response = batch_response::batch_document(&batch.summary(context).await?, &items);
            let applied = format!("wait={}", wait.unwrap_or_default().as_secs());
            response::append_header(response.headers_mut(), names::PREFERENCE_APPLIED, applied);
            return Ok(Some(response));
        }
    }
    Ok(None)
}

/// 504: the batch may be in the store, and then it runs.
fn perhaps_stored(id: &str) -> Problem {
    let detail = format!(
        "the store has not confirmed that it holds the batch. GET /batches/{id} shows it if it is there, and then it \
         runs. Sent again with its Idempotency-Key it repeats no write; without one it may."
    );
    ProblemKind::OutcomeUnknown.with_detail(detail).batch(id)
}

/// The query that the first page of a batch continues.
fn first_query(id: &str) -> QueryParams {
    QueryParams::default().of_path(&format!("/batches/{id}"))
}

/// 202 with a batch that is stored and cannot be read now.
fn accepted_unread(id: &str, head: &BatchHead, len: usize) -> HttpResponse {
    let batch = Batch::begun(id, head);
    let next = first_query(id).encode_cursor("0");
    accepted_response(&batch, batch.to_json(&Summary::of(len), &[], Some(&next)))
}

/// 202 with the batch.
async fn respond_accepted(context: &RequestContext, batch: &Batch) -> HandlerResult {
    let (items, next) = batch.page(context, 0, FIRST_PAGE).await?;
    let next = next.map(|position| first_query(&batch.id).encode_cursor(&position.to_string()));
    Ok(accepted_response(batch, batch.to_json(&batch.summary(context).await?, &items, next.as_deref())))
}

fn accepted_response(batch: &Batch, body: String) -> HttpResponse {
    let mut response = response::no_store_json(StatusCode::ACCEPTED, body);
    let headers = response.headers_mut();
    response::append_header(headers, LOCATION, format!("/batches/{}", batch.id));
    if !batch.has_ended {
        headers.insert(RETRY_AFTER, response::POLL_INTERVAL_SECS.into());
    }
    response
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
    let from = params.decode_cursor(|text| text.parse::<i64>().ok().filter(|position| *position >= 0))?;
    let preconditions = ReadPreconditions::parse(context.headers())?;
    let batch = find(&context, &id).await?;
    let (items, next) = batch.page(&context, from.unwrap_or_default(), limit).await?;
    let next = next.map(|position| params.encode_cursor(&position.to_string()));
    let body = batch.to_json(&batch.summary(&context).await?, &items, next.as_deref());
    let link = params.next_link_header(&format!("/batches/{id}"), next.as_deref());
    let mut response = preconditions.respond(body.into(), None, link)?;
    if !batch.has_ended {
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
    if !batch.has_ended {
        // A row of its own: the process that runs the batch saves the others at the same time.
        let (id, position) = (id.as_str().into(), BatchRow::CANCEL);
        let row = BatchRow { id, position, status: 0, request: String::new(), response: None };
        let saved = context.gateway().journal().save_batch_rows(vec![row]);
        context.before_deadline(saved).await?.map_err(|error| store_unavailable(&error))?;
        // The process that runs the batch polls twice in this time, if the store answers it.
        context.before_deadline(tokio::time::sleep(2 * head::CANCEL_POLL)).await?;
        batch = find(&context, &batch.id).await?;
    }
    respond_accepted(&context, &batch).await
}

/// A stored batch.
struct Batch {
    id: String,
    has_ended: bool,
    caller: String,
    started_at: String,
    state: BatchState,
}

/// # Errors
/// 404 for a batch that the caller may not see, 500 for one that this version cannot read.
async fn find(context: &RequestContext, id: &str) -> Result<Batch, Problem> {
    let unknown = || ProblemKind::BatchNotFound.with_detail("there is no batch of this id that you may see");
    let rows = context.read_journal(context.gateway().journal().batch_rows(id, BatchRow::CANCEL, 2)).await?;
    let is_cancelled = rows.iter().any(|row| row.position == BatchRow::CANCEL);
    let row = rows.into_iter().find(|row| row.position == BatchRow::HEAD).ok_or_else(unknown)?;
    let unreadable = |error| {
        ProblemKind::InternalError
            .with_detail("the store holds this batch in a form that is unknown here")
            .with_cause(error)
    };
    let head: BatchHead = serde_json::from_str(&row.request).map_err(unreadable)?;
    let caller = context.caller()?;
    let operates = || head.systems.iter().all(|system| caller.can(system, Permission::Operate));
    if head.caller.name() != caller.name() && !operates() {
        return Err(unknown());
    }
    let mut batch = Batch::begun(id, &head);
    batch.has_ended = row.status != BatchRow::OPEN;
    batch.state = head::parse_state(row.response.as_deref());
    // A cancellation that comes too late changes nothing.
    batch.state.is_cancelled |= is_cancelled && !batch.has_ended;
    Ok(batch)
}

fn item_document(row: BatchRow) -> String {
    row.response.unwrap_or_else(|| head::pending_item_json(&row.request).to_string())
}

impl Batch {
    /// A batch that has just begun.
    fn begun(id: &str, head: &BatchHead) -> Self {
        Self {
            id: id.to_owned(),
            has_ended: false,
            caller: head.caller.name().0.to_string(),
            started_at: head.started_at.clone(),
            state: BatchState::default(),
        }
    }

    fn phase(&self) -> BatchPhase {
        match (self.has_ended, self.state.is_cancelled) {
            // What has begun is followed to its end, even if the rest is cancelled.
            (false, _) => BatchPhase::Running,
            (true, true) => BatchPhase::Cancelled,
            (true, false) => BatchPhase::Done,
        }
    }

    async fn summary(&self, context: &RequestContext) -> Result<Summary, Problem> {
        let counts = context.read_journal(context.gateway().journal().batch_counts(&self.id)).await?;
        Ok(Summary::of_stored(&counts, self.has_ended))
    }

    /// The documents of a page of items, and the position of the next one.
    async fn page(
        &self,
        context: &RequestContext,
        from: i64,
        limit: usize,
    ) -> Result<(Vec<String>, Option<i64>), Problem> {
        let journal = context.gateway().journal();
        let mut rows = context.read_journal(journal.batch_rows(&self.id, from, limit.saturating_add(1))).await?;
        let next = rows.get(limit).map(|row| row.position);
        rows.truncate(limit);
        Ok((rows.into_iter().map(item_document).collect(), next))
    }

    fn to_json(&self, summary: &Summary, items: &[String], next: Option<&str>) -> String {
        JsonObjectWriter::new()
            .string("id", &self.id)
            .serialized("state", &self.phase())
            .string("caller", &self.caller)
            .string("started_at", &self.started_at)
            .serialized("finished_at", &self.state.finished_at)
            .serialized("summary", summary)
            .raw_array("items", items)
            .serialized("next", &next)
            .finish()
    }
}
