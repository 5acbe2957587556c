//! What runs just now, and the decisions about it. Pure: the writer loads what is needed before and writes the changes after.
//!
//! Where this process is the only writer the board is always complete. Where replicas share the database, what concerns a
//! batch is loaded while the head row is locked, so that nothing can change between looking and writing.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::changes::{Changes, Ended};
use super::page::{End, NewEntry};
use super::{Acquired, Begun, Claim, Intent, KeyState, Lease, Outcome, Told, Unsettled};
use crate::record::{Action, OperationId, OperationState};

/// A record of a system.
pub(super) type Target = (Arc<str>, Arc<str>);
/// A caller and its key.
pub(super) type KeyName = (String, String);

fn target(lease: &Lease) -> Target {
    (lease.system.as_str().into(), lease.record.as_str().into())
}

/// An idempotency key of a request that still runs does not expire.
const NEVER: i64 = i64::MAX;

/// Where the chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: String,
    pub(super) fence: i64,
    /// The greatest id of the operations that pages tell (see `untabled`); empty = none.
    pub(super) last_operation: String,
}

/// A running operation that this instance may settle.
#[derive(Clone, Debug)]
pub(super) struct Running {
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
pub(super) struct OnRecord {
    pub(super) id: OperationId,
    pub(super) queued: bool,
    /// Whether it deletes the record.
    pub(super) deletes: bool,
}

#[derive(Clone, Debug)]
pub(super) struct LeaseRow {
    pub(super) fence: i64,
    pub(super) expires: i64,
}

#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) fingerprint: Vec<u8>,
    pub(super) operation: OperationId,
    pub(super) verdict: Option<String>,
    pub(super) interim: Option<String>,
    pub(super) expires: i64,
}

impl KeyRow {
    /// What a repeat is told; `None` = the key is free (again).
    pub(super) fn state(&self, claim: &Claim, now: i64) -> Option<KeyState> {
        if self.expires <= now {
            return None;
        }
        Some(if self.fingerprint != claim.fingerprint {
            KeyState::Reused
        } else if let Some(verdict) = &self.verdict {
            KeyState::Verdict(verdict.clone())
        } else if let Some(interim) = &self.interim {
            KeyState::Interim(interim.clone())
        } else {
            KeyState::Running(self.operation.clone())
        })
    }
}

/// See the module.
pub(super) struct Board {
    /// This instance.
    pub(super) instance: String,
    pub(super) head: Head,
    /// Milliseconds since 1970; never goes back.
    pub(super) now: i64,
    pub(super) running: HashMap<OperationId, Running>,
    /// The running operations of a record.
    pub(super) records: HashMap<Target, Vec<OnRecord>>,
    pub(super) leases: HashMap<Target, LeaseRow>,
    /// Of this batch only.
    pub(super) keys: HashMap<KeyName, KeyRow>,
    /// Of this batch only: repeated commands whose operation is in the database already.
    pub(super) known: HashSet<OperationId>,
}

impl Board {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            head: Head { seq: 0, hash: super::ledger::NOTHING_BEFORE.into(), fence: 0, last_operation: String::new() },
            now: 0,
            running: HashMap::new(),
            records: HashMap::new(),
            leases: HashMap::new(),
            keys: HashMap::new(),
            known: HashSet::new(),
        }
    }

    /// Sets the clock. Leases and the ledger must not see it go back.
    pub(super) fn tick(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    fn live_lease(&self, target: &Target) -> Option<&LeaseRow> {
        self.leases.get(target).filter(|lease| lease.expires > self.now)
    }

    fn holds(&self, lease: &Lease) -> bool {
        let target = target(lease);
        self.live_lease(&target).is_some_and(|row| row.fence == lease.fence)
    }

    fn queued(&self, target: &Target) -> Option<&OperationId> {
        self.records.get(target)?.iter().find(|one| one.queued).map(|one| &one.id)
    }

    /// A queued write is named even under its own lease: waiting for it would be waiting for minutes.
    pub(super) fn acquire(&mut self, system: &str, record: &str, ttl: i64, changes: &mut Changes) -> Acquired {
        let target = (system.into(), record.into());
        if let Some(id) = self.queued(&target) {
            return Acquired::Running(id.clone());
        }
        if self.live_lease(&target).is_some() {
            return Acquired::Held;
        }
        if let Some(first) = self.records.get(&target).and_then(|running| running.first()) {
            return Acquired::Running(first.id.clone());
        }
        self.head.fence += 1;
        let fence = self.head.fence;
        self.set_lease(target, Some(LeaseRow { fence, expires: self.now.saturating_add(ttl) }), changes);
        Acquired::Lease(Lease { system: system.to_owned(), record: record.to_owned(), fence })
    }

    pub(super) fn renew(&mut self, lease: &Lease, ttl: i64, changes: &mut Changes) -> bool {
        let held = self.holds(lease);
        if held {
            let row = LeaseRow { fence: lease.fence, expires: self.now.saturating_add(ttl) };
            self.set_lease(target(lease), Some(row), changes);
        }
        held
    }

    pub(super) fn release(&mut self, lease: &Lease, changes: &mut Changes) {
        let target = target(lease);
        if self.leases.get(&target).is_some_and(|row| row.fence == lease.fence) {
            self.set_lease(target, None, changes);
        }
    }

    fn set_lease(&mut self, target: Target, row: Option<LeaseRow>, changes: &mut Changes) {
        match &row {
            Some(row) => self.leases.insert(target.clone(), row.clone()),
            None => self.leases.remove(&target),
        };
        changes.leases.insert(target, row);
    }

    /// `promised`: the caller was told `Started` before, and only the writing has to be made good.
    pub(super) fn begin(&mut self, intent: &Arc<Intent>, promised: bool, changes: &mut Changes) -> Begun {
        if self.running.contains_key(&intent.operation) || self.known.contains(&intent.operation) {
            return Begun::Started;
        }
        if !promised && let Some(refused) = self.refuses(intent) {
            return refused;
        }
        let seq = self.append(Arc::clone(intent), None, changes);
        if let Some(claim) = &intent.claim {
            let row = KeyRow {
                fingerprint: claim.fingerprint.to_vec(),
                operation: intent.operation.clone(),
                verdict: None,
                interim: None,
                expires: NEVER,
            };
            self.set_key((intent.caller.to_string(), claim.key.clone()), Some(row), changes);
        }
        let key = intent.claim.as_ref().map(|claim| claim.key.clone());
        self.run(Running { intent: Arc::clone(intent), seq, started: self.now, key });
        Begun::Started
    }

    fn refuses(&self, intent: &Intent) -> Option<Begun> {
        if let Some(claim) = &intent.claim
            && let Some(row) = self.keys.get(&(intent.caller.to_string(), claim.key.clone()))
            && let Some(state) = row.state(claim, self.now)
        {
            return Some(Begun::Key(state));
        }
        let target = intent.record.as_ref().map(|record| (Arc::clone(&intent.system), Arc::clone(record)));
        let on_record = target.as_ref().and_then(|target| self.records.get(target)).map_or(&[][..], Vec::as_slice);
        if let Some(queued) = on_record.iter().find(|one| one.queued) {
            return Some(Begun::Running(queued.id.clone()));
        }
        match (&intent.lease, target) {
            (Some(lease), _) => (!self.holds(lease)).then_some(Begun::LeaseLost),
            (None, Some(target)) => {
                // A delete may have outlived its lease: a crash ends leases, not vendor calls.
                let is_being_deleted = on_record.iter().any(|one| one.deletes);
                (is_being_deleted || self.live_lease(&target).is_some()).then_some(Begun::Held)
            }
            (None, None) => None,
        }
    }

    /// Notes that an operation runs, and may be settled here.
    pub(super) fn run(&mut self, running: Running) {
        self.occupy(&running.intent);
        self.running.insert(running.intent.operation.clone(), running);
    }

    /// Notes that an operation runs on its record, even if it could not be written yet.
    pub(super) fn occupy(&mut self, intent: &Intent) {
        if let Some(record) = &intent.record {
            let deletes = intent.action == Action::Delete;
            let on_record = OnRecord { id: intent.operation.clone(), queued: intent.queued, deletes };
            self.note((Arc::clone(&intent.system), Arc::clone(record)), on_record);
        }
    }

    /// Notes that an operation runs on a record.
    pub(super) fn note(&mut self, target: Target, running: OnRecord) {
        let on_record = self.records.entry(target).or_default();
        if on_record.iter().all(|other| other.id != running.id) {
            on_record.push(running);
        }
    }

    /// Gives back the entry's number. Its hash is computed when it is written.
    fn append(&mut self, intent: Arc<Intent>, end: Option<End>, changes: &mut Changes) -> i64 {
        self.head.seq += 1;
        changes.entries.push(NewEntry { seq: self.head.seq, at: self.now, intent, end });
        self.head.seq
    }

    pub(super) fn interim(&mut self, operation: &OperationId, told: Told, verdict: &str, changes: &mut Changes) {
        let Some(running) = self.running.get(operation) else { return };
        changes.told(operation, told);
        let Some(key) = &running.key else { return };
        let name = (running.intent.caller.to_string(), key.clone());
        if let Some(row) = self.keys.get(&name).filter(|row| row.operation == *operation) {
            let row = KeyRow { interim: Some(verdict.to_owned()), ..row.clone() };
            self.set_key(name, Some(row), changes);
        }
    }

    /// Does nothing, and says so, if the operation is not this instance's any more: the first outcome stands.
    pub(super) fn finish(&mut self, outcome: &Arc<Outcome>, ttl: i64, changes: &mut Changes) -> bool {
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
            self.settle_key((intent.caller.to_string(), key), outcome, ttl, changes);
        }
        let end = End { intent_seq: running.seq, outcome: Arc::clone(outcome) };
        let tells_it = changes.holds(running.seq) && outcome.settled_as() == OperationState::Applied;
        self.append(Arc::clone(&intent), Some(end), changes);
        if !tells_it || outcome.has_more_to_tell() || outcome.operation.as_str() <= self.head.last_operation.as_str() {
            let (started, finished) = (running.started, self.now);
            changes.ended.push(Ended {
                intent,
                intent_seq: running.seq,
                outcome: Arc::clone(outcome),
                started,
                finished,
            });
        } else {
            changes.tell(&outcome.operation);
        }
        true
    }

    fn settle_key(&mut self, name: KeyName, outcome: &Outcome, ttl: i64, changes: &mut Changes) {
        let Some(row) = self.keys.get(&name).filter(|row| row.operation == outcome.operation) else { return };
        let settled = outcome.verdict.as_ref().map(|verdict| KeyRow {
            verdict: Some(verdict.clone()),
            interim: None,
            expires: self.now.saturating_add(ttl),
            ..row.clone()
        });
        self.set_key(name, settled, changes);
    }

    fn set_key(&mut self, name: KeyName, row: Option<KeyRow>, changes: &mut Changes) {
        match &row {
            Some(row) => self.keys.insert(name.clone(), row.clone()),
            None => self.keys.remove(&name),
        };
        changes.keys.insert(name, row);
    }

    /// Makes the operations of dead instances this one's.
    pub(super) fn adopt(&mut self, found: &[(Unsettled, Running)], changes: &mut Changes) -> Vec<Unsettled> {
        for (unsettled, running) in found {
            changes.adopt(&unsettled.operation);
            if !self.running.contains_key(&unsettled.operation) {
                self.run(running.clone());
            }
        }
        found.iter().map(|(unsettled, _)| unsettled.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::place;
    use super::*;

    #[test]
    fn a_promised_write_that_could_not_be_written_keeps_others_off_its_record_and_is_noted_once() {
        let (mut board, mut changes) = (Board::new("here".into()), Changes::default());
        let queued = Arc::new(Intent { queued: true, ..place::intent("A:1") });
        let delete = Arc::new(Intent { action: Action::Delete, ..place::intent("A:2") });
        board.occupy(&queued);
        board.occupy(&delete);
        let other = |record: &str| Arc::new(place::intent(record));
        assert_eq!(board.begin(&other("A:1"), false, &mut changes), Begun::Running(queued.operation.clone()));
        assert_eq!(board.begin(&other("A:2"), false, &mut changes), Begun::Held);
        let running = Acquired::Running(delete.operation.clone());
        assert_eq!(board.acquire("crm", "A:2", 1000, &mut changes), running);
        for intent in [&queued, &delete] {
            assert_eq!(board.begin(intent, true, &mut changes), Begun::Started);
            assert!(board.finish(&Arc::new(place::applied(&intent.operation)), 1000, &mut changes));
        }
        assert!(board.records.is_empty());
        assert_eq!(board.begin(&other("A:1"), false, &mut changes), Begun::Started);
    }
}
