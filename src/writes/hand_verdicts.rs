//! The operations that a person ends, so that their writes are not sent any more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::OperationId;

/// The operations that were ended by hand in this process.
#[derive(Clone, Default)]
pub(super) struct HandVerdicts(Arc<Mutex<HashSet<OperationId>>>);

impl HandVerdicts {
    /// The verdict is about to be recorded: a write that still waits must not follow it.
    pub(super) fn announce(&self, operation: &OperationId) {
        self.lock().insert(operation.clone());
    }

    /// The verdict was not recorded.
    pub(super) fn withdraw(&self, operation: &OperationId) {
        self.lock().remove(operation);
    }

    pub(super) fn contains(&self, operation: &OperationId) -> bool {
        self.lock().contains(operation)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<OperationId>> {
        // Poisoning is harmless: each critical section is one call of the set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
