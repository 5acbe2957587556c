//! The circuit breaker: stops sending requests to a vendor that is failing.
//!
//! ## States
//!
//! - *Closed*: requests pass. `circuit_failures` consecutive failures open the circuit.
//! - *Open*: requests are rejected at once, without effect, for `circuit_open_for`.
//! - *Half-open*: one request passes as the probe; all others are still rejected. A successful
//!   probe closes the circuit. A failed probe opens it again for the full time.
//!
//! A probe that is cancelled, or that never reaches the vendor, decides nothing: the circuit stays
//! ready for a probe, and the next request is the next probe. Requests that began before the
//! circuit opened do not change its state.
//!
//! ## What counts as a failure
//!
//! A failure says that the vendor does not work, not that it disliked a request: no connection, no
//! response in time, a broken connection, a 5xx that means a server error.
//!
//! "Not found", "conflict", "invalid value" and "too many requests" are the responses of a working
//! vendor. They count as successes and reset the count.
//!
//! Three results count as neither:
//!
//! - A response that makes no sense (markup, a redirect, too many bytes) may concern one record
//!   only, and must not cut off all the others. It is reported as the last failure.
//! - A timeout that is the fault of a short deadline of the caller.
//! - A rejection by the gateway's own limits: no request reached the vendor.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::layer::Layer;
use super::lock::lock;
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// The state of a circuit as `GET /systems/{system}` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Requests pass.
    Closed,
    /// A probe is in flight; other requests are rejected.
    HalfOpen,
    /// Requests are rejected.
    Open,
}

impl CircuitState {
    /// The word in `GET /systems/{system}`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// The last request that failed.
#[derive(Clone, Debug)]
pub struct LastFailure {
    /// When the failure was seen.
    pub at: SystemTime,
    /// The cause, sanitized for callers.
    pub reason: String,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

struct BreakerData {
    state: State,
    last_success: Option<SystemTime>,
    last_failure: Option<LastFailure>,
}

/// The state of one vendor's circuit, shared by all workers.
pub(super) struct CircuitBreaker {
    data: Mutex<BreakerData>,
    failure_threshold: u32,
    open_for: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
    name: String,
}

/// What one result says about the vendor. A failure carries its reason.
enum Sample {
    Success,
    Failure(String),
    /// A response that makes no sense: reported, but neither a success nor a failure.
    Inconclusive(String),
    Ignored,
}

impl CircuitBreaker {
    /// `name` is the system's, for the log.
    pub(super) fn new(
        failures: u32,
        open_for: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
        name: &str,
    ) -> Arc<Self> {
        let data = BreakerData { state: State::Closed { failures: 0 }, last_success: None, last_failure: None };
        let (data, name) = (Mutex::new(data), name.to_owned());
        Arc::new(Self { data, failure_threshold: failures.max(1), open_for, metrics, system, name })
    }

    pub(super) fn health(&self) -> (CircuitState, Option<SystemTime>, Option<LastFailure>) {
        let data = lock(&self.data);
        let state = match data.state {
            State::Closed { .. } => CircuitState::Closed,
            State::HalfOpen => CircuitState::HalfOpen,
            State::Open { .. } => CircuitState::Open,
        };
        (state, data.last_success, data.last_failure.clone())
    }

    fn set_state(&self, data: &mut BreakerData, state: State) {
        data.state = state;
        let gauge = match state {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        self.metrics.circuit_state(self.system, gauge);
    }

    /// Admits a request, as the probe if one is due; the error is the time to wait.
    fn try_acquire(&self) -> Result<CallPermit<'_>, Duration> {
        const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let mut data = lock(&self.data);
        let is_probe = match data.state {
            State::Closed { .. } => false,
            State::HalfOpen => return Err(PROBE_RETRY_AFTER),
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                self.set_state(&mut data, State::HalfOpen);
                true
            }
        };
        Ok(CallPermit { circuit: self, is_probe })
    }

    fn record(&self, is_probe: bool, sample: Sample) {
        let mut data = lock(&self.data);
        match &sample {
            Sample::Success => data.last_success = Some(SystemTime::now()),
            Sample::Failure(reason) | Sample::Inconclusive(reason) => {
                data.last_failure = Some(LastFailure { at: SystemTime::now(), reason: reason.clone() });
            }
            Sample::Ignored => {}
        }
        let now = Instant::now();
        match (sample, data.state) {
            (Sample::Success, State::HalfOpen) if is_probe => {
                tracing::info!(system = self.name, "circuit closed: the vendor responds again");
                self.set_state(&mut data, State::Closed { failures: 0 });
            }
            (Sample::Failure(_), State::HalfOpen) if is_probe => {
                self.set_state(&mut data, State::Open { until: now + self.open_for });
            }
            (Sample::Ignored | Sample::Inconclusive(_), State::HalfOpen) if is_probe => {
                self.set_state(&mut data, State::Open { until: now });
            }
            (Sample::Success, State::Closed { .. }) => data.state = State::Closed { failures: 0 },
            (Sample::Failure(reason), State::Closed { failures }) if failures + 1 >= self.failure_threshold => {
                // The requests that the open circuit rejects are not logged one by one.
                tracing::warn!(system = self.name, reason, "circuit opened: nothing is sent to the vendor");
                self.set_state(&mut data, State::Open { until: now + self.open_for });
            }
            (Sample::Failure(_), State::Closed { failures }) => data.state = State::Closed { failures: failures + 1 },
            _ => {}
        }
    }
}

/// An admitted request. Dropping it without a result, as a cancellation does, records nothing.
struct CallPermit<'c> {
    circuit: &'c CircuitBreaker,
    is_probe: bool,
}

impl CallPermit<'_> {
    fn complete(mut self, result: &Result<VendorResponse, VendorError>) {
        let sample = match result {
            Ok(_) => Sample::Success,
            Err(fault) => classify(fault),
        };
        self.circuit.record(self.is_probe, sample);
        self.is_probe = false;
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.circuit.record(true, Sample::Ignored);
        }
    }
}

fn failure_reason(fault: &VendorError) -> String {
    fault.message.clone().unwrap_or_else(|| fault.kind.as_str().to_owned())
}

fn classify(fault: &VendorError) -> Sample {
    match fault.kind {
        // The attempt layer marks a timeout that a short deadline of the caller caused.
        VendorErrorKind::Timeout if fault.retry == Retry::Never => Sample::Ignored,
        VendorErrorKind::Unavailable | VendorErrorKind::Timeout | VendorErrorKind::ConnectionLost => {
            Sample::Failure(failure_reason(fault))
        }
        VendorErrorKind::ServerError if fault.status.is_none_or(|status| status >= 500) => {
            Sample::Failure(failure_reason(fault))
        }
        VendorErrorKind::ServerError | VendorErrorKind::InvalidResponse => Sample::Inconclusive(failure_reason(fault)),
        // Without a status these are the gateway's own limits.
        VendorErrorKind::Overloaded | VendorErrorKind::RateLimited | VendorErrorKind::CircuitOpen
            if fault.status.is_none() =>
        {
            Sample::Ignored
        }
        _ => Sample::Success,
    }
}

/// Guards the inner layers with a circuit.
pub(super) struct BreakerLayer<T> {
    inner: T,
    circuit: Arc<CircuitBreaker>,
}

impl<T> BreakerLayer<T> {
    pub(super) fn new(inner: T, circuit: Arc<CircuitBreaker>) -> Self {
        Self { inner, circuit }
    }
}

impl<T: Layer> Layer for BreakerLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let permit = self.circuit.try_acquire().map_err(|retry_after| {
            VendorError::new(VendorErrorKind::CircuitOpen)
                .message("the circuit is open: the last requests to the vendor failed, so nothing is sent to it")
                .retry(Retry::After(retry_after))
        })?;
        let result = self.inner.call(request).await;
        permit.complete(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::record::{SideEffect, VendorRequestKind};
    use crate::transport::testing::{ScriptedLayer, err_kind, metric_value, metrics, request};

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(script: ScriptedLayer) -> (BreakerLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        (BreakerLayer::new(script, CircuitBreaker::new(3, OPEN_FOR, Arc::clone(&metrics), system, "crm")), metrics)
    }

    async fn read(breaker: &BreakerLayer<ScriptedLayer>) -> Result<VendorResponse, VendorErrorKind> {
        breaker.call(&mut request(VendorRequestKind::Read)).await.map_err(|fault| fault.kind)
    }

    fn state(breaker: &BreakerLayer<ScriptedLayer>) -> CircuitState {
        breaker.circuit.health().0
    }

    #[tokio::test(start_paused = true)]
    async fn consecutive_failures_open_the_circuit_and_nothing_more_is_sent() {
        let kinds = [VendorErrorKind::Unavailable, VendorErrorKind::Timeout, VendorErrorKind::ServerError];
        let (breaker, metrics) = breaker(ScriptedLayer::new(kinds.map(err_kind)));
        for kind in kinds {
            assert_eq!(read(&breaker).await.expect_err("fails"), kind);
        }
        advance(Duration::from_secs(4)).await;
        let fault = breaker.call(&mut request(VendorRequestKind::Update)).await.expect_err("open");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::CircuitOpen, SideEffect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(6)));
        assert_eq!(breaker.inner.call_count(), 3);
        assert_eq!(metric_value(&metrics, r#"vendor_circuit_state{system="crm"}"#), 2);
        assert!(breaker.circuit.health().2.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_from_a_working_vendor_resets_the_failure_count() {
        use VendorErrorKind::{Ambiguous, Conflict, ConnectionLost, NotFound, Rejected, Unavailable};
        for response in [Ambiguous, Conflict, NotFound, Rejected] {
            let script = [ConnectionLost, Unavailable, response, ConnectionLost, Unavailable];
            let (breaker, _) = breaker(ScriptedLayer::new(script.map(err_kind)));
            for _ in script {
                let _ = read(&breaker).await;
            }
            assert_eq!(state(&breaker), CircuitState::Closed, "{response:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn invalid_responses_are_reported_but_do_not_open_the_circuit() {
        let server_error =
            |status| Err(VendorError::new(VendorErrorKind::ServerError).status(status).message("rejected"));
        let script = [
            err_kind(VendorErrorKind::InvalidResponse),
            server_error(409),
            err_kind(VendorErrorKind::InvalidResponse),
            server_error(400),
        ];
        let (working, _) = breaker(ScriptedLayer::new(script));
        for _ in 0..4 {
            let _ = read(&working).await;
        }
        assert_eq!(state(&working), CircuitState::Closed);
        assert_eq!(working.circuit.health().2.map(|last| last.reason).as_deref(), Some("rejected"));
        // Nor do they reset the count of failures.
        let script = [
            err_kind(VendorErrorKind::ConnectionLost),
            server_error(500),
            err_kind(VendorErrorKind::InvalidResponse),
            err_kind(VendorErrorKind::ConnectionLost),
        ];
        let (failing, _) = breaker(ScriptedLayer::new(script));
        for _ in 0..4 {
            let _ = read(&failing).await;
        }
        assert_eq!(state(&failing), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn the_gateways_own_limits_count_neither_as_failure_nor_as_success() {
        use VendorErrorKind::{Overloaded, RateLimited, Timeout};
        let script = [Timeout, Timeout, Overloaded, RateLimited, Timeout];
        let (breaker, _) = breaker(ScriptedLayer::new(script.map(err_kind)));
        for _ in script {
            let _ = read(&breaker).await;
        }
        assert_eq!(state(&breaker), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn short_caller_deadlines_do_not_open_the_circuit() {
        let (breaker, _) = breaker(ScriptedLayer::new(
            (0..9).map(|_| Err(VendorError::new(VendorErrorKind::Timeout).retry(Retry::Never))),
        ));
        for _ in 0..9 {
            let _ = read(&breaker).await;
        }
        assert_eq!(state(&breaker), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn exactly_one_probe_passes_and_its_success_closes_the_circuit() {
        let script =
            ScriptedLayer::new([VendorErrorKind::ConnectionLost; 3].map(err_kind)).with_latency(Duration::from_secs(1));
        let (breaker, metrics) = breaker(script);
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        let (probe, other) = tokio::join!(read(&breaker), read(&breaker));
        assert!(probe.is_ok());
        assert_eq!(other.expect_err("rejected"), VendorErrorKind::CircuitOpen);
        assert_eq!(breaker.inner.call_count(), 4);
        assert_eq!(state(&breaker), CircuitState::Closed);
        assert_eq!(metric_value(&metrics, r#"vendor_circuit_state{system="crm"}"#), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_reopens_the_circuit_for_the_full_duration() {
        let (breaker, _) = breaker(ScriptedLayer::new([VendorErrorKind::ConnectionLost; 4].map(err_kind)));
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        assert_eq!(read(&breaker).await.expect_err("fails"), VendorErrorKind::ConnectionLost);
        advance(Duration::from_millis(9_999)).await;
        assert_eq!(read(&breaker).await.expect_err("rejected"), VendorErrorKind::CircuitOpen);
        advance(Duration::from_millis(1)).await;
        assert!(read(&breaker).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_lets_the_next_call_probe() {
        let script =
            ScriptedLayer::new([VendorErrorKind::ConnectionLost; 3].map(err_kind)).with_latency(Duration::from_secs(1));
        let (breaker, _) = breaker(script);
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        assert!(timeout(Duration::from_millis(10), read(&breaker)).await.is_err());
        assert_eq!(state(&breaker), CircuitState::Open);
        assert!(read(&breaker).await.is_ok());
        assert_eq!(state(&breaker), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_404_of_the_probe_closes_the_circuit() {
        use VendorErrorKind::{ConnectionLost, NotFound};
        let (breaker, _) =
            breaker(ScriptedLayer::new([ConnectionLost, ConnectionLost, ConnectionLost, NotFound].map(err_kind)));
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        assert_eq!(read(&breaker).await.expect_err("a response"), NotFound);
        assert_eq!(state(&breaker), CircuitState::Closed);
        assert!(breaker.circuit.health().1.is_some());
    }
}
