//! The end of an operation whose outcome the gateway could not find out in time: by a person's
//! verdict, or by a later probe of the gateway (contract 4.15).

use std::sync::Arc;
use std::time::Duration;

use crate::record::{OperationId, OperationState, Warning};

/// The outcome of an operation, as it was determined later.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The operation.
    pub operation: OperationId,
    /// `Applied` or `NotApplied`.
    pub state: OperationState,
    /// The caller of the request, for the ledger.
    pub caller: Arc<str>,
    /// The `X-Request-Id` of the request.
    pub request_id: Arc<str>,
    /// Whether it is the verdict of the caller. If not, the gateway has read it.
    pub is_by_hand: bool,
    /// The person's note; the ledger has only its hash.
    pub note: Option<String>,
    /// The record that a create has made, if it is known now.
    pub record: Option<String>,
    /// The record's ETag after the write, if it is known now.
    pub etag: Option<String>,
    /// What did not take effect.
    pub warnings: Vec<Warning>,
    /// JSON that the idempotency key replays; `None` frees the key, so that a repeat runs.
    pub replay_json: Option<String>,
    /// The minimum age of a running operation.
    pub min_age: Duration,
}

/// The result of [`Journal::record_verdict`](super::Journal::record_verdict).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictResult {
    /// The operation has this verdict now.
    Recorded,
    /// It had the same verdict before.
    Repeated,
    /// It has ended in another way.
    Ended,
    /// It runs, and has not run long enough.
    TooEarly,
    /// It is not known, or not kept any more.
    NotFound,
}
