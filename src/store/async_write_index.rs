//! Which records a queued write runs on, for the reads of a process that is the only writer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::model::Intent;
use crate::record::OperationId;

#[derive(Default)]
struct Index {
    /// By system, then by record.
    records: HashMap<String, HashMap<String, OperationId>>,
    operations: HashMap<OperationId, (String, String)>,
}

/// The running queued writes. Every read uses it, so the usual case (none runs) costs one load.
#[derive(Default)]
pub(super) struct AsyncWriteIndex {
    count: AtomicUsize,
    index: RwLock<Index>,
}

impl AsyncWriteIndex {
    /// The queued write that runs on a record.
    pub(super) fn get(&self, system: &str, record: &str) -> Option<OperationId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.records.get(system)?.get(record).cloned()
    }

    /// Adds a write that has begun, if it is a queued one.
    pub(super) fn insert(&self, intent: &Intent) {
        if let Some(record) = intent.record.as_ref().filter(|_| intent.is_async) {
            self.insert_async(&intent.operation, &intent.system, record);
        }
    }

    fn insert_async(&self, operation: &OperationId, system: &str, record: &str) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.records.entry(system.to_owned()).or_default().insert(record.to_owned(), operation.clone());
        index.operations.insert(operation.clone(), (system.to_owned(), record.to_owned()));
        self.count.store(index.operations.len(), Ordering::Release);
    }

    /// Removes an operation that has ended, whether it is a queued one or not.
    pub(super) fn remove(&self, operation: &OperationId) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((system, record)) = index.operations.remove(operation)
            && let Some(records) = index.records.get_mut(&system)
            && records.get(&record) == Some(operation)
        {
            records.remove(&record);
        }
        self.count.store(index.operations.len(), Ordering::Release);
    }
}
