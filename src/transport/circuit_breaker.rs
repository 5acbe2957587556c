//! Leaves a vendor alone that does not work.
//!
//! The circuit is *closed* as long as calls work. When `failures` calls in a row have failed it *opens*: calls are refused at
//! once, without effect, for `open_for`. After that exactly one call is let through as a probe (*half-open*), the others
//! are still refused. The probe's success closes the circuit, its failure opens it again. A probe that is given up, or that
//! never reached the vendor, tells nothing: the next call is the probe then.
//!
//! What fails is the vendor, not the request: no connection, no answer, a broken one, a 5xx that is no verdict. "No such
//! record", "somebody changed it", "wrong value", "too many calls" are answers of a vendor that works. An answer that makes no
//! sense (markup, a redirect, more bytes than allowed) tells neither: it may be about that one record.
//! Calls that began before the circuit opened have no say in what happens after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Layer, VendorRequest, VendorResponse};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// What callers of `GET /systems/{system}` see of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls go through.
    Closed,
    /// One call is trying whether the vendor works again.
    HalfOpen,
    /// Calls are refused.
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

/// The last call that failed.
#[derive(Clone, Debug)]
pub struct LastFailure {
    /// When.
    pub at: SystemTime,
    /// Why, fit for a caller.
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
}

/// What one call taught about the vendor.
enum Sample {
    Success,
    Failure(String),
    /// An answer came, and it makes no sense: it may be one record that cannot be told, which must not take the others away.
    Inconclusive(String),
    Ignored,
}

impl CircuitBreaker {
    pub(super) fn new(failures: u32, open_for: Duration, metrics: Arc<Metrics>, system: SystemIndex) -> Arc<Self> {
        let known = BreakerData { state: State::Closed { failures: 0 }, last_success: None, last_failure: None };
        Arc::new(Self { data: Mutex::new(known), failure_threshold: failures.max(1), open_for, metrics, system })
    }

    pub(super) fn health(&self) -> (CircuitState, Option<SystemTime>, Option<LastFailure>) {
        let known = self.lock_data();
        let state = match known.state {
            State::Closed { .. } => CircuitState::Closed,
            State::HalfOpen => CircuitState::HalfOpen,
            State::Open { .. } => CircuitState::Open,
        };
        (state, known.last_success, known.last_failure.clone())
    }

    fn lock_data(&self) -> MutexGuard<'_, BreakerData> {
        // Nothing below can panic between two halves of a change.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, known: &mut BreakerData, state: State) {
        known.state = state;
        let shown = match state {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        self.metrics.circuit_state(self.system, shown);
    }

    /// Lets the call through, perhaps as the probe, or says how long to stay away.
    fn try_acquire(&self) -> Result<CallPermit<'_>, Duration> {
        const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let mut known = self.lock_data();
        let probe = match known.state {
            State::Closed { .. } => false,
            State::HalfOpen => return Err(PROBE_RETRY_AFTER),
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                self.set_state(&mut known, State::HalfOpen);
                true
            }
        };
        Ok(CallPermit { circuit: self, probe })
    }

    fn record(&self, probe: bool, lesson: Sample) {
        let mut known = self.lock_data();
        match &lesson {
            Sample::Success => known.last_success = Some(SystemTime::now()),
            Sample::Failure(reason) | Sample::Inconclusive(reason) => {
                known.last_failure = Some(LastFailure { at: SystemTime::now(), reason: reason.clone() });
            }
            Sample::Ignored => {}
        }
        let now = Instant::now();
        match (lesson, known.state) {
            (Sample::Success, State::HalfOpen) if probe => self.set_state(&mut known, State::Closed { failures: 0 }),
            (Sample::Failure(_), State::HalfOpen) if probe => {
                self.set_state(&mut known, State::Open { until: now + self.open_for });
            }
            (Sample::Ignored | Sample::Inconclusive(_), State::HalfOpen) if probe => {
                self.set_state(&mut known, State::Open { until: now });
            }
            (Sample::Success, State::Closed { .. }) => known.state = State::Closed { failures: 0 },
            (Sample::Failure(_), State::Closed { failures }) if failures + 1 >= self.failure_threshold => {
                self.set_state(&mut known, State::Open { until: now + self.open_for });
            }
            (Sample::Failure(_), State::Closed { failures }) => known.state = State::Closed { failures: failures + 1 },
            _ => {}
        }
    }
}

/// A call on its way. Dropped without a result (the caller hung up) it has taught nothing.
struct CallPermit<'c> {
    circuit: &'c CircuitBreaker,
    probe: bool,
}

impl CallPermit<'_> {
    fn complete(mut self, result: &Result<VendorResponse, VendorError>) {
        let lesson = match result {
            Ok(_) => Sample::Success,
            Err(fault) => classify(fault),
        };
        self.circuit.record(self.probe, lesson);
        self.probe = false;
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.circuit.record(true, Sample::Ignored);
        }
    }
}

fn failure_reason(fault: &VendorError) -> String {
    let word = match fault.kind {
        VendorErrorKind::ConnectionLost => "broken",
        VendorErrorKind::InvalidResponse => "protocol",
        VendorErrorKind::Unavailable => "unavailable",
        VendorErrorKind::Timeout => "timeout",
        _ => "vendorerror",
    };
    fault.message.clone().unwrap_or_else(|| word.to_owned())
}

fn classify(fault: &VendorError) -> Sample {
    match fault.kind {
        // The caller's haste, not the vendor's slowness (see the attempt layer).
        VendorErrorKind::Timeout if fault.retry == Retry::Never => Sample::Ignored,
        VendorErrorKind::Unavailable | VendorErrorKind::Timeout | VendorErrorKind::ConnectionLost => {
            Sample::Failure(failure_reason(fault))
        }
        VendorErrorKind::ServerError if fault.status.is_none_or(|status| status >= 500) => {
            Sample::Failure(failure_reason(fault))
        }
        VendorErrorKind::ServerError | VendorErrorKind::InvalidResponse => Sample::Inconclusive(failure_reason(fault)),
        // The gateway's own limits: the vendor was not asked.
        VendorErrorKind::Overloaded | VendorErrorKind::RateLimited if fault.status.is_none() => Sample::Ignored,
        _ => Sample::Success,
    }
}

/// The layer.
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
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let passage = self.circuit.try_acquire().map_err(|rest| {
            VendorError::new(VendorErrorKind::Overloaded)
                .message("the circuit is open: the vendor has just failed several times, nothing is sent to it")
                .retry(Retry::After(rest))
        })?;
        let result = self.inner.call(call).await;
        passage.complete(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::record::{SideEffect, VendorCallKind};
    use crate::transport::testing::{ScriptedLayer, err_kind, metric_value, metrics, request};

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(script: ScriptedLayer) -> (BreakerLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        (BreakerLayer::new(script, CircuitBreaker::new(3, OPEN_FOR, Arc::clone(&metrics), system)), metrics)
    }

    async fn read(breaker: &BreakerLayer<ScriptedLayer>) -> Result<VendorResponse, VendorErrorKind> {
        breaker.call(&mut request(VendorCallKind::Read)).await.map_err(|fault| fault.kind)
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
        let fault = breaker.call(&mut request(VendorCallKind::Update)).await.expect_err("open");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Overloaded, SideEffect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(6)));
        assert_eq!(breaker.inner.call_count(), 3);
        assert_eq!(metric_value(&metrics, r#"vendor_circuit_state{system="crm"}"#), 2);
        assert!(breaker.circuit.health().2.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_from_a_working_vendor_resets_the_failure_count() {
        use VendorErrorKind::{Ambiguous, Conflict, ConnectionLost, NotFound, Rejected, Unavailable};
        for verdict in [Ambiguous, Conflict, NotFound, Rejected] {
            let script = [ConnectionLost, Unavailable, verdict, ConnectionLost, Unavailable];
            let (breaker, _) = breaker(ScriptedLayer::new(script.map(err_kind)));
            for _ in script {
                let _ = read(&breaker).await;
            }
            assert_eq!(state(&breaker), CircuitState::Closed, "{verdict:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn invalid_responses_are_reported_but_do_not_open_the_circuit() {
        let refused = |status| Err(VendorError::new(VendorErrorKind::ServerError).status(status).message("refused"));
        let script = [
            err_kind(VendorErrorKind::InvalidResponse),
            refused(409),
            err_kind(VendorErrorKind::InvalidResponse),
            refused(400),
        ];
        let (of_one_record, _) = breaker(ScriptedLayer::new(script));
        for _ in 0..4 {
            let _ = read(&of_one_record).await;
        }
        assert_eq!(state(&of_one_record), CircuitState::Closed);
        assert_eq!(of_one_record.circuit.health().2.map(|last| last.reason).as_deref(), Some("refused"));
        // Nor do they make up for failures.
        let script = [
            err_kind(VendorErrorKind::ConnectionLost),
            refused(500),
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
        assert_eq!(other.expect_err("refused"), VendorErrorKind::Overloaded);
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
        assert_eq!(read(&breaker).await.expect_err("refused"), VendorErrorKind::Overloaded);
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
        assert_eq!(read(&breaker).await.expect_err("a verdict"), NotFound);
        assert_eq!(state(&breaker), CircuitState::Closed);
        assert!(breaker.circuit.health().1.is_some());
    }
}
