//! The preview of a request that repeats another one: nothing is worked out, because nothing would
//! be sent.

use super::document::{ExpectedResponse, Preview, PreviewCompletion};
use crate::problem::{Problem, ProblemKind};
use crate::record::RecordId;
use crate::writes::idempotency::Repetition;
use crate::writes::outcome::{SuccessBody, WriteOutcome, WriteSuccess};
use crate::writes::write_task::WriteTask;

/// The preview of a repetition.
///
/// # Errors
/// The problem that would be replayed, unless it is that the outcome is unknown.
pub(super) fn preview(task: &WriteTask<'_>, repetition: Repetition) -> Result<Preview, Problem> {
    let replayed = |would| ExpectedResponse { replayed: true, ..would };
    Ok(match repetition {
        Repetition::InProgress => {
            let then = "nothing is sent: the first request with this Idempotency-Key still runs";
            build(task, then, ExpectedResponse::problem(ProblemKind::OperationInProgress))
        }
        Repetition::Replay(outcome) => {
            let then = "nothing is sent: the response to the first request with this Idempotency-Key is repeated";
            match *outcome {
                WriteOutcome::Problem(problem) if problem.kind == ProblemKind::OutcomeUnknown => {
                    build(task, then, replayed(ExpectedResponse::problem(problem.kind)))
                }
                WriteOutcome::Problem(problem) => return Err(*problem),
                WriteOutcome::Success(success) => {
                    let would = replayed(ExpectedResponse::success(status_of(&success)));
                    Preview { guarantee: success.guarantee, ..build(task, then, would) }
                }
            }
        }
    })
}

fn status_of(success: &WriteSuccess) -> u16 {
    match success.body {
        SuccessBody::Record(_) => 200,
        SuccessBody::Created(_) => 201,
        SuccessBody::Accepted => 202,
        SuccessBody::NoContent => 204,
    }
}

fn build(task: &WriteTask<'_>, then: &str, would: ExpectedResponse) -> Preview {
    let op = &task.command.op;
    Preview {
        plan: None,
        expires_at: None,
        action: op.action(),
        system: task.system.name.as_str().to_owned(),
        record: op.record().map(|id| RecordId::as_str(id).to_owned()),
        based_on: None,
        guarantee: None,
        completion: PreviewCompletion::Direct,
        changes_nothing: true,
        changes: Vec::new(),
        changes_cut: false,
        losses: Vec::new(),
        calls: Vec::new(),
        then: then.to_owned(),
        would,
        warnings: Vec::new(),
    }
}
