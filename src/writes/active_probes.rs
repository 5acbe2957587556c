//! The writes whose outcome this process probes, so that an operator can have one probed at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::record::OperationId;

/// The writes that the reconciler, or an operator's request, is probing.
#[derive(Clone, Default)]
pub(super) struct ActiveProbes(Arc<Mutex<HashMap<OperationId, Arc<ProbeControl>>>>);

/// Controls one probe: `wake` ends its pause.
#[derive(Debug, Default)]
pub(super) struct ProbeControl {
    polls: AtomicBool,
    wake: Notify,
}

/// The result of a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeResult {
    /// The next poll begins now.
    Woken,
    /// A poll is under way.
    Polling,
    /// This process does not probe the write.
    NotProbed,
}

/// Ends the entry when it is dropped.
pub(super) struct ActiveProbeGuard {
    probes: ActiveProbes,
    operation: OperationId,
    control: Arc<ProbeControl>,
}

impl ActiveProbes {
    /// Registers a probe; `None` if the write has one.
    pub(super) fn register(&self, operation: &OperationId) -> Option<ActiveProbeGuard> {
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if probes.contains_key(operation) {
            return None;
        }
        let control = Arc::new(ProbeControl::default());
        probes.insert(operation.clone(), Arc::clone(&control));
        Some(ActiveProbeGuard { probes: self.clone(), operation: operation.clone(), control })
    }

    /// Ends the pause of a write's probe.
    pub(super) fn wake(&self, operation: &OperationId) -> WakeResult {
        let probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match probes.get(operation) {
            None => WakeResult::NotProbed,
            Some(control) if control.polls.load(Ordering::Acquire) => WakeResult::Polling,
            Some(control) => {
                control.wake.notify_one();
                WakeResult::Woken
            }
        }
    }
}

impl ActiveProbeGuard {
    pub(super) fn control(&self) -> Arc<ProbeControl> {
        Arc::clone(&self.control)
    }
}

impl Drop for ActiveProbeGuard {
    fn drop(&mut self) {
        self.probes.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.operation);
    }
}

impl ProbeControl {
    pub(super) fn set_polling(&self, polls: bool) {
        self.polls.store(polls, Ordering::Release);
    }

    /// Waits until `until`, or until a wake.
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
    async fn a_wake_ends_the_pause_of_a_probe() {
        let (probes, operation) = (ActiveProbes::default(), OperationId::new());
        assert_eq!(probes.wake(&operation), WakeResult::NotProbed);
        let guard = probes.register(&operation).expect("registered");
        assert!(probes.register(&operation).is_none());
        guard.control().set_polling(true);
        assert_eq!(probes.wake(&operation), WakeResult::Polling);
        guard.control().set_polling(false);
        assert_eq!(probes.wake(&operation), WakeResult::Woken);
        let begun = Instant::now();
        guard.control().pause(begun + std::time::Duration::from_secs(9)).await;
        assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
        drop(guard);
        assert_eq!(probes.wake(&operation), WakeResult::NotProbed);
    }
}
