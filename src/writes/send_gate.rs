//! What a write and its waiting caller share: once the caller has the response that nothing was
//! sent, nothing is.

use std::cell::RefCell;

use crate::record::OperationId;

/// How far the vendor request of a write is.
#[derive(Debug, Default)]
enum SendState {
    /// Nothing of it is in the store.
    #[default]
    NotBegun,
    /// Its intent may be in the store; another process would send it.
    Begun,
    /// The vendor may have it.
    Sent(OperationId),
    /// It never begins: its caller has a response that says so.
    Closed,
}

/// Shared by a write and the one that waits for it, on one thread.
#[derive(Default)]
pub(super) struct SendGate(RefCell<SendState>);

/// What the response to a caller says that waits no longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Nothing was sent, and nothing will be.
    NotSent,
    /// The operation may be applied.
    Sent(OperationId),
}

impl SendGate {
    /// Another attempt follows. The operation of the one before has ended without effect.
    pub(super) fn retry(&self) {
        let mut state = self.0.borrow_mut();
        if !matches!(*state, SendState::Closed) {
            *state = SendState::NotBegun;
        }
    }

    /// The intent is about to be stored; `false` = it must not be.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let is_open = !matches!(*state, SendState::Closed);
        if is_open {
            *state = SendState::Begun;
        }
        is_open
    }

    /// The request is about to be sent.
    pub(super) fn send(&self, operation: &OperationId) {
        *self.0.borrow_mut() = SendState::Sent(operation.clone());
    }

    /// The operation whose request may have been sent.
    pub(super) fn sent(&self) -> Option<OperationId> {
        match &*self.0.borrow() {
            SendState::Sent(operation) => Some(operation.clone()),
            SendState::NotBegun | SendState::Begun | SendState::Closed => None,
        }
    }

    /// Lets a write that has not begun never begin. `None`: its intent is being stored, and the
    /// next moment shows whether it is sent.
    pub(super) fn give_up(&self) -> Option<GivenUp> {
        let mut state = self.0.borrow_mut();
        match &*state {
            SendState::NotBegun | SendState::Closed => {
                *state = SendState::Closed;
                Some(GivenUp::NotSent)
            }
            SendState::Begun => None,
            SendState::Sent(operation) => Some(GivenUp::Sent(operation.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_was_given_up_before_it_began_never_begins() {
        let gate = SendGate::default();
        assert_eq!(gate.give_up(), Some(GivenUp::NotSent));
        assert!(!gate.begin());
        gate.retry();
        assert!(!gate.begin());
    }

    #[test]
    fn a_write_that_has_begun_is_given_up_only_when_it_is_known_whether_it_is_sent() {
        let (gate, operation) = (SendGate::default(), OperationId::new());
        assert!(gate.begin());
        assert_eq!(gate.give_up(), None);
        gate.send(&operation);
        assert_eq!(gate.give_up(), Some(GivenUp::Sent(operation)));
        // It met a conflict, and may be tried again.
        gate.retry();
        assert_eq!(gate.sent(), None);
        assert_eq!(gate.give_up(), Some(GivenUp::NotSent));
        assert!(!gate.begin());
    }
}
