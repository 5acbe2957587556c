//! Asynchronous batches (contract 4.10): kept in the journal, so that they resume after a crash and
//! at another replica. The lease of a batch's id says who runs it.
//!
//! An item that had begun when its process died is begun again with the same key: it then has the
//! outcome of its first beginning.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::outcome::ItemOutcome;
use super::raw::RawBatch;
use super::request::{BatchBounds, BatchRequest};
use super::response::Progress;
use super::routes::ItemRoutes;
use super::run::{BatchContext, EndedItem, Runner};
use crate::access::Principal;
use crate::http::context::RequestState;
use crate::http::state::{ApiState, SharedApiState};
use crate::journal::{BatchRow, Journal, JournalError, Lease, LeaseResult};
use crate::problem::ProblemKind;
use crate::record::{RawJson, RequestId};

/// The name under which the leases of batches are kept; no system has it.
const LEASES: &str = "/batches";
const LEASE_TTL: Duration = Duration::from_secs(15);
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// How often a running batch polls whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(500);
/// How often a replica polls for batches that no process runs.
const RESUME_INTERVAL: Duration = Duration::from_secs(2);
/// How many batches one process resumes at once.
const MAX_RESUMED: usize = 16;
/// The pause before a row that could not be saved is saved again.
const SAVE_PAUSE: Duration = Duration::from_millis(500);
/// No caller waits for the end of the batch.
const NO_DEADLINE: Duration = Duration::from_hours(24 * 365);

/// The row of a batch itself: its caller and options.
#[derive(Serialize, Deserialize)]
pub(in crate::http) struct Head {
    pub(in crate::http) caller: Principal,
    pub(in crate::http) request_id: String,
    pub(in crate::http) started_at: String,
    /// The systems that its items name.
    pub(in crate::http) systems: Vec<String>,
    key: Option<String>,
    /// The body without its items.
    options: RawJson,
}

/// How far a batch is.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::http) struct HeadState {
    pub(in crate::http) is_cancelled: bool,
    pub(in crate::http) finished_at: Option<String>,
}

/// Saves a new batch and begins it. Returns its id.
///
/// # Errors
/// The store cannot be written.
pub(in crate::http) async fn begin(
    state: Rc<RequestState>,
    caller: &Principal,
    key: Option<String>,
    raw: &RawBatch,
    systems: Vec<String>,
) -> Result<String, JournalError> {
    let id = uuid::Uuid::now_v7().to_string();
    let head = Head {
        caller: caller.clone(),
        request_id: state.request_id.0.to_string(),
        started_at: jiff::Timestamp::now().to_string(),
        systems,
        key,
        options: raw.options(),
    };
    let head = serde_json::to_string(&head).unwrap_or_default();
    let row = |position: usize, request: String| BatchRow {
        id: id.as_str().into(),
        position: i64::try_from(position).unwrap_or(i64::MAX),
        status: 0,
        request,
        response: None,
    };
    let mut rows = vec![BatchRow { position: BatchRow::HEAD, status: BatchRow::OPEN, ..row(0, head) }];
    rows.extend(raw.items().enumerate().map(|(position, item)| row(position, item)));
    let journal = state.api.gateway.journal().clone();
    // No other process can have the lease of a new id; without it another replica would begin, too.
    let lease = journal.acquire(LEASES, &id, LEASE_TTL).await?;
    journal.save_batch_rows(rows).await?;
    if let LeaseResult::Lease(lease) = lease {
        let (api, id) = (Arc::clone(&state.api), id.clone());
        actix_web::rt::spawn(async move { run(api, journal, id, lease).await });
    }
    Ok(id)
}

/// Resumes the batches that no process runs, until it is dropped.
pub async fn resume(shared: Arc<SharedApiState>) {
    let mut poll = interval(RESUME_INTERVAL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        let api = shared.load();
        if api.gateway.is_draining() {
            continue;
        }
        let journal = api.gateway.journal().clone();
        for id in journal.open_batches(MAX_RESUMED).await.unwrap_or_default() {
            if let Ok(LeaseResult::Lease(lease)) = journal.acquire(LEASES, &id, LEASE_TTL).await {
                tracing::info!(batch = id, "an interrupted batch resumes");
                actix_web::rt::spawn(run(Arc::clone(&api), journal.clone(), id, lease));
            }
        }
    }
}

/// Runs a batch until it is over, its lease is lost, or the process stops.
async fn run(api: Arc<ApiState>, journal: Journal, id: String, lease: Lease) {
    match RunningBatch::load(&api, &journal, &id).await {
        Ok(Some(mut stored)) => {
            if stored.run(&lease).await {
                stored.close().await;
            }
        }
        Ok(None) => tracing::error!(batch = id, "a stored batch cannot be read; it is left as it is"),
        Err(error) => tracing::warn!(batch = id, %error, "a stored batch cannot be read now"),
    }
    // A lease that is not released expires.
    let _ = journal.release(&lease).await;
}

/// A batch of the journal that runs here.
struct RunningBatch {
    journal: Journal,
    id: Arc<str>,
    api: Arc<ApiState>,
    runner: Runner,
    progress: Progress,
    head: String,
    state: HeadState,
    /// Each item as text; empty once it has ended.
    requests: Vec<String>,
}

impl RunningBatch {
    async fn load(api: &Arc<ApiState>, journal: &Journal, id: &str) -> Result<Option<Self>, JournalError> {
        let mut rows = journal.batch_rows(id, BatchRow::HEAD, usize::MAX >> 1).await?.into_iter();
        let Some(head_row) = rows.next().filter(|row| row.position == BatchRow::HEAD) else { return Ok(None) };
        let Ok(head) = serde_json::from_str::<Head>(&head_row.request) else { return Ok(None) };
        let state = parse_state(head_row.response.as_deref());
        let rows: Vec<BatchRow> = rows.collect();
        let mut requests: Vec<String> = rows.iter().map(|row| row.request.clone()).collect();
        let body = RawBatch::join(&head.options, &requests);
        let bounds = BatchBounds { max_items: requests.len(), max_concurrency: api.batch_limits.max_concurrency };
        let Ok(request) = BatchRequest::parse(&Bytes::from(body), &ItemRoutes::new(), bounds) else { return Ok(None) };
        let request_state =
            RequestState::new(Arc::clone(api), RequestId(head.request_id.as_str().into()), Payload::None);
        request_state.set_principal(Arc::new(head.caller));
        let context = BatchContext {
            state: request_state,
            // Without the caller's key the batch's id keeps the outcomes apart.
            key: Some(head.key.unwrap_or_else(|| format!("id {id}"))),
            name: head.request_id,
            is_stored: true,
            deadline: Instant::now() + NO_DEADLINE,
        };
        let mut runner = Runner::new(context, request);
        for ((item, row), request) in rows.iter().enumerate().zip(&mut requests) {
            if let Some(ended) = row.response.as_deref().and_then(EndedItem::from_document) {
                runner.restore(item, &ended);
                request.clear();
            }
        }
        let progress = Progress::resume(&runner);
        let (journal, api) = (journal.clone(), Arc::clone(api));
        Ok(Some(Self { journal, id: id.into(), api, runner, progress, head: head_row.request, state, requests }))
    }

    /// Runs the items. `false` = not to the end: another process has the batch now, or this one
    /// stops.
    async fn run(&mut self, lease: &Lease) -> bool {
        let mut poll = interval(CANCEL_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed_at = Instant::now();
        loop {
            if self.state.is_cancelled {
                self.runner.cancel();
            }
            let ended = tokio::select! {
                // Items that end faster than they are saved must not keep the lease from being
                // renewed.
                biased;
                _ = poll.tick() => {
                    if self.api.gateway.is_draining() {
                        return false;
                    }
                    if renewed_at.elapsed() >= RENEW_INTERVAL {
                        match self.journal.renew(lease, LEASE_TTL).await {
                            Ok(true) => renewed_at = Instant::now(),
                            Ok(false) => return false,
                            // It is renewed at the next poll, or another process gets it.
                            Err(_) => {}
                        }
                    }
                    self.poll_for_cancel().await;
                    continue;
                }
                ended = self.progress.next(&mut self.runner) => ended,
            };
            let Some((item, outcome)) = ended else { return true };
            // A process that stops refuses its items; another one begins them.
            let is_refused = outcome.problem.as_ref().is_some_and(|problem| problem.name == ProblemKind::Overloaded);
            if is_refused && self.api.gateway.is_draining() {
                return false;
            }
            self.save(item, &outcome).await;
        }
    }

    async fn poll_for_cancel(&mut self) {
        let head = self.journal.batch_rows(&self.id, BatchRow::HEAD, 1).await.unwrap_or_default();
        if let Some(head) = head.first() {
            self.state.is_cancelled |= parse_state(head.response.as_deref()).is_cancelled;
        }
    }

    /// Saves the outcome of an item; its body is not needed any more.
    async fn save(&mut self, item: usize, outcome: &ItemOutcome) {
        let request = self.requests.get_mut(item).map(std::mem::take).unwrap_or_default();
        let row = BatchRow {
            status: outcome.class() as i64,
            response: Some(outcome.to_json(self.runner.id(item))),
            ..self.row_without_body(item, &request)
        };
        self.save_rows(vec![row]).await;
    }

    /// Saves the end of the batch. The bodies of items that were cancelled before they began are
    /// not needed any more either.
    async fn close(&mut self) {
        self.poll_for_cancel().await;
        let state = HeadState { finished_at: Some(jiff::Timestamp::now().to_string()), ..self.state.clone() };
        let left = self.requests.iter().enumerate().filter(|(_, request)| !request.is_empty());
        let mut rows: Vec<BatchRow> = left.map(|(item, request)| self.row_without_body(item, request)).collect();
        rows.push(BatchRow {
            id: Arc::clone(&self.id),
            position: BatchRow::HEAD,
            status: 0,
            request: self.head.clone(),
            response: serde_json::to_string(&state).ok(),
        });
        self.save_rows(rows).await;
    }

    /// The row of an item that has not ended.
    fn row_without_body(&self, item: usize, request: &str) -> BatchRow {
        BatchRow {
            id: Arc::clone(&self.id),
            position: i64::try_from(item).unwrap_or(i64::MAX),
            status: 0,
            request: RawBatch::without_body(request),
            response: None,
        }
    }

    async fn save_rows(&self, rows: Vec<BatchRow>) {
        while self.journal.save_batch_rows(rows.clone()).await.is_err() {
            tokio::time::sleep(SAVE_PAUSE).await;
        }
    }
}

/// The state in the row of a batch itself.
pub(in crate::http) fn parse_state(response: Option<&str>) -> HeadState {
    response.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The document of an item that has not ended.
pub(in crate::http) fn waiting_item(request: &str) -> Value {
    let item: Value = serde_json::from_str(request).unwrap_or_default();
    serde_json::json!({ "id": item.get("id"), "status": null })
}
