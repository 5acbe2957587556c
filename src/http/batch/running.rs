//! A stored batch that runs in this process.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::context::BatchContext;
use super::dependency::EndedItem;
use super::earlier_attempts::{OpenItem, find_begun};
use super::head::{BatchHead, BatchState, CANCEL_POLL, now_text, parse_state};
use super::item_names::{item_name, key_prefix};
use super::lease::BatchLease;
use super::outcome::ItemOutcome;
use super::request::{BatchBounds, BatchItem, BatchRequest};
use super::response::BatchProgress;
use super::routes::ItemRoutes;
use super::run::Runner;
use super::stored_form::RawBatch;
use crate::http::batch_registry::BatchMemory;
use crate::http::request_state::RequestState;
use crate::http::state::{ApiState, SharedApiState};
use crate::http::write_request::WriteMode;
use crate::journal::{BatchRow, Journal, JournalError};
use crate::problem::ProblemKind;
use crate::record::RequestId;

/// No caller waits for the end of the batch.
const NO_DEADLINE: Duration = Duration::from_hours(24 * 365);
/// How many rows are loaded at once: responses may be long, and only their heads are kept.
const LOADED_AT_ONCE: usize = 100;

/// A batch of the journal that runs here.
pub(super) struct RunningBatch {
    journal: Journal,
    id: Arc<str>,
    shared: Arc<SharedApiState>,
    api: Arc<ApiState>,
    runner: Runner,
    progress: BatchProgress,
    head: BatchHead,
    head_text: String,
    state: BatchState,
    /// Each item as text; empty once it has ended.
    requests: Vec<String>,
}

/// What the rows of a batch are.
pub(super) enum LoadResult {
    Batch(Box<RunningBatch>),
    /// Another version has stored it, or it is too old to know which of its items have begun.
    Unreadable,
    /// Another process may have it by now.
    LeaseLost,
}

/// The rows of a batch: its items as text, and those that have ended.
struct LoadedRows {
    head: String,
    state: BatchState,
    requests: Vec<String>,
    ended: Vec<(usize, EndedItem)>,
}

impl LoadedRows {
    /// `None` where the lease is lost meanwhile. Without a row of the batch itself its head is
    /// empty.
    async fn load(journal: &Journal, id: &str, lease: &BatchLease) -> Result<Option<Self>, JournalError> {
        let mut loaded =
            Self { head: String::new(), state: BatchState::default(), requests: Vec::new(), ended: Vec::new() };
        let (mut from, mut is_cancelled) = (BatchRow::CANCEL, false);
        loop {
            if !lease.renew_if_due().await {
                return Ok(None);
            }
            let rows = journal.batch_rows(id, from, LOADED_AT_ONCE).await?;
            let Some(last) = rows.last() else { break };
            from = last.position + 1;
            for row in rows {
                match row.position {
                    BatchRow::CANCEL => is_cancelled = true,
                    BatchRow::HEAD => {
                        loaded.state = parse_state(row.response.as_deref());
                        loaded.head = row.request;
                    }
                    _ => {
                        if let Some(ended) =
                            row.response.as_deref().and_then(|text| EndedItem::from_document(text, row.status))
                        {
                            loaded.ended.push((loaded.requests.len(), ended));
                        }
                        loaded.requests.push(row.request);
                    }
                }
            }
        }
        loaded.state.is_cancelled |= is_cancelled;
        Ok(Some(loaded))
    }
}

impl RunningBatch {
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn load(
        shared: &Arc<SharedApiState>,
        journal: &Journal,
        (id, lease): (&Arc<str>, &BatchLease),
        memory: BatchMemory,
    ) -> Result<LoadResult, JournalError> {
        let Some(rows) = LoadedRows::load(journal, id, lease).await? else { return Ok(LoadResult::LeaseLost) };
        let LoadedRows { head: head_text, state, mut requests, ended } = rows;
        let Ok(head) = serde_json::from_str::<BatchHead>(&head_text) else { return Ok(LoadResult::Unreadable) };
        let Some(known_since) = head.known_since() else { return Ok(LoadResult::Unreadable) };
        // The keys of items that have begun may be deleted by now.
        let age = Duration::try_from(Timestamp::now().duration_since(known_since)).unwrap_or_default();
        if age > journal.retention() {
            return Ok(LoadResult::Unreadable);
        }
        let api = shared.load();
        let body = RawBatch::join(&head.options, &requests);
        let bounds = BatchBounds { max_items: requests.len(), max_concurrency: api.batch_limits.max_concurrency };
        let Ok(request) = BatchRequest::parse(&Bytes::from(body), &ItemRoutes::new(), bounds) else {
            return Ok(LoadResult::Unreadable);
        };
        let context = BatchContext {
            state: new_state(&api, &head).await,
            // Without the caller's key the batch's id keeps the outcomes apart.
            key: Some(head.key.clone().unwrap_or_else(|| format!("id {id}"))),
            name: head.request_id.clone(),
            is_stored: true,
            mode: WriteMode::Execute,
            deadline: Instant::now() + NO_DEADLINE,
        };
        // An item that has begun is followed to its end, although the batch was cancelled or its
        // caller has lost a permission.
        let prefix = key_prefix(context.key.as_deref().unwrap_or_default());
        let open = open_items(&request, &head.request_id, &prefix, &ended);
        let begun = find_begun(journal, (&head.caller.name().0, &prefix), open).await?;
        let mut runner = Runner::new(context, request, memory);
        runner.set_begun(begun, accepted_state(&api, &head));
        if head.repeats.is_some() {
            runner.load_claimed_items().await?;
        }
        for (item, ended) in ended {
            runner.restore(item, &ended);
            if let Some(request) = requests.get_mut(item) {
                request.clear();
            }
        }
        let progress = BatchProgress::resume(&runner);
        let (journal, shared, id) = (journal.clone(), Arc::clone(shared), Arc::clone(id));
        let batch = Self { journal, id, shared, api, runner, progress, head, head_text, state, requests };
        Ok(LoadResult::Batch(Box::new(batch)))
    }

    /// Runs the items. `false` = not to the end: another process has the batch now, or this one
    /// stops.
    pub(super) async fn run(&mut self, lease: &BatchLease) -> bool {
        let mut poll = interval(CANCEL_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.state.is_cancelled && self.runner.cancel() {
                tracing::info!(batch = &*self.id, "a batch is cancelled");
            }
            let ended = tokio::select! {
                // Items that end faster than they are saved must not keep the lease from being
                // renewed.
                biased;
                _ = poll.tick() => {
                    if self.api.gateway.is_draining() || !lease.renew_if_due().await {
                        return false;
                    }
                    self.poll_for_cancel().await;
                    self.adopt_configuration().await;
                    // A slow store takes no time from the items.
                    poll.reset();
                    continue;
                }
                ended = self.progress.next(&mut self.runner) => ended,
            };
            let Some((item, outcome)) = ended else { return lease.renew_if_due().await };
            // A process that stops refuses its items; another one begins them.
            let is_refused = outcome.problem.as_ref().is_some_and(|problem| problem.kind == ProblemKind::Overloaded);
            if is_refused && self.api.gateway.is_draining() {
                return false;
            }
            if !self.save(lease, item, &outcome).await {
                return false;
            }
        }
    }

    async fn poll_for_cancel(&mut self) {
        let first = self.journal.batch_rows(&self.id, BatchRow::CANCEL, 1).await.unwrap_or_default();
        self.state.is_cancelled |= first.first().is_some_and(|row| row.position == BatchRow::CANCEL);
    }

    /// Items that begin after a reload see the new configuration, as single requests do: its
    /// systems, and what the caller may do.
    async fn adopt_configuration(&mut self) {
        let api = self.shared.load();
        if !Arc::ptr_eq(&api, &self.api) {
            tracing::info!(batch = &*self.id, "a batch continues with the new configuration");
            self.runner.set_state(new_state(&api, &self.head).await);
            self.api = api;
        }
    }

    /// Saves the outcome of an item; its body is not needed any more. `false` = another process has
    /// the batch, and what it finds of the item holds.
    async fn save(&mut self, lease: &BatchLease, item: usize, outcome: &ItemOutcome) -> bool {
        let request = self.requests.get_mut(item).map(std::mem::take).unwrap_or_default();
        let row = BatchRow {
            status: outcome.class() as i64,
            response: Some(outcome.to_json(self.runner.id(item))),
            ..self.row_without_body(item, &request)
        };
        lease.save(vec![row]).await
    }

    /// Saves the end of the batch. The bodies of items that were cancelled before they began are
    /// not needed any more either.
    pub(super) async fn close(&mut self, lease: &BatchLease) {
        self.poll_for_cancel().await;
        // A cancellation after the last item changed nothing.
        let is_cancelled = self.state.is_cancelled && self.requests.iter().any(|request| !request.is_empty());
        let state = BatchState { is_cancelled, finished_at: Some(now_text()) };
        let left = self.requests.iter().enumerate().filter(|(_, request)| !request.is_empty());
        let mut rows: Vec<BatchRow> = left.map(|(item, request)| self.row_without_body(item, request)).collect();
        rows.push(BatchRow {
            id: Arc::clone(&self.id),
            position: BatchRow::HEAD,
            status: 0,
            request: self.head_text.clone(),
            response: serde_json::to_string(&state).ok(),
        });
        lease.save(rows).await;
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
}

/// The items that write and have not ended. `batch` is what the ledger calls the batch, `prefix`
/// what its own keys begin with.
fn open_items(request: &BatchRequest, batch: &str, prefix: &str, ended: &[(usize, EndedItem)]) -> Vec<OpenItem> {
    let ended: HashSet<usize> = ended.iter().map(|(item, _)| *item).collect();
    let left = request.items.iter().enumerate().filter(|(position, _)| !ended.contains(position));
    let open = |(position, item): (usize, &BatchItem)| {
        Some(OpenItem { position, name: item_name(batch, &item.id), key: item.write_key(prefix)? })
    };
    left.filter_map(open).collect()
}

/// The state of a request of the batch's caller, with what it could do when the batch was accepted.
fn accepted_state(api: &Arc<ApiState>, head: &BatchHead) -> Rc<RequestState> {
    let state = RequestState::new(Arc::clone(api), RequestId(head.request_id.as_str().into()), Payload::None);
    state.set_principal(Arc::new(head.caller.clone()));
    state
}

/// The state of a request of the batch's caller, with what it may do now.
async fn new_state(api: &Arc<ApiState>, head: &BatchHead) -> Rc<RequestState> {
    let state = RequestState::new(Arc::clone(api), RequestId(head.request_id.as_str().into()), Payload::None);
    state.set_principal(api.authenticator.current_principal(&head.caller, head.has_token).await);
    state
}
