//! The end of a write: its outcome in the store and the ledger, and the verdict its caller (and its key) gets.

use std::sync::Arc;

use super::line::BUSY_AFTER;
use super::pending::{CallerTold, Pending};
use super::settle::{Seen, Settled};
use super::{Done, Gateway, Record, System, Verdict, Written};
use crate::problem::{Problem, ProblemName};
use crate::record::{Action, Observed, OperationState, Stored, Warning};
use crate::store::Outcome;

impl Gateway {
    /// Settles the operation: one store call, after which nothing is left of the write but its outcome.
    ///
    /// A store that is away keeps the outcome in memory and writes it as soon as it can. What was done is done, so that is told;
    /// but that it was not done is told only when no crash can undo it: a process that found the intent alone would send it again.
    pub(super) async fn conclude(
        &self,
        system: &System,
        pending: &mut Pending,
        settled: Settled,
        shown: Option<Record>,
    ) -> Verdict {
        let (outcome, verdict) = ended(system, pending, settled, shown);
        self.count_end(system, pending, outcome.state);
        let stored = self.store.finish(outcome);
        pending.concluded = true;
        let stands = stored.await.unwrap_or_else(|error| {
            tracing::error!(operation = %pending.operation, system = %system.name, %error, "an outcome could not be stored yet");
            matches!(verdict, Verdict::Written(_))
        });
        // Not before the store knows which record it made.
        self.creates.ended(&pending.operation);
        if stands {
            return verdict;
        }
        // Or this process was away for so long that another one has taken the write over, and may know more.
        Verdict::Problem(Box::new(outcome_unknown(system, pending, None)))
    }

    fn count_end(&self, system: &System, pending: &Pending, state: OperationState) {
        self.meter.operations_running(system.index, -1);
        if pending.told == CallerTold::Unknown {
            self.meter.writes_unknown(system.index, -1);
        }
        if state == OperationState::Applied {
            for loss in system.adapter.profile().losses {
                if pending.losses.iter().any(|name| name == loss.name) {
                    self.meter.loss_accepted(system.index, loss.name);
                }
            }
        }
    }
}

/// The outcome as the store is to keep it, and the verdict.
fn ended(system: &System, pending: &mut Pending, settled: Settled, shown: Option<Record>) -> (Arc<Outcome>, Verdict) {
    let (state, etag, warnings, observed, mut verdict) = match settled {
        Settled::Applied(seen) => applied(system, pending, seen, shown),
        Settled::NotApplied(problem) => (OperationState::NotApplied, None, Vec::new(), None, Verdict::Problem(problem)),
        Settled::Unknown(observed) => {
            let problem = outcome_unknown(system, pending, None);
            (OperationState::Unknown, None, Vec::new(), observed, Verdict::Problem(Box::new(problem)))
        }
    };
    if let Verdict::Problem(problem) = &mut verdict {
        problem.operation = Some(pending.operation.clone());
    }
    let problem = match &verdict {
        Verdict::Problem(problem) if lost_a_race(pending, problem) => {
            Some(Box::new(others_were_faster(system).operation(&pending.operation)))
        }
        Verdict::Problem(problem) => Some(problem.clone()),
        Verdict::Written(_) => None,
    };
    let outcome = Outcome {
        operation: pending.operation.clone(),
        state,
        record: pending.made.as_ref().map(|id| id.as_str().to_owned()),
        etag,
        warnings,
        problem: problem.as_ref().map(|problem| problem.remembered(Some(&pending.path()), pending.asked_by())),
        problem_name: problem.map(|problem| problem.name.as_str().to_owned()),
        observed,
        calls: std::mem::take(&mut pending.calls),
        losses: pending.losses.clone(),
        verdict: kept_for_the_key(pending, &verdict),
        lease: pending.lease.take(),
    };
    (Arc::new(outcome), verdict)
}

/// A write that was done, as its caller is told.
fn applied(
    system: &System,
    pending: &mut Pending,
    seen: Seen,
    shown: Option<Record>,
) -> (OperationState, Option<String>, Vec<Warning>, Option<Observed>, Verdict) {
    if let Some(made) = &seen.made {
        pending.made = Some(made.clone());
    }
    let mut warnings = pending.loss_warnings();
    warnings.extend(seen.warnings);
    let etag = seen.stored.as_ref().and_then(|stored| proven_tag(system, pending, stored));
    let shown = shown.or_else(|| {
        let worth_showing = !warnings.is_empty();
        let stored = seen.stored.as_ref().filter(|_| worth_showing)?;
        Some(system.show(pending.id()?, stored, None))
    });
    let done = match shown {
        Some(mut record) => {
            record.warnings.extend(warnings.iter().cloned());
            warnings.clone_from(&record.warnings);
            let created = pending.action == Action::Create;
            if created { Done::Created(Box::new(record)) } else { Done::Shown(Box::new(record)) }
        }
        None => Done::Silent,
    };
    let etag = match &done {
        Done::Created(record) => record.etag.clone(),
        _ => etag,
    };
    let written = Written {
        preference_applied: pending.preference_applied(&done),
        done,
        operation: Some(pending.operation.clone()),
        guarantee: (pending.action != Action::Create).then_some(pending.guarantee),
        etag: etag.clone(),
    };
    (OperationState::Applied, etag, warnings, None, Verdict::Written(written))
}

/// The tag of the state this write made, only where that is proven (http-rules 74, 75): the state's content is foretold, or
/// its number is and nobody else can have made it.
fn proven_tag(system: &System, pending: &Pending, stored: &Stored) -> Option<String> {
    let now = system.tag(pending.id()?, &stored.version()).text();
    (Some(&now) == pending.after.as_ref()).then_some(now)
}

/// What an `Idempotency-Key` replays; `None` = the key is forgotten, so that a repeat runs (contract 4.5).
fn kept_for_the_key(pending: &Pending, verdict: &Verdict) -> Option<String> {
    if !pending.keyed {
        return None;
    }
    let kept = match verdict {
        _ if pending.told == CallerTold::Accepted => &Verdict::Written(accepted(pending)),
        Verdict::Written(_) => verdict,
        Verdict::Problem(problem) => {
            let status = problem.name.row().status;
            let settled = matches!(status, 404 | 412 | 422) || problem.name == ProblemName::OutcomeUnknown;
            // It is tried again under the same key.
            (settled && !lost_a_race(pending, problem)).then_some(verdict)?
        }
    };
    serde_json::to_string(kept).ok()
}

/// Whether others changed the record between the gateway's look and its write, for somebody who asked for any state.
fn lost_a_race(pending: &Pending, problem: &Problem) -> bool {
    pending.any_state && problem.name == ProblemName::PreconditionFailed
}

/// What a lost race is to somebody who asked for any state: no precondition has failed, and nothing was done.
pub(super) fn others_were_faster(system: &System) -> Problem {
    let detail = "other writers changed the record each time the gateway had read it";
    ProblemName::VendorBusy.with(detail).system(system.name.as_str()).retry_after(BUSY_AFTER)
}

/// The 202 of a write that goes on.
pub(super) fn accepted(pending: &Pending) -> Written {
    Written {
        done: Done::Accepted,
        operation: Some(pending.operation.clone()),
        guarantee: (pending.action != Action::Create).then_some(pending.guarantee),
        etag: None,
        preference_applied: pending.preference_applied(&Done::Accepted),
    }
}

/// `outcome-unknown`, linking the operation that settles it.
pub(super) fn outcome_unknown(system: &System, pending: &Pending, said: Option<&Problem>) -> Problem {
    let detail = "the write was sent, and whether the vendor did it is not known; the operation tells when it is. \
                  Do not send it again before";
    let mut problem =
        ProblemName::OutcomeUnknown.with(detail).system(system.name.as_str()).operation(&pending.operation);
    problem.vendor = said.and_then(|problem| problem.vendor.clone());
    problem
}
