//! What runs now, and the rules that decide each command. Nothing here reads or writes the
//! database: the writer loads what is missing before (`preload`) and writes the changes after
//! (`persist`).
//!
//! With SQLite this state is complete, because this process is the only writer. With PostgreSQL the
//! writer reloads what concerns a batch while it holds the lock on the head row.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::ledger_block::{OutcomeRef, PendingEntry};
use super::model::{BeginResult, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation, Outcome};
use super::rows::{
    ChainHead, IdempotencyKeyId, IdempotencyRow, LeaseRow, RecordKey, RecordOperation, RunningOperation,
};
use super::write_set::{FinishedOperation, WriteSet};
use crate::record::{Action, OperationId, OperationState};

/// The idempotency key of a running operation does not expire.
const NO_EXPIRY: i64 = i64::MAX;

fn lease_record_key(lease: &Lease) -> RecordKey {
    (lease.system.as_str().into(), lease.record.as_str().into())
}

/// The state that commands are applied to.
pub(super) struct WriterState {
    /// The id of this instance.
    pub(super) instance: String,
    pub(super) head: ChainHead,
    /// Milliseconds since 1970; never decreases.
    pub(super) now_ms: i64,
    /// The operations that this instance finishes.
    pub(super) running: HashMap<OperationId, RunningOperation>,
    /// The running operations of each record.
    pub(super) records: HashMap<RecordKey, Vec<RecordOperation>>,
    pub(super) leases: HashMap<RecordKey, LeaseRow>,
    /// The idempotency keys that concern the current batch.
    pub(super) keys: HashMap<IdempotencyKeyId, IdempotencyRow>,
    /// The operations of the current batch's retries that the database already holds.
    pub(super) already_written: HashSet<OperationId>,
}

impl WriterState {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            head: ChainHead::genesis(),
            now_ms: 0,
            running: HashMap::new(),
            records: HashMap::new(),
            leases: HashMap::new(),
            keys: HashMap::new(),
            already_written: HashSet::new(),
        }
    }

    /// Sets the clock, which never goes back: leases and the ledger depend on that.
    pub(super) fn advance_clock(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn live_lease(&self, key: &RecordKey) -> Option<&LeaseRow> {
        self.leases.get(key).filter(|lease| lease.expires_ms > self.now_ms)
    }

    fn owns_lease(&self, lease: &Lease) -> bool {
        self.live_lease(&lease_record_key(lease)).is_some_and(|row| row.fence == lease.fence)
    }

    fn async_write_on(&self, key: &RecordKey) -> Option<&OperationId> {
        self.records.get(key)?.iter().find(|running| running.is_async).map(|running| &running.id)
    }

    /// Tries to take the lease of a record for `ttl_ms`. A queued write is named even while a lease
    /// is held: it may run for minutes, so the caller must not wait for it.
    pub(super) fn acquire(&mut self, system: &str, record: &str, ttl_ms: i64, changes: &mut WriteSet) -> LeaseResult {
        let key = (system.into(), record.into());
        if let Some(id) = self.async_write_on(&key) {
            return LeaseResult::Running(id.clone());
        }
        if self.live_lease(&key).is_some() {
            return LeaseResult::Held;
        }
        if let Some(first) = self.records.get(&key).and_then(|running| running.first()) {
            return LeaseResult::Running(first.id.clone());
        }
        self.head.fence += 1;
        let fence = self.head.fence;
        self.set_lease(key, Some(LeaseRow { fence, expires_ms: self.now_ms.saturating_add(ttl_ms) }), changes);
        LeaseResult::Lease(Lease { system: system.to_owned(), record: record.to_owned(), fence })
    }

    /// Extends a lease from now; `false` = it is no longer held.
    pub(super) fn renew(&mut self, lease: &Lease, ttl_ms: i64, changes: &mut WriteSet) -> bool {
        let held = self.owns_lease(lease);
        if held {
            let row = LeaseRow { fence: lease.fence, expires_ms: self.now_ms.saturating_add(ttl_ms) };
            self.set_lease(lease_record_key(lease), Some(row), changes);
        }
        held
    }

    /// Frees a lease unless another writer holds it by now.
    pub(super) fn release(&mut self, lease: &Lease, changes: &mut WriteSet) {
        let key = lease_record_key(lease);
        if self.leases.get(&key).is_some_and(|row| row.fence == lease.fence) {
            self.set_lease(key, None, changes);
        }
    }

    fn set_lease(&mut self, key: RecordKey, row: Option<LeaseRow>, changes: &mut WriteSet) {
        match &row {
            Some(row) => self.leases.insert(key.clone(), row.clone()),
            None => self.leases.remove(&key),
        };
        changes.leases.insert(key, row);
    }

    /// Begins an operation or returns why it must not begin. `acknowledged` = the caller already
    /// got `Started`, so nothing may prevent it any more.
    pub(super) fn begin(&mut self, intent: &Arc<Intent>, acknowledged: bool, changes: &mut WriteSet) -> BeginResult {
        if self.running.contains_key(&intent.operation) || self.already_written.contains(&intent.operation) {
            return BeginResult::Started;
        }
        if !acknowledged && let Some(conflict) = self.find_conflict(intent) {
            return conflict;
        }
        let intent_seq = self.append(Arc::clone(intent), None, changes);
        if let Some(claim) = &intent.idempotency {
            let row = IdempotencyRow {
                fingerprint: claim.fingerprint.to_vec(),
                operation: intent.operation.clone(),
                replay_json: None,
                interim: None,
                expires_ms: NO_EXPIRY,
            };
            self.set_key((intent.caller.to_string(), claim.key.clone()), Some(row), changes);
        }
        let key = intent.idempotency.as_ref().map(|claim| claim.key.clone());
        self.track(RunningOperation { intent: Arc::clone(intent), intent_seq, started_ms: self.now_ms, key });
        BeginResult::Started
    }

    /// The idempotency key is checked first: a repeat gets its result whatever else runs.
    fn find_conflict(&self, intent: &Intent) -> Option<BeginResult> {
        if let Some(claim) = &intent.idempotency
            && let Some(row) = self.keys.get(&(intent.caller.to_string(), claim.key.clone()))
            && let Some(state) = row.state(claim, self.now_ms)
        {
            return Some(BeginResult::IdempotencyKey(state));
        }
        let record_key = intent.record.as_ref().map(|record| (Arc::clone(&intent.system), Arc::clone(record)));
        let on_record = record_key.as_ref().and_then(|key| self.records.get(key)).map_or(&[][..], Vec::as_slice);
        if let Some(queued) = on_record.iter().find(|running| running.is_async) {
            return Some(BeginResult::Running(queued.id.clone()));
        }
        match (&intent.lease, record_key) {
            (Some(lease), _) => (!self.owns_lease(lease)).then_some(BeginResult::LeaseLost),
            (None, Some(key)) => {
                // A delete may outlive its lease: a crash ends leases, not vendor calls.
                let is_being_deleted = on_record.iter().any(|running| running.deletes);
                (is_being_deleted || self.live_lease(&key).is_some()).then_some(BeginResult::LeaseHeld)
            }
            (None, None) => None,
        }
    }

    /// Adds a running operation that this instance finishes.
    pub(super) fn track(&mut self, running: RunningOperation) {
        self.mark_busy(&running.intent);
        self.running.insert(running.intent.operation.clone(), running);
    }

    /// Adds an operation to its record, even if its intent is not persisted yet.
    pub(super) fn mark_busy(&mut self, intent: &Intent) {
        if let Some(record) = &intent.record {
            let deletes = intent.action == Action::Delete;
            let on_record = RecordOperation { id: intent.operation.clone(), is_async: intent.is_async, deletes };
            self.track_on_record((Arc::clone(&intent.system), Arc::clone(record)), on_record);
        }
    }

    /// Adds an operation to a record.
    pub(super) fn track_on_record(&mut self, key: RecordKey, running: RecordOperation) {
        let on_record = self.records.entry(key).or_default();
        if on_record.iter().all(|other| other.id != running.id) {
            on_record.push(running);
        }
    }

    /// Appends a ledger entry and returns its number. Its hash is computed when it is written.
    fn append(&mut self, intent: Arc<Intent>, outcome_ref: Option<OutcomeRef>, changes: &mut WriteSet) -> i64 {
        self.head.seq += 1;
        changes.entries.push(PendingEntry { seq: self.head.seq, at: self.now_ms, intent, outcome_ref });
        self.head.seq
    }

    pub(super) fn save_interim_outcome(
        &mut self,
        operation: &OperationId,
        response: InterimResponse,
        replay_json: &str,
        changes: &mut WriteSet,
    ) {
        let Some(running) = self.running.get(operation) else { return };
        changes.interim.push((operation.clone(), response));
        let Some(key) = &running.key else { return };
        let key_id = (running.intent.caller.to_string(), key.clone());
        if let Some(row) = self.keys.get(&key_id).filter(|row| row.operation == *operation) {
            let row = IdempotencyRow { interim: Some(replay_json.to_owned()), ..row.clone() };
            self.set_key(key_id, Some(row), changes);
        }
    }

    /// Records an outcome; `false` = the operation is finished already or belongs to another
    /// instance. `key_ttl_ms` is how long the idempotency key replays the outcome.
    pub(super) fn finish(&mut self, outcome: &Arc<Outcome>, key_ttl_ms: i64, changes: &mut WriteSet) -> bool {
        if let Some(lease) = &outcome.lease {
            self.release(lease, changes);
        }
        let Some(running) = self.running.remove(&outcome.operation) else { return false };
        let intent = running.intent;
        if let Some(record) = &intent.record
            && let Entry::Occupied(mut on_record) = self.records.entry((Arc::clone(&intent.system), Arc::clone(record)))
        {
            on_record.get_mut().retain(|running| running.id != outcome.operation);
            if on_record.get().is_empty() {
                on_record.remove();
            }
        }
        if let Some(key) = running.key {
            self.complete_key((intent.caller.to_string(), key), outcome, key_ttl_ms, changes);
        }
        let intent_seq = running.intent_seq;
        let outcome_ref = OutcomeRef { intent_seq, outcome: Arc::clone(outcome) };
        // See `ledger_only_operations`.
        let is_fully_in_ledger = changes.contains_entry(intent_seq)
            && outcome.final_state() == OperationState::Applied
            && !outcome.has_details()
            && outcome.operation.as_str() > self.head.last_operation.as_str();
        self.append(Arc::clone(&intent), Some(outcome_ref), changes);
        if is_fully_in_ledger {
            changes.mark_ledger_only(&outcome.operation);
        } else {
            changes.finished.push(FinishedOperation {
                intent,
                intent_seq,
                outcome: Arc::clone(outcome),
                started_ms: running.started_ms,
                finished_ms: self.now_ms,
            });
        }
        true
    }

    fn complete_key(&mut self, key_id: IdempotencyKeyId, outcome: &Outcome, ttl_ms: i64, changes: &mut WriteSet) {
        let Some(row) = self.keys.get(&key_id).filter(|row| row.operation == outcome.operation) else { return };
        let completed = outcome.replay_json.as_ref().map(|replay_json| IdempotencyRow {
            replay_json: Some(replay_json.clone()),
            interim: None,
            expires_ms: self.now_ms.saturating_add(ttl_ms),
            ..row.clone()
        });
        self.set_key(key_id, completed, changes);
    }

    fn set_key(&mut self, key_id: IdempotencyKeyId, row: Option<IdempotencyRow>, changes: &mut WriteSet) {
        match &row {
            Some(row) => self.keys.insert(key_id.clone(), row.clone()),
            None => self.keys.remove(&key_id),
        };
        changes.keys.insert(key_id, row);
    }

    /// Makes this instance the owner of operations of dead instances.
    pub(super) fn adopt(
        &mut self,
        orphans: &[(OrphanedOperation, RunningOperation)],
        changes: &mut WriteSet,
    ) -> Vec<OrphanedOperation> {
        for (orphan, running) in orphans {
            changes.adopted.push(orphan.operation.clone());
            if !self.running.contains_key(&orphan.operation) {
                self.track(running.clone());
            }
        }
        orphans.iter().map(|(orphan, _)| orphan.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples;
    use super::*;

    #[test]
    fn an_acknowledged_but_unpersisted_write_blocks_its_record() {
        let (mut state, mut changes) = (WriterState::new("here".into()), WriteSet::default());
        let queued = Arc::new(Intent { is_async: true, ..samples::intent("A:1") });
        let delete = Arc::new(Intent { action: Action::Delete, ..samples::intent("A:2") });
        state.mark_busy(&queued);
        state.mark_busy(&delete);
        let another = |record: &str| Arc::new(samples::intent(record));
        assert_eq!(state.begin(&another("A:1"), false, &mut changes), BeginResult::Running(queued.operation.clone()));
        assert_eq!(state.begin(&another("A:2"), false, &mut changes), BeginResult::LeaseHeld);
        let running = LeaseResult::Running(delete.operation.clone());
        assert_eq!(state.acquire("crm", "A:2", 1000, &mut changes), running);
        for intent in [&queued, &delete] {
            assert_eq!(state.begin(intent, true, &mut changes), BeginResult::Started);
            assert!(state.finish(&Arc::new(samples::applied_outcome(&intent.operation)), 1000, &mut changes));
        }
        assert!(state.records.is_empty());
        assert_eq!(state.begin(&another("A:1"), false, &mut changes), BeginResult::Started);
    }
}
