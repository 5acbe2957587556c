//! One item of a batch from its beginning to its end, and a queued write that other items wait for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::interrupted_item::may_be_running;
use super::item::respond;
use super::outcome::ItemOutcome;
use crate::http::context::RequestState;
use crate::http::item_request::ItemRequest;
use crate::http::route::Route;
use crate::http::write_request::WriteMode;
use crate::problem::{Problem, ProblemKind};
use crate::record::{OperationId, OperationState, percent_encode_id};
use crate::system::SharedReads;

/// The pauses between two polls of an operation that items wait for.
const MIN_POLL: Duration = Duration::from_millis(50);
const MAX_POLL: Duration = Duration::from_secs(1);

/// What all items of a batch share.
#[derive(Clone)]
pub(in crate::http) struct BatchContext {
    /// The state of the request that brought the batch.
    pub(in crate::http) state: Rc<RequestState>,
    /// `Idempotency-Key` of the batch.
    pub(in crate::http) key: Option<String>,
    /// What the ledger calls the batch: the id of its request.
    pub(in crate::http) name: String,
    /// Whether the batch is in the journal, so that its items may have begun before.
    pub(in crate::http) is_stored: bool,
    /// Whether its items are made or previewed.
    pub(in crate::http) mode: WriteMode,
    /// When no further item begins.
    pub(in crate::http) deadline: Instant,
}

/// Why nothing more of a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    Cancelled,
    /// The caller has closed its connection.
    HungUp,
    /// The responses need more memory than there is.
    NoMemory,
}

/// What the future of an item has come to.
pub(super) enum ItemStep {
    Responded(usize, Box<ItemOutcome>),
    /// It could not begin in time, or its batch was stopped before.
    NotBegun(usize),
    /// The operation of a queued write that other items waited for has ended, or time is up.
    Followed(usize, Option<OperationEnd>),
}

/// How a queued write ended.
pub(super) struct OperationEnd {
    pub(super) applied: bool,
    pub(super) record: Option<String>,
    pub(super) etag: Option<String>,
}

/// What an item runs with.
pub(super) struct ItemRun {
    pub(super) context: Rc<BatchContext>,
    /// The state of the request that the item has when it begins.
    pub(super) state: Rc<RefCell<Rc<RequestState>>>,
    pub(super) reads: Rc<SharedReads>,
    pub(super) stop: Rc<Cell<Option<StopReason>>>,
    /// Whether the item began in an earlier process, so that a stop does not concern it.
    pub(super) had_begun: bool,
}

impl ItemRun {
    fn is_stopped(&self) -> bool {
        self.stop.get().is_some() && !self.had_begun
    }

    /// Begins the item as soon as one more may run, and responds to it.
    pub(super) async fn run(self, item: usize, route: Rc<Route>, mut request: ItemRequest) -> ItemStep {
        // An item that waits for a scan makes room for another.
        let Ok(share) = timeout_at(self.context.deadline, self.reads.enter()).await else {
            return ItemStep::NotBegun(item);
        };
        if self.is_stopped() {
            return ItemStep::NotBegun(item);
        }
        request.reads = Some(share.clone());
        let (state, mode) = (Rc::clone(&self.state.borrow()), self.context.mode);
        let mut outcome = respond(&state, &route, request.clone(), mode).await;
        let mut pause = MIN_POLL;
        loop {
            if !self.context.is_stored {
                break;
            }
            if let Some(wait) = outcome.wait_for_quota() {
                // Nobody waits for the item, so it waits for its caller's limits.
                sleep(wait).await;
                if self.is_stopped() {
                    return ItemStep::NotBegun(item);
                }
            } else if let Some(end) = self.end_of_queued(&outcome).await {
                // Sent again with its key, it shows how its operation has ended.
                outcome = respond(&state, &route, request.clone(), mode).await;
                outcome.set_end(end);
                break;
            } else if outcome.status == 202 || self.may_be_running(&request, &outcome).await {
                share.release_slot();
                sleep(pause).await;
                pause = (pause * 2).min(MAX_POLL);
            } else {
                break;
            }
            outcome = respond(&state, &route, request.clone(), mode).await;
        }
        // The write may continue without its caller.
        share.release_slot();
        ItemStep::Responded(item, Box::new(outcome))
    }

    /// How the operation of a queued write has ended; `None` while it runs.
    async fn end_of_queued(&self, outcome: &ItemOutcome) -> Option<OperationState> {
        let operation = outcome.queued_operation()?;
        // A store that cannot be read may be read later.
        let found = self.context.state.api.gateway.journal().operation(&operation).await.ok()?;
        let state = found.map_or(OperationState::Unknown, |found| found.state);
        (state != OperationState::Running).then_some(state)
    }

    async fn may_be_running(&self, request: &ItemRequest, outcome: &ItemOutcome) -> bool {
        let journal = self.context.state.api.gateway.journal();
        may_be_running(journal, &request.name, outcome.problem.as_ref()).await
    }
}

/// Waits for the end of a queued write, at most until the batch's deadline.
pub(super) async fn follow(context: Rc<BatchContext>, item: usize, operation: OperationId) -> ItemStep {
    let journal = context.state.api.gateway.journal();
    let mut pause = MIN_POLL;
    loop {
        // A store that cannot be read may be read later.
        let found = journal.operation(&operation).await.ok().flatten();
        if let Some(found) = found.filter(|found| found.state != OperationState::Running) {
            let record = found.record.as_deref().map(|id| percent_encode_id(id).to_string());
            let applied = found.state == OperationState::Applied;
            return ItemStep::Followed(item, Some(OperationEnd { applied, record, etag: found.etag }));
        }
        if Instant::now() + pause >= context.deadline {
            return ItemStep::Followed(item, None);
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_POLL);
    }
}

/// 503 for an item that was not begun.
pub(super) fn not_begun_problem(stop: Option<StopReason>) -> Problem {
    let detail = match stop {
        Some(StopReason::HungUp) => "the caller closed its connection before this item began, so nothing was sent",
        Some(StopReason::NoMemory) => {
            "the responses to the items before take all the memory that there is for batches, so nothing was sent; \
             send fewer items, or Accept: application/x-ndjson"
        }
        Some(StopReason::Cancelled) | None => {
            "the batch's time was over before this item began, so nothing was sent; send it again"
        }
    };
    ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1))
}
