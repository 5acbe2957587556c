//! What a write and its waiting caller share: once the caller has the response that nothing was
//! sent, nothing is.

use std::cell::RefCell;

use super::drain::AbortFlag;
use crate::record::OperationId;

/// How far the vendor request of a write is.
#[derive(Debug, Default)]
enum SendState {
    /// Nothing of it is in the store.
    #[default]
    NotBegun,
    /// Its intent may be in the store; another process would send it.
    Begun,
    /// The vendor may have it, or had it before the attempt that is about to begin.
    Sent(OperationId),
    /// It never begins: its caller has a response that says so.
    Closed,
}

/// Shared by a write and the one that waits for it, on one thread.
#[derive(Default)]
pub(super) struct SendGate {
    state: RefCell<SendState>,
    /// Of the process that stops; `None` where nobody waits.
    abort: Option<AbortFlag>,
}

/// What the response to a caller says that waits no longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Nothing was sent, and nothing will be.
    NotSent,
    /// The operation has the outcome, and no other one begins.
    Sent(OperationId),
}

impl SendGate {
    pub(super) fn new(abort: AbortFlag) -> Self {
        Self { abort: Some(abort), ..Self::default() }
    }

    /// The store has not taken the intent.
    pub(super) fn set_not_begun(&self) {
        let mut state = self.state.borrow_mut();
        if !matches!(*state, SendState::Closed) {
            *state = SendState::NotBegun;
        }
    }

    /// The intent is about to be stored; `false` = it must not be.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.borrow_mut();
        // The one that waits may not have seen yet that the process stops.
        if self.abort.as_ref().is_some_and(AbortFlag::is_set) {
            *state = SendState::Closed;
        }
        let is_open = !matches!(*state, SendState::Closed);
        if is_open {
            *state = SendState::Begun;
        }
        is_open
    }

    /// The request is about to be sent.
    pub(super) fn send(&self, operation: &OperationId) {
        *self.state.borrow_mut() = SendState::Sent(operation.clone());
    }

    /// The operation whose request may have been sent.
    pub(super) fn sent(&self) -> Option<OperationId> {
        match &*self.state.borrow() {
            SendState::Sent(operation) => Some(operation.clone()),
            SendState::NotBegun | SendState::Begun | SendState::Closed => None,
        }
    }

    /// Lets a write that has not begun never begin. `None`: the store is about to take its intent
    /// or to refuse it, which shows whether it is sent.
    pub(super) fn give_up(&self) -> Option<GivenUp> {
        let mut state = self.state.borrow_mut();
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
    use std::time::Duration;

    use super::super::drain::DrainTracker;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_once_a_stop_is_over_although_its_caller_still_waits() {
        let tracker = DrainTracker::default();
        let (gate, running) = (SendGate::new(tracker.abort_flag()), tracker.begin());
        assert!(gate.begin());
        gate.set_not_begun();
        assert!(!tracker.drain(Duration::from_secs(1)).await);
        assert!(!gate.begin());
        assert_eq!(gate.give_up(), Some(GivenUp::NotSent));
        drop(running);
    }

    #[test]
    fn a_write_that_was_given_up_before_it_began_never_begins() {
        let gate = SendGate::default();
        assert_eq!(gate.give_up(), Some(GivenUp::NotSent));
        assert!(!gate.begin());
        gate.set_not_begun();
        assert!(!gate.begin());
    }

    #[test]
    fn a_write_that_has_begun_is_given_up_only_when_it_is_known_whether_it_is_sent() {
        let (gate, operation) = (SendGate::default(), OperationId::new());
        assert!(gate.begin());
        assert_eq!(gate.give_up(), None);
        gate.set_not_begun();
        assert!(gate.begin());
        gate.send(&operation);
        assert_eq!(gate.give_up(), Some(GivenUp::Sent(operation)));
    }
}
