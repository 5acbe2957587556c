//! One item of a batch from its beginning to its response, or to the operation of its write.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::context::{BatchContext, StopReason};
use super::item::respond;
use super::item_step::ItemStep;
use super::next_step::{AttemptFacts, NextStep, ResponseOrigin, next_step};
use super::outcome::ItemOutcome;
use super::pending_cause::{PendingCause, find_pending_cause};
use super::request::own_item_key;
use crate::http::item_request::ItemRequest;
use crate::http::request_state::RequestState;
use crate::http::route::Route;
use crate::problem::ProblemKind;
use crate::record::OperationId;
use crate::system::BatchSlots;

/// The pauses between two polls of an operation that items wait for.
pub(super) const MIN_POLL: Duration = Duration::from_millis(50);
pub(super) const MAX_POLL: Duration = Duration::from_secs(1);
/// What an item runs with.
pub(super) struct ItemRun {
    pub(super) context: Rc<BatchContext>,
    /// The state of the request that the item has when it begins.
    pub(super) state: Rc<RefCell<Rc<RequestState>>>,
    pub(super) slots: Rc<BatchSlots>,
    pub(super) stop: Rc<Cell<Option<StopReason>>>,
    /// The operation that the item began in an earlier process.
    pub(super) begun: Option<OperationId>,
}

/// What came of the beginning of an item.
enum ItemAttempt {
    /// The item has ended.
    Ended(ItemStep),
    /// Its write has this operation, whose end is open.
    Running {
        operation: OperationId,
        /// An earlier request has begun it.
        is_replay: bool,
    },
}

impl ItemRun {
    /// Begins the item as soon as one more may run, and responds to it.
    pub(super) async fn run(self, item: usize, route: Rc<Route>, mut request: ItemRequest) -> ItemStep {
        if let Some(operation) = self.begun.clone() {
            return self.respond_at_end(item, &route, &request, operation, !request.replays_only).await;
        }
        match self.begin(item, &route, &mut request).await {
            ItemAttempt::Ended(step) => step,
            ItemAttempt::Running { operation, is_replay } => {
                let mut step = self.respond_at_end(item, &route, &request, operation, false).await;
                if let ItemStep::Responded(_, outcome) = &mut step
                    && !is_replay
                {
                    outcome.set_own();
                }
                step
            }
        }
    }

    async fn begin(&self, item: usize, route: &Rc<Route>, request: &mut ItemRequest) -> ItemAttempt {
        // What is only replayed needs no slot, and no time.
        if !request.replays_only && !self.take_slot(request).await {
            return ItemAttempt::Ended(ItemStep::NotBegun(item));
        }
        if self.context.is_stored {
            return self.begin_stored(item, route, request).await;
        }
        let step = self.respond_once(item, route, request).await;
        // The write may continue without its caller.
        release_slot(request);
        ItemAttempt::Ended(step)
    }

    /// Waits until one more item may run; `false` = the time of the batch is over.
    async fn take_slot(&self, request: &mut ItemRequest) -> bool {
        let system = request.system(&self.context.state.api);
        let name = system.as_ref().map(|system| system.name.as_str()).unwrap_or_default();
        // An item that waits for a scan makes room for another.
        request.slot = timeout_at(self.context.deadline, self.slots.enter(name)).await.ok();
        request.slot.is_some()
    }

    /// Lets another item run for so long.
    async fn pause(&self, request: &mut ItemRequest, pause: Duration) {
        release_slot(request);
        sleep(pause).await;
        if !request.replays_only {
            // A stored batch has time enough.
            self.take_slot(request).await;
        }
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
        let mut may_have_begun = request.replays_only;
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
                // Its batch was stopped while it waited. What it may have begun is only replayed.
                if may_have_begun {
                    continue;
                }
                return ItemAttempt::Ended(ItemStep::NotBegun(item));
            };
            overloaded_since =
                outcome.is_one_of(&[ProblemKind::Overloaded]).then(|| overloaded_since.unwrap_or_else(Instant::now));
            let facts = AttemptFacts {
                cause: self.classify_unfinished(request, &outcome).await,
                quota_wait: outcome.wait_for_quota(),
                overloaded_for: overloaded_since.map(|since| since.elapsed()),
                origin: response_origin(&outcome),
                replays_only: request.replays_only,
                may_have_begun,
                is_stopped: self.stop.get().is_some(),
            };
            let step = match next_step(&facts) {
                NextStep::Follow(operation) => {
                    release_slot(request);
                    return ItemAttempt::Running { operation, is_replay: outcome.is_replay() };
                }
                NextStep::WaitForQuota(wait) => {
                    self.pause(request, wait).await;
                    continue;
                }
                NextStep::WaitForKey => {
                    may_have_begun = true;
                    self.pause(request, pause).await;
                    pause = (pause * 2).min(MAX_POLL);
                    continue;
                }
                NextStep::RetryOverloaded => {
                    self.pause(request, MAX_POLL).await;
                    continue;
                }
                NextStep::ReplayOnly => {
                    request.replays_only = true;
                    continue;
                }
                NextStep::NotBegun => ItemStep::NotBegun(item),
                NextStep::KeyFree => ItemStep::KeyFree(item),
                NextStep::Respond => ItemStep::Responded(item, Box::new(outcome)),
            };
            release_slot(request);
            return ItemAttempt::Ended(step);
        }
    }

    /// The response to the item; `None` where its batch was stopped while it waited to begin.
    pub(super) async fn attempt(&self, route: &Rc<Route>, request: &ItemRequest) -> Option<ItemOutcome> {
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

    pub(super) async fn pending_cause_of(&self, request: &ItemRequest, named: &OperationId) -> PendingCause {
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
}

fn response_origin(outcome: &ItemOutcome) -> ResponseOrigin {
    match outcome {
        _ if outcome.is_replay() => ResponseOrigin::EarlierRequest,
        _ if outcome.is_one_of(&[ProblemKind::OperationEnded]) => ResponseOrigin::FreeKey,
        _ => ResponseOrigin::Own,
    }
}

/// Lets another item of the batch run.
fn release_slot(request: &ItemRequest) {
    if let Some(slot) = &request.slot {
        slot.release();
    }
}
