//! Limits the load on one vendor, so that a slow vendor cannot fill the gateway.
//!
//! At most `max_in_flight` requests are in flight. At most `max_queue` more wait, first come first
//! served, for one of them to end or for the `rate_limit`. A request waits no longer than its
//! deadline allows. One that cannot be sent in time is rejected at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::layer::Layer;
use super::rate_limiter::RateLimiter;
use super::request::VendorRequest;
use super::response::VendorResponse;
use super::settings::StackSettings;
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// A request must be sent this long before its deadline to be of any use.
const MIN_SEND_MARGIN: Duration = Duration::from_millis(5);

/// Limits the requests in flight, in the queue and per second.
pub(super) struct BulkheadLayer<T> {
    inner: T,
    permits: Semaphore,
    rate_limiter: Option<RateLimiter>,
    /// Requests that wait or are in flight. Both are counted together: a request that has just got
    /// a permit still waits for its task to run, and takes no place of the queue.
    admitted: AtomicUsize,
    max_admitted: usize,
    waiting: AtomicUsize,
    /// How long a request without a deadline waits.
    default_wait: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> BulkheadLayer<T> {
    pub(super) fn new(inner: T, settings: &StackSettings, metrics: Arc<Metrics>, system: SystemIndex) -> Self {
        let max_in_flight = settings.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner,
            permits: Semaphore::new(max_in_flight),
            rate_limiter: RateLimiter::new(settings.rate_limit),
            admitted: AtomicUsize::new(0),
            max_admitted: max_in_flight.saturating_add(settings.max_queue),
            waiting: AtomicUsize::new(0),
            default_wait: settings.timeout,
            metrics,
            system,
        }
    }

    async fn acquire(&self, deadline: Option<Instant>) -> Result<Option<SemaphorePermit<'_>>, VendorError> {
        // The usual case: nothing waits and there is a permit.
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Ok(permit) = self.permits.try_acquire()
            && self.rate_limiter.as_ref().is_none_or(RateLimiter::try_acquire)
        {
            return Ok(Some(permit));
        }
        let queue_slot = self.enqueue();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.default_wait);
        if let Some(rate_limiter) = &self.rate_limiter {
            let slot = rate_limiter.next_slot(queue_slot.ahead);
            let wait = slot.saturating_duration_since(Instant::now());
            // A slot comes up to 2 % later than predicted.
            if !wait.is_zero() && slot + wait / 50 + MIN_SEND_MARGIN >= deadline {
                return Err(rate_limited_fault(wait));
            }
        }
        let too_late = |_| overloaded_fault("the deadline passed while the request waited in the vendor's queue");
        // The semaphore is never closed.
        let permit = timeout_at(deadline, self.permits.acquire()).await.map_err(too_late)?.ok();
        if let Some(rate_limiter) = &self.rate_limiter {
            let slot = rate_limiter.next_slot(0);
            let too_late = |_| rate_limited_fault(slot.saturating_duration_since(Instant::now()));
            timeout_at(deadline, rate_limiter.acquire()).await.map_err(too_late)?;
        }
        Ok(permit)
    }

    fn enqueue(&self) -> QueueSlot<'_, T> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        self.metrics.queue_depth(self.system, 1);
        QueueSlot { bulkhead: self, ahead }
    }

    fn admit(&self) -> Result<Admission<'_>, VendorError> {
        let before = self.admitted.fetch_add(1, Ordering::Relaxed);
        // Dropping the admission on rejection gives the place back.
        let admission = Admission(&self.admitted);
        if before >= self.max_admitted {
            return Err(overloaded_fault("too many requests wait for this vendor"));
        }
        Ok(admission)
    }
}

/// A place among the requests that wait or are in flight, freed on drop.
struct Admission<'l>(&'l AtomicUsize);

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue, freed on drop.
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
    VendorError::new(VendorErrorKind::RateLimited)
        .message("the rate limit that is configured for the vendor is used up")
        .retry(Retry::After(wait))
}

fn overloaded_fault(why: &str) -> VendorError {
    VendorError::new(VendorErrorKind::Overloaded).message(why)
}

impl<T: Layer> Layer for BulkheadLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let _admission = self.admit()?;
        let _permit = self.acquire(request.deadline).await?;
        self.inner.call(request).await
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
        let defaults = StackSettings::for_base_url("http://vendor.example");
        let settings = StackSettings { max_in_flight, max_queue, rate_limit, ..defaults };
        let inner = ScriptedLayer::new([]).with_latency(Duration::from_secs(1));
        (BulkheadLayer::new(inner, &settings, Arc::clone(&metrics), system), metrics)
    }

    async fn read(bulkhead: &BulkheadLayer<ScriptedLayer>, timeout_ms: u64) -> Result<VendorResponse, VendorError> {
        let mut request = request(VendorCallKind::Read);
        request.deadline = Some(Instant::now() + Duration::from_millis(timeout_ms));
        bulkhead.call(&mut request).await
    }

    fn kinds(results: &[Result<VendorResponse, VendorError>]) -> Vec<Option<VendorErrorKind>> {
        results.iter().map(|result| result.as_ref().err().map(|fault| fault.kind)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_limit_queue_and_beyond_the_queue_are_rejected() {
        let (bulkhead, metrics) = bulkhead(1, 2, 0);
        let started = Instant::now();
        let queue = r#"vendor_queue_depth{system="crm"}"#;
        let four = async {
            let results = join_all((0..4).map(|_| read(&bulkhead, 9_000))).await;
            (results, started.elapsed().as_secs())
        };
        let sample = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            metric_value(&metrics, queue)
        };
        let ((results, elapsed), depth) = tokio::join!(four, sample);
        assert_eq!(kinds(&results), [None, None, None, Some(VendorErrorKind::Overloaded)]);
        assert_eq!((elapsed, depth, metric_value(&metrics, queue)), (3, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_callers_as_fit_in_both_limits_are_all_served() {
        let (bulkhead, _) = bulkhead(64, 256, 0);
        let caller = || async { [read(&bulkhead, 60_000).await, read(&bulkhead, 60_000).await].map(|end| end.is_ok()) };
        let served = join_all((0..320).map(|_| caller())).await;
        assert_eq!(served.iter().filter(|both| **both == [true, true]).count(), 320);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_expires_in_the_queue_is_an_overload() {
        let (bulkhead, _) = bulkhead(1, 8, 0);
        let (first, second) = tokio::join!(read(&bulkhead, 9_000), read(&bulkhead, 500));
        let fault = second.expect_err("too late");
        assert_eq!((first.is_ok(), fault.kind, fault.effect), (true, VendorErrorKind::Overloaded, SideEffect::None));
        assert_eq!(bulkhead.inner.call_count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_callers_release_their_queue_slots() {
        let (bulkhead, metrics) = bulkhead(1, 1, 0);
        let cancelled = timeout(Duration::from_millis(10), join_all((0..2).map(|_| read(&bulkhead, 9_000)))).await;
        assert!(cancelled.is_err());
        assert_eq!(metric_value(&metrics, r#"vendor_queue_depth{system="crm"}"#), 0);
        assert_eq!(kinds(&join_all((0..2).map(|_| read(&bulkhead, 9_000))).await), [None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_over_the_rate_limit_wait_if_the_deadline_allows() {
        let (bulkhead, _) = bulkhead(64, 64, 2);
        let started = Instant::now();
        assert!(join_all((0..6).map(|_| read(&bulkhead, 9_000))).await.iter().all(Result::is_ok));
        let starts: Vec<u64> = bulkhead.inner.calls().iter().map(|(at, _)| (*at - started).as_secs()).collect();
        assert_eq!(starts, [0, 0, 1, 1, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_cannot_run_in_time_fail_at_once_with_the_wait() {
        let (bulkhead, _) = bulkhead(64, 64, 2);
        let started = Instant::now();
        let impatient = async {
            let fault = read(&bulkhead, 900).await.expect_err("no slot");
            (fault, started.elapsed())
        };
        let (_, _, (fault, after)) = tokio::join!(read(&bulkhead, 9_000), read(&bulkhead, 9_000), impatient);
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::RateLimited, SideEffect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(1)));
        assert_eq!(after, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_at_the_deadline_is_too_late() {
        let (bulkhead, _) = bulkhead(64, 64, 2);
        let started = Instant::now();
        let ends = join_all((0..8).map(|_| async {
            let end = read(&bulkhead, 3_000).await;
            (end.err().map(|fault| fault.kind), started.elapsed().as_secs())
        }));
        let rejected: Vec<_> = ends.await.into_iter().filter_map(|(kind, after)| Some((kind?, after))).collect();
        assert_eq!(rejected, [(VendorErrorKind::RateLimited, 0); 2]);
    }
}
