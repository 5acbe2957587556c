//! Bounds what is asked of one vendor at once, so that a slow vendor cannot fill the gateway.
//!
//! At most `max_in_flight` calls run; at most `max_queue` wait for one of them to end or for the quota (`rate_limit`), in
//! the order they came and no longer than their callers do. Whoever cannot be served in time learns it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::rate_limiter::RateLimiter;
use super::{Layer, VendorRequest, VendorResponse};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// So long before its deadline a call has to be sent to be of any use.
const MIN_SEND_MARGIN: Duration = Duration::from_millis(5);

/// The layer.
pub(super) struct BulkheadLayer<T> {
    inner: T,
    permits: Semaphore,
    rate_limiter: Option<RateLimiter>,
    waiting: AtomicUsize,
    max_queue: usize,
    /// How long a call waits that nobody set a deadline for.
    default_wait: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

/// The bounds of one vendor.
pub(super) struct BulkheadSettings {
    pub(super) max_in_flight: usize,
    pub(super) max_queue: usize,
    pub(super) rate_limit: u32,
    pub(super) default_wait: Duration,
}

impl<T> BulkheadLayer<T> {
    pub(super) fn new(inner: T, bounds: &BulkheadSettings, metrics: Arc<Metrics>, system: SystemIndex) -> Self {
        Self {
            inner,
            permits: Semaphore::new(bounds.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            rate_limiter: RateLimiter::new(bounds.rate_limit),
            waiting: AtomicUsize::new(0),
            max_queue: bounds.max_queue,
            default_wait: bounds.default_wait,
            metrics,
            system,
        }
    }

    async fn acquire(&self, deadline: Option<Instant>) -> Result<Option<SemaphorePermit<'_>>, VendorError> {
        // Nobody waits and there is room: the way of nearly every call.
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Ok(permit) = self.permits.try_acquire()
            && self.rate_limiter.as_ref().is_none_or(RateLimiter::try_acquire)
        {
            return Ok(Some(permit));
        }
        let place = self.enqueue()?;
        let end = deadline.unwrap_or_else(|| Instant::now() + self.default_wait);
        if let Some(pace) = &self.rate_limiter {
            let turn = pace.next_slot(place.ahead);
            let wait = turn.saturating_duration_since(Instant::now());
            // A turn comes a little later than foretold, and a call that is sent at its deadline is of no use to anybody.
            if !wait.is_zero() && turn + wait / 50 + MIN_SEND_MARGIN >= end {
                return Err(rate_limited_fault(wait));
            }
        }
        let late = |_| overloaded_fault("the deadline passed while the call waited for its turn");
        // The semaphore is never closed.
        let permit = timeout_at(end, self.permits.acquire()).await.map_err(late)?.ok();
        if let Some(pace) = &self.rate_limiter {
            let turn = pace.next_slot(0);
            let wait = |_| rate_limited_fault(turn.saturating_duration_since(Instant::now()));
            timeout_at(end, pace.acquire()).await.map_err(wait)?;
        }
        Ok(permit)
    }

    fn enqueue(&self) -> Result<QueueSlot<'_, T>, VendorError> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        self.metrics.queue_depth(self.system, 1);
        // Made first, so that being refused leaves the queue as well.
        let place = QueueSlot { bulkhead: self, ahead };
        if ahead >= self.max_queue {
            return Err(overloaded_fault("too many calls wait for this vendor"));
        }
        Ok(place)
    }
}

/// A place in the queue, given up when dropped.
struct QueueSlot<'l, T> {
    bulkhead: &'l BulkheadLayer<T>,
    ahead: usize,
}

impl<T> Drop for QueueSlot<'_, T> {
    fn drop(&mut self) {
        self.bulkhead.waiting.fetch_sub(1, Ordering::Relaxed);
        self.bulkhead.metrics.queue_depth(self.bulkhead.system, -1);
    }
}

fn rate_limited_fault(wait: Duration) -> VendorError {
    let fault = VendorError::new(VendorErrorKind::RateLimited);
    fault.message("the configured number of calls a second to the vendor is used up").retry(Retry::After(wait))
}

fn overloaded_fault(why: &str) -> VendorError {
    VendorError::new(VendorErrorKind::Overloaded).message(why)
}

impl<T: Layer> Layer for BulkheadLayer<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let _permit = self.acquire(call.deadline).await?;
        self.inner.call(call).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;
    use crate::record::{SideEffect, VendorCallKind};
    use crate::transport::testing::{ScriptedLayer, metric_value, metrics, request};

    fn bulkhead(
        max_in_flight: usize,
        max_queue: usize,
        rate_limit: u32,
    ) -> (BulkheadLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let bounds = BulkheadSettings { max_in_flight, max_queue, rate_limit, default_wait: Duration::from_secs(10) };
        let inner = ScriptedLayer::new([]).with_latency(Duration::from_secs(1));
        (BulkheadLayer::new(inner, &bounds, Arc::clone(&metrics), system), metrics)
    }

    async fn read(limit: &BulkheadLayer<ScriptedLayer>, patience: u64) -> Result<VendorResponse, VendorError> {
        let mut call = request(VendorCallKind::Read);
        call.deadline = Some(Instant::now() + Duration::from_millis(patience));
        limit.call(&mut call).await
    }

    fn kinds(results: &[Result<VendorResponse, VendorError>]) -> Vec<Option<VendorErrorKind>> {
        results.iter().map(|result| result.as_ref().err().map(|fault| fault.kind)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_limit_queue_and_beyond_the_queue_are_rejected() {
        let (limit, metrics) = bulkhead(1, 2, 0);
        let begun = Instant::now();
        let queue = r#"vendor_queue_depth{system="crm"}"#;
        let four = async {
            let results = join_all((0..4).map(|_| read(&limit, 9_000))).await;
            (results, begun.elapsed().as_secs())
        };
        let look = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            metric_value(&metrics, queue)
        };
        let ((results, took), depth) = tokio::join!(four, look);
        assert_eq!(kinds(&results), [None, None, None, Some(VendorErrorKind::Overloaded)]);
        assert_eq!((took, depth, metric_value(&metrics, queue)), (3, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_expires_in_the_queue_is_an_overload() {
        let (limit, _) = bulkhead(1, 8, 0);
        let (first, second) = tokio::join!(read(&limit, 9_000), read(&limit, 500));
        let fault = second.expect_err("late");
        assert_eq!((first.is_ok(), fault.kind, fault.effect), (true, VendorErrorKind::Overloaded, SideEffect::None));
        assert_eq!(limit.inner.call_count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_callers_release_their_queue_slots() {
        let (limit, metrics) = bulkhead(1, 1, 0);
        let given_up = timeout(Duration::from_millis(10), join_all((0..2).map(|_| read(&limit, 9_000)))).await;
        assert!(given_up.is_err());
        assert_eq!(metric_value(&metrics, r#"vendor_queue_depth{system="crm"}"#), 0);
        assert_eq!(kinds(&join_all((0..2).map(|_| read(&limit, 9_000))).await), [None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_over_the_rate_limit_wait_if_the_deadline_allows() {
        let (limit, _) = bulkhead(64, 64, 2);
        let begun = Instant::now();
        assert!(join_all((0..6).map(|_| read(&limit, 9_000))).await.iter().all(Result::is_ok));
        let starts: Vec<u64> = limit.inner.calls().iter().map(|(at, _)| (*at - begun).as_secs()).collect();
        assert_eq!(starts, [0, 0, 1, 1, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_cannot_run_in_time_fail_at_once_with_the_wait() {
        let (limit, _) = bulkhead(64, 64, 2);
        let begun = Instant::now();
        let hasty = async {
            let fault = read(&limit, 900).await.expect_err("no turn");
            (fault, begun.elapsed())
        };
        let (_, _, (fault, after)) = tokio::join!(read(&limit, 9_000), read(&limit, 9_000), hasty);
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::RateLimited, SideEffect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(1)));
        assert_eq!(after, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_at_the_deadline_is_too_late() {
        let (limit, _) = bulkhead(64, 64, 2);
        let begun = Instant::now();
        let ends = join_all((0..8).map(|_| async {
            let end = read(&limit, 3_000).await;
            (end.err().map(|fault| fault.kind), begun.elapsed().as_secs())
        }));
        let refused: Vec<_> = ends.await.into_iter().filter_map(|(kind, after)| Some((kind?, after))).collect();
        assert_eq!(refused, [(VendorErrorKind::RateLimited, 0); 2]);
    }
}
