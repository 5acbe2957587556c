//! The changes that a group makes, collected while its commands are applied. A session writes them.

use std::sync::Arc;

use foldhash::HashMap;
use uuid::Uuid;

use super::batches::BatchRow;
use super::ledger::Hash;
use super::model::Outcome;
use super::verdict::Verdict;
use super::writer_rows::{IdempotencyKeyId, IdempotencyRow, KeyProgress, LeaseRow, RecordKey, RunningOperation};
use crate::metrics::ChangeType;
use crate::record::{OperationId, OperationState};

/// A new row of the ledger.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) keys: EntryKeys,
    pub(super) json: String,
    pub(super) hash: Hash,
}

/// A cut of the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewCut {
    /// The last entry that is no longer kept.
    pub(super) seq: i64,
    /// Its hash.
    pub(super) hash: Hash,
    /// The number of the entry of the cut.
    pub(super) marker: i64,
}

/// The indexed columns of an entry.
#[derive(Debug)]
pub(super) struct EntryKeys {
    /// Nil in the entry of a cut.
    pub(super) operation: Uuid,
    pub(super) system: Arc<str>,
    pub(super) record: Option<Arc<str>>,
    /// In an outcome, the number of the intent; in a verdict on an operation that had ended, that
    /// number negated; 0 in the entry of a cut.
    pub(super) intent: Option<i64>,
}

/// What the ledger does not hold of an operation that has ended.
#[derive(Debug)]
pub(super) struct NewDetail {
    pub(super) running: RunningOperation,
    pub(super) finished_ms: i64,
    pub(super) outcome: Arc<Outcome>,
}

/// A verdict on an operation that has ended, by the intent's number, and the number of its entry.
#[derive(Debug)]
pub(super) struct NewVerdict {
    pub(super) seq: i64,
    pub(super) entry: i64,
    pub(super) verdict: Arc<Verdict>,
}

impl NewVerdict {
    /// The columns resolved_by, note and warnings.
    pub(super) fn columns(&self) -> (Option<&str>, Option<&str>, Option<String>) {
        let Verdict { caller, is_by_hand, note, warnings, .. } = &*self.verdict;
        let warnings = (!warnings.is_empty()).then(|| serde_json::to_string(warnings).unwrap_or_default());
        (is_by_hand.then_some(&**caller), note.as_deref(), warnings)
    }
}

impl NewDetail {
    /// What a later verdict needs, kept while the operation is `unknown`: the columns key and
    /// recovery.
    pub(super) fn open_columns(&self) -> (Option<&str>, Option<&[u8]>) {
        if self.outcome.state != OperationState::Unknown {
            return (None, None);
        }
        (self.running.key.as_deref(), self.running.intent.recovery.as_deref().map(str::as_bytes))
    }

    /// The columns warnings, problem and observed.
    pub(super) fn columns(&self) -> (Option<String>, Option<String>, Option<&'static str>) {
        let outcome = &self.outcome;
        let warnings =
            (!outcome.warnings.is_empty()).then(|| serde_json::to_string(&outcome.warnings).unwrap_or_default());
        let problem = outcome.problem.as_ref().map(ToString::to_string);
        (warnings, problem, outcome.observed.map(crate::record::ObservedState::as_str))
    }
}

/// The change of the idempotency key of an operation that began in an earlier group; no
/// `progress` = the key is free.
#[derive(Debug)]
pub(super) struct KeyUpdate {
    pub(super) key: IdempotencyKeyId,
    pub(super) progress: Option<KeyProgress>,
}

/// The changes of one group. They are written in the order of the members: an operation may begin
/// and end in one group, and a key may be freed and claimed again.
#[derive(Debug, Default)]
pub(super) struct ChangeSet {
    /// New ledger entries, in order.
    pub(super) entries: Vec<NewEntry>,
    /// The feed's events among them: the system and the type of each.
    pub(super) feed: Vec<(Arc<str>, ChangeType)>,
    /// The number and the time of the first entry after the clock went back.
    pub(super) clock_step: Option<(i64, i64)>,
    pub(super) cut: Option<NewCut>,
    pub(super) begun: Vec<RunningOperation>,
    /// Operations that are this instance's from now on, by number.
    pub(super) adopted: Vec<i64>,
    /// The codes of interim responses, by number.
    pub(super) interim: HashMap<i64, i64>,
    /// The operations that no longer run, by number.
    pub(super) ended: Vec<i64>,
    pub(super) details: Vec<NewDetail>,
    pub(super) verdicts: Vec<NewVerdict>,
    /// The warnings of operations, by number.
    pub(super) warnings: Vec<(i64, String)>,
    pub(super) key_updates: HashMap<OperationId, KeyUpdate>,
    pub(super) key_claims: HashMap<IdempotencyKeyId, IdempotencyRow>,
    /// The final state of each changed lease; `None` = free.
    pub(super) leases: HashMap<RecordKey, Option<LeaseRow>>,
    /// Sealed tokens of vendors, by system.
    pub(super) tokens: HashMap<Arc<str>, Arc<[u8]>>,
    /// `fields` of records that callers got, with their ends, by ETag.
    pub(super) shown: HashMap<Arc<str>, (Arc<str>, i64)>,
    /// Rows of asynchronous batches, by batch and position.
    pub(super) batch_rows: HashMap<(Arc<str>, i64), BatchRow>,
    /// Whether this instance records that it is alive.
    pub(super) heartbeat: bool,
}

impl ChangeSet {
    /// Whether nothing but leases has changed.
    pub(super) fn is_only_leases(&self) -> bool {
        let Self {
            leases: _,
            // These come only with an entry of the ledger.
            feed: _,
            clock_step: _,
            cut: _,
            begun: _,
            ended: _,
            details: _,
            verdicts: _,
            entries,
            adopted,
            interim,
            warnings,
            key_updates,
            key_claims,
            tokens,
            shown,
            batch_rows,
            heartbeat,
        } = self;
        !heartbeat
            && entries.is_empty()
            && adopted.is_empty()
            && interim.is_empty()
            && key_updates.is_empty()
            && key_claims.is_empty()
            && tokens.is_empty()
            && warnings.is_empty()
            && shown.is_empty()
            && batch_rows.is_empty()
    }

    /// Saves rows of a batch; each replaces an earlier one that has not ended.
    pub(super) fn save_batch_rows(&mut self, rows: &[BatchRow]) {
        for row in rows {
            let key = (Arc::clone(&row.id), row.position);
            if self.batch_rows.get(&key).is_some_and(BatchRow::has_ended) {
                continue;
            }
            self.batch_rows.insert(key, row.clone());
        }
    }

    /// Sets how far the operation of a key is; `None` frees the key. A key that was claimed in this
    /// group is changed before it is written.
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
