//! The batches that this process runs, whichever configuration is in force: which stored ones, and
//! how much memory all of them take.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most memory of all batches together, in bytes: of their bodies, and of the responses that
/// their callers do not have yet.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// What a batch takes for each byte of its body: the text, the items and what is parsed of them.
const BYTES_PER_BODY_BYTE: usize = 3;

/// The batches of this process.
#[derive(Debug, Default)]
pub(super) struct BatchRegistry {
    running: Mutex<HashSet<Arc<str>>>,
    bytes: AtomicUsize,
}

/// The only run of a stored batch in this process, until it is dropped.
///
/// A lease alone does not say so: one that ran out while the process hung is free again, although
/// the batch still runs here.
#[must_use]
pub(super) struct RunGuard {
    registry: Arc<BatchRegistry>,
    id: Arc<str>,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.id);
    }
}

/// The memory of one batch, until it is dropped.
#[must_use]
pub(super) struct BatchMemory {
    registry: Arc<BatchRegistry>,
    bytes: usize,
}

impl BatchRegistry {
    fn lock(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        // Poisoning is harmless: each critical section is one change of the set.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a stored batch; `None` while it runs in this process.
    pub(super) fn claim(self: &Arc<Self>, id: &str) -> Option<RunGuard> {
        let id: Arc<str> = id.into();
        self.lock().insert(Arc::clone(&id)).then(|| RunGuard { registry: Arc::clone(self), id })
    }

    /// Whether a stored batch runs in this process.
    pub(super) fn is_running(&self, id: &str) -> bool {
        self.lock().contains(id)
    }

    /// How many stored batches run in this process.
    pub(super) fn running_count(&self) -> usize {
        self.lock().len()
    }

    /// Memory for a batch with a body of `len` bytes. A batch that is the only one always gets it.
    pub(super) fn reserve(self: &Arc<Self>, len: usize) -> Option<BatchMemory> {
        let mut memory = BatchMemory { registry: Arc::clone(self), bytes: 0 };
        let bytes = len.saturating_mul(BYTES_PER_BODY_BYTE);
        (memory.grow(bytes) || memory.is_alone(bytes)).then_some(memory)
    }
}

impl BatchMemory {
    /// Takes more. `false` = there is no more, and nothing was taken.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= MAX_BYTES);
        let grown = self.registry.bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    fn is_alone(&mut self, bytes: usize) -> bool {
        let alone = self.registry.bytes.compare_exchange(0, bytes, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if alone {
            self.bytes = bytes;
        }
        alone
    }
}

impl Drop for BatchMemory {
    fn drop(&mut self) {
        self.registry.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_batch_runs_once_in_a_process() {
        let registry = Arc::new(BatchRegistry::default());
        let guard = registry.claim("a").expect("free");
        assert!(registry.claim("a").is_none() && registry.is_running("a"));
        assert!(registry.claim("b").is_some());
        drop(guard);
        assert!(registry.claim("a").is_some());
    }

    #[test]
    fn batches_share_one_memory_limit() {
        let registry = Arc::new(BatchRegistry::default());
        let huge = registry.reserve(MAX_BYTES).expect("it is the only one");
        assert!(registry.reserve(1).is_none());
        drop(huge);
        let mut half = registry.reserve(MAX_BYTES / BYTES_PER_BODY_BYTE / 2).expect("room");
        assert!(registry.reserve(MAX_BYTES).is_none() && !half.grow(MAX_BYTES));
        assert!(half.grow(MAX_BYTES / 4));
        drop(half);
        assert_eq!(registry.bytes.load(Ordering::Relaxed), 0);
    }
}
