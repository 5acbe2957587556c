//! `Idempotency-Key` (contract 4.5): a repetition gets the stored outcome, and runs only if the
//! first request left none.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::command::{IdempotencyKey, WriteCommand};
use super::outcome::{AttemptExit, SuccessBody, WriteOutcome};
use super::problems::{duplicate_in_progress, plan_changed, plan_sent_before, write_in_progress, write_not_begun};
use crate::journal::{IdempotencyClaim, IdempotencyState, Journal};
use crate::metrics::{Metrics, PlanOutcome};
use crate::problem::{Problem, ProblemKind};
use crate::record::PlanPart;
use crate::system::{CallerContext, System};

/// Pairs of caller and key.
type KeySet = HashSet<(String, String)>;

/// The keys of the requests that run in this process. The store knows a key only from the intent
/// on. Until then the first request may still read the record, and its repetition could be decided
/// by another state of it.
#[derive(Clone, Default)]
pub(super) struct InFlightKeys(Arc<Mutex<KeySet>>);

/// One request's claim on its key, which is released on drop.
pub(super) struct InFlightKeyGuard {
    keys: InFlightKeys,
    entry: (String, String),
}

impl InFlightKeys {
    /// Claims the key of a command; `None` without a key.
    ///
    /// # Errors
    /// `operation-in-progress` if another request holds it.
    pub(super) fn claim(
        &self,
        system: &System,
        command: &WriteCommand,
        context: &CallerContext,
    ) -> Result<Option<InFlightKeyGuard>, AttemptExit> {
        let Some(key) = &command.idempotency else { return Ok(None) };
        let guard = self.try_acquire(&context.caller.0, &key.key);
        guard.map(Some).ok_or_else(|| duplicate_in_progress(system).into())
    }

    fn try_acquire(&self, caller: &str, key: &str) -> Option<InFlightKeyGuard> {
        let entry = (caller.to_owned(), key.to_owned());
        let is_new = self.lock().insert(entry.clone());
        is_new.then(|| InFlightKeyGuard { keys: self.clone(), entry })
    }

    fn holds(&self, claim: &IdempotencyClaim) -> bool {
        self.lock().contains(&(claim.caller.clone(), claim.key.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, KeySet> {
        // Poisoning is harmless: each critical section is one operation on the set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightKeyGuard {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.entry);
    }
}

/// Looks a key up: after authentication, before preconditions (http-rules 165).
pub(super) async fn check_key(
    (journal, metrics): (&Journal, &Metrics),
    system: &System,
    command: &WriteCommand,
    context: &CallerContext,
) -> Result<(), AttemptExit> {
    let Some(claim) = idempotency_claim(command, context) else { return Ok(()) };
    let state = journal.lookup_idempotency_key(&claim).await.map_err(|error| write_not_begun(&error))?;
    state.map_or(Ok(()), |state| Err(outcome_from_key(metrics, system, command, state)))
}

/// What the response to a request would be whose key is not free.
pub(super) enum Repetition {
    /// The stored outcome.
    Replay(Box<WriteOutcome>),
    /// `operation-in-progress`: the first request runs.
    InProgress,
}

/// Looks a key up as a write would, and leaves no trace; `None` = the request is the first one.
///
/// # Errors
/// `idempotency-key-reused` or `plan-changed`.
pub(super) async fn find_repetition(
    (journal, in_flight_keys): (&Journal, &InFlightKeys),
    system: &System,
    command: &WriteCommand,
    context: &CallerContext,
) -> Result<Option<Repetition>, Problem> {
    let Some(claim) = idempotency_claim(command, context) else { return Ok(None) };
    let state = journal.lookup_idempotency_key(&claim).await.map_err(|error| write_not_begun(&error))?;
    let is_in_flight = in_flight_keys.holds(&claim);
    match state {
        None => Ok(is_in_flight.then_some(Repetition::InProgress)),
        Some(IdempotencyState::Running(_)) => Ok(Some(Repetition::InProgress)),
        Some(IdempotencyState::Mismatch) => Err(key_mismatch(system, command)),
        Some(IdempotencyState::Completed(text) | IdempotencyState::Interim(text)) => {
            let outcome = parse_outcome(&text)?;
            let is_open = is_in_flight && outcome.is_unknown();
            Ok(Some(if is_open { Repetition::InProgress } else { Repetition::Replay(Box::new(outcome)) }))
        }
    }
}

/// Stores the outcome of a write that changes nothing under its key: a repeat that came after
/// another's change would else be a write.
pub(super) async fn save_replay(
    (journal, metrics): (&Journal, &Metrics),
    system: &System,
    (command, context): (&WriteCommand, &CallerContext),
    outcome: &WriteOutcome,
) -> Result<(), AttemptExit> {
    let Some(claim) = idempotency_claim(command, context) else { return Ok(()) };
    let replay = serde_json::to_string(outcome).map_err(|error| {
        let detail = "The response to this Idempotency-Key cannot be stored.";
        ProblemKind::InternalError.with_detail(detail).with_cause(error)
    })?;
    let stored = journal.store_replay(claim, replay).await.map_err(|error| write_not_begun(&error))?;
    stored.map_or(Ok(()), |state| Err(outcome_from_key(metrics, system, command, state)))
}

/// Nothing is left to replay.
pub(super) fn key_not_claimed() -> Problem {
    ProblemKind::OperationEnded.with_detail("No outcome is stored for this write, and it is not begun again.")
}

/// The key by which the store remembers the plan of an update, so that it is made at most once.
pub(super) fn plan_claim(command: &WriteCommand, context: &CallerContext) -> Option<IdempotencyClaim> {
    let key = IdempotencyKey::of_plan(command.plan_without_key()?);
    let fingerprint = blake3::hash(key.as_bytes()).into();
    Some(IdempotencyClaim { caller: context.caller.to_string(), key, fingerprint, is_of_stored_batch: false })
}

/// What the state of a key that is not free means for a repetition.
pub(super) fn outcome_from_key(
    metrics: &Metrics,
    system: &System,
    command: &WriteCommand,
    state: IdempotencyState,
) -> AttemptExit {
    match state {
        IdempotencyState::Running(operation) => write_in_progress(system, Some(&operation)).into(),
        // Only the plan of an update is claimed without a key.
        state if command.idempotency.is_none() => {
            metrics.plan(system.index, PlanOutcome::Changed);
            let (is_applied, operation) = match first_outcome(&state) {
                Some(WriteOutcome::Success(success)) => (success.body != SuccessBody::Accepted, success.operation),
                Some(WriteOutcome::Problem(problem)) => (false, problem.operation),
                None => (false, None),
            };
            plan_sent_before(system, is_applied, operation).into()
        }
        IdempotencyState::Mismatch => {
            if is_plan(command) {
                metrics.plan(system.index, PlanOutcome::Changed);
            }
            key_mismatch(system, command).into()
        }
        IdempotencyState::Completed(text) | IdempotencyState::Interim(text) => match parse_outcome(&text) {
            Ok(outcome) => {
                metrics.idempotent_replay();
                AttemptExit::Replay(Box::new(outcome))
            }
            Err(problem) => problem.into(),
        },
    }
}

/// The outcome of the first request with a key, if it has one.
fn first_outcome(state: &IdempotencyState) -> Option<WriteOutcome> {
    match state {
        IdempotencyState::Completed(text) | IdempotencyState::Interim(text) => parse_outcome(text).ok(),
        IdempotencyState::Running(_) | IdempotencyState::Mismatch => None,
    }
}

/// Whether the command's key is its plan.
fn is_plan(command: &WriteCommand) -> bool {
    command.idempotency.as_ref().is_some_and(IdempotencyKey::is_plan)
}

/// The key stands for another request.
fn key_mismatch(system: &System, command: &WriteCommand) -> Problem {
    if is_plan(command) {
        return plan_changed(system, vec![PlanPart::Calls]);
    }
    let detail = "This Idempotency-Key was used before with another method, path, If-Match, If-Plan or body. Use a \
                  new key for a new request.";
    ProblemKind::IdempotencyKeyReused.with_detail(detail)
}

fn parse_outcome(text: &str) -> Result<WriteOutcome, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let detail = "The stored response to this Idempotency-Key cannot be read.";
        ProblemKind::InternalError.with_detail(detail).with_cause(error)
    })
}

/// The key that the intent claims.
pub(super) fn idempotency_claim(command: &WriteCommand, context: &CallerContext) -> Option<IdempotencyClaim> {
    let key = command.idempotency.as_ref()?;
    Some(IdempotencyClaim {
        caller: context.caller.to_string(),
        key: key.key.clone(),
        fingerprint: key.fingerprint,
        is_of_stored_batch: key.is_of_stored_batch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_request_per_idempotency_key_runs_at_a_time() {
        let keys = InFlightKeys::default();
        let first = keys.try_acquire("billing", "k");
        assert!(first.is_some() && keys.try_acquire("billing", "k").is_none());
        assert!(keys.try_acquire("billing", "other").is_some() && keys.try_acquire("shop", "k").is_some());
        drop(first);
        assert!(keys.try_acquire("billing", "k").is_some());
    }
}
