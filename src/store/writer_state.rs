//! What runs just now, and the decisions about it. Pure: the writer loads what is needed before and writes the changes after.
//!
//! Where this process is the only writer the board is always complete. Where replicas share the database, what concerns a
//! batch is loaded while the head row is locked, so that nothing can change between looking and writing.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::ledger_block::{OutcomeRef, PendingEntry};
use super::write_set::{FinishedOperation, WriteSet};
use super::{
    BeginResult, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation,
    Outcome,
};
use crate::record::{Action, OperationId, OperationState};

/// A record of a system.
pub(super) type RecordKey = (Arc<str>, Arc<str>);
/// A caller and its key.
pub(super) type IdempotencyKeyId = (String, String);

fn lease_record_key(lease: &Lease) -> RecordKey {
    (lease.system.as_str().into(), lease.record.as_str().into())
}

/// An idempotency key of a request that still runs does not expire.
const NO_EXPIRY: i64 = i64::MAX;

/// Where the chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) fence: i64,
    /// The greatest id of the operations that pages tell (see `untabled`); empty = none.
    pub(super) last_operation: String,
}

/// A running operation that this instance may settle.
#[derive(Clone, Debug)]
pub(super) struct RunningOperation {
    pub(super) intent: Arc<Intent>,
    /// The intent's number in the ledger.
    pub(super) seq: i64,
    /// When it began, in milliseconds since 1970.
    pub(super) started: i64,
    /// The key that waits for its verdict.
    pub(super) key: Option<String>,
}

/// An operation that runs on a record, whoever settles it.
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
    pub(super) expires: i64,
}

#[derive(Clone, Debug)]
pub(super) struct IdempotencyRow {
    pub(super) fingerprint: Vec<u8>,
    pub(super) operation: OperationId,
    pub(super) replay_json: Option<String>,
    pub(super) interim: Option<String>,
    pub(super) expires: i64,
}

impl IdempotencyRow {
    /// What a repeat is told; `None` = the key is free (again).
    pub(super) fn state(&self, claim: &IdempotencyClaim, now: i64) -> Option<IdempotencyState> {
        if self.expires <= now {
            return None;
        }
        Some(if self.fingerprint != claim.fingerprint {
            IdempotencyState::Mismatch
        } else if let Some(verdict) = &self.replay_json {
            IdempotencyState::Completed(verdict.clone())
        } else if let Some(interim) = &self.interim {
            IdempotencyState::Interim(interim.clone())
        } else {
            IdempotencyState::Running(self.operation.clone())
        })
    }
}

/// See the module.
pub(super) struct WriterState {
    /// This instance.
    pub(super) instance: String,
    pub(super) head: ChainHead,
    /// Milliseconds since 1970; never goes back.
    pub(super) now: i64,
    pub(super) running: HashMap<OperationId, RunningOperation>,
    /// The running operations of a record.
    pub(super) records: HashMap<RecordKey, Vec<RecordOperation>>,
    pub(super) leases: HashMap<RecordKey, LeaseRow>,
    /// Of this batch only.
    pub(super) keys: HashMap<IdempotencyKeyId, IdempotencyRow>,
    /// Of this batch only: repeated commands whose operation is in the database already.
    pub(super) already_written: HashSet<OperationId>,
}

impl WriterState {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            head: ChainHead {
                seq: 0,
                hash: super::ledger::GENESIS_HASH.into(),
                fence: 0,
                last_operation: String::new(),
            },
            now: 0,
            running: HashMap::new(),
            records: HashMap::new(),
            leases: HashMap::new(),
            keys: HashMap::new(),
            already_written: HashSet::new(),
        }
    }

    /// Sets the clock. Leases and the ledger must not see it go back.
    pub(super) fn advance_clock(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    fn live_lease(&self, target: &RecordKey) -> Option<&LeaseRow> {
        self.leases.get(target).filter(|lease| lease.expires > self.now)
    }

    fn owns_lease(&self, lease: &Lease) -> bool {
        let target = lease_record_key(lease);
        self.live_lease(&target).is_some_and(|row| row.fence == lease.fence)
    }

    fn async_write_on(&self, target: &RecordKey) -> Option<&OperationId> {
        self.records.get(target)?.iter().find(|one| one.is_async).map(|one| &one.id)
    }

    /// A queued write is named even under its own lease: waiting for it would be waiting for minutes.
    pub(super) fn acquire(&mut self, system: &str, record: &str, ttl: i64, changes: &mut WriteSet) -> LeaseResult {
        let target = (system.into(), record.into());
        if let Some(id) = self.async_write_on(&target) {
            return LeaseResult::Running(id.clone());
        }
        if self.live_lease(&target).is_some() {
            return LeaseResult::Held;
        }
        if let Some(first) = self.records.get(&target).and_then(|running| running.first()) {
            return LeaseResult::Running(first.id.clone());
        }
        self.head.fence += 1;
        let fence = self.head.fence;
        self.set_lease(target, Some(LeaseRow { fence, expires: self.now.saturating_add(ttl) }), changes);
        LeaseResult::Lease(Lease { system: system.to_owned(), record: record.to_owned(), fence })
    }

    pub(super) fn renew(&mut self, lease: &Lease, ttl: i64, changes: &mut WriteSet) -> bool {
        let held = self.owns_lease(lease);
        if held {
            let row = LeaseRow { fence: lease.fence, expires: self.now.saturating_add(ttl) };
            self.set_lease(lease_record_key(lease), Some(row), changes);
        }
        held
    }

    pub(super) fn release(&mut self, lease: &Lease, changes: &mut WriteSet) {
        let target = lease_record_key(lease);
        if self.leases.get(&target).is_some_and(|row| row.fence == lease.fence) {
            self.set_lease(target, None, changes);
        }
    }

    fn set_lease(&mut self, target: RecordKey, row: Option<LeaseRow>, changes: &mut WriteSet) {
        match &row {
            Some(row) => self.leases.insert(target.clone(), row.clone()),
            None => self.leases.remove(&target),
        };
        changes.leases.insert(target, row);
    }

    /// `promised`: the caller was told `Started` before, and only the writing has to be made good.
    pub(super) fn begin(&mut self, intent: &Arc<Intent>, promised: bool, changes: &mut WriteSet) -> BeginResult {
        if self.running.contains_key(&intent.operation) || self.already_written.contains(&intent.operation) {
            return BeginResult::Started;
        }
        if !promised && let Some(refused) = self.find_conflict(intent) {
            return refused;
        }
        let seq = self.append(Arc::clone(intent), None, changes);
        if let Some(claim) = &intent.idempotency {
            let row = IdempotencyRow {
                fingerprint: claim.fingerprint.to_vec(),
                operation: intent.operation.clone(),
                replay_json: None,
                interim: None,
                expires: NO_EXPIRY,
            };
            self.set_key((intent.caller.to_string(), claim.key.clone()), Some(row), changes);
        }
        let key = intent.idempotency.as_ref().map(|claim| claim.key.clone());
        self.track(RunningOperation { intent: Arc::clone(intent), seq, started: self.now, key });
        BeginResult::Started
    }

    fn find_conflict(&self, intent: &Intent) -> Option<BeginResult> {
        if let Some(claim) = &intent.idempotency
            && let Some(row) = self.keys.get(&(intent.caller.to_string(), claim.key.clone()))
            && let Some(state) = row.state(claim, self.now)
        {
            return Some(BeginResult::IdempotencyKey(state));
        }
        let target = intent.record.as_ref().map(|record| (Arc::clone(&intent.system), Arc::clone(record)));
        let on_record = target.as_ref().and_then(|target| self.records.get(target)).map_or(&[][..], Vec::as_slice);
        if let Some(queued) = on_record.iter().find(|one| one.is_async) {
            return Some(BeginResult::Running(queued.id.clone()));
        }
        match (&intent.lease, target) {
            (Some(lease), _) => (!self.owns_lease(lease)).then_some(BeginResult::LeaseLost),
            (None, Some(target)) => {
                // A delete may have outlived its lease: a crash ends leases, not vendor calls.
                let is_being_deleted = on_record.iter().any(|one| one.deletes);
                (is_being_deleted || self.live_lease(&target).is_some()).then_some(BeginResult::LeaseHeld)
            }
            (None, None) => None,
        }
    }

    /// Notes that an operation runs, and may be settled here.
    pub(super) fn track(&mut self, running: RunningOperation) {
        self.mark_busy(&running.intent);
        self.running.insert(running.intent.operation.clone(), running);
    }

    /// Notes that an operation runs on its record, even if it could not be written yet.
    pub(super) fn mark_busy(&mut self, intent: &Intent) {
        if let Some(record) = &intent.record {
            let deletes = intent.action == Action::Delete;
            let on_record = RecordOperation { id: intent.operation.clone(), is_async: intent.is_async, deletes };
            self.track_on_record((Arc::clone(&intent.system), Arc::clone(record)), on_record);
        }
    }

    /// Notes that an operation runs on a record.
    pub(super) fn track_on_record(&mut self, target: RecordKey, running: RecordOperation) {
        let on_record = self.records.entry(target).or_default();
        if on_record.iter().all(|other| other.id != running.id) {
            on_record.push(running);
        }
    }

    /// Gives back the entry's number. Its hash is computed when it is written.
    fn append(&mut self, intent: Arc<Intent>, end: Option<OutcomeRef>, changes: &mut WriteSet) -> i64 {
        self.head.seq += 1;
        changes.entries.push(PendingEntry { seq: self.head.seq, at: self.now, intent, outcome_ref: end });
        self.head.seq
    }

    pub(super) fn save_interim_outcome(
        &mut self,
        operation: &OperationId,
        told: InterimResponse,
        verdict: &str,
        changes: &mut WriteSet,
    ) {
        let Some(running) = self.running.get(operation) else { return };
        changes.set_interim_state(operation, told);
        let Some(key) = &running.key else { return };
        let name = (running.intent.caller.to_string(), key.clone());
        if let Some(row) = self.keys.get(&name).filter(|row| row.operation == *operation) {
            let row = IdempotencyRow { interim: Some(verdict.to_owned()), ..row.clone() };
            self.set_key(name, Some(row), changes);
        }
    }

    /// Does nothing, and says so, if the operation is not this instance's any more: the first outcome stands.
    pub(super) fn finish(&mut self, outcome: &Arc<Outcome>, ttl: i64, changes: &mut WriteSet) -> bool {
        if let Some(lease) = &outcome.lease {
            self.release(lease, changes);
        }
        let Some(running) = self.running.remove(&outcome.operation) else { return false };
        let intent = running.intent;
        if let Some(record) = &intent.record
            && let Entry::Occupied(mut here) = self.records.entry((Arc::clone(&intent.system), Arc::clone(record)))
        {
            here.get_mut().retain(|one| one.id != outcome.operation);
            if here.get().is_empty() {
                here.remove();
            }
        }
        if let Some(key) = running.key {
            self.complete_key((intent.caller.to_string(), key), outcome, ttl, changes);
        }
        let end = OutcomeRef { intent_seq: running.seq, outcome: Arc::clone(outcome) };
        let tells_it = changes.contains_entry(running.seq) && outcome.final_state() == OperationState::Applied;
        self.append(Arc::clone(&intent), Some(end), changes);
        if !tells_it || outcome.has_details() || outcome.operation.as_str() <= self.head.last_operation.as_str() {
            let (started, finished) = (running.started, self.now);
            changes.finished.push(FinishedOperation {
                intent,
                intent_seq: running.seq,
                outcome: Arc::clone(outcome),
                started,
                finished,
            });
        } else {
            changes.mark_ledger_only(&outcome.operation);
        }
        true
    }

    fn complete_key(&mut self, name: IdempotencyKeyId, outcome: &Outcome, ttl: i64, changes: &mut WriteSet) {
        let Some(row) = self.keys.get(&name).filter(|row| row.operation == outcome.operation) else { return };
        let settled = outcome.replay_json.as_ref().map(|verdict| IdempotencyRow {
            replay_json: Some(verdict.clone()),
            interim: None,
            expires: self.now.saturating_add(ttl),
            ..row.clone()
        });
        self.set_key(name, settled, changes);
    }

    fn set_key(&mut self, name: IdempotencyKeyId, row: Option<IdempotencyRow>, changes: &mut WriteSet) {
        match &row {
            Some(row) => self.keys.insert(name.clone(), row.clone()),
            None => self.keys.remove(&name),
        };
        changes.keys.insert(name, row);
    }

    /// Makes the operations of dead instances this one's.
    pub(super) fn adopt(
        &mut self,
        found: &[(OrphanedOperation, RunningOperation)],
        changes: &mut WriteSet,
    ) -> Vec<OrphanedOperation> {
        for (unsettled, running) in found {
            changes.adopt(&unsettled.operation);
            if !self.running.contains_key(&unsettled.operation) {
                self.track(running.clone());
            }
        }
        found.iter().map(|(unsettled, _)| unsettled.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixtures;
    use super::*;

    #[test]
    fn an_acknowledged_but_unpersisted_write_blocks_its_record() {
        let (mut board, mut changes) = (WriterState::new("here".into()), WriteSet::default());
        let queued = Arc::new(Intent { is_async: true, ..fixtures::intent("A:1") });
        let delete = Arc::new(Intent { action: Action::Delete, ..fixtures::intent("A:2") });
        board.mark_busy(&queued);
        board.mark_busy(&delete);
        let other = |record: &str| Arc::new(fixtures::intent(record));
        assert_eq!(board.begin(&other("A:1"), false, &mut changes), BeginResult::Running(queued.operation.clone()));
        assert_eq!(board.begin(&other("A:2"), false, &mut changes), BeginResult::LeaseHeld);
        let running = LeaseResult::Running(delete.operation.clone());
        assert_eq!(board.acquire("crm", "A:2", 1000, &mut changes), running);
        for intent in [&queued, &delete] {
            assert_eq!(board.begin(intent, true, &mut changes), BeginResult::Started);
            assert!(board.finish(&Arc::new(fixtures::applied_outcome(&intent.operation)), 1000, &mut changes));
        }
        assert!(board.records.is_empty());
        assert_eq!(board.begin(&other("A:1"), false, &mut changes), BeginResult::Started);
    }
}
