//! What runs now, and the rules that decide each command. Nothing here reads or writes the
//! database: a session loads what is missing before and writes the changes after.
//!
//! With SQLite this state is complete, because this process is the only writer. With PostgreSQL the
//! session reloads what concerns a group while it holds the lock of all replicas.

mod append;
mod batches;
mod ledger_cut;
mod replay;
mod verdict;

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::change_set::{ChangeSet, NewDetail};
use super::changes::change_type;
use super::clock::Clock;
use super::entry_json::EntryOutcome;
use super::ledger::LedgerEvent;
use super::model::{BeginResult, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation, Outcome};
use super::shared::KeyTtl;
use super::writer_rows::{
    ChainHead, EndedOperation, IdempotencyKeyId, IdempotencyRow, KeyProgress, LeaseRow, RecordKey, RecordOperation,
    RunningOperation, StoredOperation, VerdictTarget,
};
use crate::record::{Action, OperationId, OperationState};

fn lease_record_key(lease: &Lease) -> RecordKey {
    (lease.system.as_str().into(), lease.record.as_str().into())
}

/// The state that commands are applied to.
pub(super) struct WriterState {
    /// The id of this instance.
    pub(super) instance: String,
    pub(super) head: ChainHead,
    pub(super) clock: Clock,
    /// The fencing number of the newest lease.
    pub(super) fence: i64,
    /// The operations that this instance finishes.
    pub(super) running: HashMap<OperationId, RunningOperation>,
    /// The running operations of each record.
    pub(super) records: HashMap<RecordKey, Vec<RecordOperation>>,
    pub(super) leases: HashMap<RecordKey, LeaseRow>,
    /// What this group has replaced in `leases`, in order.
    replaced_leases: Vec<(RecordKey, Option<LeaseRow>)>,
    /// The idempotency keys that concern the current group.
    pub(super) keys: HashMap<IdempotencyKeyId, IdempotencyRow>,
    /// The operations of the current group's retries that the database already holds.
    pub(super) already_written: HashSet<OperationId>,
    /// The outcomes that the database holds already of the operations that retries end.
    pub(super) ended: HashMap<OperationId, OperationState>,
    /// The operations that the verdicts of the current group are about.
    pub(super) verdict_targets: HashMap<OperationId, VerdictTarget>,
}

impl WriterState {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            head: ChainHead::EMPTY,
            clock: Clock::new(),
            fence: 0,
            running: HashMap::new(),
            records: HashMap::new(),
            leases: HashMap::new(),
            replaced_leases: Vec::new(),
            keys: HashMap::new(),
            already_written: HashSet::new(),
            ended: HashMap::new(),
            verdict_targets: HashMap::new(),
        }
    }

    /// Clears the state that is reloaded from the database, and keeps the rest.
    pub(super) fn clear_stored(&mut self) {
        self.head = ChainHead::EMPTY;
        self.running.clear();
        self.records.clear();
    }

    /// Forgets what concerned the group before.
    pub(super) fn start_group(&mut self) {
        self.keys.clear();
        self.already_written.clear();
        self.ended.clear();
        self.verdict_targets.clear();
        self.replaced_leases.clear();
    }

    /// Undoes what a failed group did to leases that only memory holds.
    pub(super) fn restore_leases(&mut self) {
        for (key, row) in std::mem::take(&mut self.replaced_leases).into_iter().rev() {
            match row {
                Some(row) => self.leases.insert(key, row),
                None => self.leases.remove(&key),
            };
        }
    }

    /// The time for leases, keys and heartbeats.
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.steady_ms
    }

    fn live_lease(&self, key: &RecordKey) -> Option<&LeaseRow> {
        self.leases.get(key).filter(|lease| lease.expires_ms > self.now_ms())
    }

    fn owns_lease(&self, lease: &Lease) -> bool {
        self.live_lease(&lease_record_key(lease)).is_some_and(|row| row.fence == lease.fence)
    }

    fn blocking_write_on(&self, key: &RecordKey) -> Option<&OperationId> {
        self.records.get(key)?.iter().find(|running| running.blocks).map(|running| &running.id)
    }

    /// Tries to take the lease of a record for `ttl_ms`. A queued or unresolved write is named even
    /// while a lease is held: it may run for minutes, so the caller must not wait for it.
    pub(super) fn acquire(&mut self, system: &str, record: &str, ttl_ms: i64, changes: &mut ChangeSet) -> LeaseResult {
        let key = (system.into(), record.into());
        if let Some(id) = self.blocking_write_on(&key) {
            return LeaseResult::Running(id.clone());
        }
        if self.live_lease(&key).is_some() {
            return LeaseResult::Held;
        }
        // A write that the vendor compares, or one that has outlived its lease.
        if let Some(first) = self.records.get(&key).and_then(|running| running.first()) {
            return LeaseResult::Running(first.id.clone());
        }
        self.fence += 1;
        let fence = self.fence;
        self.set_lease(key, Some(LeaseRow { fence, expires_ms: self.now_ms().saturating_add(ttl_ms) }), changes);
        LeaseResult::Lease(Lease { system: system.to_owned(), record: record.to_owned(), fence })
    }

    /// Extends a lease from now; `false` = it is no longer held.
    pub(super) fn renew(&mut self, lease: &Lease, ttl_ms: i64, changes: &mut ChangeSet) -> bool {
        let held = self.owns_lease(lease);
        if held {
            let row = LeaseRow { fence: lease.fence, expires_ms: self.now_ms().saturating_add(ttl_ms) };
            self.set_lease(lease_record_key(lease), Some(row), changes);
        }
        held
    }

    /// Frees a lease unless another writer holds it by now.
    pub(super) fn release(&mut self, lease: &Lease, changes: &mut ChangeSet) {
        let key = lease_record_key(lease);
        if self.leases.get(&key).is_some_and(|row| row.fence == lease.fence) {
            self.set_lease(key, None, changes);
        }
    }

    fn set_lease(&mut self, key: RecordKey, row: Option<LeaseRow>, changes: &mut ChangeSet) {
        let replaced = match &row {
            Some(row) => self.leases.insert(key.clone(), row.clone()),
            None => self.leases.remove(&key),
        };
        self.replaced_leases.push((key.clone(), replaced));
        changes.leases.insert(key, row);
    }

    /// Whether an operation of this instance has begun and is no longer its own: another replica
    /// has adopted it or has ended it.
    pub(super) fn is_taken(&self, operation: &OperationId) -> bool {
        self.already_written.contains(operation) && !self.running.contains_key(operation)
    }

    /// Begins an operation or returns why it must not begin. `must_begin` = its id is known
    /// outside, so nothing may prevent it any more.
    pub(super) fn begin(&mut self, intent: &Arc<Intent>, must_begin: bool, changes: &mut ChangeSet) -> BeginResult {
        if self.running.contains_key(&intent.operation) || self.already_written.contains(&intent.operation) {
            return BeginResult::Started;
        }
        if !must_begin && let Some(conflict) = self.find_conflict(intent) {
            return conflict;
        }
        let seq = self.append(intent, None, changes);
        if let Some(claim) = &intent.idempotency {
            let row = IdempotencyRow {
                fingerprint: claim.fingerprint.to_vec(),
                operation: intent.operation.clone(),
                progress: KeyProgress::default(),
            };
            let key_id: IdempotencyKeyId = (Arc::clone(&intent.caller), claim.key.as_str().into());
            self.keys.insert(key_id.clone(), row.clone());
            changes.key_claims.insert(key_id, row);
        }
        let key = intent.idempotency.as_ref().map(|claim| claim.key.as_str().into());
        let running = RunningOperation { intent: Arc::clone(intent), seq, key, is_unresolved: false };
        changes.begun.push(running.clone());
        self.track(running);
        BeginResult::Started
    }

    /// The idempotency key is checked first: a repeat gets its result whatever else runs.
    fn find_conflict(&self, intent: &Intent) -> Option<BeginResult> {
        if let Some(claim) = &intent.idempotency
            && let Some(row) = self.keys.get(&(Arc::clone(&intent.caller), claim.key.as_str().into()))
            && let Some(state) = row.state(claim, self.now_ms())
        {
            return Some(BeginResult::IdempotencyKey(state));
        }
        let record_key = intent.record.as_ref().map(|record| (Arc::clone(&intent.system), Arc::clone(record)));
        let on_record = record_key.as_ref().and_then(|key| self.records.get(key)).map_or(&[][..], Vec::as_slice);
        if let Some(blocking) = on_record.iter().find(|running| running.blocks) {
            return Some(BeginResult::Running(blocking.id.clone()));
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
        self.mark_busy(&running.intent, running.blocks());
        self.running.insert(running.intent.operation.clone(), running);
    }

    /// Adds an operation to its record, even if its intent is not persisted yet.
    pub(super) fn mark_busy(&mut self, intent: &Intent, blocks: bool) {
        if let Some(record) = &intent.record {
            let deletes = intent.action == Action::Delete;
            let on_record = RecordOperation { id: intent.operation.clone(), blocks, deletes };
            self.track_on_record((Arc::clone(&intent.system), Arc::clone(record)), on_record);
        }
    }

    /// Adds an operation to a record, or replaces what was known of it.
    pub(super) fn track_on_record(&mut self, key: RecordKey, running: RecordOperation) {
        let on_record = self.records.entry(key).or_default();
        match on_record.iter_mut().find(|other| other.id == running.id) {
            Some(other) => *other = running,
            None => on_record.push(running),
        }
    }

    pub(super) fn save_interim_outcome(
        &mut self,
        operation: &OperationId,
        response: InterimResponse,
        replay_json: Option<&str>,
        changes: &mut ChangeSet,
    ) {
        let Some(running) = self.running.get_mut(operation) else { return };
        changes.interim.insert(running.seq, response.code());
        let caller = Arc::clone(&running.intent.caller);
        let key_id = running.key.as_ref().map(|key| (caller, Arc::clone(key)));
        if response == InterimResponse::Unknown {
            running.is_unresolved = true;
            let intent = Arc::clone(&running.intent);
            self.mark_busy(&intent, true);
        }
        if let (Some(key_id), Some(replay_json)) = (key_id, replay_json) {
            let progress = KeyProgress { interim: Some(replay_json.to_owned()), ..KeyProgress::default() };
            self.set_key_progress(key_id, operation, Some(progress), changes);
        }
    }

    /// Records an outcome; `false` = the operation is finished already or belongs to another
    /// instance. `key_ttl` is how long the idempotency key replays the outcome.
    pub(super) fn finish(&mut self, outcome: &Arc<Outcome>, key_ttl: KeyTtl, changes: &mut ChangeSet) -> bool {
        if let Some(lease) = &outcome.lease {
            self.release(lease, changes);
        }
        let Some(running) = self.running.remove(&outcome.operation) else { return false };
        let intent = &running.intent;
        if let Some(record) = &intent.record
            && let Entry::Occupied(mut on_record) = self.records.entry((Arc::clone(&intent.system), Arc::clone(record)))
        {
            on_record.get_mut().retain(|running| running.id != outcome.operation);
            if on_record.get().is_empty() {
                on_record.remove();
            }
        }
        if let Some(key) = &running.key {
            let progress = outcome.replay_json.as_ref().map(|replay_json| KeyProgress {
                replay_json: Some(replay_json.clone()),
                interim: None,
                expires_ms: Some(self.now_ms().saturating_add(key_ttl.of(intent))),
            });
            let key_id = (Arc::clone(&intent.caller), Arc::clone(key));
            self.set_key_progress(key_id, &outcome.operation, progress, changes);
        }
        self.append(intent, Some(EntryOutcome { intent_seq: running.seq, outcome }), changes);
        let event = change_type(LedgerEvent::Outcome, intent.action, outcome.state);
        changes.feed.extend(event.map(|event| (Arc::clone(&intent.system), event)));
        changes.ended.push(running.seq);
        if outcome.state != OperationState::Applied || outcome.has_details() {
            changes.details.push(NewDetail {
                running: running.clone(),
                finished_ms: self.head.at,
                outcome: Arc::clone(outcome),
            });
        }
        if let Some(target) = self.verdict_targets.get_mut(&outcome.operation) {
            target.ended = Some(EndedOperation { state: outcome.state, has_verdict: false, warnings: None });
        }
        true
    }

    /// Sets how far the operation of a key is; `None` frees the key.
    fn set_key_progress(
        &mut self,
        key_id: IdempotencyKeyId,
        operation: &OperationId,
        progress: Option<KeyProgress>,
        changes: &mut ChangeSet,
    ) {
        if let Some(row) = self.keys.get_mut(&key_id).filter(|row| row.operation == *operation) {
            match &progress {
                Some(progress) => row.progress = progress.clone(),
                None => {
                    self.keys.remove(&key_id);
                }
            }
        }
        changes.set_key_progress(key_id, operation, progress);
    }

    /// Makes this instance the owner of operations of dead instances.
    pub(super) fn adopt(&mut self, orphans: Vec<StoredOperation>, changes: &mut ChangeSet) -> Vec<OrphanedOperation> {
        let mut adopted = Vec::with_capacity(orphans.len());
        for StoredOperation { running, mut orphan, .. } in orphans {
            changes.adopted.push(running.seq);
            if orphan.first_adopted_ms == 0 {
                orphan.first_adopted_ms = self.clock.wall_ms;
            }
            if !self.running.contains_key(&orphan.operation) {
                self.track(RunningOperation { is_unresolved: true, ..running });
            }
            adopted.push(orphan);
        }
        adopted
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples;
    use super::*;

    #[test]
    fn a_write_that_is_not_persisted_yet_blocks_its_record() {
        let (mut state, mut changes) = (WriterState::new("here".into()), ChangeSet::default());
        let queued = Arc::new(Intent { is_async: true, ..samples::intent("A:1") });
        let delete = Arc::new(Intent { action: Action::Delete, ..samples::intent("A:2") });
        state.mark_busy(&queued, true);
        state.mark_busy(&delete, false);
        let another = |record: &str| Arc::new(samples::intent(record));
        assert_eq!(state.begin(&another("A:1"), false, &mut changes), BeginResult::Running(queued.operation.clone()));
        assert_eq!(state.begin(&another("A:2"), false, &mut changes), BeginResult::LeaseHeld);
        let running = LeaseResult::Running(delete.operation.clone());
        assert_eq!(state.acquire("crm", "A:2", 1000, &mut changes), running);
        let ttl = KeyTtl { single_ms: 1000, stored_batch_ms: 1000 };
        for intent in [&queued, &delete] {
            assert_eq!(state.begin(intent, true, &mut changes), BeginResult::Started);
            assert!(state.finish(&Arc::new(samples::applied_outcome(&intent.operation)), ttl, &mut changes));
        }
        assert!(state.records.is_empty());
        assert_eq!(state.begin(&another("A:1"), false, &mut changes), BeginResult::Started);
    }
}
