//! Limits the load on one vendor, so that a slow vendor cannot fill the gateway.
//!
//! At most `max_in_flight` requests are in flight. At most `max_queue` more wait for one of them to
//! end or for the `rate_limit`, in the order of the [`FairQueue`]. A request waits no longer than
//! its deadline allows. One that cannot be sent in time is rejected at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::fair_queue::{FairQueue, Ticket};
use super::layer::Layer;
use super::lock::lock;
use super::priority::Priority;
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
    permits: Arc<Permits>,
    /// How long a request without a deadline waits.
    default_wait: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

/// The permits of one vendor, shared by all workers.
struct Permits {
    queue: Mutex<FairQueue<oneshot::Sender<Permit>>>,
    /// Locked by the task that waits for the rate limit, if there is one.
    timer: Arc<tokio::sync::Mutex<()>>,
}

/// The permit of a request in flight, released on drop.
struct Permit {
    permits: Arc<Permits>,
    priority: Priority,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if lock(&self.permits.queue).release(self.priority) {
            self.permits.grant();
        }
    }
}

impl Permits {
    /// Grants the free permits to waiting requests.
    fn grant(self: &Arc<Self>) {
        loop {
            // The lock is released before a permit is sent: a waiter that has just left drops it
            // at once.
            let granted = lock(&self.queue).grant_next();
            let Some((waiter, priority)) = granted else { break };
            let _ = waiter.send(Permit { permits: Arc::clone(self), priority });
        }
        self.wait_for_rate_limit();
    }

    /// Grants permits later, where the rate limit alone is in the way.
    fn wait_for_rate_limit(self: &Arc<Self>) {
        if lock(&self.queue).next_start().is_none() {
            return;
        }
        let Ok(guard) = Arc::clone(&self.timer).try_lock_owned() else { return };
        let permits = Arc::clone(self);
        tokio::spawn(async move {
            let next_start = || lock(&permits.queue).next_start();
            while let Some(start) = next_start() {
                sleep_until(start).await;
                permits.grant();
            }
            drop(guard);
            // A request may have come between the last check and the release of the guard.
            permits.wait_for_rate_limit();
        });
    }
}

impl<T> BulkheadLayer<T> {
    pub(super) fn new(inner: T, settings: &StackSettings, metrics: Arc<Metrics>, system: SystemIndex) -> Self {
        let permits = Permits { queue: Mutex::new(FairQueue::new(settings)), timer: Arc::default() };
        Self { inner, permits: Arc::new(permits), default_wait: settings.timeout, metrics, system }
    }

    async fn acquire(&self, priority: Priority, deadline: Option<Instant>) -> Result<Permit, VendorError> {
        // The usual case: nothing waits and there is room.
        if lock(&self.permits.queue).try_take(priority) {
            return Ok(Permit { permits: Arc::clone(&self.permits), priority });
        }
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.default_wait);
        let (slot, permit) = self.enqueue(priority, deadline)?;
        self.permits.wait_for_rate_limit();
        match timeout_at(deadline, permit).await {
            Ok(Ok(permit)) => {
                self.metrics.queue_wait(self.system, priority.lane, slot.since.elapsed());
                Ok(permit)
            }
            Ok(Err(_)) => Err(overloaded_fault("another caller needed the position in the vendor's queue")),
            Err(_) => Err(self.queue_timeout_fault()),
        }
    }

    fn enqueue(
        &self,
        priority: Priority,
        deadline: Instant,
    ) -> Result<(QueueSlot<'_, T>, oneshot::Receiver<Permit>), VendorError> {
        let (notify, permit) = oneshot::channel();
        let mut queue = lock(&self.permits.queue);
        if let Some(slot) = queue.predict_start(priority) {
            let wait = slot.saturating_duration_since(Instant::now());
            // A slot comes up to 2 % later than predicted.
            if !wait.is_zero() && slot + wait / 50 + MIN_SEND_MARGIN >= deadline {
                return Err(rate_limited_fault(wait));
            }
        }
        let ticket = queue.push(priority, notify).map_err(overloaded_fault)?;
        self.metrics.queue_depth(self.system, 1);
        Ok((QueueSlot { bulkhead: self, ticket, since: Instant::now() }, permit))
    }

    /// Why the deadline passed in the queue.
    fn queue_timeout_fault(&self) -> VendorError {
        let queue = lock(&self.permits.queue);
        match queue.next_start() {
            Some(slot) if !queue.is_full() => rate_limited_fault(slot.saturating_duration_since(Instant::now())),
            _ => overloaded_fault("the deadline passed while the request waited in the vendor's queue"),
        }
    }
}

/// A position in the queue, freed on drop.
struct QueueSlot<'l, T> {
    bulkhead: &'l BulkheadLayer<T>,
    ticket: Ticket,
    since: Instant,
}

impl<T> Drop for QueueSlot<'_, T> {
    fn drop(&mut self) {
        lock(&self.bulkhead.permits.queue).remove(self.ticket);
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
        let _permit = self.acquire(request.priority, request.deadline).await?;
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;
    use crate::record::{CallerShare, SideEffect, VendorRequestKind};
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
        read_as(bulkhead, timeout_ms, Priority::single(CallerShare::default())).await
    }

    async fn read_as(
        bulkhead: &BulkheadLayer<ScriptedLayer>,
        timeout_ms: u64,
        priority: Priority,
    ) -> Result<VendorResponse, VendorError> {
        let mut request = request(VendorRequestKind::Read);
        request.priority = priority;
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

    fn caller(caller: u64) -> Priority {
        Priority::single(CallerShare { caller, ..CallerShare::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn one_waiting_call_is_served_before_a_thousand_of_another_caller() {
        for rate_limit in [0, 1] {
            let (bulkhead, metrics) = bulkhead(1, 5_000, rate_limit);
            let started = Instant::now();
            let flood = async {
                let all = join_all((0..1000).map(|_| read_as(&bulkhead, 2_000_000, caller(1)))).await;
                (all.iter().filter(|end| end.is_ok()).count(), started.elapsed().as_secs())
            };
            let other = async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let end = read_as(&bulkhead, 60_000, caller(2)).await;
                (end.is_ok(), started.elapsed().as_secs())
            };
            assert_eq!(tokio::join!(flood, other), ((1000, 1001), (true, 2)));
            let waits = r#"vendor_queue_wait_seconds_count{lane="single",system="crm"}"#;
            assert_eq!(metric_value(&metrics, waits), 1000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_in_passes_a_full_queue() {
        let (bulkhead, _) = bulkhead(1, 2, 0);
        let started = Instant::now();
        let flood = join_all((0..3).map(|_| read_as(&bulkhead, 9_000, caller(1))));
        let sign_in = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let end = read_as(&bulkhead, 9_000, Priority::reconcile()).await;
            (end.is_ok(), started.elapsed().as_secs())
        };
        let (flood, sign_in) = tokio::join!(flood, sign_in);
        assert_eq!((kinds(&flood), sign_in), (vec![None; 3], (true, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hog_that_fills_the_queue_makes_room_for_others() {
        let (bulkhead, _) = bulkhead(1, 4, 0);
        let flood = join_all((0..5).map(|_| read_as(&bulkhead, 9_000, caller(1))));
        let other = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            read_as(&bulkhead, 9_000, caller(2)).await.is_ok()
        };
        let (flood, other) = tokio::join!(flood, other);
        assert_eq!(kinds(&flood), [None, None, None, None, Some(VendorErrorKind::Overloaded)]);
        assert!(other);
    }
}
