//! What the writer holds in memory of the chain's head, operations, leases and idempotency keys.
//! Times are milliseconds since 1970.

use std::sync::Arc;

use super::ledger::GENESIS_HASH;
use super::model::{IdempotencyClaim, IdempotencyState, Intent};
use crate::record::OperationId;

/// A system and the id of one of its records.
pub(super) type RecordKey = (Arc<str>, Arc<str>);
/// A caller and its idempotency key.
pub(super) type IdempotencyKeyId = (String, String);

/// Where the ledger's chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: i64,
    pub(super) hash: String,
    /// The fencing number of the newest lease.
    pub(super) fence: i64,
    /// The greatest id of the ledger-only operations; empty = none.
    pub(super) last_operation: String,
}

impl ChainHead {
    /// The head of an empty ledger.
    pub(super) fn genesis() -> Self {
        Self { seq: 0, hash: GENESIS_HASH.into(), fence: 0, last_operation: String::new() }
    }
}

/// A running operation that this instance finishes.
#[derive(Clone, Debug)]
pub(super) struct RunningOperation {
    pub(super) intent: Arc<Intent>,
    /// The intent's number in the ledger.
    pub(super) intent_seq: i64,
    pub(super) started_ms: i64,
    /// The idempotency key that waits for the outcome.
    pub(super) key: Option<String>,
}

/// An operation that runs on a record, whichever instance finishes it.
#[derive(Clone, Debug)]
pub(super) struct RecordOperation {
    pub(super) id: OperationId,
    pub(super) is_async: bool,
    /// Whether it deletes the record.
    pub(super) deletes: bool,
}

#[derive(Clone, Debug)]
pub(super) struct LeaseRow {
    pub(super) fence: i64,
    pub(super) expires_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct IdempotencyRow {
    pub(super) fingerprint: Vec<u8>,
    pub(super) operation: OperationId,
    pub(super) replay_json: Option<String>,
    pub(super) interim: Option<String>,
    pub(super) expires_ms: i64,
}

impl IdempotencyRow {
    /// What a repeat of the request gets; `None` = the key is free, or free again.
    pub(super) fn state(&self, claim: &IdempotencyClaim, now_ms: i64) -> Option<IdempotencyState> {
        if self.expires_ms <= now_ms {
            return None;
        }
        Some(if self.fingerprint != claim.fingerprint {
            IdempotencyState::Mismatch
        } else if let Some(replay_json) = &self.replay_json {
            IdempotencyState::Completed(replay_json.clone())
        } else if let Some(interim) = &self.interim {
            IdempotencyState::Interim(interim.clone())
        } else {
            IdempotencyState::Running(self.operation.clone())
        })
    }
}
