//! The end of a write: its outcome in the store and the ledger, and the verdict its caller (and its key) gets.

use std::sync::Arc;

use super::in_flight_write::{InFlightWrite, ResponseState};
use super::pipeline::BUSY_RETRY_AFTER;
use super::reconcile::{ObservedRecord, Resolution};
use super::{Gateway, RecordView, SuccessBody, System, WriteOutcome, WriteSuccess};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, ObservedState, OperationState, VendorRecord, Warning};
use crate::store::Outcome;

impl Gateway {
    /// Settles the operation: one store call, after which nothing is left of the write but its outcome.
    ///
    /// A store that is away keeps the outcome in memory and writes it as soon as it can. What was done is done, so that is told;
    /// but that it was not done is told only when no crash can undo it: a process that found the intent alone would send it again.
    pub(super) async fn record_outcome(
        &self,
        system: &System,
        pending: &mut InFlightWrite,
        settled: Resolution,
        shown: Option<RecordView>,
    ) -> WriteOutcome {
        let (outcome, verdict) = build_outcome(system, pending, settled, shown);
        self.update_metrics(system, pending, outcome.state);
        let stored = self.store.finish(outcome);
        pending.recorded = true;
        let stands = stored.await.unwrap_or_else(|error| {
            tracing::error!(operation = %pending.operation, system = %system.name, %error, "an outcome could not be stored yet");
            matches!(verdict, WriteOutcome::Success(_))
        });
        // Not before the store knows which record it made.
        self.in_flight_creates.remove(&pending.operation);
        if stands {
            return verdict;
        }
        // Or this process was away for so long that another one has taken the write over, and may know more.
        WriteOutcome::Problem(Box::new(outcome_unknown(system, pending, None)))
    }

    fn update_metrics(&self, system: &System, pending: &InFlightWrite, state: OperationState) {
        self.metrics.operations_running(system.index, -1);
        if pending.response == ResponseState::Unknown {
            self.metrics.writes_unknown(system.index, -1);
        }
        if state == OperationState::Applied {
            for loss in system.adapter.capabilities().losses {
                if pending.losses.iter().any(|name| name == loss.name) {
                    self.metrics.loss_accepted(system.index, loss.name);
                }
            }
        }
    }
}

/// The outcome as the store is to keep it, and the verdict.
fn build_outcome(
    system: &System,
    pending: &mut InFlightWrite,
    settled: Resolution,
    shown: Option<RecordView>,
) -> (Arc<Outcome>, WriteOutcome) {
    let (state, etag, warnings, observed, mut verdict) = match settled {
        Resolution::Applied(seen) => build_success(system, pending, seen, shown),
        Resolution::NotApplied(problem) => {
            (OperationState::NotApplied, None, Vec::new(), None, WriteOutcome::Problem(problem))
        }
        Resolution::Unknown(observed) => {
            let problem = outcome_unknown(system, pending, None);
            (OperationState::Unknown, None, Vec::new(), observed, WriteOutcome::Problem(Box::new(problem)))
        }
    };
    if let WriteOutcome::Problem(problem) = &mut verdict {
        problem.operation = Some(pending.operation.clone());
    }
    let problem = match &verdict {
        WriteOutcome::Problem(problem) if is_star_conflict(pending, problem) => {
            Some(Box::new(star_retries_exhausted(system).operation(&pending.operation)))
        }
        WriteOutcome::Problem(problem) => Some(problem.clone()),
        WriteOutcome::Success(_) => None,
    };
    let outcome = Outcome {
        operation: pending.operation.clone(),
        state,
        record: pending.created_id.as_ref().map(|id| id.as_str().to_owned()),
        etag,
        warnings,
        problem: problem.as_ref().map(|problem| problem.to_stored_json(Some(&pending.path()), pending.request_id())),
        problem_name: problem.map(|problem| problem.name.as_str().to_owned()),
        observed,
        calls: std::mem::take(&mut pending.calls),
        losses: pending.losses.clone(),
        replay_json: replay_body(pending, &verdict),
        lease: pending.lease.take(),
    };
    (Arc::new(outcome), verdict)
}

/// A write that was done, as its caller is told.
fn build_success(
    system: &System,
    pending: &mut InFlightWrite,
    seen: ObservedRecord,
    shown: Option<RecordView>,
) -> (OperationState, Option<String>, Vec<Warning>, Option<ObservedState>, WriteOutcome) {
    if let Some(made) = &seen.created_id {
        pending.created_id = Some(made.clone());
    }
    let mut warnings = pending.loss_warnings();
    warnings.extend(seen.warnings);
    let etag = seen.record.as_ref().and_then(|stored| confirmed_etag(system, pending, stored));
    let shown = shown.or_else(|| {
        let worth_showing = !warnings.is_empty();
        let stored = seen.record.as_ref().filter(|_| worth_showing)?;
        Some(system.to_view(pending.id()?, stored, None))
    });
    let done = match shown {
        Some(mut record) => {
            record.warnings.extend(warnings.iter().cloned());
            warnings.clone_from(&record.warnings);
            let created = pending.action == Action::Create;
            if created { SuccessBody::Created(Box::new(record)) } else { SuccessBody::Record(Box::new(record)) }
        }
        None => SuccessBody::NoContent,
    };
    let etag = match &done {
        SuccessBody::Created(record) => record.etag.clone(),
        _ => etag,
    };
    let written = WriteSuccess {
        preference_applied: pending.preference_applied(&done),
        body: done,
        operation: Some(pending.operation.clone()),
        guarantee: (pending.action != Action::Create).then_some(pending.guarantee),
        etag: etag.clone(),
    };
    (OperationState::Applied, etag, warnings, None, WriteOutcome::Success(written))
}

/// The tag of the state this write made, only where that is proven (http-rules 74, 75): the state's content is foretold, or
/// its number is and nobody else can have made it.
fn confirmed_etag(system: &System, pending: &InFlightWrite, stored: &VendorRecord) -> Option<String> {
    let now = system.tag(pending.id()?, &stored.version()).to_header();
    (Some(&now) == pending.etag_after.as_ref()).then_some(now)
}

/// What an `Idempotency-Key` replays; `None` = the key is forgotten, so that a repeat runs (contract 4.5).
fn replay_body(pending: &InFlightWrite, verdict: &WriteOutcome) -> Option<String> {
    if !pending.has_idempotency_key {
        return None;
    }
    let kept = match verdict {
        _ if pending.response == ResponseState::Accepted => &WriteOutcome::Success(accepted_success(pending)),
        WriteOutcome::Success(_) => verdict,
        WriteOutcome::Problem(problem) => {
            let status = problem.name.spec().status;
            let settled = matches!(status, 404 | 412 | 422) || problem.name == ProblemKind::OutcomeUnknown;
            // It is tried again under the same key.
            (settled && !is_star_conflict(pending, problem)).then_some(verdict)?
        }
    };
    serde_json::to_string(kept).ok()
}

/// Whether others changed the record between the gateway's look and its write, for somebody who asked for any state.
fn is_star_conflict(pending: &InFlightWrite, problem: &Problem) -> bool {
    pending.if_match_any && problem.name == ProblemKind::PreconditionFailed
}

/// What a lost race is to somebody who asked for any state: no precondition has failed, and nothing was done.
pub(super) fn star_retries_exhausted(system: &System) -> Problem {
    let detail = "other writers changed the record each time the gateway had read it";
    ProblemKind::VendorBusy.with_detail(detail).system(system.name.as_str()).retry_after(BUSY_RETRY_AFTER)
}

/// The 202 of a write that goes on.
pub(super) fn accepted_success(pending: &InFlightWrite) -> WriteSuccess {
    WriteSuccess {
        body: SuccessBody::Accepted,
        operation: Some(pending.operation.clone()),
        guarantee: (pending.action != Action::Create).then_some(pending.guarantee),
        etag: None,
        preference_applied: pending.preference_applied(&SuccessBody::Accepted),
    }
}

/// `outcome-unknown`, linking the operation that settles it.
pub(super) fn outcome_unknown(system: &System, pending: &InFlightWrite, said: Option<&Problem>) -> Problem {
    let detail = "the write was sent, and whether the vendor did it is not known; the operation tells when it is. \
                  Do not send it again before";
    let mut problem =
        ProblemKind::OutcomeUnknown.with_detail(detail).system(system.name.as_str()).operation(&pending.operation);
    problem.vendor = said.and_then(|problem| problem.vendor.clone());
    problem
}
