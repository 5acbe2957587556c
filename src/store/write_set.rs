//! The changes that a batch makes, collected while its commands are applied. `persist` writes them.

use std::sync::Arc;

use foldhash::HashMap;

use super::ledger_block::PendingEntry;
use super::model::{Intent, InterimResponse, Outcome};
use super::rows::{IdempotencyKeyId, IdempotencyRow, LeaseRow, RecordKey};
use crate::record::OperationId;

/// An operation that has ended and needs a row, because the ledger does not hold all of it.
#[derive(Debug)]
pub(super) struct FinishedOperation {
    pub(super) intent: Arc<Intent>,
    pub(super) intent_seq: i64,
    pub(super) outcome: Arc<Outcome>,
    /// Milliseconds since 1970.
    pub(super) started_ms: i64,
    /// Milliseconds since 1970.
    pub(super) finished_ms: i64,
}

/// The changes of one batch.
#[derive(Debug, Default)]
pub(super) struct WriteSet {
    /// New ledger entries, in order.
    pub(super) entries: Vec<PendingEntry>,
    pub(super) finished: Vec<FinishedOperation>,
    pub(super) adopted: Vec<OperationId>,
    pub(super) interim: Vec<(OperationId, InterimResponse)>,
    /// The greatest id of the ledger-only operations in this batch.
    pub(super) last_operation: Option<OperationId>,
    /// The final state of each changed lease; `None` = free.
    pub(super) leases: HashMap<RecordKey, Option<LeaseRow>>,
    /// The final state of each changed idempotency key; `None` = free.
    pub(super) keys: HashMap<IdempotencyKeyId, Option<IdempotencyRow>>,
    /// Whether this instance records that it is alive.
    pub(super) heartbeat: bool,
}

impl WriteSet {
    pub(super) fn is_empty(&self) -> bool {
        !self.heartbeat
            && self.leases.is_empty()
            && self.keys.is_empty()
            && self.interim.is_empty()
            && self.adopted.is_empty()
            && self.entries.is_empty()
    }

    /// Whether this batch adds the entry with this number.
    pub(super) fn contains_entry(&self, seq: i64) -> bool {
        self.entries.first().is_some_and(|first| first.seq <= seq)
    }

    /// Notes that an operation gets no row.
    pub(super) fn mark_ledger_only(&mut self, operation: &OperationId) {
        if self.last_operation.as_ref().is_none_or(|last| last.as_str() < operation.as_str()) {
            self.last_operation = Some(operation.clone());
        }
    }
}
