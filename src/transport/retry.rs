//! Sends a call again where that is certainly harmless and may help.
//!
//! Harmless: the fault says that nothing happened at the vendor, or the call changes nothing. Everything else goes back to
//! the gateway, which knows how to find out what happened. A vendor that is *busy* with the record is not asked again here
//! either: the record is about to change, so the gateway has to compare first.
//!
//! Help: not within a moment (backoff with jitter, or as long as the vendor says), not beyond the caller's deadline, and not
//! when half of all calls fail: repeats are paid from a budget that calls fill, so that they add a fifth to the load at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::{Call, Layer, Reply};
use crate::metrics::{Metrics, RetryReason, SystemIndex};
use crate::record::{Effect, Fault, FaultKind, Retry};

/// The layer.
pub(super) struct Retries<T> {
    inner: T,
    most: u32,
    backoff: ExponentialBuilder,
    /// The longest pause of a call that nobody set a deadline for.
    patience: Duration,
    budget: Budget,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> Retries<T> {
    /// `first_pause` is doubled each time, and up to doubled again by chance.
    pub(super) fn new(
        inner: T,
        most: u32,
        first_pause: Duration,
        patience: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Self {
        let backoff =
            ExponentialBuilder::new().with_min_delay(first_pause).with_factor(2.0).with_jitter().without_max_times();
        Self { inner, most, backoff, patience, budget: Budget::new(), metrics, system }
    }

    /// How long to wait before the same call may be sent again; `None` if it may not.
    fn pause(&self, call: &Call, fault: &Fault, backoff: &mut Option<ExponentialBackoff>) -> Option<Duration> {
        let harmless = fault.effect == Effect::None || call.name.is_safe();
        if !harmless || !may_help(fault.kind) {
            return None;
        }
        let pause = match fault.retry {
            Retry::Never => return None,
            Retry::After(wait) => wait,
            Retry::Soon => backoff.get_or_insert_with(|| self.backoff.build()).next()?,
        };
        let left = call.deadline.map_or(self.patience, |end| end.saturating_duration_since(Instant::now()));
        (pause < left && self.budget.withdraw()).then_some(pause)
    }
}

/// Whether another answer can be expected soon. The open circuit and the full queue are there to keep calls away.
fn may_help(kind: FaultKind) -> bool {
    !matches!(
        kind,
        FaultKind::Busy
            | FaultKind::Overloaded
            | FaultKind::TokenRefused
            | FaultKind::CredentialsRejected
            | FaultKind::Forbidden
            | FaultKind::Unsupported
    )
}

fn reason(kind: FaultKind) -> RetryReason {
    match kind {
        FaultKind::Unavailable => RetryReason::Unavailable,
        FaultKind::Timeout => RetryReason::Timeout,
        FaultKind::Broken => RetryReason::Broken,
        FaultKind::VendorError => RetryReason::VendorError,
        FaultKind::RateLimited => RetryReason::RateLimited,
        _ => RetryReason::Other,
    }
}

impl<T: Layer> Layer for Retries<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        self.budget.deposit();
        let mut backoff = None;
        let mut repeated = 0;
        loop {
            let fault = match self.inner.carry(call).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            if repeated == self.most {
                return Err(fault);
            }
            let Some(pause) = self.pause(call, &fault, &mut backoff) else { return Err(fault) };
            sleep(pause).await;
            repeated += 1;
            self.metrics.vendor_retry(self.system, reason(fault.kind));
            call.trace.renew();
        }
    }
}

/// What repeats are paid from: a fifth of a repeat for each call, and one a second so that a quiet system is not without.
struct Budget(Mutex<(f64, Instant)>);

impl Budget {
    const FULL: f64 = 10.0;
    const PER_CALL: f64 = 0.2;
    const PER_SECOND: f64 = 1.0;

    fn new() -> Self {
        Self(Mutex::new((Self::FULL, Instant::now())))
    }

    fn deposit(&self) {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        account.0 = (account.0 + Self::PER_CALL).min(Self::FULL);
    }

    fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (saved, since) = *account;
        let balance = (saved + (now - since).as_secs_f64() * Self::PER_SECOND).min(Self::FULL);
        let enough = balance >= 1.0;
        *account = (if enough { balance - 1.0 } else { balance }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::CallName;
    use crate::transport::testing::{Scripted, call, fails, metrics, series};
    use crate::transport::trace::{CallTrace, TraceContext};

    fn retries(script: impl IntoIterator<Item = Result<Reply, Fault>>) -> (Retries<Scripted>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let (first_pause, patience) = (Duration::from_millis(100), Duration::from_secs(10));
        (Retries::new(Scripted::new(script), 2, first_pause, patience, Arc::clone(&metrics), system), metrics)
    }

    async fn times(name: CallName, fault: Fault) -> usize {
        let (retries, _) = retries([Err(fault)]);
        let _ = retries.carry(&mut call(name)).await;
        retries.inner.times()
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_repeated_with_growing_pauses_and_then_given_up() {
        let (retries, metrics) = retries([FaultKind::Broken, FaultKind::Timeout, FaultKind::VendorError].map(fails));
        let fault = retries.carry(&mut call(CallName::Read)).await.expect_err("given up");
        assert_eq!(fault.kind, FaultKind::VendorError);
        let at: Vec<Instant> = retries.inner.seen().iter().map(|(at, _)| *at).collect();
        let pauses: Vec<u128> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses.len(), 2);
        assert!((100..=201).contains(&pauses[0]) && (200..=401).contains(&pauses[1]), "{pauses:?}");
        for reason in ["broken", "timeout"] {
            assert_eq!(series(&metrics, &format!(r#"vendor_retries_total{{reason="{reason}",system="crm"}}"#)), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_may_have_happened_is_never_repeated() {
        for kind in [FaultKind::Timeout, FaultKind::Broken, FaultKind::VendorError] {
            for name in [CallName::Create, CallName::Update, CallName::Delete] {
                assert_eq!(times(name, Fault::new(kind)).await, 1, "{name:?} {kind:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_not_sent_is_repeated() {
        assert_eq!(times(CallName::Create, Fault::new(FaultKind::Unavailable)).await, 2);
        assert_eq!(times(CallName::Update, Fault::new(FaultKind::RateLimited)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_help_is_not_repeated() {
        use FaultKind::{Busy, Conflict, CredentialsRejected, NotFound, Overloaded, Protocol, Rejected, TokenRefused};
        for kind in [Busy, Overloaded, TokenRefused, CredentialsRejected, NotFound, Conflict, Rejected, Protocol] {
            assert_eq!(times(CallName::Read, Fault::new(kind)).await, 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendors_own_wait_is_kept_if_the_deadline_allows_and_passed_on_at_once_if_not() {
        for (patience, times, took) in [(8, 2, 5), (4, 1, 0)] {
            let wait = Retry::After(Duration::from_secs(5));
            let (retries, _) = retries([Err(Fault::new(FaultKind::RateLimited).retry(wait))]);
            let begun = Instant::now();
            let mut call = call(CallName::Update);
            call.deadline = Some(begun + Duration::from_secs(patience));
            let result = retries.carry(&mut call).await;
            assert_eq!((retries.inner.times(), begun.elapsed().as_secs()), (times, took));
            assert_eq!(result.err().map(|fault| fault.retry), (times == 1).then_some(wait));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_add_a_fifth_to_the_load_of_a_failing_vendor_at_most() {
        let at_once = Fault::new(FaultKind::Unavailable).retry(Retry::After(Duration::ZERO));
        let (retries, _) = retries((0..10_000).map(|_| Err(at_once.clone())));
        for _ in 0..1_000 {
            let _ = retries.carry(&mut call(CallName::Read)).await;
        }
        // A fifth, what was saved at the start, and one for each second that the thousand calls took.
        assert!((1_190..=1_215).contains(&retries.inner.times()), "{}", retries.inner.times());
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_budget_fills_with_time() {
        let budget = Budget::new();
        while budget.withdraw() {}
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((0..9).filter(|_| budget.withdraw()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn each_repeat_has_a_parent_id_of_its_own_in_the_same_trace() {
        let (retries, _) = retries([fails(FaultKind::Unavailable)]);
        let mut call = call(CallName::Read);
        call.trace = CallTrace::of(&TraceContext::alone());
        retries.carry(&mut call).await.expect("the second time");
        let parent = |call: &Call| call.trace.headers()[0].1.to_str().expect("text").to_owned();
        let sent: Vec<String> = retries.inner.seen().iter().map(|(_, call)| parent(call)).collect();
        assert_eq!(sent[0][..36], sent[1][..36]);
        assert_ne!(sent[0][36..52], sent[1][36..52]);
    }
}
