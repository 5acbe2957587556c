//! The end of a write: its outcome in the store and the ledger, and the outcome that its caller and
//! its `Idempotency-Key` get.

use std::sync::Arc;
use std::time::Duration;

use super::command::Operator;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::not_applied_problem::not_applied_problem;
use super::outcome::{SuccessBody, WriteOutcome, WriteSuccess};
use super::probe::Finding;
use super::problems::{contended, outcome_stays_unknown, outcome_unknown};
use super::resolve::Resolution;
use super::write_services::WriteServices;
use super::write_task::accepted_success;
use crate::journal::{self, InterimResponse, Verdict};
use crate::metrics::{PlanOutcome, RebaseOutcome};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, ObservedState, OperationState, Warning};
use crate::system::{RecordView, System};

/// Ends the operation with one store call, which also ends its lease and completes its key.
///
/// If the store is unavailable it keeps the outcome in memory and persists it later. An applied
/// write is reported anyway. A write that was not applied is reported as such only once no crash
/// can undo it: a process that finds the intent without an outcome would send it again.
pub(super) async fn record_outcome(
    services: &WriteServices,
    system: &System,
    write: &mut InFlightWrite,
    finding: Finding,
) -> WriteOutcome {
    let result = build_result(services, system, write, finding).await;
    let changes_unknown = result.state == OperationState::Unknown || write.response == Some(InterimResponse::Unknown);
    update_metrics(services, system, write, result.state);
    let (stored, outcome) = to_stored_outcome(system, write, result);
    let finishing = services.journal.finish(stored);
    write.recorded = true;
    let is_authoritative = finishing.await.unwrap_or_else(|error| {
        tracing::error!(operation = %write.operation, system = %system.name, %error, "outcome not stored yet");
        matches!(outcome, WriteOutcome::Success(_))
    });
    if changes_unknown {
        services.unknown_writes_changed.notify_one();
    }
    if is_authoritative {
        return outcome;
    }
    // Either the store has failed, or another process has adopted the write and may know more.
    outcome_unknown(system, &write.operation).into()
}

fn update_metrics(services: &WriteServices, system: &System, write: &InFlightWrite, state: OperationState) {
    if !write.has_ended_elsewhere {
        services.count_finished(system, write, state == OperationState::Unknown);
    }
    if state == OperationState::Applied {
        if write.rebased.is_some() {
            services.metrics.rebase(system.index, RebaseOutcome::Applied);
        }
        if write.has_if_plan {
            services.metrics.plan(system.index, PlanOutcome::Applied);
        }
        for loss in system.adapter.capabilities().losses {
            if write.losses.iter().any(|name| name == loss.name) {
                services.metrics.loss_accepted(system.index, loss.name);
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

async fn build_result(
    services: &WriteServices,
    system: &System,
    write: &mut InFlightWrite,
    finding: Finding,
) -> FinalResult {
    let (state, observed, problem) = match finding.resolution {
        Resolution::Applied => return build_success(system, write, &finding),
        Resolution::NotApplied(reason) => {
            let problem = not_applied_problem(services, system, write, reason, finding).await;
            (OperationState::NotApplied, None, problem)
        }
        Resolution::Unknown(observed) => {
            (OperationState::Unknown, observed, outcome_stays_unknown(system, &write.operation))
        }
        Resolution::Open => (OperationState::Unknown, None, outcome_stays_unknown(system, &write.operation)),
    };
    let outcome = problem.operation(&write.operation).into();
    FinalResult { state, etag: None, warnings: Vec::new(), observed, outcome }
}

fn build_success(system: &System, write: &mut InFlightWrite, finding: &Finding) -> FinalResult {
    if finding.created_id.is_some() {
        write.created_id.clone_from(&finding.created_id);
    }
    let mut warnings = write.known_warnings();
    warnings.extend(finding.warnings.iter().cloned());
    let mut etag = confirmed_etag(system, write, finding);
    let body = match view(system, write, finding, &warnings) {
        Some(mut record) => {
            record.warnings.append(&mut warnings);
            warnings.clone_from(&record.warnings);
            if write.action == Action::Create {
                etag.clone_from(&record.etag);
                SuccessBody::Created(Box::new(record))
            } else {
                SuccessBody::Record(Box::new(record))
            }
        }
        None => SuccessBody::NoContent,
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

/// The record in the response: of a create always, else if the caller prefers it or there are
/// warnings to return.
fn view(system: &System, write: &InFlightWrite, finding: &Finding, warnings: &[Warning]) -> Option<RecordView> {
    let id = write.id()?;
    match (&finding.record, &write.expected) {
        (Some(record), expected) => {
            let is_create = matches!(expected, ExpectedState::Created { .. });
            // The values were not checked, so the vendor's warnings are returned.
            let is_flagged = write.needs_read_back && !record.warnings.is_empty();
            let is_needed = is_create || write.prefer.return_representation || !warnings.is_empty() || is_flagged;
            is_needed.then(|| system.to_view(id, record, None))
        }
        (None, ExpectedState::Created { fields, .. }) => Some(system.view_from_request(id, fields)),
        (None, _) => None,
    }
}

/// The ETag of the state that this write made, where that is proven (http-rules 74, 75): the state
/// is the predicted one, by its content or by a number that only this write can have made.
fn confirmed_etag(system: &System, write: &InFlightWrite, finding: &Finding) -> Option<String> {
    // The vendor's response contains the version. Where it is not the one that this write makes,
    // another write has followed already.
    if let (Some(version), Some(id)) = (&finding.version, write.id()) {
        let shown = system.tag(id, version).to_header();
        return write.etag_after.as_ref().is_none_or(|own| *own == shown).then_some(shown);
    }
    let record = finding.record.as_ref()?;
    let is_predicted = system.is_current(write.etag_after.as_deref(), write.id()?, record);
    is_predicted.then(|| write.etag_after.clone()).flatten()
}

/// What a probe has found after the write had ended `unknown`; `None` = nothing that is certain.
pub(super) async fn late_verdict(
    services: &WriteServices,
    system: &System,
    write: &mut InFlightWrite,
    finding: Finding,
    operator: &Operator,
) -> Option<Verdict> {
    let FinalResult { state, etag, warnings, outcome, .. } = build_result(services, system, write, finding).await;
    matches!(state, OperationState::Applied | OperationState::NotApplied).then(|| Verdict {
        operation: write.operation.clone(),
        state,
        caller: Arc::clone(&operator.caller.0),
        request_id: Arc::clone(&operator.request_id.0),
        is_by_hand: false,
        note: None,
        record: write.created_id.as_ref().map(|id| id.as_str().to_owned()),
        etag,
        warnings,
        replay_json: stored_replay(write, &outcome),
        min_age: Duration::ZERO,
    })
}

/// The outcome for the store, and the outcome for the caller.
fn to_stored_outcome(
    system: &System,
    write: &mut InFlightWrite,
    result: FinalResult,
) -> (Arc<journal::Outcome>, WriteOutcome) {
    let FinalResult { state, etag, warnings, observed, outcome } = result;
    let problem = match &outcome {
        WriteOutcome::Problem(problem) if is_if_match_any_conflict(write, problem) => {
            Some(Box::new(contended(system).operation(&write.operation)))
        }
        WriteOutcome::Problem(problem) => Some(problem.clone()),
        WriteOutcome::Success(_) => None,
    };
    let stored = journal::Outcome {
        operation: write.operation.clone(),
        state,
        record: write.created_id.as_ref().map(|id| id.as_str().to_owned()),
        etag,
        warnings,
        problem: problem.as_ref().map(|problem| problem.to_stored_json(Some(&write.path()), Some(&write.request_id))),
        problem_name: problem.map(|problem| problem.kind.as_str().to_owned()),
        observed,
        calls: std::mem::take(&mut write.calls),
        losses: write.losses.clone(),
        replay_json: stored_replay(write, &outcome),
        lease: write.lease.take(),
    };
    (Arc::new(stored), outcome)
}

/// The JSON that the write's `Idempotency-Key` replays; `None` releases the key, so that a
/// repetition runs (contract 4.5). A plan that is claimed is not replayed, but refused.
fn stored_replay(write: &InFlightWrite, outcome: &WriteOutcome) -> Option<String> {
    if write.claims_plan {
        let may_be_made = match outcome {
            WriteOutcome::Success(_) => true,
            WriteOutcome::Problem(problem) => problem.kind == ProblemKind::OutcomeUnknown,
        };
        return serde_json::to_string(outcome).ok().filter(|_| may_be_made);
    }
    if !write.has_idempotency_key {
        return None;
    }
    let replayed = match outcome {
        _ if write.response == Some(InterimResponse::Accepted) => &WriteOutcome::Success(accepted_success(write)),
        WriteOutcome::Success(_) => outcome,
        WriteOutcome::Problem(problem) => {
            let status = problem.kind.spec().status;
            let is_final = matches!(status, 404 | 412 | 422) || problem.kind == ProblemKind::OutcomeUnknown;
            // The pipeline tries these conflicts again under the same key.
            (is_final && !is_retried_conflict(write, problem)).then_some(outcome)?
        }
    };
    serde_json::to_string(replayed).ok()
}

/// Whether another writer changed the record between read and write, for a caller whose write is
/// then tried again.
fn is_retried_conflict(write: &InFlightWrite, problem: &Problem) -> bool {
    (write.if_match_any || write.prefer.rebase) && problem.kind == ProblemKind::PreconditionFailed
}

/// Whether another writer changed the record, for a write with `If-Match: *`.
fn is_if_match_any_conflict(write: &InFlightWrite, problem: &Problem) -> bool {
    write.if_match_any && problem.kind == ProblemKind::PreconditionFailed
}
