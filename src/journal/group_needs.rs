//! What a group must know from the database before its commands are applied.

use std::sync::Arc;

use super::batches::BatchKey;
use super::command::{Command, QueuedCommand};
use super::writer_rows::{IdempotencyKeyId, RecordKey};
use super::writer_state::WriterState;
use crate::record::OperationId;

/// The lookups of a group.
#[derive(Debug, Default)]
pub(super) struct GroupNeeds {
    /// Records whose leases and running operations matter.
    pub(super) records: Vec<RecordKey>,
    pub(super) keys: Vec<IdempotencyKeyId>,
    /// Operations of this instance that the group continues or ends.
    pub(super) owned: Vec<OperationId>,
    /// Operations whose intent may be in the database already.
    pub(super) retried: Vec<OperationId>,
    /// Operations whose outcome may be in the database already.
    pub(super) ended: Vec<OperationId>,
    /// Operations that a verdict is about.
    pub(super) verdict_targets: Vec<OperationId>,
    /// The most operations of dead instances to adopt.
    pub(super) orphan_limit: Option<usize>,
    /// Operations that were adopted before, but whose caller never received them.
    pub(super) unclaimed: Vec<OperationId>,
    /// Whether a lease may be granted.
    pub(super) grants_leases: bool,
}

impl GroupNeeds {
    pub(super) fn new(group: &[QueuedCommand], state: &WriterState, unclaimed: &[OperationId]) -> Self {
        let mut needs = Self::default();
        for queued in group {
            needs.add(queued, state, unclaimed);
        }
        needs
    }

    fn add(&mut self, queued: &QueuedCommand, state: &WriterState, unclaimed: &[OperationId]) {
        match &queued.command {
            Command::Acquire { system, record, .. } => {
                self.records.push((Arc::clone(system), Arc::clone(record)));
                self.grants_leases = true;
            }
            Command::Renew { lease, .. }
            | Command::Release { lease }
            | Command::SaveBatchRows { lease: Some(lease), .. } => self.add_record(&lease.system, &lease.record),
            Command::Begin(intent) => {
                if let Some(record) = &intent.record {
                    self.records.push((Arc::clone(&intent.system), Arc::clone(record)));
                }
                if let Some(lease) = &intent.lease {
                    self.add_record(&lease.system, &lease.record);
                }
                if let Some(claim) = &intent.idempotency {
                    self.keys.push((Arc::clone(&intent.caller), claim.key.as_str().into()));
                }
                if queued.is_retry {
                    self.retried.push(intent.operation.clone());
                }
            }
            Command::StoreReplay { claim, .. } | Command::StoreBatch { key: Some(BatchKey { claim, .. }), .. } => {
                self.keys.push((claim.caller.as_str().into(), claim.key.as_str().into()));
            }
            Command::SaveInterim { operation, .. } | Command::CancelUnclaimed(operation) => {
                self.add_owned(operation, state);
            }
            Command::Finish(outcome) => {
                self.add_owned(&outcome.operation, state);
                if queued.is_retry {
                    self.ended.push(outcome.operation.clone());
                }
                if let Some(lease) = &outcome.lease {
                    self.add_record(&lease.system, &lease.record);
                }
            }
            Command::Adopt { limit } => {
                self.orphan_limit = Some(*limit);
                self.unclaimed = unclaimed.to_vec();
            }
            Command::RecordVerdict(verdict) => self.verdict_targets.push(verdict.operation.clone()),
            Command::WarnContradictedVerdict { operation, .. } => self.verdict_targets.push(operation.clone()),
            Command::Cut { .. }
            | Command::StoreBatch { key: None, .. }
            | Command::SaveBatchRows { lease: None, .. }
            | Command::SaveToken { .. }
            | Command::SaveShown { .. }
            | Command::Heartbeat
            | Command::CheckWritable
            | Command::Flush => {}
        }
    }

    fn add_record(&mut self, system: &str, record: &str) {
        self.records.push((system.into(), record.into()));
    }

    fn add_owned(&mut self, operation: &OperationId, state: &WriterState) {
        if state.running.contains_key(operation) {
            self.owned.push(operation.clone());
        }
    }
}
