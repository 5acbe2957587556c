//! Sends the one vendor request of a stored intent, and resolves the write within the caller's time
//! or hands it to the reconciler.

use std::time::Duration;

use tokio::time::Instant;

use super::in_flight_write::{InFlightWrite, ResponseState};
use super::intent::ExpectedState;
use super::outcome::WriteOutcome;
use super::reconcile::OutcomeProbe;
use super::reconcile_on_drop::ReconcileOnDrop;
use super::record_outcome::{accepted_success, record_outcome};
use super::resolve::{ObservedRecord, Resolution, with_vendor_info};
use super::verify_applied::verify_applied;
use super::write_problems::{outcome_unknown, precondition_failed};
use super::write_task::WriteTask;
use crate::metrics::DetectedBy;
use crate::record::{SideEffect, VendorError, VendorErrorKind};
use crate::transport::{Transport as _, VendorResponse};
use crate::vendors::{Completion, PlannedRequest};

/// How much longer than the caller's deadline the last probe may take.
const MIN_PROBE_TIME: Duration = Duration::from_millis(300);

/// Sends the request and returns the outcome that the caller gets.
pub(super) async fn send_and_resolve(
    task: &WriteTask<'_>,
    planned: PlannedRequest,
    write: InFlightWrite,
) -> WriteOutcome {
    if Instant::now() < task.context.deadline {
        task.in_flight_op.replace(Some(write.operation.clone()));
    }
    let mut guard = ReconcileOnDrop::new(task.gateway, write);
    let write = &mut guard.write;
    let prefer = &task.command.prefer;
    if prefer.respond_async && prefer.wait.is_none() {
        Box::pin(task.respond_accepted(write)).await;
    }
    task.session.set_deadline(task.send_deadline());
    let is_queued = planned.completion == Completion::Queued;
    let result = {
        let sending = task.session.send(planned.request);
        match prefer.wait.filter(|_| prefer.respond_async) {
            Some(wait) => Box::pin(send_with_early_accept(task, task.started_at + wait, sending, write)).await,
            None => sending.await,
        }
    };
    let accepted_by_vendor = is_queued && result.is_ok();
    let resolution = match result {
        Ok(response) => on_success(task, write, &response, is_queued).await,
        Err(fault) => Box::pin(on_fault(task, write, fault)).await,
    };
    write.calls.extend(task.session.take_calls());
    match resolution {
        Some(resolution) => finish(task, write, resolution).await,
        None => Box::pin(hand_off(task, guard, accepted_by_vendor)).await,
    }
}

/// Waits for the vendor's response, and responds 202 to the caller meanwhile if `until` comes
/// first.
async fn send_with_early_accept(
    task: &WriteTask<'_>,
    until: Instant,
    sending: impl Future<Output = Result<VendorResponse, VendorError>>,
    write: &mut InFlightWrite,
) -> Result<VendorResponse, VendorError> {
    tokio::pin!(sending);
    if let Ok(result) = tokio::time::timeout_at(until, &mut sending).await {
        return result;
    }
    task.respond_accepted(write).await;
    sending.await
}

/// The vendor reported success.
async fn on_success(
    task: &WriteTask<'_>,
    write: &InFlightWrite,
    response: &VendorResponse,
    is_queued: bool,
) -> Option<Resolution> {
    if let ExpectedState::Created { collection, .. } = &write.expected {
        return match task.system.adapter.parse_created(collection, response) {
            Ok(created) => Some(Resolution::Applied(ObservedRecord {
                record: created.record,
                ..ObservedRecord::created(created.id)
            })),
            Err(_) => Box::pin(await_resolution(task, write, task.context.deadline)).await,
        };
    }
    if !is_queued {
        return Some(Resolution::Applied(ObservedRecord::default()));
    }
    let until = task.wait_deadline(is_queued);
    if until <= Instant::now() { None } else { Box::pin(await_resolution(task, write, until)).await }
}

/// The vendor reported a fault, or its response was lost.
async fn on_fault(task: &WriteTask<'_>, write: &mut InFlightWrite, fault: VendorError) -> Option<Resolution> {
    let system = task.system;
    match (fault.kind, fault.effect) {
        (VendorErrorKind::Conflict | VendorErrorKind::Ambiguous, _) => {
            let resolution = probe(task).disambiguate_refusal(write, &fault, task.context.deadline).await;
            if resolution.is_none() && fault.kind == VendorErrorKind::Conflict {
                let problem = precondition_failed(task.gateway, system, DetectedBy::Vendor);
                return Some(Resolution::NotApplied(Box::new(with_vendor_info(problem, system, &fault))));
            }
            if resolution.is_none() {
                write.ambiguous_fault = Some(Box::new(fault));
            }
            resolution
        }
        (_, SideEffect::None) => Some(Resolution::NotApplied(Box::new(match write.id() {
            Some(id) => system.record_fault_to_problem(id, &fault),
            None => system.fault_to_problem(&fault),
        }))),
        (_, SideEffect::Unknown) => await_resolution(task, write, task.context.deadline).await,
    }
}

fn probe<'t>(task: &'t WriteTask<'_>) -> OutcomeProbe<'t> {
    OutcomeProbe { gateway: task.gateway, system: task.system, session: &task.session }
}

/// Polls for the outcome while the caller waits. If `completion_timeout` ends before that, the
/// write ends with a final probe.
async fn await_resolution(task: &WriteTask<'_>, write: &InFlightWrite, until: Instant) -> Option<Resolution> {
    let completion_deadline = Instant::now() + write.time_left(task.system.policy.completion_timeout);
    let resolution = probe(task).poll_until_resolved(write, until.min(completion_deadline), MIN_PROBE_TIME).await;
    if resolution.is_none() && completion_deadline < until {
        let deadline = task.context.deadline.max(Instant::now() + MIN_PROBE_TIME);
        return Some(probe(task).final_probe(write, deadline).await);
    }
    resolution
}

/// The write is resolved in the caller's time.
async fn finish(task: &WriteTask<'_>, write: &mut InFlightWrite, resolution: Resolution) -> WriteOutcome {
    let (resolution, view) = match resolution {
        Resolution::Applied(observed) => verify_applied(&probe(task), write, observed, task.context.deadline).await,
        other => (other, None),
    };
    write.calls.extend(task.session.take_calls());
    record_outcome(task.gateway, task.system, write, resolution, view).await
}

/// The write is not resolved in the caller's time, and the reconciler goes on. A 202 requires that
/// the vendor has accepted the write, or that the caller prefers not to wait for it.
async fn hand_off(task: &WriteTask<'_>, mut guard: ReconcileOnDrop<'_>, accepted_by_vendor: bool) -> WriteOutcome {
    let write = &mut guard.write;
    let outcome = if accepted_by_vendor || task.command.prefer.respond_async {
        write.response = ResponseState::Accepted;
        WriteOutcome::Success(accepted_success(write))
    } else {
        WriteOutcome::Problem(Box::new(outcome_unknown(task.system, &write.operation)))
    };
    task.save_interim_outcome(write, &outcome).await;
    task.handed_off.set(true);
    drop(guard);
    outcome
}
