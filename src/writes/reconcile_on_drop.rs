//! The guard of a write between its stored intent and its outcome: it reaches the reconciler
//! whatever happens to the task that sends it.

use super::in_flight_write::InFlightWrite;
use super::write_services::WriteServices;

/// Hands its write over to the reconciler if it is dropped before the store has the outcome:
/// because the task panicked, its worker stopped, or the outcome is not known by the caller's
/// deadline.
pub(super) struct ReconcileOnDrop<'g> {
    services: &'g WriteServices,
    pub write: InFlightWrite,
}

impl<'g> ReconcileOnDrop<'g> {
    /// Guards a write whose intent is stored.
    pub(super) fn new(services: &'g WriteServices, write: InFlightWrite) -> Self {
        Self { services, write }
    }
}

impl Drop for ReconcileOnDrop<'_> {
    fn drop(&mut self) {
        if !self.write.recorded {
            self.services.enqueue_reconcile(self.write.clone());
        }
    }
}
