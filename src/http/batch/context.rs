//! What all items of a batch share, and why no more of them begin.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::request_state::RequestState;
use crate::http::write_request::WriteMode;
use crate::problem::{Problem, ProblemKind};

/// What all items of a batch share.
#[derive(Clone)]
pub(in crate::http) struct BatchContext {
    /// The state of the request that brought the batch.
    pub(in crate::http) state: Rc<RequestState>,
    /// `Idempotency-Key` of the batch.
    pub(in crate::http) key: Option<String>,
    /// What the ledger calls the batch: the id of its request.
    pub(in crate::http) name: String,
    /// Whether the batch is in the journal, so that its items may have begun before.
    pub(in crate::http) is_stored: bool,
    /// Whether its items are made or previewed.
    pub(in crate::http) mode: WriteMode,
    /// When no further item begins.
    pub(in crate::http) deadline: Instant,
}

/// Why nothing more of a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    Cancelled,
    /// The caller has closed its connection.
    CallerDisconnected,
    /// The responses need more memory than there is.
    NoMemory,
}

/// 503 for an item that was not begun.
pub(super) fn not_begun_problem(stop: Option<StopReason>) -> Problem {
    let detail = match stop {
        Some(StopReason::CallerDisconnected) => {
            "the caller closed its connection before this item began, so nothing was sent"
        }
        Some(StopReason::NoMemory) => {
            "the responses to the items before take all the memory that there is for batches, so nothing was sent; \
             send fewer items, or Accept: application/x-ndjson"
        }
        Some(StopReason::Cancelled) => "the batch was cancelled before this item began, so nothing was sent",
        None => "the batch's time was over before this item began, so nothing was sent; send it again",
    };
    ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1))
}
