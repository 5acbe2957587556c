//! Counts the running writes, so that a shutdown can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts running writes.
#[derive(Default)]
pub(crate) struct DrainTracker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    draining: AtomicBool,
    aborted: AtomicBool,
    /// Wakes the drain when a write has ended.
    changed: Notify,
    /// Wakes the callers when the drain is aborted. It is not `changed`, because each end of a
    /// write would then wake all of them.
    abort_notify: Notify,
    /// Wakes the streams of the feed of changes when a drain begins.
    drain_notify: Notify,
}

/// One running write, counted until it is dropped.
pub(super) struct TaskGuard(Arc<Shared>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// Whether a drain has timed out.
pub(super) struct AbortFlag(Arc<Shared>);

impl AbortFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.aborted.load(Ordering::SeqCst)
    }
}

impl DrainTracker {
    pub(super) fn abort_flag(&self) -> AbortFlag {
        AbortFlag(Arc::clone(&self.shared))
    }

    /// Counts a new write; `None` once a drain has begun.
    pub(super) fn begin(&self) -> Option<TaskGuard> {
        // Counted before the check, so that a drain that begins now waits for this write or rejects
        // it.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        let guard = TaskGuard(Arc::clone(&self.shared));
        (!self.is_draining()).then_some(guard)
    }

    /// Whether new writes are rejected.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::SeqCst)
    }

    /// Completes when a drain has begun.
    pub(crate) async fn draining(&self) {
        loop {
            let notified = self.shared.drain_notify.notified();
            if self.is_draining() {
                return;
            }
            notified.await;
        }
    }

    /// Rejects new writes and waits until none runs; `false` if some still run after `timeout`.
    pub(crate) async fn drain(&self, timeout: Duration) -> bool {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.drain_notify.notify_waiters();
        let all_ended = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                changed.await;
            }
        };
        let drained = tokio::time::timeout(timeout, all_ended).await.is_ok();
        if !drained {
            self.shared.aborted.store(true, Ordering::SeqCst);
            self.shared.abort_notify.notify_waiters();
        }
        drained
    }

    /// Completes when a drain has timed out. A caller that still waits for its write gets a
    /// response then.
    pub(super) async fn aborted(&self) {
        loop {
            let notified = self.shared.abort_notify.notified();
            if self.shared.aborted.load(Ordering::SeqCst) {
                return;
            }
            notified.await;
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
        assert!(
            tokio::time::timeout(Duration::from_secs(5), tracker.aborted()).await.is_err(),
            "aborted before a drain"
        );
        let (drained, ()) = tokio::join!(tracker.drain(Duration::from_secs(5)), tracker.aborted());
        assert!(!drained);
        assert!(tracker.begin().is_none());
        drop(running);
        assert!(tracker.drain(Duration::from_secs(5)).await);
    }
}
