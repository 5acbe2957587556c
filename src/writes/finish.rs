//! Step 5. The write is resolved in the caller's time, or handed over to the reconciler.

use std::time::Duration;

use tokio::time::Instant;

use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::interim_outcome::save_interim_outcome;
use super::outcome::WriteOutcome;
use super::probe::{Finding, OutcomeProbe};
use super::problems::outcome_unknown;
use super::reconcile_on_drop::ReconcileOnDrop;
use super::record_outcome::record_outcome;
use super::resolve::{NotAppliedReason, Resolution, SendResult};
use super::send::Sent;
use super::verify_applied::verify_applied;
use super::write_task::{WriteTask, accepted_success};
use crate::journal::InterimResponse;
use crate::record::{RecordId, SideEffect, VendorError, Version};
use crate::system::System;
use crate::transport::VendorResponse;
use crate::vendors::UpdatedRecord;

/// How much longer than the caller's deadline the last probe may take.
const CALLER_PROBE_GRACE: Duration = Duration::from_millis(300);

/// Determines the outcome of the write, records it, and returns what the caller gets.
pub(super) async fn finish(sent: Sent<'_>) -> WriteOutcome {
    let Sent { task, mut guard, result, is_queued } = sent;
    let write = &mut guard.write;
    let accepted_by_vendor = is_queued && result.is_ok();
    let finding = match result {
        Ok(response) => on_success(task, write, &response, is_queued).await,
        Err(fault) => Box::pin(on_vendor_error(task, write, fault)).await,
    };
    let finding = verify_applied(&probe(task), write, finding, task.context.deadline).await;
    write.calls.extend(task.session.take_calls());
    if finding.resolution == Resolution::Open {
        write.ambiguous_error = finding.fault;
        return Box::pin(hand_off(task, guard, accepted_by_vendor)).await;
    }
    record_outcome(task.services, task.system, write, finding).await
}

/// The vendor reported success.
async fn on_success(
    task: &WriteTask<'_>,
    write: &mut InFlightWrite,
    response: &VendorResponse,
    is_queued: bool,
) -> Finding {
    if let ExpectedState::Created { collection, .. } = &write.expected {
        return match task.system.adapter.parse_created(collection, response) {
            Ok(created) => {
                Finding { record: created.record, created_id: Some(created.id), ..Resolution::Applied.into() }
            }
            Err(_) => Box::pin(await_resolution(task, write, task.context.deadline)).await,
        };
    }
    if !is_queued {
        let updated_id = write.id().filter(|_| write.is_update());
        return updated_id
            .map_or(Resolution::Applied.into(), |id| read_update_response(task.system, write, id, response));
    }
    let until = task.queue_deadline();
    if until <= Instant::now() {
        return Resolution::Open.into();
    }
    Box::pin(await_resolution(task, write, until)).await
}

/// What the response to an update shows. A version from before the write is not the write's own,
/// whatever the status says.
fn read_update_response(system: &System, write: &InFlightWrite, id: &RecordId, response: &VendorResponse) -> Finding {
    let UpdatedRecord { version, record } = system.adapter.parse_updated(id, response);
    let version = version.or_else(|| record.as_ref().and_then(|record| record.version.clone()));
    let is_old = |version: &Version| write.etag_before == Some(system.tag(id, version).to_header());
    let shows_old_version = version.as_ref().is_some_and(is_old);
    Finding {
        needs_verification: shows_old_version || record.is_some(),
        version: version.filter(|_| !shows_old_version),
        record,
        ..Resolution::Applied.into()
    }
}

/// The vendor reported a fault, or its response was lost.
async fn on_vendor_error(task: &WriteTask<'_>, write: &mut InFlightWrite, fault: VendorError) -> Finding {
    match (SendResult::of_refusal(&fault), fault.effect) {
        (Some(send_result), _) => {
            let finding = probe(task).explain_refusal(write, &fault, task.context.deadline).await;
            match (send_result, finding.resolution) {
                // The vendor's text suffices where the record cannot be read.
                (SendResult::Conflict | SendResult::ConflictStatus, Resolution::Open) => {
                    Finding { resolution: Resolution::NotApplied(NotAppliedReason::Conflict), ..finding }
                }
                // One failure of the vendor is no verdict on a delete that may be repeated.
                (_, Resolution::NotApplied(NotAppliedReason::Rejected)) => {
                    let repeated = probe(task).repeat_delete(write, finding, task.context.deadline).await;
                    match (repeated.resolution, &repeated.fault) {
                        (Resolution::Open, None) => await_resolution(task, write, task.context.deadline).await,
                        _ => repeated,
                    }
                }
                _ => finding,
            }
        }
        (None, SideEffect::None) => {
            Finding { fault: Some(Box::new(fault)), ..Resolution::NotApplied(NotAppliedReason::AsReported).into() }
        }
        (None, SideEffect::Unknown) => await_resolution(task, write, task.context.deadline).await,
    }
}

fn probe<'t>(task: &'t WriteTask<'_>) -> OutcomeProbe<'t> {
    OutcomeProbe { services: task.services, system: task.system, session: &task.session }
}

/// Polls for the outcome while the caller waits. If the write's own time ends before that, it ends
/// with a final probe.
async fn await_resolution(task: &WriteTask<'_>, write: &mut InFlightWrite, until: Instant) -> Finding {
    write.lost_at = Some(Instant::now());
    let write_deadline = Instant::now() + write.time_left(&task.system.policy);
    let finding = probe(task).poll_until_resolved(write, until.min(write_deadline), CALLER_PROBE_GRACE).await;
    if finding.resolution == Resolution::Open && write_deadline < until {
        let deadline = task.context.deadline.max(Instant::now() + CALLER_PROBE_GRACE);
        return probe(task).final_probe(write, deadline).await;
    }
    finding
}

/// The write is not resolved by the caller's deadline, and the reconciler continues. A 202 requires
/// that the vendor has accepted the write, or that the caller prefers not to wait for it.
async fn hand_off(task: &WriteTask<'_>, mut guard: ReconcileOnDrop<'_>, accepted_by_vendor: bool) -> WriteOutcome {
    let write = &mut guard.write;
    let outcome = if accepted_by_vendor || task.command.prefer.respond_async {
        write.response = Some(InterimResponse::Accepted);
        WriteOutcome::Success(accepted_success(write))
    } else {
        outcome_unknown(task.system, &write.operation).into()
    };
    let journal = &task.services.journal;
    match write.response {
        Some(InterimResponse::Accepted) if write.claims_key() => {
            save_interim_outcome(journal, write, InterimResponse::Accepted, &outcome).await;
        }
        Some(InterimResponse::Accepted) => {}
        _ => {
            write.blocks_record = true;
            save_interim_outcome(journal, write, InterimResponse::Unknown, &outcome).await;
        }
    }
    task.handed_off.set(true);
    drop(guard);
    outcome
}
