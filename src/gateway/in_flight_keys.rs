//! The `Idempotency-Key`s of the requests that run in this process. The store knows a key only from
//! the intent on. Until then the first request may still read the record, and its repetition could
//! be decided by another state of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pairs of caller and key.
type KeySet = HashSet<(String, String)>;

/// The keys in use.
#[derive(Clone, Default)]
pub(super) struct InFlightKeys(Arc<Mutex<KeySet>>);

/// One request's claim on its key, which is released on drop.
pub(super) struct InFlightKeyGuard {
    keys: InFlightKeys,
    entry: (String, String),
}

impl InFlightKeys {
    /// Claims a caller's key; `None` if another request holds it.
    pub(super) fn try_acquire(&self, caller: &str, key: &str) -> Option<InFlightKeyGuard> {
        let entry = (caller.to_owned(), key.to_owned());
        let is_new = self.lock().insert(entry.clone());
        is_new.then(|| InFlightKeyGuard { keys: self.clone(), entry })
    }

    fn lock(&self) -> MutexGuard<'_, KeySet> {
        // Poisoning is harmless: each critical section is one operation on the set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightKeyGuard {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_request_per_idempotency_key_runs_at_a_time() {
        let keys = InFlightKeys::default();
        let first = keys.try_acquire("billing", "k");
        assert!(first.is_some() && keys.try_acquire("billing", "k").is_none());
        assert!(keys.try_acquire("billing", "other").is_some() && keys.try_acquire("shop", "k").is_some());
        drop(first);
        assert!(keys.try_acquire("billing", "k").is_some());
    }
}
