//! A write between its stored intent and its outcome: whatever happens to the task that carries it, somebody settles it.

use super::Gateway;
use super::pending::Pending;

/// Hands the write over to the settler when it is dropped before its outcome is with the store: because the task panicked, or its
/// worker stopped, or its caller has been answered and the outcome is not known yet.
pub(super) struct Carried<'g> {
    gateway: &'g Gateway,
    /// The write.
    pub(super) pending: Pending,
}

impl<'g> Carried<'g> {
    /// Takes on a write whose intent is stored.
    pub(super) fn new(gateway: &'g Gateway, pending: Pending) -> Self {
        Self { gateway, pending }
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        if !self.pending.concluded {
            self.gateway.hand_to_settler(self.pending.clone());
        }
    }
}
