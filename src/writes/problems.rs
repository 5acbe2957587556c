//! The problems that the write pipeline itself reports.

use std::time::Duration;

use crate::journal::JournalError;
use crate::metrics::{DetectedBy, Metrics};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, OperationId, PlanPart};
use crate::system::System;

/// `Retry-After` while other writers keep changing the record.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// `Retry-After` while a write runs, or while the store is unavailable.
const RUNNING_RETRY_AFTER: Duration = Duration::from_secs(2);

/// `precondition-failed`, counted.
pub(super) fn precondition_failed(metrics: &Metrics, system: &System, detected_by: DetectedBy) -> Problem {
    metrics.precondition_failure(system.index, detected_by);
    let detail = "The record does not match the request's precondition: it was changed meanwhile. Read the record \
                  again and repeat the change with its new ETag.";
    ProblemKind::PreconditionFailed.with_detail(detail).system(system.name.as_str())
}

/// `guarantee-unavailable`: the vendor does not compare versions for this action.
pub(super) fn guarantee_unavailable(system: &System, action: Action) -> Problem {
    if action == Action::Create {
        let detail = "A create compares no versions, because there is no record yet. Omit Require-Guarantee; \
                      Idempotency-Key creates the record only once.";
        return ProblemKind::GuaranteeUnavailable.with_detail(detail).system(system.name.as_str());
    }
    let detail = format!(
        "{} does not compare versions on {}. The gateway compares under a lease (guarded), which does not exclude a \
         change made elsewhere within that window. Omit Require-Guarantee to accept this.",
        system.name,
        action.as_str()
    );
    ProblemKind::GuaranteeUnavailable.with_detail(detail).system(system.name.as_str())
}

/// `operation-in-progress`: another write of the record runs, or another request with the same key.
pub(super) fn write_in_progress(system: &System, operation: Option<&OperationId>) -> Problem {
    let detail = match operation {
        Some(operation) => format!("Operation {operation} is still running. Repeat the request when it has ended."),
        None => "Another write of this record is being sent. Repeat the request when it has ended.".to_owned(),
    };
    let mut problem = ProblemKind::OperationInProgress.with_detail(detail).system(system.name.as_str());
    problem.operation = operation.cloned();
    problem.retry_after(RUNNING_RETRY_AFTER)
}

/// `operation-in-progress`: the first request with this key has no stored intent yet.
pub(super) fn duplicate_in_progress(system: &System) -> Problem {
    let detail = "A request with this Idempotency-Key is still running. Repeat the request when it has ended.";
    ProblemKind::OperationInProgress.with_detail(detail).system(system.name.as_str()).retry_after(RUNNING_RETRY_AFTER)
}

/// `contended`: a caller that accepts any state has no precondition that could have failed.
pub(super) fn contended(system: &System) -> Problem {
    let detail = "On every attempt another writer changed the record between the gateway's read and its write, so \
                  nothing was written. Repeat the request.";
    ProblemKind::Contended.with_detail(detail).system(system.name.as_str()).retry_after(BUSY_RETRY_AFTER)
}

/// `plan-changed`: the write is not, or no longer, the one that was previewed.
pub(super) fn plan_changed(system: &System, differs: Vec<PlanPart>) -> Problem {
    let words: Vec<&str> = differs.iter().map(|part| part.as_str()).collect();
    let detail = format!(
        "The write differs from its plan in {}. Nothing was sent. Preview it again and compare.",
        words.join(", ")
    );
    let problem = ProblemKind::PlanChanged.with_detail(detail).system(system.name.as_str());
    Problem { differs, ..problem }
}

/// `plan-changed`: the write was sent before, as this operation, and the record has its old values.
pub(super) fn plan_sent_before(system: &System, is_applied: bool, operation: Option<OperationId>) -> Problem {
    let detail = if is_applied {
        "This plan was applied before, and the record has the values of that time again. Nothing was sent. Preview \
         the write again."
    } else {
        "This plan was sent before, and it is not known whether it was applied. Nothing was sent now. Look at the \
         operation of that write, then preview the write again."
    };
    Problem { detail: detail.to_owned(), operation, ..plan_changed(system, vec![PlanPart::BasedOn]) }
}

/// `overloaded`: the lease was lost on every attempt.
pub(super) fn restarts_exhausted() -> Problem {
    let detail = "On every attempt the gateway lost its lease on the record, so nothing was sent. Repeat the request.";
    ProblemKind::Overloaded.with_detail(detail).retry_after(BUSY_RETRY_AFTER)
}

/// `outcome-unknown`, with the operation that will have the outcome.
pub(super) fn outcome_unknown(system: &System, operation: &OperationId) -> Problem {
    let detail = "The write may have reached the vendor, and it is not known yet whether it was applied. Follow the \
                  operation, and do not send the write again before it has ended.";
    ProblemKind::OutcomeUnknown.with_detail(detail).system(system.name.as_str()).operation(operation)
}

/// `outcome-unknown`, of an operation that has ended without an outcome.
pub(super) fn outcome_stays_unknown(system: &System, operation: &OperationId) -> Problem {
    let detail = "The write may have reached the vendor. The gateway could not find out whether it was applied, and the \
                  operation has ended. Read the record before you send the write again. An operator can have the \
                  outcome checked once more, or record it: in the console, or with POST to `/settle` or `/resolve` \
                  of the operation.";
    ProblemKind::OutcomeUnknown.with_detail(detail).system(system.name.as_str()).operation(operation)
}

/// Without a stored intent nothing is sent. If the store may have the intent after all, the problem
/// is `outcome-unknown`: a process that finds the operation running would send the write.
pub(super) fn begin_failed(system: &System, operation: &OperationId, error: &JournalError) -> Problem {
    if *error != JournalError::CommitUnknown {
        return write_not_begun(error);
    }
    let detail = "The gateway's store did not confirm the intent in time, so nothing was sent to the vendor. The \
                  operation will report this, unless the gateway stops or loses its store before: then the next \
                  process resolves the write.";
    let problem = ProblemKind::OutcomeUnknown.with_detail(detail).system(system.name.as_str());
    problem.operation(operation).with_cause(error)
}

/// `overloaded`: without the store no write begins.
pub(super) fn write_not_begun(error: &JournalError) -> Problem {
    let detail = "The gateway's store cannot be written at the moment, so the write was not begun and nothing was \
                  sent to the vendor. Repeat the request later.";
    ProblemKind::Overloaded.with_detail(detail).retry_after(RUNNING_RETRY_AFTER).with_cause(error)
}

/// `overloaded`: nothing was sent.
pub(super) fn overloaded(detail: &str) -> Problem {
    ProblemKind::Overloaded.with_detail(detail).retry_after(BUSY_RETRY_AFTER)
}

/// `overloaded`, because the process stops.
pub(super) fn shutting_down() -> Problem {
    overloaded("The gateway is shutting down, so nothing was sent. Repeat the request.")
}
