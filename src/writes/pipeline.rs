//! The write pipeline: one write in five steps, from its `Idempotency-Key` to its response.

use super::admit::admit;
use super::begin::journal_intent;
use super::command::WriteCommand;
use super::conflict_retries::{ConflictRetries, retryable_conflict};
use super::finish::finish;
use super::idempotency::{check_key, key_not_claimed, save_replay};
use super::outcome::{AttemptExit, WriteOutcome, WriteResponse};
use super::plan::plan;
use super::problems::{contended, restarts_exhausted};
use super::schema_check::check_request;
use super::send::send;
use super::send_gate::SendGate;
use super::write_services::WriteServices;
use super::write_task::{Responder, WriteTask, build_response};
use crate::metrics::RebaseOutcome;
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::system::{CallerContext, System};

/// How often an attempt starts again without having sent a request.
const MAX_RESTARTS: usize = 2;

/// One attempt. Each step owns the result of the step before it; the first failure is the outcome.
async fn attempt(task: &WriteTask<'_>) -> Result<WriteOutcome, AttemptExit> {
    let admitted = admit(task).await?;
    let planned = plan(admitted).await?;
    let journaled = journal_intent(planned).await?;
    let sent = send(journaled).await;
    Ok(finish(sent).await)
}

/// Repeats the attempt after a lost lease, a conflict with `If-Match: *` or a rebase, or a busy
/// vendor, until the deadline.
async fn attempt_until_resolved(task: &WriteTask<'_>) -> Result<WriteOutcome, AttemptExit> {
    let (services, system) = (task.services, task.system);
    let mut conflicts = ConflictRetries::new(task.retry_deadline());
    let mut restarts = 0;
    let mut has_fallen_back = false;
    loop {
        // Attempts of this process for one record do not race each other.
        let may_race = task.is_if_match_any() || task.must_read.get();
        let queue_guard = match task.command.op.record().filter(|_| may_race) {
            Some(id) => services.record_queues.enter(&system.name, id, conflicts.until).await,
            None => None,
        };
        let result = attempt(task).await;
        drop(queue_guard);
        match result {
            // The adapter now reports that the vendor does not compare: the next attempt is
            // guarded.
            Ok(outcome) if should_fall_back_to_guarded(task, &outcome) && !has_fallen_back => {
                has_fallen_back = true;
            }
            Ok(outcome) => match retryable_conflict(task, &outcome) {
                Some(conflict) if conflicts.pause(services, system).await => {
                    task.must_read.set(conflict.kind == ProblemKind::PreconditionFailed);
                }
                Some(_) => return resolve_exhausted_conflict(task, outcome),
                None => return Ok(outcome),
            },
            Err(AttemptExit::Restart) if restarts < MAX_RESTARTS => restarts += 1,
            Err(early) => return Err(early),
        }
    }
}

/// Whether the vendor did nothing because it compares no versions in the record's collection, and
/// the caller accepts that the gateway compares.
fn should_fall_back_to_guarded(task: &WriteTask<'_>, outcome: &WriteOutcome) -> bool {
    let WriteOutcome::Problem(problem) = outcome else { return false };
    let is_not_compared = problem.kind == ProblemKind::GuaranteeUnavailable;
    is_not_compared && !task.command.require_native && !task.has_responded()
}

/// The outcome of a write that met a conflict at every attempt.
fn resolve_exhausted_conflict(task: &WriteTask<'_>, outcome: WriteOutcome) -> Result<WriteOutcome, AttemptExit> {
    let (services, system) = (task.services, task.system);
    match &outcome {
        WriteOutcome::Problem(problem) if problem.kind == ProblemKind::PreconditionFailed => {
            if !task.is_if_match_any() {
                services.metrics.rebase(system.index, RebaseOutcome::Lost);
                return Ok(outcome);
            }
            services.metrics.contended(system.index);
            Err(Problem { operation: problem.operation.clone(), ..contended(system) }.into())
        }
        _ => Ok(outcome),
    }
}

/// Runs a write to its end and responds to its caller, which may have disconnected.
pub(super) async fn run(
    services: &WriteServices,
    system: &System,
    command: &WriteCommand,
    context: &CallerContext,
    responder: Responder,
    gate: &SendGate,
) {
    let task = WriteTask::new((services, system), command, context, gate, Some(responder));
    let (outcome, replayed) = match attempt_once_per_key(&task).await {
        Ok(outcome) => (outcome, false),
        Err(AttemptExit::Outcome(outcome)) => (*outcome, false),
        Err(AttemptExit::Replay(outcome)) => (*outcome, true),
        Err(AttemptExit::Restart) => (restarts_exhausted().into(), false),
    };
    let response = build_response(services, outcome, replayed).await;
    let undelivered = match task.responder.take() {
        Some(responder) => responder.send(response).err(),
        None => Some(response),
    };
    // Without a caller that gets it, a failure is logged here. The reconciler logs those of its
    // writes.
    if let Some(undelivered) = undelivered.filter(|_| !task.handed_off.get()) {
        log_failure(&task, &undelivered);
    }
}

/// The key is held until the write has ended, even if its caller disconnects.
async fn attempt_once_per_key(task: &WriteTask<'_>) -> Result<WriteOutcome, AttemptExit> {
    let WriteTask { services, system, command, context, .. } = *task;
    let check = async || check_key((&services.journal, &services.metrics), system, command, context).await;
    let claimed = services.in_flight_keys.claim(system, command, context);
    let _key_guard = match (check().await, claimed) {
        // The first request still runs in this process, even if the store has an outcome for it.
        (Err(AttemptExit::Replay(outcome)), Err(in_progress)) if outcome.is_unknown() => return Err(in_progress),
        (checked, claimed) => checked.and(claimed)?,
    };
    if command.replays_only {
        return Err(key_not_claimed().into());
    }
    check_request(task).await?;
    match attempt_until_resolved(task).await {
        Err(AttemptExit::Outcome(outcome)) if matches!(*outcome, WriteOutcome::Success(_)) => {
            save_replay((&services.journal, &services.metrics), system, (command, context), &outcome).await?;
            Err(AttemptExit::Outcome(outcome))
        }
        // The problem of an unconfirmed begin names its operation; the key does not.
        Err(AttemptExit::Outcome(outcome)) if !outcome.is_unknown() => {
            // The first request with this key may have begun at another replica since the check
            // above, and may be the cause: its write makes the ETag stale.
            check().await.and(Err(AttemptExit::Outcome(outcome)))
        }
        other => other,
    }
}

fn log_failure(task: &WriteTask<'_>, undelivered: &WriteResponse) {
    let WriteOutcome::Problem(problem) = &undelivered.outcome else { return };
    let failure = FailureEvent {
        message: "operation failed",
        request_id: &task.context.request_id.0,
        system: Some(task.system.name.as_str()),
        action: task.command.op.action().as_str(),
        problem,
        operation: None,
        trace_id: Some(task.context.trace.trace_id()),
        elapsed: task.context.received_at.elapsed(),
        vendor_time: task.context.trace.vendor_time(),
    };
    failure.log();
}
