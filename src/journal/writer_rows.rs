//! What the writer holds in memory of the chain's head, operations, leases and idempotency keys.
//! Times are milliseconds since 1970.

use std::sync::Arc;

use super::ledger::{GENESIS, Hash};
use super::model::{IdempotencyClaim, IdempotencyState, Intent, OrphanedOperation};
use crate::record::{OperationId, OperationState};

/// A system and the id of one of its records.
pub(super) type RecordKey = (Arc<str>, Arc<str>);
/// A caller and its idempotency key.
pub(super) type IdempotencyKeyId = (Arc<str>, Arc<str>);

/// Where the ledger's chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: i64,
    pub(super) hash: Hash,
    /// The time of the last entry.
    pub(super) at: i64,
}

impl ChainHead {
    /// The head of an empty ledger.
    pub(super) const EMPTY: Self = Self { seq: 0, hash: GENESIS, at: i64::MIN };
}

/// A running operation that this instance finishes.
#[derive(Clone, Debug)]
pub(super) struct RunningOperation {
    pub(super) intent: Arc<Intent>,
    /// The intent's number in the ledger.
    pub(super) seq: i64,
    /// The idempotency key that waits for the outcome.
    pub(super) key: Option<Arc<str>>,
    /// Whether its outcome is unknown: its caller has `outcome-unknown`, or its process is dead.
    pub(super) is_unresolved: bool,
}

impl RunningOperation {
    /// Whether other writes of the record are refused at once.
    pub(super) fn blocks(&self) -> bool {
        self.intent.is_async || self.is_unresolved
    }
}

/// An operation as the database holds it while it runs.
#[derive(Clone, Debug)]
pub(super) struct StoredOperation {
    pub(super) owner: String,
    pub(super) running: RunningOperation,
    /// What an instance that adopts it gets. The time is 0 if none has adopted it.
    pub(super) orphan: OrphanedOperation,
}

/// An operation that a verdict is about.
#[derive(Clone, Debug)]
pub(super) struct VerdictTarget {
    pub(super) running: RunningOperation,
    /// When it began.
    pub(super) started_ms: i64,
    /// `None` while it runs.
    pub(super) ended: Option<EndedOperation>,
}

/// How an operation has ended.
#[derive(Clone, Debug)]
pub(super) struct EndedOperation {
    pub(super) state: OperationState,
    /// Whether the state is that of a verdict.
    pub(super) has_verdict: bool,
    /// The stored JSON of its warnings.
    pub(super) warnings: Option<String>,
}

/// An operation that runs on a record, whichever instance finishes it.
#[derive(Clone, Debug)]
pub(super) struct RecordOperation {
    pub(super) id: OperationId,
    /// Whether other writes of the record are refused at once.
    pub(super) blocks: bool,
    /// Whether it deletes the record.
    pub(super) deletes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) fence: i64,
    pub(super) expires_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct IdempotencyRow {
    pub(super) fingerprint: Vec<u8>,
    pub(super) operation: OperationId,
    pub(super) progress: KeyProgress,
}

/// How far the operation of an idempotency key is.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyProgress {
    /// What the key replays; `None` while the operation runs.
    pub(super) replay_json: Option<String>,
    pub(super) interim: Option<String>,
    /// `None` while the operation runs.
    pub(super) expires_ms: Option<i64>,
}

impl IdempotencyRow {
    /// What a repeat of the request gets; `None` = the key is free, or free again.
    pub(super) fn state(&self, claim: &IdempotencyClaim, now_ms: i64) -> Option<IdempotencyState> {
        let progress = &self.progress;
        if progress.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return None;
        }
        Some(if self.fingerprint != claim.fingerprint {
            IdempotencyState::Mismatch
        } else if let Some(replay_json) = &progress.replay_json {
            IdempotencyState::Completed(replay_json.clone())
        } else if let Some(interim) = &progress.interim {
            IdempotencyState::Interim(interim.clone())
        } else {
            IdempotencyState::Running(self.operation.clone())
        })
    }
}
