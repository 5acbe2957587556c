//! What one caller may send: requests per second, and requests in flight.
//!
//! The rate is GCRA (`governor`): `burst` requests at once after a pause, `rate` a second in the
//! long run. Limits are those of this process; several replicas have one set each.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::future::Cache;
use tokio::time::Instant;

use crate::config::CallerLimits;
pub use crate::metrics::QuotaPolicy;
use crate::record::CallerName;

/// How much later than `Retry-After` a caller may send a refused request again.
const RESERVATION_GRACE: Duration = Duration::from_secs(1);

/// How long a caller with too many requests in flight should wait.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// The limits of one caller with what it has used of them.
#[derive(Debug)]
pub struct CallerQuota {
    limits: CallerLimits,
    rate: Option<Rate>,
    in_flight: AtomicU32,
    reservation: Mutex<Option<Reservation>>,
}

/// While it lasts, items of batches wait, so that a refused single request is admitted.
#[derive(Debug)]
struct Reservation {
    until: Instant,
    /// How long it lasts.
    duration: Duration,
    /// The limit that the request exceeded.
    policy: QuotaPolicy,
}

#[derive(Debug)]
struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>,
    clock: TokioClock,
    per_second: u32,
    burst: u32,
    /// What the last request left.
    remaining: AtomicU32,
    policy: Bytes,
}

/// A request that its caller's limits allow; it counts as in flight until it is dropped, unless it
/// is an item that is in flight instead of its batch.
#[must_use]
#[derive(Debug)]
pub struct AdmittedRequest {
    quota: Arc<CallerQuota>,
    usage: Option<RateUsage>,
    /// Whether it is one of its caller's requests in flight.
    counts_in_flight: AtomicBool,
    /// For a batch: whether an item counts against the rate instead of the batch itself.
    has_counted_item: AtomicBool,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateUsage {
    /// Requests that may be sent at once.
    pub remaining: u32,
    /// Whole seconds until the whole burst may be sent again.
    pub reset_seconds: u64,
}

/// A request beyond its caller's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The limit.
    pub policy: QuotaPolicy,
    /// When a request may succeed.
    pub retry_after: Duration,
}

impl CallerQuota {
    /// `None` without limits.
    #[must_use]
    pub fn new(limits: CallerLimits) -> Option<Arc<Self>> {
        if limits.rate == 0 && limits.in_flight == 0 {
            return None;
        }
        let rate = NonZeroU32::new(limits.rate).map(|rate| Rate::new(rate, limits.burst));
        Some(Arc::new(Self { limits, rate, in_flight: AtomicU32::new(0), reservation: Mutex::default() }))
    }

    /// The limits that it was made with.
    #[must_use]
    pub fn limits(&self) -> CallerLimits {
        self.limits
    }

    /// `RateLimit-Policy`, where there is a rate.
    #[must_use]
    pub fn rate_policy(&self) -> Option<Bytes> {
        self.rate.as_ref().map(|rate| rate.policy.clone())
    }

    /// What the last request left of the rate, where there is one.
    #[must_use]
    pub fn usage(&self) -> Option<RateUsage> {
        self.rate.as_ref().map(|rate| rate.usage(rate.remaining.load(Ordering::Relaxed)))
    }

    /// Counts one request: a single one, or an item of a batch.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub fn admit(self: &Arc<Self>) -> Result<AdmittedRequest, QuotaExceeded> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // Dropping it ends the count in flight.
        let mut admitted = AdmittedRequest::new(self, None, true);
        if self.limits.in_flight > 0 && before >= self.limits.in_flight {
            return Err(QuotaExceeded { policy: QuotaPolicy::InFlight, retry_after: IN_FLIGHT_RETRY });
        }
        admitted.usage = self.rate.as_ref().map(Rate::check).transpose()?;
        Ok(admitted)
    }

    /// A single request was refused. Items of batches wait so that it is admitted when its caller
    /// sends it again after this time; then they have as much time to themselves.
    pub fn reserve(&self, exceeded: &QuotaExceeded) {
        let (now, duration) = (Instant::now(), exceeded.retry_after + RESERVATION_GRACE);
        let mut reservation = self.lock_reservation();
        if reservation.as_ref().is_none_or(|last| now >= last.until + last.duration) {
            *reservation = Some(Reservation { until: now + duration, duration, policy: exceeded.policy });
        }
    }

    /// What an item of a batch exceeds while a single request has a reservation.
    #[must_use]
    pub fn reserved(&self) -> Option<QuotaExceeded> {
        let reservation = self.lock_reservation();
        let Reservation { until, policy, .. } = reservation.as_ref()?;
        let retry_after = until.saturating_duration_since(Instant::now());
        (!retry_after.is_zero()).then_some(QuotaExceeded { policy: *policy, retry_after })
    }

    fn lock_reservation(&self) -> MutexGuard<'_, Option<Reservation>> {
        // Poisoning is harmless: the critical sections replace or copy a value.
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an item of a batch that is in flight instead of its batch: against the rate alone.
    ///
    /// # Errors
    /// The rate that it would exceed.
    pub fn admit_within_batch(self: &Arc<Self>) -> Result<AdmittedRequest, QuotaExceeded> {
        let usage = self.rate.as_ref().map(Rate::check).transpose()?;
        Ok(AdmittedRequest::new(self, usage, false))
    }
}

impl AdmittedRequest {
    fn new(quota: &Arc<CallerQuota>, usage: Option<RateUsage>, counts_in_flight: bool) -> Self {
        let (counts_in_flight, has_counted_item) = (AtomicBool::new(counts_in_flight), AtomicBool::new(false));
        Self { quota: Arc::clone(quota), usage, counts_in_flight, has_counted_item }
    }

    /// Counts the first item of a batch, which costs nothing more than the batch itself: a batch
    /// counts as many requests as it has items. `None` for the later ones.
    #[must_use]
    pub fn admit_first_item(&self) -> Option<Self> {
        let is_first = !self.has_counted_item.swap(true, Ordering::Relaxed);
        is_first.then(|| Self::new(&self.quota, self.usage, false))
    }

    /// From now on the request does not count as in flight: it only waits for others of its caller.
    pub fn release_in_flight(&self) {
        if self.counts_in_flight.swap(false, Ordering::Relaxed) {
            self.quota.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What is left of the rate, where there is one.
    #[must_use]
    pub fn usage(&self) -> Option<RateUsage> {
        self.usage
    }
}

impl Drop for AdmittedRequest {
    fn drop(&mut self) {
        self.release_in_flight();
    }
}

impl Rate {
    fn new(rate: NonZeroU32, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(rate);
        let clock = TokioClock(Instant::now());
        let limiter = RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), clock);
        let (per_second, burst) = (rate.get(), burst.get());
        let policy = format!("\"rate\";q={burst};w={}", burst.div_ceil(per_second)).into();
        Self { limiter: limiter.with_middleware(), clock, per_second, burst, remaining: AtomicU32::new(burst), policy }
    }

    fn usage(&self, remaining: u32) -> RateUsage {
        let used = self.burst.saturating_sub(remaining);
        RateUsage { remaining, reset_seconds: used.div_ceil(self.per_second).into() }
    }

    fn check(&self) -> Result<RateUsage, QuotaExceeded> {
        match self.limiter.check() {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                self.remaining.store(remaining, Ordering::Relaxed);
                Ok(self.usage(remaining))
            }
            Err(not_until) => {
                self.remaining.store(0, Ordering::Relaxed);
                let retry_after = not_until.wait_time_from(self.clock.now());
                Err(QuotaExceeded { policy: QuotaPolicy::Rate, retry_after })
            }
        }
    }
}

/// Tokio's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The quotas of callers that no configuration names: those with tokens.
pub(super) struct TokenCallerQuotas {
    limits: CallerLimits,
    by_name: Cache<CallerName, Arc<CallerQuota>>,
    /// Of all callers beyond [`MAX_CALLERS`](Self::MAX_CALLERS).
    rest: Arc<CallerQuota>,
}

impl TokenCallerQuotas {
    const MAX_CALLERS: u64 = 10_000;
    /// Longer than most tokens are valid.
    const MAX_IDLE: Duration = Duration::from_hours(2);

    /// `None` without limits.
    pub(super) fn new(limits: CallerLimits) -> Option<Self> {
        let by_name = Cache::builder().max_capacity(Self::MAX_CALLERS).time_to_idle(Self::MAX_IDLE).build();
        Some(Self { limits, by_name, rest: CallerQuota::new(limits)? })
    }

    /// The quota of this caller, whatever token it has.
    pub(super) async fn quota(&self, name: &CallerName) -> Arc<CallerQuota> {
        if let Some(known) = self.by_name.get(name).await {
            return known;
        }
        if self.by_name.entry_count() >= Self::MAX_CALLERS {
            return Arc::clone(&self.rest);
        }
        let rest = || Arc::clone(&self.rest);
        let new = async { CallerQuota::new(self.limits).unwrap_or_else(rest) };
        self.by_name.get_with(name.clone(), new).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn quota(rate: u32, burst: u32, in_flight: u32) -> Arc<CallerQuota> {
        CallerQuota::new(CallerLimits { rate, burst, in_flight }).expect("limits")
    }

    fn admitted(quota: &Arc<CallerQuota>, requests: usize) -> usize {
        (0..requests).filter(|_| quota.admit().is_ok()).count()
    }

    #[test]
    fn without_limits_there_is_no_quota() {
        assert!(CallerQuota::new(CallerLimits::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_the_rate() {
        let quota = quota(50, 100, 0);
        assert_eq!(admitted(&quota, 150), 100);
        let exceeded = quota.admit().expect_err("too many");
        assert_eq!((exceeded.policy, exceeded.retry_after), (QuotaPolicy::Rate, Duration::from_millis(20)));
        for _ in 0..3 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(admitted(&quota, 150), 50);
        }
        advance(Duration::from_mins(1)).await;
        assert_eq!(admitted(&quota, 150), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_admitted_request_has_the_remaining_quota() {
        let quota = quota(50, 100, 0);
        assert_eq!(quota.rate_policy(), Some("\"rate\";q=100;w=2".into()));
        let mut usage = None;
        for _ in 0..58 {
            usage = quota.admit().expect("within the burst").usage();
        }
        assert_eq!(usage, Some(RateUsage { remaining: 42, reset_seconds: 2 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_has_a_reservation_until_it_can_come_again() {
        let quota = quota(1, 1, 0);
        assert_eq!(quota.reserved(), None);
        let refused = QuotaExceeded { policy: QuotaPolicy::Rate, retry_after: Duration::from_secs(1) };
        quota.reserve(&refused);
        advance(Duration::from_millis(1900)).await;
        assert_eq!(quota.reserved(), Some(QuotaExceeded { retry_after: Duration::from_millis(100), ..refused }));
        for (millis, is_reserved) in [(100, false), (1900, false), (100, true)] {
            advance(Duration::from_millis(millis)).await;
            quota.reserve(&refused);
            assert_eq!(quota.reserved().is_some(), is_reserved, "then items have their time");
        }
    }

    #[test]
    fn requests_in_flight_are_limited_until_they_end() {
        let quota = quota(0, 0, 2);
        let first = quota.admit().expect("room");
        let _second = quota.admit().expect("room");
        assert_eq!(quota.admit().expect_err("full").policy, QuotaPolicy::InFlight);
        assert_eq!((quota.rate_policy(), first.usage()), (None, None));
        drop(first);
        assert_eq!(admitted(&quota, 1), 1);
    }

    #[tokio::test]
    async fn a_caller_has_one_quota_whatever_its_token() {
        let limits = CallerLimits { rate: 1, ..CallerLimits::default() };
        let quotas = TokenCallerQuotas::new(limits).expect("limits");
        let caller = |name: &str| CallerName(name.into());
        assert!(Arc::ptr_eq(&quotas.quota(&caller("a")).await, &quotas.quota(&caller("a")).await));
        assert!(!Arc::ptr_eq(&quotas.quota(&caller("a")).await, &quotas.quota(&caller("b")).await));
    }

    #[tokio::test]
    async fn callers_beyond_ten_thousand_share_one_quota() {
        let limits = CallerLimits { rate: 1, ..CallerLimits::default() };
        let quotas = TokenCallerQuotas::new(limits).expect("limits");
        for number in 0..TokenCallerQuotas::MAX_CALLERS {
            quotas.quota(&CallerName(number.to_string().into())).await;
        }
        quotas.by_name.run_pending_tasks().await;
        let (one, other) = (CallerName("one".into()), CallerName("other".into()));
        assert!(Arc::ptr_eq(&quotas.quota(&one).await, &quotas.quota(&other).await));
        let first = CallerName("0".into());
        assert!(!Arc::ptr_eq(&quotas.quota(&first).await, &quotas.rest));
    }
}
