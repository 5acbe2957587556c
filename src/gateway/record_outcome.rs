//! The end of a write: its outcome in the store and the ledger, and the outcome that its caller and
//! its `Idempotency-Key` get.

use std::sync::Arc;

use super::in_flight_write::{InFlightWrite, ResponseState};
use super::outcome::{RecordView, SuccessBody, WriteOutcome, WriteSuccess};
use super::resolve::{ObservedRecord, Resolution};
use super::state::GatewayState;
use super::system::System;
use super::write_problems::{outcome_unknown, star_retries_exhausted};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, ObservedState, OperationState, VendorRecord, Warning};
use crate::store;

/// Ends the operation with one store call, which also ends its lease and completes its key.
///
/// If the store is unavailable it keeps the outcome in memory and persists it later. An applied
/// write is reported anyway. A write that was not applied is reported as such only once no crash
/// can undo it: a process that finds the intent without an outcome would send it again.
pub(super) async fn record_outcome(
    gateway: &GatewayState,
    system: &System,
    write: &mut InFlightWrite,
    resolution: Resolution,
    view: Option<RecordView>,
) -> WriteOutcome {
    let (stored_outcome, outcome) = build_outcome(system, write, resolution, view);
    update_metrics(gateway, system, write, stored_outcome.state);
    let finishing = gateway.store.finish(stored_outcome);
    write.recorded = true;
    let is_authoritative = finishing.await.unwrap_or_else(|error| {
        tracing::error!(operation = %write.operation, system = %system.name, %error, "outcome not stored yet");
        matches!(outcome, WriteOutcome::Success(_))
    });
    // Only now does the store know which record a create made.
    gateway.in_flight_creates.remove(&write.operation);
    if is_authoritative {
        return outcome;
    }
    // Either the store has failed, or another process has adopted the write and may know more.
    WriteOutcome::Problem(Box::new(outcome_unknown(system, &write.operation)))
}

fn update_metrics(gateway: &GatewayState, system: &System, write: &InFlightWrite, state: OperationState) {
    gateway.metrics.operations_running(system.index, -1);
    if write.response == ResponseState::Unknown {
        gateway.metrics.writes_unknown(system.index, -1);
    }
    if state == OperationState::Applied {
        for loss in system.adapter.capabilities().losses {
            if write.losses.iter().any(|name| name == loss.name) {
                gateway.metrics.loss_accepted(system.index, loss.name);
            }
        }
    }
}

/// What a resolution is to the caller and to the operation.
struct FinalResult {
    state: OperationState,
    etag: Option<String>,
    warnings: Vec<Warning>,
    observed: Option<ObservedState>,
    outcome: WriteOutcome,
}

impl FinalResult {
    fn problem(state: OperationState, observed: Option<ObservedState>, problem: Box<Problem>) -> Self {
        Self { state, etag: None, warnings: Vec::new(), observed, outcome: WriteOutcome::Problem(problem) }
    }
}

/// The outcome for the store, and the outcome for the caller.
fn build_outcome(
    system: &System,
    write: &mut InFlightWrite,
    resolution: Resolution,
    view: Option<RecordView>,
) -> (Arc<store::Outcome>, WriteOutcome) {
    let FinalResult { state, etag, warnings, observed, mut outcome } = match resolution {
        Resolution::Applied(observed) => build_success(system, write, observed, view),
        Resolution::NotApplied(problem) => FinalResult::problem(OperationState::NotApplied, None, problem),
        Resolution::Unknown(observed) => {
            let problem = outcome_unknown(system, &write.operation);
            FinalResult::problem(OperationState::Unknown, observed, Box::new(problem))
        }
    };
    if let WriteOutcome::Problem(problem) = &mut outcome {
        problem.operation = Some(write.operation.clone());
    }
    let stored_problem = match &outcome {
        WriteOutcome::Problem(problem) if is_star_conflict(write, problem) => {
            Some(Box::new(star_retries_exhausted(system).operation(&write.operation)))
        }
        WriteOutcome::Problem(problem) => Some(problem.clone()),
        WriteOutcome::Success(_) => None,
    };
    let to_json = |problem: &Problem| problem.to_stored_json(Some(&write.path()), write.request_id());
    let stored = store::Outcome {
        operation: write.operation.clone(),
        state,
        record: write.created_id.as_ref().map(|id| id.as_str().to_owned()),
        etag,
        warnings,
        problem: stored_problem.as_deref().map(to_json),
        problem_name: stored_problem.map(|problem| problem.name.as_str().to_owned()),
        observed,
        calls: std::mem::take(&mut write.calls),
        losses: write.losses.clone(),
        replay_json: replay_body(write, &outcome),
        lease: write.lease.take(),
    };
    (Arc::new(stored), outcome)
}

fn build_success(
    system: &System,
    write: &mut InFlightWrite,
    observed: ObservedRecord,
    view: Option<RecordView>,
) -> FinalResult {
    if let Some(created) = &observed.created_id {
        write.created_id = Some(created.clone());
    }
    let mut warnings = write.loss_warnings();
    warnings.extend(observed.warnings);
    let etag = observed.record.as_ref().and_then(|stored| confirmed_etag(system, write, stored));
    // A response with warnings has the record even if the caller did not ask for it.
    let view = view.or_else(|| {
        let stored = observed.record.as_ref().filter(|_| !warnings.is_empty())?;
        Some(system.to_view(write.id()?, stored, None))
    });
    let body = match view {
        Some(mut record) => {
            record.warnings.extend(warnings.iter().cloned());
            warnings.clone_from(&record.warnings);
            let is_create = write.action == Action::Create;
            if is_create { SuccessBody::Created(Box::new(record)) } else { SuccessBody::Record(Box::new(record)) }
        }
        None => SuccessBody::NoContent,
    };
    let etag = match &body {
        SuccessBody::Created(record) => record.etag.clone(),
        _ => etag,
    };
    let success = WriteSuccess {
        preference_applied: write.preference_applied(&body),
        body,
        operation: Some(write.operation.clone()),
        guarantee: (write.action != Action::Create).then_some(write.guarantee),
        etag: etag.clone(),
    };
    let outcome = WriteOutcome::Success(success);
    FinalResult { state: OperationState::Applied, etag, warnings, observed: None, outcome }
}

/// The ETag of the state that this write made, where that is proven (http-rules 74, 75): the state
/// is the predicted one, by its content or by a number that only this write can have made.
fn confirmed_etag(system: &System, write: &InFlightWrite, stored: &VendorRecord) -> Option<String> {
    let etag_now = system.etag_header(write.id()?, stored);
    (Some(&etag_now) == write.etag_after.as_ref()).then_some(etag_now)
}

/// What the write's `Idempotency-Key` replays; `None` releases the key, so that a repetition runs
/// (contract 4.5).
fn replay_body(write: &InFlightWrite, outcome: &WriteOutcome) -> Option<String> {
    if !write.has_idempotency_key {
        return None;
    }
    let replayed = match outcome {
        _ if write.response == ResponseState::Accepted => &WriteOutcome::Success(accepted_success(write)),
        WriteOutcome::Success(_) => outcome,
        WriteOutcome::Problem(problem) => {
            let status = problem.name.spec().status;
            let is_final = matches!(status, 404 | 412 | 422) || problem.name == ProblemKind::OutcomeUnknown;
            // The pipeline tries a star conflict again under the same key.
            (is_final && !is_star_conflict(write, problem)).then_some(outcome)?
        }
    };
    serde_json::to_string(replayed).ok()
}

/// Whether another writer changed the record between read and write, for a caller that accepts any
/// state.
fn is_star_conflict(write: &InFlightWrite, problem: &Problem) -> bool {
    write.if_match_any && problem.name == ProblemKind::PreconditionFailed
}

/// The 202 of a write that goes on.
pub(super) fn accepted_success(write: &InFlightWrite) -> WriteSuccess {
    WriteSuccess {
        body: SuccessBody::Accepted,
        operation: Some(write.operation.clone()),
        guarantee: (write.action != Action::Create).then_some(write.guarantee),
        etag: None,
        preference_applied: write.preference_applied(&SuccessBody::Accepted),
    }
}
