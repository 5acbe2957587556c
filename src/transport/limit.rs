//! Bounds what is asked of one vendor at once, so that a slow vendor cannot fill the gateway.
//!
//! At most `max_in_flight` calls run; at most `max_queue` wait for one of them to end or for the quota (`rate_limit`), in
//! the order they came and no longer than their callers do. Whoever cannot be served in time learns it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::pace::Pace;
use super::{Call, Layer, Reply};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Fault, FaultKind, Retry};

/// So long before its deadline a call has to be sent to be of any use.
const BEFORE_THE_END: Duration = Duration::from_millis(5);

/// The layer.
pub(super) struct Limit<T> {
    inner: T,
    permits: Semaphore,
    pace: Option<Pace>,
    waiting: AtomicUsize,
    max_queue: usize,
    /// How long a call waits that nobody set a deadline for.
    patience: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

/// The bounds of one vendor.
pub(super) struct Bounds {
    pub(super) max_in_flight: usize,
    pub(super) max_queue: usize,
    pub(super) rate_limit: u32,
    pub(super) patience: Duration,
}

impl<T> Limit<T> {
    pub(super) fn new(inner: T, bounds: &Bounds, metrics: Arc<Metrics>, system: SystemIndex) -> Self {
        Self {
            inner,
            permits: Semaphore::new(bounds.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            pace: Pace::new(bounds.rate_limit),
            waiting: AtomicUsize::new(0),
            max_queue: bounds.max_queue,
            patience: bounds.patience,
            metrics,
            system,
        }
    }

    async fn admit(&self, deadline: Option<Instant>) -> Result<Option<SemaphorePermit<'_>>, Fault> {
        // Nobody waits and there is room: the way of nearly every call.
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Ok(permit) = self.permits.try_acquire()
            && self.pace.as_ref().is_none_or(Pace::try_start)
        {
            return Ok(Some(permit));
        }
        let place = self.queue()?;
        let end = deadline.unwrap_or_else(|| Instant::now() + self.patience);
        if let Some(pace) = &self.pace {
            let turn = pace.turn(place.ahead);
            let wait = turn.saturating_duration_since(Instant::now());
            // A turn comes a little later than foretold, and a call that is sent at its deadline is of no use to anybody.
            if !wait.is_zero() && turn + wait / 50 + BEFORE_THE_END >= end {
                return Err(quota_used_up(wait));
            }
        }
        let late = |_| overloaded("the deadline passed while the call waited for its turn");
        // The semaphore is never closed.
        let permit = timeout_at(end, self.permits.acquire()).await.map_err(late)?.ok();
        if let Some(pace) = &self.pace {
            let turn = pace.turn(0);
            let wait = |_| quota_used_up(turn.saturating_duration_since(Instant::now()));
            timeout_at(end, pace.start()).await.map_err(wait)?;
        }
        Ok(permit)
    }

    fn queue(&self) -> Result<Place<'_, T>, Fault> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        self.metrics.queue_depth(self.system, 1);
        // Made first, so that being refused leaves the queue as well.
        let place = Place { limit: self, ahead };
        if ahead >= self.max_queue {
            return Err(overloaded("too many calls wait for this vendor"));
        }
        Ok(place)
    }
}

/// A place in the queue, given up when dropped.
struct Place<'l, T> {
    limit: &'l Limit<T>,
    ahead: usize,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.limit.waiting.fetch_sub(1, Ordering::Relaxed);
        self.limit.metrics.queue_depth(self.limit.system, -1);
    }
}

fn quota_used_up(wait: Duration) -> Fault {
    let fault = Fault::new(FaultKind::RateLimited);
    fault.message("the configured number of calls a second to the vendor is used up").retry(Retry::After(wait))
}

fn overloaded(why: &str) -> Fault {
    Fault::new(FaultKind::Overloaded).message(why)
}

impl<T: Layer> Layer for Limit<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        let _permit = self.admit(call.deadline).await?;
        self.inner.carry(call).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;
    use crate::record::{CallName, Effect};
    use crate::transport::testing::{Scripted, call, metrics, series};

    fn limit(max_in_flight: usize, max_queue: usize, rate_limit: u32) -> (Limit<Scripted>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let bounds = Bounds { max_in_flight, max_queue, rate_limit, patience: Duration::from_secs(10) };
        let inner = Scripted::new([]).taking(Duration::from_secs(1));
        (Limit::new(inner, &bounds, Arc::clone(&metrics), system), metrics)
    }

    async fn read(limit: &Limit<Scripted>, patience: u64) -> Result<Reply, Fault> {
        let mut call = call(CallName::Read);
        call.deadline = Some(Instant::now() + Duration::from_millis(patience));
        limit.carry(&mut call).await
    }

    fn kinds(results: &[Result<Reply, Fault>]) -> Vec<Option<FaultKind>> {
        results.iter().map(|result| result.as_ref().err().map(|fault| fault.kind)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn more_calls_than_may_run_wait_and_more_than_may_wait_are_refused_at_once() {
        let (limit, metrics) = limit(1, 2, 0);
        let begun = Instant::now();
        let queue = r#"vendor_queue_depth{system="crm"}"#;
        let four = async {
            let results = join_all((0..4).map(|_| read(&limit, 9_000))).await;
            (results, begun.elapsed().as_secs())
        };
        let look = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            series(&metrics, queue)
        };
        let ((results, took), depth) = tokio::join!(four, look);
        assert_eq!(kinds(&results), [None, None, None, Some(FaultKind::Overloaded)]);
        assert_eq!((took, depth, series(&metrics, queue)), (3, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_passes_in_the_queue_is_an_overload_and_nothing_is_sent() {
        let (limit, _) = limit(1, 8, 0);
        let (first, second) = tokio::join!(read(&limit, 9_000), read(&limit, 500));
        let fault = second.expect_err("late");
        assert_eq!((first.is_ok(), fault.kind, fault.effect), (true, FaultKind::Overloaded, Effect::None));
        assert_eq!(limit.inner.times(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_hang_up_give_their_places_back() {
        let (limit, metrics) = limit(1, 1, 0);
        let given_up = timeout(Duration::from_millis(10), join_all((0..2).map(|_| read(&limit, 9_000)))).await;
        assert!(given_up.is_err());
        assert_eq!(series(&metrics, r#"vendor_queue_depth{system="crm"}"#), 0);
        assert_eq!(kinds(&join_all((0..2).map(|_| read(&limit, 9_000))).await), [None, None]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_quota_wait_their_turn_if_the_deadline_allows() {
        let (limit, _) = limit(64, 64, 2);
        let begun = Instant::now();
        assert!(join_all((0..6).map(|_| read(&limit, 9_000))).await.iter().all(Result::is_ok));
        let starts: Vec<u64> = limit.inner.seen().iter().map(|(at, _)| (*at - begun).as_secs()).collect();
        assert_eq!(starts, [0, 0, 1, 1, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_the_quota_cannot_serve_in_time_learn_the_wait_at_once() {
        let (limit, _) = limit(64, 64, 2);
        let begun = Instant::now();
        let hasty = async {
            let fault = read(&limit, 900).await.expect_err("no turn");
            (fault, begun.elapsed())
        };
        let (_, _, (fault, after)) = tokio::join!(read(&limit, 9_000), read(&limit, 9_000), hasty);
        assert_eq!((fault.kind, fault.effect), (FaultKind::RateLimited, Effect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(1)));
        assert_eq!(after, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_with_the_deadline_is_none() {
        let (limit, _) = limit(64, 64, 2);
        let begun = Instant::now();
        let ends = join_all((0..8).map(|_| async {
            let end = read(&limit, 3_000).await;
            (end.err().map(|fault| fault.kind), begun.elapsed().as_secs())
        }));
        let refused: Vec<_> = ends.await.into_iter().filter_map(|(kind, after)| Some((kind?, after))).collect();
        assert_eq!(refused, [(FaultKind::RateLimited, 0); 2]);
    }
}
