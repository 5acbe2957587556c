//! How many writes run, so that a shutdown can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts running writes.
#[derive(Default)]
pub(super) struct DrainTracker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    draining: AtomicBool,
    aborted: AtomicBool,
    /// For the drain: a write has ended.
    changed: Notify,
    /// For everybody who waits for a write: the drain has given up. One of its own, or each end of a write would wake them all.
    abort_notify: Notify,
}

/// One running write.
pub(super) struct TaskGuard(Arc<Shared>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl DrainTracker {
    /// A write begins; `None` when no more may.
    pub(super) fn begin(&self) -> Option<TaskGuard> {
        // Counted first: a drain that begins now sees either this write or the refusal.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        let running = TaskGuard(Arc::clone(&self.shared));
        (!self.is_draining()).then_some(running)
    }

    /// Whether no more may begin.
    pub(super) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::SeqCst)
    }

    /// Lets no more begin and waits until none runs.
    pub(super) async fn drain(&self, within: Duration) -> bool {
        self.shared.draining.store(true, Ordering::SeqCst);
        let none_left = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                changed.await;
            }
        };
        let drained = tokio::time::timeout(within, none_left).await.is_ok();
        if !drained {
            self.shared.aborted.store(true, Ordering::SeqCst);
            self.shared.abort_notify.notify_waiters();
        }
        drained
    }

    /// Comes when a drain has waited in vain: whoever still waits for a write is to be told that nobody knows.
    pub(super) async fn aborted(&self) {
        loop {
            let over = self.shared.abort_notify.notified();
            if self.shared.aborted.load(Ordering::SeqCst) {
                return;
            }
            over.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_running_tasks_and_rejects_new_ones() {
        let tracker = DrainTracker::default();
        let running = tracker.begin().expect("begun");
        assert!(tokio::time::timeout(Duration::from_secs(5), tracker.aborted()).await.is_err(), "not before a drain");
        let (drained, ()) = tokio::join!(tracker.drain(Duration::from_secs(5)), tracker.aborted());
        assert!(!drained);
        assert!(tracker.begin().is_none());
        drop(running);
        assert!(tracker.drain(Duration::from_secs(5)).await);
    }
}
