//! Retries: sends a request again where that is certainly safe and may help.
//!
//! A retry is *safe* if the fault proves that nothing happened at the vendor, or if the request
//! changes nothing. All other errors go back to the gateway, which finds out what happened. So does
//! `Busy`: the record is about to change, and the gateway compares versions before it tries again.
//!
//! A retry *helps* only after a pause (exponential backoff with jitter, or the vendor's
//! `Retry-After`), before the caller's deadline, and while most requests succeed: a budget that
//! every request fills bounds retries to a fifth of the load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::layer::Layer;
use super::lock::lock;
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::metrics::{Metrics, RetryReason, SystemIndex};
use crate::record::{Retry, SideEffect, VendorError, VendorErrorKind};

/// Retries requests of the inner layers.
pub(super) struct RetryLayer<T> {
    inner: T,
    max_retries: u32,
    backoff: ExponentialBuilder,
    /// The longest pause of a request without a deadline.
    default_wait: Duration,
    budget: RetryBudget,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> RetryLayer<T> {
    /// The pause starts at `min_backoff`, doubles with every retry and grows by up to its own
    /// length at random.
    pub(super) fn new(
        inner: T,
        max_retries: u32,
        min_backoff: Duration,
        default_wait: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Self {
        let backoff =
            ExponentialBuilder::new().with_min_delay(min_backoff).with_factor(2.0).with_jitter().without_max_times();
        Self { inner, max_retries, backoff, default_wait, budget: RetryBudget::new(), metrics, system }
    }

    /// The pause before the request may be sent again; `None` if it may not.
    fn next_delay(
        &self,
        request: &VendorRequest,
        fault: &VendorError,
        backoff: &mut Option<ExponentialBackoff>,
    ) -> Option<Duration> {
        let is_safe_to_repeat = fault.effect == SideEffect::None || request.kind.is_safe();
        if !is_safe_to_repeat || !is_retryable(fault.kind) {
            return None;
        }
        let pause = match fault.retry {
            Retry::Never => return None,
            Retry::After(wait) => wait,
            Retry::Soon => backoff.get_or_insert_with(|| self.backoff.build()).next()?,
        };
        let time_left = request.deadline.map_or(self.default_wait, |end| end.saturating_duration_since(Instant::now()));
        (pause < time_left && self.budget.withdraw()).then_some(pause)
    }
}

/// Whether the next response may differ. An open circuit and a full queue exist to keep requests
/// away.
fn is_retryable(kind: VendorErrorKind) -> bool {
    !matches!(
        kind,
        VendorErrorKind::Busy
            | VendorErrorKind::CircuitOpen
            | VendorErrorKind::Overloaded
            | VendorErrorKind::TokenRejected
            | VendorErrorKind::CredentialsRejected
            | VendorErrorKind::Forbidden
            | VendorErrorKind::Unsupported
            | VendorErrorKind::NotCompared
    )
}

fn retry_reason(kind: VendorErrorKind) -> RetryReason {
    match kind {
        VendorErrorKind::Unavailable => RetryReason::Unavailable,
        VendorErrorKind::Timeout => RetryReason::Timeout,
        VendorErrorKind::ConnectionLost => RetryReason::ConnectionLost,
        VendorErrorKind::ServerError => RetryReason::VendorError,
        VendorErrorKind::RateLimited => RetryReason::RateLimited,
        _ => RetryReason::Other,
    }
}

impl<T: Layer> Layer for RetryLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        self.budget.deposit();
        let mut backoff = None;
        let mut retries = 0;
        loop {
            let fault = match self.inner.call(request).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            if retries == self.max_retries {
                return Err(fault);
            }
            let Some(pause) = self.next_delay(request, &fault, &mut backoff) else { return Err(fault) };
            sleep(pause).await;
            retries += 1;
            self.metrics.vendor_retry(self.system, retry_reason(fault.kind));
            request.trace.next_attempt();
        }
    }
}

/// A retry costs 1. Each request deposits a fifth, and each second one, so that a quiet system can
/// retry too.
struct RetryBudget(Mutex<(f64, Instant)>);

impl RetryBudget {
    const FULL: f64 = 10.0;
    const PER_CALL: f64 = 0.2;
    const PER_SECOND: f64 = 1.0;

    fn new() -> Self {
        Self(Mutex::new((Self::FULL, Instant::now())))
    }

    fn deposit(&self) {
        let mut balance = lock(&self.0);
        balance.0 = (balance.0 + Self::PER_CALL).min(Self::FULL);
    }

    fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut balance = lock(&self.0);
        let (saved, since) = *balance;
        let available = (saved + (now - since).as_secs_f64() * Self::PER_SECOND).min(Self::FULL);
        let is_enough = available >= 1.0;
        *balance = (if is_enough { available - 1.0 } else { available }, now);
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::VendorRequestKind;
    use crate::transport::testing::{ScriptedLayer, err_kind, metric_value, metrics, request};
    use crate::transport::trace::{CallTrace, TraceContext};

    fn retry_layer(
        script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>,
    ) -> (RetryLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let (min_backoff, default_wait) = (Duration::from_millis(100), Duration::from_secs(10));
        let inner = ScriptedLayer::new(script);
        (RetryLayer::new(inner, 2, min_backoff, default_wait, Arc::clone(&metrics), system), metrics)
    }

    async fn count_calls(kind: VendorRequestKind, fault: VendorError) -> usize {
        let (retries, _) = retry_layer([Err(fault)]);
        let _ = retries.call(&mut request(kind)).await;
        retries.inner.call_count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_retried_with_growing_delays_up_to_the_limit() {
        let (retries, metrics) = retry_layer(
            [VendorErrorKind::ConnectionLost, VendorErrorKind::Timeout, VendorErrorKind::ServerError].map(err_kind),
        );
        let fault = retries.call(&mut request(VendorRequestKind::Read)).await.expect_err("every attempt fails");
        assert_eq!(fault.kind, VendorErrorKind::ServerError);
        let sent_at: Vec<Instant> = retries.inner.calls().iter().map(|(at, _)| *at).collect();
        let pauses: Vec<u128> = sent_at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
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
        for error_kind in [VendorErrorKind::Timeout, VendorErrorKind::ConnectionLost, VendorErrorKind::ServerError] {
            for kind in [VendorRequestKind::Create, VendorRequestKind::Update, VendorRequestKind::Delete] {
                assert_eq!(count_calls(kind, VendorError::new(error_kind)).await, 1, "{kind:?} {error_kind:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_not_sent_is_retried() {
        assert_eq!(count_calls(VendorRequestKind::Create, VendorError::new(VendorErrorKind::Unavailable)).await, 2);
        assert_eq!(count_calls(VendorRequestKind::Update, VendorError::new(VendorErrorKind::RateLimited)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_a_retry_cannot_fix_are_not_retried() {
        use VendorErrorKind::{
            Busy, CircuitOpen, Conflict, CredentialsRejected, InvalidResponse, NotFound, Overloaded, Rejected,
            TokenRejected,
        };
        for kind in [
            Busy,
            CircuitOpen,
            Overloaded,
            TokenRejected,
            CredentialsRejected,
            NotFound,
            Conflict,
            Rejected,
            InvalidResponse,
        ] {
            assert_eq!(count_calls(VendorRequestKind::Read, VendorError::new(kind)).await, 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honored_only_if_the_deadline_allows() {
        for (timeout, times, elapsed) in [(8, 2, 5), (4, 1, 0)] {
            let wait = Retry::After(Duration::from_secs(5));
            let (retries, _) = retry_layer([Err(VendorError::new(VendorErrorKind::RateLimited).retry(wait))]);
            let started = Instant::now();
            let mut call = request(VendorRequestKind::Update);
            call.deadline = Some(started + Duration::from_secs(timeout));
            let result = retries.call(&mut call).await;
            assert_eq!((retries.inner.call_count(), started.elapsed().as_secs()), (times, elapsed));
            assert_eq!(result.err().map(|fault| fault.retry), (times == 1).then_some(wait));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_add_at_most_a_fifth_to_the_load_of_a_failing_vendor() {
        let at_once = VendorError::new(VendorErrorKind::Unavailable).retry(Retry::After(Duration::ZERO));
        let (retries, _) = retry_layer((0..10_000).map(|_| Err(at_once.clone())));
        for _ in 0..1_000 {
            let _ = retries.call(&mut request(VendorRequestKind::Read)).await;
        }
        // A fifth, the budget at the start, and one for each second that the thousand requests
        // took.
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
        let mut call = request(VendorRequestKind::Read);
        call.trace = CallTrace::child_of(&TraceContext::new_root());
        retries.call(&mut call).await.expect("the second time");
        let parent = |call: &VendorRequest| call.trace.headers()[0].1.to_str().expect("text").to_owned();
        let sent: Vec<String> = retries.inner.calls().iter().map(|(_, call)| parent(call)).collect();
        assert_eq!(sent[0][..36], sent[1][..36]);
        assert_ne!(sent[0][36..52], sent[1][36..52]);
    }
}
