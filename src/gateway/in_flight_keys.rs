//! The requests with an `Idempotency-Key` that are under way in this process. The store knows a key from the intent on; until
//! then a request may be reading the record, and its repeat would judge by another state of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type CallerKeySet = HashSet<(String, String)>;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct InFlightKeys(Arc<Mutex<CallerKeySet>>);

/// One request; its key is free again when it is dropped.
pub(super) struct InFlightKeyGuard {
    in_flight_keys: InFlightKeys,
    name: (String, String),
}

impl InFlightKeys {
    /// A request of this caller with this key begins; `None` = another one is under way.
    pub(super) fn try_acquire(&self, caller: &str, key: &str) -> Option<InFlightKeyGuard> {
        let name = (caller.to_owned(), key.to_owned());
        let entered = self.keys().insert(name.clone());
        entered.then(|| InFlightKeyGuard { in_flight_keys: self.clone(), name })
    }

    fn keys(&self) -> MutexGuard<'_, CallerKeySet> {
        // Nothing can panic between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightKeyGuard {
    fn drop(&mut self) {
        self.in_flight_keys.keys().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_request_per_idempotency_key_runs_at_a_time() {
        let keyed = InFlightKeys::default();
        let first = keyed.try_acquire("billing", "k");
        assert!(first.is_some() && keyed.try_acquire("billing", "k").is_none());
        assert!(keyed.try_acquire("billing", "other").is_some() && keyed.try_acquire("shop", "k").is_some());
        drop(first);
        assert!(keyed.try_acquire("billing", "k").is_some());
    }
}
