//! The streams of changes that are open, of the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::Metrics;

/// How many are open.
#[derive(Debug, Default)]
pub(super) struct OpenStreams(AtomicUsize);

impl OpenStreams {
    /// `None`: as many are open as there may be.
    pub(super) fn acquire(self: &Arc<Self>, max_streams: usize, metrics: &Arc<Metrics>) -> Option<StreamPermit> {
        let one_more = |open: usize| (open < max_streams).then_some(open + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        metrics.changes_streams(1);
        Some(StreamPermit { open: Arc::clone(self), metrics: Arc::clone(metrics) })
    }
}

/// One of them.
pub(super) struct StreamPermit {
    open: Arc<OpenStreams>,
    metrics: Arc<Metrics>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
        self.metrics.changes_streams(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_whatever_the_metric_shows() {
        let metrics = Metrics::new(&[]).expect("metrics");
        // Another owner of the gauge.
        metrics.changes_streams(-5);
        let open = Arc::new(OpenStreams::default());
        let permits: Vec<_> = (0..3).map(|_| open.acquire(2, &metrics)).collect();
        assert_eq!(permits.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
        // A smaller limit of a new configuration counts for the next one.
        assert!(open.acquire(1, &metrics).is_none());
        drop(permits);
        assert!(open.acquire(1, &metrics).is_some());
    }
}
