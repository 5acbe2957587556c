//! The circuit breaker: stops sending requests to a vendor that is failing.
//!
//! ## States
//!
//! - *Closed*: requests pass. `circuit_failures` consecutive failures open the circuit.
//! - *Open*: requests are rejected at once, without effect, for `circuit_open_for`.
//! - *Half-open*, from the end of that time on: one request passes as the probe; all others are
//!   still rejected. A successful probe closes the circuit. A failed probe opens it again for the
//!   full time.
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
//!
//! ## Descriptions
//!
//! A call that reads a vendor's description of its records ([`VendorRequestKind::Schema`]) changes
//! no state, because reads and writes work without one: it neither counts nor is it the probe. Its
//! failure is reported as the last one. While the circuit is open it is rejected as all others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::layer::Layer;
use super::lock::lock;
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind, VendorRequestKind};

/// The state of a circuit as `GET /systems/{system}` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Requests pass.
    Closed,
    /// A probe is in flight, and other requests are rejected; or the next request is the probe.
    HalfOpen,
    /// Requests are rejected.
    Open,
}

impl CircuitState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word in `GET /systems/{system}`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// The value of `vendor_circuit_state`.
    fn gauge_value(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
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

impl State {
    /// The circuit's state at a time: an open circuit becomes ready for a probe by the time alone,
    /// without a request.
    fn at(self, time: Instant) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open { until } if time < until => CircuitState::Open,
            Self::HalfOpen | Self::Open { .. } => CircuitState::HalfOpen,
        }
    }
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

    /// The state now, the last success and the last failure.
    pub(super) fn health(&self) -> (CircuitState, Option<SystemTime>, Option<LastFailure>) {
        let data = lock(&self.data);
        (data.state.at(Instant::now()), data.last_success, data.last_failure.clone())
    }

    /// Sets the gauge to the state now, which may have changed by the time alone.
    pub(super) fn refresh_gauge(&self) {
        self.set_gauge(lock(&self.data).state);
    }

    fn set_state(&self, data: &mut BreakerData, state: State) {
        data.state = state;
        self.set_gauge(state);
    }

    fn set_gauge(&self, state: State) {
        self.metrics.circuit_state(self.system, state.at(Instant::now()).gauge_value());
    }

    /// Admits a request, as the probe if one is due; the error is the time to wait.
    fn try_acquire(&self, kind: VendorRequestKind) -> Result<CallPermit<'_>, Duration> {
        const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let decides = kind != VendorRequestKind::Schema;
        let mut data = lock(&self.data);
        let is_probe = match data.state {
            State::Closed { .. } => false,
            State::HalfOpen => return Err(PROBE_RETRY_AFTER),
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } if !decides => false,
            State::Open { .. } => {
                self.set_state(&mut data, State::HalfOpen);
                true
            }
        };
        Ok(CallPermit { circuit: self, is_probe, decides })
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
    /// Whether its result may change the state of the circuit.
    decides: bool,
}

impl CallPermit<'_> {
    fn complete(mut self, result: &Result<VendorResponse, VendorError>) {
        let sample = match result {
            Ok(_) => Sample::Success,
            Err(fault) => classify(fault),
        };
        let sample = match sample {
            Sample::Failure(reason) if !self.decides => Sample::Inconclusive(reason),
            Sample::Success if !self.decides => Sample::Ignored,
            sample => sample,
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
        let permit = self.circuit.try_acquire(request.kind).map_err(|retry_after| {
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
mod tests;
