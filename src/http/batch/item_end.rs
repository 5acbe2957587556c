//! The end of an item whose write has an operation, and of a queued write that others wait for.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::context::BatchContext;
use super::item::refuse;
use super::item_run::{ItemRun, MAX_POLL, MIN_POLL};
use super::item_step::{ItemStep, OperationEnd};
use super::outcome::ItemOutcome;
use super::pending_cause::PendingCause;
use super::request::own_item_key;
use crate::http::item_request::ItemRequest;
use crate::http::route::Route;
use crate::journal::Journal;
use crate::problem::{Problem, ProblemKind};
use crate::record::{Operation, OperationId, OperationState, percent_encode_id};

/// How long an operation may be missing in a store that can be read: an intent that the store did
/// not confirm is written when it can be written again.
const MAX_MISSING: Duration = Duration::from_mins(1);

/// Problems of a response that say nothing of the write, and that another attempt may not meet.
const RETRYABLE_PROBLEMS: [ProblemKind; 3] =
    [ProblemKind::OperationInProgress, ProblemKind::Overloaded, ProblemKind::QuotaExceeded];

impl ItemRun {
    /// Follows the operation of the item to its end, and responds as its write alone would have.
    /// Nothing is sent meanwhile: the write is known by its operation, even if its key is free.
    ///
    /// Returns [`ItemStep::KeyFree`] only with `may_begin_again`: the process that began the write
    /// may have been about to try it again.
    pub(super) async fn respond_at_end(
        &self,
        item: usize,
        route: &Rc<Route>,
        request: &ItemRequest,
        mut id: OperationId,
        may_begin_again: bool,
    ) -> ItemStep {
        let journal = self.context.state.api.gateway.journal();
        let request = ItemRequest { replays_only: true, ..request.clone() };
        let mut operation = ended_operation(journal, &id).await;
        loop {
            let Some(mut outcome) = self.attempt(route, &request).await else {
                return ItemStep::NotBegun(item);
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
                    return ItemStep::Responded(item, Box::new(outcome));
                }
                // It changed nothing, and has no operation.
                None if outcome.is_replay() => return ItemStep::Responded(item, Box::new(outcome)),
                _ => {}
            }
            let has_own_key = || own_item_key(&request.method, &request.headers).is_some();
            if outcome.is_one_of(&[ProblemKind::IdempotencyKeyReused]) && has_own_key() {
                // The key that the caller gave to the item is bound to another request.
                return ItemStep::Responded(item, Box::new(outcome));
            }
            if !outcome.is_one_of(&RETRYABLE_PROBLEMS) {
                let is_free = outcome.is_one_of(&[ProblemKind::OperationEnded]);
                if is_free && may_begin_again && self.stop.get().is_none() && was_found_not_applied(operation.as_ref())
                {
                    return ItemStep::KeyFree(item);
                }
                let outcome = self.outcome_of_operation(&request, (operation.as_ref(), &id), &outcome);
                return ItemStep::Responded(item, Box::new(outcome));
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
