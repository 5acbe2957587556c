//! The requests with an `Idempotency-Key` that are under way in this process. The store knows a key from the intent on; until
//! then a request may be reading the record, and its repeat would judge by another state of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Keys = HashSet<(String, String)>;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Keyed(Arc<Mutex<Keys>>);

/// One request; its key is free again when it is dropped.
pub(super) struct UnderWay {
    keyed: Keyed,
    name: (String, String),
}

impl Keyed {
    /// A request of this caller with this key begins; `None` = another one is under way.
    pub(super) fn enter(&self, caller: &str, key: &str) -> Option<UnderWay> {
        let name = (caller.to_owned(), key.to_owned());
        let entered = self.keys().insert(name.clone());
        entered.then(|| UnderWay { keyed: self.clone(), name })
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // Nothing can panic between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.keyed.keys().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_requests_with_one_key_one_at_a_time_is_under_way() {
        let keyed = Keyed::default();
        let first = keyed.enter("billing", "k");
        assert!(first.is_some() && keyed.enter("billing", "k").is_none());
        assert!(keyed.enter("billing", "other").is_some() && keyed.enter("shop", "k").is_some());
        drop(first);
        assert!(keyed.enter("billing", "k").is_some());
    }
}
