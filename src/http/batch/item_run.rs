//! One item of a batch from its beginning to its end, and a queued write that other items wait for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::interrupted_item::{PendingCause, find_pending_cause};
use super::item::{refuse, respond};
use super::outcome::ItemOutcome;
use super::request::own_item_key;
use crate::http::item_request::ItemRequest;
use crate::http::request_state::RequestState;
use crate::http::route::Route;
use crate::http::write_request::WriteMode;
use crate::journal::Journal;
use crate::problem::{Problem, ProblemKind};
use crate::record::{Operation, OperationId, OperationState, percent_encode_id};
use crate::system::SharedReads;

/// The pauses between two polls of an operation that items wait for.
const MIN_POLL: Duration = Duration::from_millis(50);
const MAX_POLL: Duration = Duration::from_secs(1);
/// How long an operation may be missing in a store that can be read: an intent that the store did
/// not confirm is written when it can be written again.
const MAX_MISSING: Duration = Duration::from_mins(1);

/// How long an item of a stored batch tries again while the gateway refuses it without sending.
const MAX_OVERLOADED: Duration = Duration::from_mins(1);

/// Problems of a response that say nothing of the write, and that another attempt may not meet.
const RETRYABLE_PROBLEMS: [ProblemKind; 3] =
    [ProblemKind::OperationInProgress, ProblemKind::Overloaded, ProblemKind::QuotaExceeded];

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
    CallerDisconnected,
    /// The responses need more memory than there is.
    NoMemory,
}

/// What the future of an item has come to.
pub(super) enum ItemStep {
    Responded(usize, Box<ItemOutcome>),
    /// It could not begin in time, or its batch was stopped before.
    NotBegun(usize),
    /// It is only to be replayed, and its key is free by now.
    KeyFree(usize),
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
    /// The operation that the item began in an earlier process.
    pub(super) begun: Option<OperationId>,
}

/// What came of the beginning of an item.
enum ItemAttempt {
    /// The item has ended.
    Ended(ItemStep),
    /// Its write has this operation, whose end is open.
    Running(OperationId),
}

impl ItemRun {
    /// Begins the item as soon as one more may run, and responds to it.
    pub(super) async fn run(self, item: usize, route: Rc<Route>, mut request: ItemRequest) -> ItemStep {
        if let Some(operation) = self.begun.clone()
            && let Some(step) = self.respond_at_end(item, &route, &request, operation, !request.replays_only).await
        {
            return step;
        }
        match self.begin(item, &route, &mut request).await {
            ItemAttempt::Ended(step) => step,
            ItemAttempt::Running(operation) => {
                let step = self.respond_at_end(item, &route, &request, operation, false).await;
                step.unwrap_or(ItemStep::NotBegun(item))
            }
        }
    }

    async fn begin(&self, item: usize, route: &Rc<Route>, request: &mut ItemRequest) -> ItemAttempt {
        // What is only replayed needs no place among the others, and no time.
        if !request.replays_only {
            // An item that waits for a scan makes room for another.
            let Ok(ticket) = timeout_at(self.context.deadline, self.reads.enter()).await else {
                return ItemAttempt::Ended(ItemStep::NotBegun(item));
            };
            request.reads = Some(ticket);
        }
        if self.context.is_stored {
            return self.begin_stored(item, route, request).await;
        }
        let step = self.respond_once(item, route, request).await;
        // The write may continue without its caller.
        release_slot(request);
        ItemAttempt::Ended(step)
    }

    /// An item of a direct batch, whose caller waits for the response.
    async fn respond_once(&self, item: usize, route: &Rc<Route>, request: &ItemRequest) -> ItemStep {
        let has_caller = self.stop.get() != Some(StopReason::CallerDisconnected);
        if self.stop.get().is_some() && !(request.replays_only && has_caller) {
            return ItemStep::NotBegun(item);
        }
        match self.attempt(route, request).await {
            None => ItemStep::NotBegun(item),
            Some(outcome) if request.replays_only && outcome.is_one_of(&[ProblemKind::OperationEnded]) => {
                ItemStep::KeyFree(item)
            }
            Some(outcome) => ItemStep::Responded(item, Box::new(outcome)),
        }
    }

    /// An item of a stored batch, for which nobody waits: it is attempted until it has a response
    /// of its own, or its write an operation.
    async fn begin_stored(&self, item: usize, route: &Rc<Route>, request: &mut ItemRequest) -> ItemAttempt {
        // Its key may be claimed by a beginning whose intent is not stored yet.
        let mut may_have_begun = false;
        let mut pause = MIN_POLL;
        let mut overloaded_since = None;
        loop {
            if self.stop.get().is_some() {
                if !may_have_begun {
                    return ItemAttempt::Ended(ItemStep::NotBegun(item));
                }
                request.replays_only = true;
            }
            let Some(outcome) = self.attempt(route, request).await else {
                return ItemAttempt::Ended(ItemStep::NotBegun(item));
            };
            let is_overloaded = outcome.is_one_of(&[ProblemKind::Overloaded]);
            if !is_overloaded {
                overloaded_since = None;
            }
            let cause = self.classify_unfinished(request, &outcome).await;
            if let Some(PendingCause::OwnWrite(operation)) = cause {
                release_slot(request);
                return ItemAttempt::Running(operation);
            }
            if let Some(wait) = outcome.wait_for_quota() {
                // Nobody waits for the item, so it waits for its caller's limits.
                sleep(wait).await;
            } else if cause == Some(PendingCause::Transient) {
                may_have_begun = true;
                release_slot(request);
                sleep(pause).await;
                pause = (pause * 2).min(MAX_POLL);
            } else if is_overloaded && may_have_begun && request.replays_only
                || is_overloaded && overloaded_since.get_or_insert_with(Instant::now).elapsed() < MAX_OVERLOADED
            {
                // Nothing was sent, perhaps because the store is out of reach for a moment.
                release_slot(request);
                sleep(MAX_POLL).await;
            } else if is_overloaded && may_have_begun {
                // Only its key shows how it ends.
                request.replays_only = true;
            } else if request.replays_only && !outcome.is_replay() && self.stop.get().is_some() {
                // Nothing of it has begun.
                return ItemAttempt::Ended(ItemStep::NotBegun(item));
            } else if request.replays_only && outcome.is_one_of(&[ProblemKind::OperationEnded]) {
                return ItemAttempt::Ended(ItemStep::KeyFree(item));
            } else {
                release_slot(request);
                return ItemAttempt::Ended(ItemStep::Responded(item, Box::new(outcome)));
            }
        }
    }

    /// The response to the item; `None` where its batch was stopped while it waited to begin.
    async fn attempt(&self, route: &Rc<Route>, request: &ItemRequest) -> Option<ItemOutcome> {
        // What the caller may do can change while an item waits.
        let state = Rc::clone(&self.state.borrow());
        let may_begin = || self.stop.get().is_none() || request.replays_only;
        respond(&state, route, request.clone(), self.context.mode, &may_begin).await
    }

    /// What keeps the item from a response of its own; `None` if this is one.
    async fn classify_unfinished(&self, request: &ItemRequest, outcome: &ItemOutcome) -> Option<PendingCause> {
        let is_in_progress = outcome.is_one_of(&[ProblemKind::OperationInProgress]);
        match outcome.operation() {
            Some(id) if outcome.status == 202 || outcome.is_one_of(&[ProblemKind::OutcomeUnknown]) => {
                Some(PendingCause::OwnWrite(id))
            }
            Some(named) if is_in_progress => Some(self.pending_cause_of(request, &named).await),
            // Its first beginning has no intent yet, or another writer has the record.
            None if is_in_progress => Some(PendingCause::Transient),
            _ => None,
        }
    }

    async fn pending_cause_of(&self, request: &ItemRequest, named: &OperationId) -> PendingCause {
        let state = &self.context.state;
        let key = own_item_key(&request.method, &request.headers).or_else(|| request.key.clone());
        let (Some(caller), Some(key)) = (state.principal(), key) else { return PendingCause::OtherWriter };
        loop {
            let found =
                find_pending_cause(state.api.gateway.journal(), &caller.name().0, &key, &request.name, named).await;
            match found {
                Ok(cause) => return cause,
                // A store that cannot be read may be read later.
                Err(_) => sleep(MAX_POLL).await,
            }
        }
    }

    /// Follows the operation of the item to its end, and responds as its write alone would have.
    /// Nothing is sent meanwhile: the write is known by its operation, even if its key is free.
    ///
    /// `None`, only with `may_begin_again`: the write was not made and its key is free, as if the
    /// item had not begun. The process that began it may have been about to try it again.
    async fn respond_at_end(
        &self,
        item: usize,
        route: &Rc<Route>,
        request: &ItemRequest,
        mut id: OperationId,
        may_begin_again: bool,
    ) -> Option<ItemStep> {
        let journal = self.context.state.api.gateway.journal();
        let request = ItemRequest { replays_only: true, ..request.clone() };
        let mut operation = ended_operation(journal, &id).await;
        loop {
            let Some(mut outcome) = self.attempt(route, &request).await else {
                return Some(ItemStep::NotBegun(item));
            };
            let is_in_progress = outcome.is_one_of(&[ProblemKind::OperationInProgress]);
            let current = match outcome.operation() {
                // After a conflict the write was tried again: another operation with the same key.
                Some(named) if is_in_progress && named != id => match self.pending_cause_of(&request, &named).await {
                    PendingCause::OwnWrite(own) => Some(own),
                    PendingCause::Transient | PendingCause::OtherWriter => None,
                },
                named => named,
            };
            match current {
                Some(current) if current != id && (is_in_progress || outcome.is_replay()) => {
                    operation = ended_operation(journal, &current).await;
                    id = current;
                    continue;
                }
                Some(current)
                    if current == id && !is_in_progress && !is_replay_unreadable(&outcome, operation.as_ref()) =>
                {
                    outcome.set_queued_end(
                        operation.as_ref().map_or(OperationState::Unknown, |operation| operation.state),
                    );
                    return Some(ItemStep::Responded(item, Box::new(outcome)));
                }
                // It changed nothing, and has no operation.
                None if outcome.is_replay() => return Some(ItemStep::Responded(item, Box::new(outcome))),
                _ => {}
            }
            let has_own_key = || own_item_key(&request.method, &request.headers).is_some();
            if outcome.is_one_of(&[ProblemKind::IdempotencyKeyReused]) && has_own_key() {
                // The key that the caller gave to the item is bound to another request.
                return Some(ItemStep::Responded(item, Box::new(outcome)));
            }
            if !outcome.is_one_of(&RETRYABLE_PROBLEMS) {
                let is_free = outcome.is_one_of(&[ProblemKind::OperationEnded]);
                if is_free && may_begin_again && self.stop.get().is_none() && was_found_not_applied(operation.as_ref())
                {
                    return None;
                }
                let outcome = self.outcome_of_operation(&request, (operation.as_ref(), &id), &outcome);
                return Some(ItemStep::Responded(item, Box::new(outcome)));
            }
            sleep(outcome.wait_for_quota().unwrap_or(MAX_POLL)).await;
        }
    }

    /// The outcome of an item that no key replays. `attempted` is that of the last attempt.
    fn outcome_of_operation(
        &self,
        request: &ItemRequest,
        (operation, id): (Option<&Operation>, &OperationId),
        attempted: &ItemOutcome,
    ) -> ItemOutcome {
        let (system, action) = (attempted.system, attempted.action);
        if let Some(operation) = operation {
            return ItemOutcome::of_operation(operation, system, action);
        }
        let state = Rc::clone(&self.state.borrow());
        let mut gone = refuse(operation_gone(id).into(), &state, request);
        (gone.system, gone.action) = (system, action);
        gone
    }
}

/// Lets another item of the batch run.
fn release_slot(request: &ItemRequest) {
    if let Some(ticket) = &request.reads {
        ticket.release_slot();
    }
}

/// Whether the outcome is unknown only because the store could not be read for the response.
fn is_replay_unreadable(outcome: &ItemOutcome, operation: Option<&Operation>) -> bool {
    let is_known = operation.is_some_and(|one| one.state != OperationState::Unknown);
    is_known && outcome.is_one_of(&[ProblemKind::OutcomeUnknown])
}

/// Whether the write of an operation was not made, by what the vendor showed. A person's verdict
/// stands.
fn was_found_not_applied(operation: Option<&Operation>) -> bool {
    operation.is_some_and(|one| one.state == OperationState::NotApplied && one.resolved_by.is_none())
}

/// Waits for the end of an operation. `None`: the store does not have it, and will not.
async fn ended_operation(journal: &Journal, id: &OperationId) -> Option<Operation> {
    let mut pause = MIN_POLL;
    let mut missing_since = None;
    loop {
        match journal.operation(id).await {
            Ok(Some(found)) if found.state != OperationState::Running => return Some(found),
            Ok(Some(_)) => missing_since = None,
            Ok(None) if missing_since.get_or_insert_with(Instant::now).elapsed() >= MAX_MISSING => return None,
            // A store that cannot be read may be read later.
            Ok(None) | Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_POLL);
    }
}

/// The operation of an item was deleted before its outcome was read.
fn operation_gone(id: &OperationId) -> Problem {
    let detail = "The operation of this item is not kept any more, so that its outcome is not known here. Look at the \
                  record.";
    ProblemKind::OutcomeUnknown.with_detail(detail).operation(id)
}

/// Waits for the end of a queued write, at most until the batch's deadline.
pub(super) async fn follow(context: Rc<BatchContext>, item: usize, operation: OperationId) -> ItemStep {
    let ended = timeout_at(context.deadline, ended_operation(context.state.api.gateway.journal(), &operation)).await;
    let end = ended.ok().flatten().map(|found| OperationEnd {
        applied: found.state == OperationState::Applied,
        record: found.record.as_deref().map(|id| percent_encode_id(id).to_string()),
        etag: found.etag,
    });
    ItemStep::Followed(item, end)
}

/// 503 for an item that was not begun.
pub(super) fn not_begun_problem(stop: Option<StopReason>) -> Problem {
    let detail = match stop {
        Some(StopReason::CallerDisconnected) => {
            "the caller closed its connection before this item began, so nothing was sent"
        }
        Some(StopReason::NoMemory) => {
            "the responses to the items before take all the memory that there is for batches, so nothing was sent; \
             send fewer items, or Accept: application/x-ndjson"
        }
        Some(StopReason::Cancelled) => "the batch was cancelled before this item began, so nothing was sent",
        None => "the batch's time was over before this item began, so nothing was sent; send it again",
    };
    ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1))
}
