//! A write between its stored intent and its outcome: whatever happens to the task that carries it, somebody settles it.

use super::Gateway;
use super::in_flight_write::InFlightWrite;

/// Hands the write over to the settler when it is dropped before its outcome is with the store: because the task panicked, or its
/// worker stopped, or its caller has been answered and the outcome is not known yet.
pub(super) struct ReconcileOnDrop<'g> {
    gateway: &'g Gateway,
    /// The write.
    pub(super) write: InFlightWrite,
}

impl<'g> ReconcileOnDrop<'g> {
    /// Takes on a write whose intent is stored.
    pub(super) fn new(gateway: &'g Gateway, pending: InFlightWrite) -> Self {
        Self { gateway, write: pending }
    }
}

impl Drop for ReconcileOnDrop<'_> {
    fn drop(&mut self) {
        if !self.write.recorded {
            self.gateway.enqueue_reconcile(self.write.clone());
        }
    }
}
