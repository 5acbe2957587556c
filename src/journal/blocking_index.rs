//! Which records a queued or unresolved write runs on, in memory; used by every read of a record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::model::Intent;
use crate::record::OperationId;

/// Operations by system, then by record.
type ByRecord = HashMap<String, HashMap<String, OperationId>>;

#[derive(Default)]
struct Index {
    own: ByRecord,
    /// The record of each of this instance's operations.
    operations: HashMap<OperationId, (String, String)>,
    /// What the last snapshot shows of other replicas.
    others: ByRecord,
}

/// The running writes that block their records. The usual case (none runs) costs one load.
#[derive(Default)]
pub(super) struct BlockingIndex {
    count: AtomicUsize,
    index: RwLock<Index>,
}

impl BlockingIndex {
    /// The write that blocks a record.
    pub(super) fn get(&self, system: &str, record: &str) -> Option<OperationId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let find = |records: &ByRecord| records.get(system)?.get(record).cloned();
        find(&index.own).or_else(|| find(&index.others))
    }

    /// Adds a write of this instance that blocks its record.
    pub(super) fn insert(&self, intent: &Intent) {
        let Some(record) = &intent.record else { return };
        let (system, record, operation) = (intent.system.to_string(), record.to_string(), intent.operation.clone());
        self.update(|index| {
            index.own.entry(system.clone()).or_default().insert(record.clone(), operation.clone());
            index.operations.insert(operation, (system, record));
        });
    }

    /// Removes an operation of this instance that has ended, whether it blocks its record or not.
    pub(super) fn remove(&self, operation: &OperationId) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.update(|index| {
            if let Some((system, record)) = index.operations.remove(operation)
                && let Some(records) = index.own.get_mut(&system)
                && records.get(&record) == Some(operation)
            {
                records.remove(&record);
            }
        });
    }

    /// Replaces what is known of other replicas: system, record and operation of each write.
    pub(super) fn replace_others(&self, writes: Vec<(String, String, OperationId)>) {
        if writes.is_empty() && self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut others = ByRecord::new();
        for (system, record, operation) in writes {
            others.entry(system).or_default().entry(record).or_insert(operation);
        }
        self.update(|index| index.others = others);
    }

    fn update(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut index);
        let others: usize = index.others.values().map(HashMap::len).sum();
        self.count.store(index.operations.len() + others, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples::intent;
    use super::*;

    #[test]
    fn own_writes_are_seen_at_once_and_others_as_the_snapshot_shows() {
        let (index, own, other) = (BlockingIndex::default(), intent("A:1"), OperationId::new());
        assert_eq!(index.get("crm", "A:1"), None);
        index.insert(&own);
        index.replace_others(vec![
            ("crm".into(), "A:1".into(), other.clone()),
            ("crm".into(), "A:2".into(), other.clone()),
        ]);
        assert_eq!(index.get("crm", "A:1"), Some(own.operation.clone()));
        assert_eq!(index.get("crm", "A:2"), Some(other.clone()));
        assert_eq!(index.get("itsm", "A:2"), None);
        index.remove(&own.operation);
        assert_eq!(index.get("crm", "A:1"), Some(other));
        index.replace_others(Vec::new());
        assert_eq!(index.get("crm", "A:1"), None);
    }
}
