//! Who looks for the outcome of which write, so that an operator can have it looked for at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::record::OperationId;

/// The writes that the reconciler or a later look of this process is at.
#[derive(Clone, Default)]
pub(super) struct Looks(Arc<Mutex<HashMap<OperationId, Arc<Look>>>>);

/// One of them: it polls and pauses in turn.
#[derive(Debug, Default)]
pub(super) struct Look {
    polls: AtomicBool,
    wake: Notify,
}

/// What came of asking for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The next poll begins now.
    Woken,
    /// A poll is under way.
    Polling,
    /// Nobody in this process is at it.
    Nobody,
}

/// Ends the entry when it is dropped.
pub(super) struct LookGuard {
    looks: Looks,
    operation: OperationId,
    look: Arc<Look>,
}

impl Looks {
    /// Begins to look for a write; `None` if somebody is at it.
    pub(super) fn begin(&self, operation: &OperationId) -> Option<LookGuard> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.contains_key(operation) {
            return None;
        }
        let look = Arc::new(Look::default());
        looks.insert(operation.clone(), Arc::clone(&look));
        Some(LookGuard { looks: self.clone(), operation: operation.clone(), look })
    }

    /// Ends the pause of who looks for a write.
    pub(super) fn wake(&self, operation: &OperationId) -> Asked {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match looks.get(operation) {
            None => Asked::Nobody,
            Some(look) if look.polls.load(Ordering::Acquire) => Asked::Polling,
            Some(look) => {
                look.wake.notify_one();
                Asked::Woken
            }
        }
    }
}

impl LookGuard {
    pub(super) fn look(&self) -> Arc<Look> {
        Arc::clone(&self.look)
    }
}

impl Drop for LookGuard {
    fn drop(&mut self) {
        self.looks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.operation);
    }
}

impl Look {
    pub(super) fn set_polling(&self, polls: bool) {
        self.polls.store(polls, Ordering::Release);
    }

    /// Waits until `until`, or until a look is asked for.
    pub(super) async fn pause(&self, until: Instant) {
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.wake.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_a_look_is_asked_for() {
        let (looks, operation) = (Looks::default(), OperationId::new());
        assert_eq!(looks.wake(&operation), Asked::Nobody);
        let guard = looks.begin(&operation).expect("begun");
        assert!(looks.begin(&operation).is_none());
        guard.look().set_polling(true);
        assert_eq!(looks.wake(&operation), Asked::Polling);
        guard.look().set_polling(false);
        assert_eq!(looks.wake(&operation), Asked::Woken);
        let begun = Instant::now();
        guard.look().pause(begun + std::time::Duration::from_secs(9)).await;
        assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
        drop(guard);
        assert_eq!(looks.wake(&operation), Asked::Nobody);
    }
}
