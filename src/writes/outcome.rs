//! What callers get, before HTTP encodes it. A [`WriteOutcome`] is stored as JSON, so that its
//! `Idempotency-Key` replays it unchanged (contract 4.5).

use serde::{Deserialize, Serialize};

use crate::problem::{Problem, ProblemKind};
use crate::record::{Operation, OperationId};
use crate::system::{Guarantee, RecordView};

/// The body of a successful write's response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuccessBody {
    /// 204.
    NoContent,
    /// 200 with the record, its `ETag` and `Content-Location`.
    Record(Box<RecordView>),
    /// 201 with the record, its `ETag` and `Location`.
    Created(Box<RecordView>),
    /// 202 with the operation, which is read from the store when the response is built.
    Accepted,
}

/// A write that was applied, accepted, or had nothing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSuccess {
    /// The response's body.
    pub body: SuccessBody,
    /// The operation; `None` when nothing had to be sent.
    pub operation: Option<OperationId>,
    /// How concurrent writers were excluded; `None` for a create.
    pub guarantee: Option<Guarantee>,
    /// The ETag of the state that this very write made, where that is proven (http-rules 74, 75).
    pub etag: Option<String>,
    /// The value of `Preference-Applied`.
    pub preference_applied: Option<String>,
}

/// The result of a write; an `Idempotency-Key` replays it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// The write was applied or accepted.
    Success(WriteSuccess),
    /// The write was not applied, or its outcome is unknown.
    Problem(Box<Problem>),
}

/// A write's outcome with what else its response needs.
#[derive(Clone, Debug)]
pub struct WriteResponse {
    /// The outcome.
    pub outcome: WriteOutcome,
    /// Whether it is the stored outcome of an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
    /// The operation's document, for [`SuccessBody::Accepted`].
    pub operation: Option<Operation>,
}

/// Why an attempt sends no request.
pub(super) enum AttemptExit {
    /// It is rejected, or there is nothing to change.
    Outcome(Box<WriteOutcome>),
    /// An earlier request with its `Idempotency-Key` has this outcome.
    Replay(Box<WriteOutcome>),
    /// The attempt must start again: its lease was lost, or the write now needs one.
    Restart,
}

impl From<Problem> for AttemptExit {
    fn from(problem: Problem) -> Self {
        Self::Outcome(Box::new(problem.into()))
    }
}

impl From<Problem> for WriteOutcome {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl WriteOutcome {
    /// Whether it is `outcome-unknown`.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.kind == ProblemKind::OutcomeUnknown)
    }
}

impl From<Problem> for WriteResponse {
    fn from(problem: Problem) -> Self {
        Self { outcome: problem.into(), replayed: false, operation: None }
    }
}
