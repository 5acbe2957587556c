//! The changes that a batch makes, collected while its commands are applied. A session writes them.

use std::sync::Arc;

use foldhash::HashMap;
use uuid::Uuid;

use super::batches::BatchRow;
use super::ledger::Hash;
use super::model::Outcome;
use super::rows::{IdempotencyKeyId, IdempotencyRow, KeyProgress, LeaseRow, RecordKey, RunningOperation};
use crate::record::OperationId;

/// A new row of the ledger.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) operation: Uuid,
    pub(super) system: Arc<str>,
    pub(super) record: Option<Arc<str>>,
    /// In an outcome, the number of the intent.
    pub(super) intent: Option<i64>,
    pub(super) json: String,
    pub(super) hash: Hash,
}

/// What the ledger does not hold of an operation that has ended.
#[derive(Debug)]
pub(super) struct NewDetail {
    /// The intent's number.
    pub(super) seq: i64,
    pub(super) finished_ms: i64,
    pub(super) outcome: Arc<Outcome>,
}

impl NewDetail {
    /// The columns warnings, problem and observed.
    pub(super) fn columns(&self) -> (Option<String>, Option<String>, Option<&'static str>) {
        let outcome = &self.outcome;
        let warnings =
            (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
        let problem = outcome.problem.as_ref().map(ToString::to_string);
        (warnings, problem, outcome.observed.map(crate::record::ObservedState::as_str))
    }
}

/// What becomes of the idempotency key of an operation that began in an earlier batch; no
/// `progress` = the key is free.
#[derive(Debug)]
pub(super) struct KeyUpdate {
    pub(super) key: IdempotencyKeyId,
    pub(super) progress: Option<KeyProgress>,
}

/// The changes of one batch. They are written in the order of the members: an operation may begin
/// and end in one batch, and a key may be freed and claimed again.
#[derive(Debug, Default)]
pub(super) struct ChangeSet {
    /// New ledger entries, in order.
    pub(super) entries: Vec<NewEntry>,
    /// The number and the time of the first entry after the clock went back.
    pub(super) clock_step: Option<(i64, i64)>,
    pub(super) begun: Vec<RunningOperation>,
    /// Operations that are this instance's from now on, by number.
    pub(super) adopted: Vec<i64>,
    /// The codes of interim responses, by number.
    pub(super) interim: HashMap<i64, i64>,
    /// The operations that no longer run, by number.
    pub(super) ended: Vec<i64>,
    pub(super) details: Vec<NewDetail>,
    pub(super) key_updates: HashMap<OperationId, KeyUpdate>,
    pub(super) key_claims: HashMap<IdempotencyKeyId, IdempotencyRow>,
    /// The final state of each changed lease; `None` = free.
    pub(super) leases: HashMap<RecordKey, Option<LeaseRow>>,
    /// Sealed tokens of vendors, by system.
    pub(super) tokens: HashMap<Arc<str>, Arc<[u8]>>,
    /// Rows of asynchronous batches, by batch and position.
    pub(super) batch_rows: HashMap<(Arc<str>, i64), BatchRow>,
    /// Whether this instance records that it is alive.
    pub(super) heartbeat: bool,
}

impl ChangeSet {
    /// Whether nothing but leases has changed.
    pub(super) fn is_only_leases(&self) -> bool {
        !self.heartbeat
            && self.entries.is_empty()
            && self.adopted.is_empty()
            && self.interim.is_empty()
            && self.key_updates.is_empty()
            && self.tokens.is_empty()
            && self.batch_rows.is_empty()
    }

    /// Saves rows of a batch; each replaces an earlier one.
    pub(super) fn save_batch_rows(&mut self, rows: &[BatchRow]) {
        for row in rows {
            self.batch_rows.insert((Arc::clone(&row.id), row.position), row.clone());
        }
    }

    /// Sets how far the operation of a key is; `None` frees the key. A key that was claimed in this
    /// batch is changed before it is written.
    pub(super) fn set_key_progress(
        &mut self,
        key: IdempotencyKeyId,
        operation: &OperationId,
        progress: Option<KeyProgress>,
    ) {
        match self.key_claims.get_mut(&key).filter(|row| row.operation == *operation) {
            Some(row) => match progress {
                Some(progress) => row.progress = progress,
                None => {
                    self.key_claims.remove(&key);
                }
            },
            None => {
                self.key_updates.insert(operation.clone(), KeyUpdate { key, progress });
            }
        }
    }
}
