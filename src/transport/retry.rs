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

use super::{Layer, VendorRequest, VendorResponse};
use crate::metrics::{Metrics, RetryReason, SystemIndex};
use crate::record::{Retry, SideEffect, VendorError, VendorErrorKind};

/// The layer.
pub(super) struct RetryLayer<T> {
    inner: T,
    max_retries: u32,
    backoff: ExponentialBuilder,
    /// The longest pause of a call that nobody set a deadline for.
    default_wait: Duration,
    budget: RetryBudget,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> RetryLayer<T> {
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
        Self { inner, max_retries: most, backoff, default_wait: patience, budget: RetryBudget::new(), metrics, system }
    }

    /// How long to wait before the same call may be sent again; `None` if it may not.
    fn next_delay(
        &self,
        call: &VendorRequest,
        fault: &VendorError,
        backoff: &mut Option<ExponentialBackoff>,
    ) -> Option<Duration> {
        let harmless = fault.effect == SideEffect::None || call.kind.is_safe();
        if !harmless || !is_retryable(fault.kind) {
            return None;
        }
        let pause = match fault.retry {
            Retry::Never => return None,
            Retry::After(wait) => wait,
            Retry::Soon => backoff.get_or_insert_with(|| self.backoff.build()).next()?,
        };
        let left = call.deadline.map_or(self.default_wait, |end| end.saturating_duration_since(Instant::now()));
        (pause < left && self.budget.withdraw()).then_some(pause)
    }
}

/// Whether another answer can be expected soon. The open circuit and the full queue are there to keep calls away.
fn is_retryable(kind: VendorErrorKind) -> bool {
    !matches!(
        kind,
        VendorErrorKind::Busy
            | VendorErrorKind::Overloaded
            | VendorErrorKind::TokenRejected
            | VendorErrorKind::CredentialsRejected
            | VendorErrorKind::Forbidden
            | VendorErrorKind::Unsupported
    )
}

fn retry_reason(kind: VendorErrorKind) -> RetryReason {
    match kind {
        VendorErrorKind::Unavailable => RetryReason::Unavailable,
        VendorErrorKind::Timeout => RetryReason::Timeout,
        VendorErrorKind::ConnectionLost => RetryReason::Broken,
        VendorErrorKind::ServerError => RetryReason::VendorError,
        VendorErrorKind::RateLimited => RetryReason::RateLimited,
        _ => RetryReason::Other,
    }
}

impl<T: Layer> Layer for RetryLayer<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        self.budget.deposit();
        let mut backoff = None;
        let mut repeated = 0;
        loop {
            let fault = match self.inner.call(call).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            if repeated == self.max_retries {
                return Err(fault);
            }
            let Some(pause) = self.next_delay(call, &fault, &mut backoff) else { return Err(fault) };
            sleep(pause).await;
            repeated += 1;
            self.metrics.vendor_retry(self.system, retry_reason(fault.kind));
            call.trace.next_attempt();
        }
    }
}

/// What repeats are paid from: a fifth of a repeat for each call, and one a second so that a quiet system is not without.
struct RetryBudget(Mutex<(f64, Instant)>);

impl RetryBudget {
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
    use crate::record::VendorCallKind;
    use crate::transport::testing::{ScriptedLayer, err_kind, metric_value, metrics, request};
    use crate::transport::trace::{CallTrace, TraceContext};

    fn retry_layer(
        script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
    ) -> (RetryLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let (first_pause, patience) = (Duration::from_millis(100), Duration::from_secs(10));
        (RetryLayer::new(ScriptedLayer::new(script), 2, first_pause, patience, Arc::clone(&metrics), system), metrics)
    }

    async fn count_calls(name: VendorCallKind, fault: VendorError) -> usize {
        let (retries, _) = retry_layer([Err(fault)]);
        let _ = retries.call(&mut request(name)).await;
        retries.inner.call_count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_retried_with_growing_delays_up_to_the_limit() {
        let (retries, metrics) = retry_layer(
            [VendorErrorKind::ConnectionLost, VendorErrorKind::Timeout, VendorErrorKind::ServerError].map(err_kind),
        );
        let fault = retries.call(&mut request(VendorCallKind::Read)).await.expect_err("given up");
        assert_eq!(fault.kind, VendorErrorKind::ServerError);
        let at: Vec<Instant> = retries.inner.calls().iter().map(|(at, _)| *at).collect();
        let pauses: Vec<u128> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses.len(), 2);
        assert!((100..=201).contains(&pauses[0]) && (200..=401).contains(&pauses[1]), "{pauses:?}");
        for reason in ["broken", "timeout"] {
            assert_eq!(
                metric_value(&metrics, &format!(r#"vendor_retries_total{{reason="{reason}",system="crm"}}"#)),
                1
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_with_an_unknown_effect_is_never_retried() {
        for kind in [VendorErrorKind::Timeout, VendorErrorKind::ConnectionLost, VendorErrorKind::ServerError] {
            for name in [VendorCallKind::Create, VendorCallKind::Update, VendorCallKind::Delete] {
                assert_eq!(count_calls(name, VendorError::new(kind)).await, 1, "{name:?} {kind:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_not_sent_is_retried() {
        assert_eq!(count_calls(VendorCallKind::Create, VendorError::new(VendorErrorKind::Unavailable)).await, 2);
        assert_eq!(count_calls(VendorCallKind::Update, VendorError::new(VendorErrorKind::RateLimited)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_a_retry_cannot_fix_are_not_retried() {
        use VendorErrorKind::{
            Busy, Conflict, CredentialsRejected, InvalidResponse, NotFound, Overloaded, Rejected, TokenRejected,
        };
        for kind in
            [Busy, Overloaded, TokenRejected, CredentialsRejected, NotFound, Conflict, Rejected, InvalidResponse]
        {
            assert_eq!(count_calls(VendorCallKind::Read, VendorError::new(kind)).await, 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honored_only_if_the_deadline_allows() {
        for (patience, times, took) in [(8, 2, 5), (4, 1, 0)] {
            let wait = Retry::After(Duration::from_secs(5));
            let (retries, _) = retry_layer([Err(VendorError::new(VendorErrorKind::RateLimited).retry(wait))]);
            let begun = Instant::now();
            let mut call = request(VendorCallKind::Update);
            call.deadline = Some(begun + Duration::from_secs(patience));
            let result = retries.call(&mut call).await;
            assert_eq!((retries.inner.call_count(), begun.elapsed().as_secs()), (times, took));
            assert_eq!(result.err().map(|fault| fault.retry), (times == 1).then_some(wait));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_add_at_most_a_fifth_to_the_load_of_a_failing_vendor() {
        let at_once = VendorError::new(VendorErrorKind::Unavailable).retry(Retry::After(Duration::ZERO));
        let (retries, _) = retry_layer((0..10_000).map(|_| Err(at_once.clone())));
        for _ in 0..1_000 {
            let _ = retries.call(&mut request(VendorCallKind::Read)).await;
        }
        // A fifth, what was saved at the start, and one for each second that the thousand calls took.
        assert!((1_190..=1_215).contains(&retries.inner.call_count()), "{}", retries.inner.call_count());
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_retry_budget_refills_over_time() {
        let budget = RetryBudget::new();
        while budget.withdraw() {}
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((0..9).filter(|_| budget.withdraw()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn each_retry_has_its_own_parent_id_in_the_same_trace() {
        let (retries, _) = retry_layer([err_kind(VendorErrorKind::Unavailable)]);
        let mut call = request(VendorCallKind::Read);
        call.trace = CallTrace::child_of(&TraceContext::new_root());
        retries.call(&mut call).await.expect("the second time");
        let parent = |call: &VendorRequest| call.trace.headers()[0].1.to_str().expect("text").to_owned();
        let sent: Vec<String> = retries.inner.calls().iter().map(|(_, call)| parent(call)).collect();
        assert_eq!(sent[0][..36], sent[1][..36]);
        assert_ne!(sent[0][36..52], sent[1][36..52]);
    }
}
