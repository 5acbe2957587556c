//! The write pipeline: one write in five steps, from its `Idempotency-Key` to its response.

use std::cell::{Cell, RefCell};

use super::admit::admit;
use super::begin::journal;
use super::command::WriteCommand;
use super::finish::{Resolved, finish};
use super::idempotency::check_key;
use super::outcome::{EarlyReturn, WriteOutcome, WriteResponse};
use super::plan::plan;
use super::problems::{lease_retries_exhausted, star_retries_exhausted};
use super::send::send;
use super::state::GatewayState;
use super::task::{Responder, SentOperation, WriteTask, build_response};
use crate::problem::{FailureEvent, Problem};
use crate::system::{OpContext, System, VendorSession};

/// How often a write starts again because its lease was lost before it was sent.
const MAX_LEASE_RETRIES: usize = 2;
/// How often a write with `If-Match: *` reads and tries in all (contract 4.2).
const MAX_STAR_ATTEMPTS: usize = 3;

/// One attempt. Each step owns what the one before it has won; the first failure is the outcome.
async fn attempt(task: &WriteTask<'_>) -> Result<Resolved, EarlyReturn> {
    let admitted = admit(task).await?;
    let planned = plan(admitted).await?;
    let journaled = journal(planned).await?;
    let sent = send(journaled).await;
    Ok(finish(sent).await)
}

/// Attempts until the write has an outcome: a lost lease and a conflict behind `If-Match: *` are
/// none.
async fn attempt_until_resolved(task: &WriteTask<'_>) -> Result<WriteOutcome, EarlyReturn> {
    let (mut conflicts, mut lease_losses) = (0, 0);
    loop {
        // The operation of an earlier attempt has ended.
        task.sent_operation.replace(None);
        match attempt(task).await {
            Ok(Resolved { outcome: WriteOutcome::Problem(problem), is_conflict: true })
                if task.is_if_match_any() && !task.has_responded() =>
            {
                conflicts += 1;
                if conflicts == MAX_STAR_ATTEMPTS {
                    let operation = problem.operation;
                    return Err(Problem { operation, ..star_retries_exhausted(task.system) }.into());
                }
            }
            Ok(resolved) => return Ok(resolved.outcome),
            Err(EarlyReturn::LeaseLost) if lease_losses < MAX_LEASE_RETRIES => lease_losses += 1,
            Err(early) => return Err(early),
        }
    }
}

/// Runs a write to its end and responds to its caller, which may have disconnected.
pub(super) async fn run(
    gateway: &GatewayState,
    system: &System,
    command: &WriteCommand,
    context: &OpContext,
    responder: Responder,
    sent_operation: &SentOperation,
) {
    let task = WriteTask {
        gateway,
        system,
        command,
        context,
        session: VendorSession::new(system, &context.trace, context.deadline),
        sent_operation,
        responder: RefCell::new(Some(responder)),
        handed_off: Cell::new(false),
    };
    let (outcome, replayed) = match attempt_once_per_key(&task).await {
        Ok(outcome) => (outcome, false),
        Err(EarlyReturn::Outcome(outcome)) => (*outcome, false),
        Err(EarlyReturn::Replay(outcome)) => (*outcome, true),
        Err(EarlyReturn::LeaseLost) => (lease_retries_exhausted().into(), false),
    };
    let response = build_response(gateway, outcome, replayed).await;
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
async fn attempt_once_per_key(task: &WriteTask<'_>) -> Result<WriteOutcome, EarlyReturn> {
    let WriteTask { gateway, system, command, context, .. } = *task;
    let check = async || check_key((&gateway.store, &gateway.metrics), system, command, context).await;
    let claimed = gateway.in_flight_keys.claim(system, command, context);
    check().await?;
    let _key_guard = claimed?;
    match attempt_until_resolved(task).await {
        // The operation of a begin without confirmation says more than its key could.
        Err(EarlyReturn::Outcome(outcome)) if !outcome.is_unknown() => {
            // The first request with this key may have begun at another replica since the check
            // above, and may be the cause: its write makes the ETag stale, or leaves nothing to
            // change.
            check().await.and(Err(EarlyReturn::Outcome(outcome)))
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
