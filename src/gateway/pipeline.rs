//! The write pipeline: one write from its `Idempotency-Key` to its response.

use std::cell::{Cell, RefCell};

use tokio::time::Instant;

use super::begin::{EarlyReturn, check_idempotency_key};
use super::command::{OpContext, WriteCommand, WriteOp};
use super::create::create;
use super::delete::delete;
use super::outcome::{WriteOutcome, WriteResponse};
use super::state::GatewayState;
use super::system::System;
use super::update::update;
use super::vendor_session::VendorSession;
use super::write_problems::{duplicate_in_progress, lease_retries_exhausted};
use super::write_task::{InFlightOp, Responder, WriteTask, build_response};
use crate::problem::{FailureEvent, Problem, ProblemKind};

/// Runs a write to its end and responds to its caller, which may have disconnected.
pub(super) async fn run(
    gateway: &GatewayState,
    system: &System,
    command: &WriteCommand,
    context: &OpContext,
    responder: Responder,
    in_flight_op: &InFlightOp,
) {
    let task = WriteTask {
        gateway,
        system,
        command,
        context,
        session: VendorSession::new(system, &context.trace, context.deadline),
        in_flight_op,
        started_at: Instant::now(),
        responder: RefCell::new(Some(responder)),
        handed_off: Cell::new(false),
    };
    let result = execute(&task).await;
    let undelivered = match task.responder.take() {
        Some(responder) => responder.send(result).err(),
        None => Some(result),
    };
    // Without a caller that gets it, a failure is logged here. The reconciler logs those of its
    // writes.
    if let Some(undelivered) = undelivered.filter(|_| !task.handed_off.get()) {
        log_failure(&task, &undelivered);
    }
}

async fn execute(task: &WriteTask<'_>) -> Result<WriteResponse, Problem> {
    let WriteTask { gateway, system, command, context, .. } = *task;
    let key = command.idempotency.as_ref().map(|claimed| claimed.key.as_str());
    // The key is held until the write has ended, even if its caller disconnects.
    let key_guard = key.map(|key| gateway.in_flight_keys.try_acquire(&context.caller.0, key));
    let result = match check_idempotency_key(gateway, system, command, context).await {
        Ok(()) if matches!(key_guard, Some(None)) => Err(duplicate_in_progress(system).into()),
        Ok(()) => dispatch(task).await,
        Err(early) => Err(early),
    };
    let result = match result {
        // Its own operation says more than its key could.
        Err(EarlyReturn::Rejected(problem)) if problem.name == ProblemKind::OutcomeUnknown => {
            Err(EarlyReturn::Rejected(problem))
        }
        // The first request with this key may have begun since the check above, and may be the
        // cause: its write makes the ETag stale, or leaves nothing to change.
        Err(early @ (EarlyReturn::NoChange(_) | EarlyReturn::Rejected(_))) => {
            check_idempotency_key(gateway, system, command, context).await.and(Err(early))
        }
        other => other,
    };
    let (outcome, replayed) = match result {
        Ok(outcome) => (outcome, false),
        Err(EarlyReturn::NoChange(outcome)) => (*outcome, false),
        Err(EarlyReturn::Replay(outcome)) => (*outcome, true),
        Err(EarlyReturn::Rejected(problem)) => return Err(*problem),
        Err(EarlyReturn::Restart) => return Err(lease_retries_exhausted()),
    };
    Ok(build_response(gateway, outcome, replayed).await)
}

async fn dispatch(task: &WriteTask<'_>) -> Result<WriteOutcome, EarlyReturn> {
    match &task.command.kind {
        WriteOp::Update { id, patch } => update(task, id, patch).await,
        // Everything that a PATCH rarely needs is boxed, which keeps the pipeline's future small.
        WriteOp::Delete { id } => Box::pin(delete(task, id)).await,
        WriteOp::Create { collection, fields } => Box::pin(create(task, collection, fields)).await,
    }
}

fn log_failure(task: &WriteTask<'_>, undelivered: &Result<WriteResponse, Problem>) {
    let problem = match undelivered {
        Ok(WriteResponse { outcome: WriteOutcome::Problem(problem), .. }) => problem,
        Err(problem) => problem,
        Ok(_) => return,
    };
    let failure = FailureEvent {
        message: "operation failed",
        request_id: &task.context.request_id.0,
        system: Some(task.system.name.as_str()),
        action: task.command.kind.action().as_str(),
        problem,
        operation: None,
        trace_id: Some(task.context.trace.trace_id()),
        elapsed: task.started_at.elapsed(),
        vendor_time: task.context.trace.vendor_time(),
    };
    failure.log();
}
