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

use super::{Call, Layer, Reply};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Fault, FaultKind, Retry};

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

struct Known {
    state: State,
    last_success: Option<SystemTime>,
    last_failure: Option<LastFailure>,
}

/// The state of one vendor's circuit, shared by all workers.
pub(super) struct Circuit {
    known: Mutex<Known>,
    failures: u32,
    open_for: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

/// What one call taught about the vendor.
enum Lesson {
    Works,
    Fails(String),
    /// An answer came, and it makes no sense: it may be one record that cannot be told, which must not take the others away.
    Senseless(String),
    Nothing,
}

impl Circuit {
    pub(super) fn new(failures: u32, open_for: Duration, metrics: Arc<Metrics>, system: SystemIndex) -> Arc<Self> {
        let known = Known { state: State::Closed { failures: 0 }, last_success: None, last_failure: None };
        Arc::new(Self { known: Mutex::new(known), failures: failures.max(1), open_for, metrics, system })
    }

    pub(super) fn health(&self) -> (CircuitState, Option<SystemTime>, Option<LastFailure>) {
        let known = self.known();
        let state = match known.state {
            State::Closed { .. } => CircuitState::Closed,
            State::HalfOpen => CircuitState::HalfOpen,
            State::Open { .. } => CircuitState::Open,
        };
        (state, known.last_success, known.last_failure.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing below can panic between two halves of a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, known: &mut Known, state: State) {
        known.state = state;
        let shown = match state {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        self.metrics.circuit_state(self.system, shown);
    }

    /// Lets the call through, perhaps as the probe, or says how long to stay away.
    fn enter(&self) -> Result<Passage<'_>, Duration> {
        const WHILE_PROBING: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let mut known = self.known();
        let probe = match known.state {
            State::Closed { .. } => false,
            State::HalfOpen => return Err(WHILE_PROBING),
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                self.change(&mut known, State::HalfOpen);
                true
            }
        };
        Ok(Passage { circuit: self, probe })
    }

    fn learn(&self, probe: bool, lesson: Lesson) {
        let mut known = self.known();
        match &lesson {
            Lesson::Works => known.last_success = Some(SystemTime::now()),
            Lesson::Fails(reason) | Lesson::Senseless(reason) => {
                known.last_failure = Some(LastFailure { at: SystemTime::now(), reason: reason.clone() });
            }
            Lesson::Nothing => {}
        }
        let now = Instant::now();
        match (lesson, known.state) {
            (Lesson::Works, State::HalfOpen) if probe => self.change(&mut known, State::Closed { failures: 0 }),
            (Lesson::Fails(_), State::HalfOpen) if probe => {
                self.change(&mut known, State::Open { until: now + self.open_for });
            }
            (Lesson::Nothing | Lesson::Senseless(_), State::HalfOpen) if probe => {
                self.change(&mut known, State::Open { until: now });
            }
            (Lesson::Works, State::Closed { .. }) => known.state = State::Closed { failures: 0 },
            (Lesson::Fails(_), State::Closed { failures }) if failures + 1 >= self.failures => {
                self.change(&mut known, State::Open { until: now + self.open_for });
            }
            (Lesson::Fails(_), State::Closed { failures }) => known.state = State::Closed { failures: failures + 1 },
            _ => {}
        }
    }
}

/// A call on its way. Dropped without a result (the caller hung up) it has taught nothing.
struct Passage<'c> {
    circuit: &'c Circuit,
    probe: bool,
}

impl Passage<'_> {
    fn ended(mut self, result: &Result<Reply, Fault>) {
        let lesson = match result {
            Ok(_) => Lesson::Works,
            Err(fault) => lesson_of(fault),
        };
        self.circuit.learn(self.probe, lesson);
        self.probe = false;
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.circuit.learn(true, Lesson::Nothing);
        }
    }
}

fn reason(fault: &Fault) -> String {
    fault.message.clone().unwrap_or_else(|| format!("{:?}", fault.kind).to_lowercase())
}

fn lesson_of(fault: &Fault) -> Lesson {
    match fault.kind {
        // The caller's haste, not the vendor's slowness (see the attempt layer).
        FaultKind::Timeout if fault.retry == Retry::Never => Lesson::Nothing,
        FaultKind::Unavailable | FaultKind::Timeout | FaultKind::Broken => Lesson::Fails(reason(fault)),
        FaultKind::VendorError if fault.status.is_none_or(|status| status >= 500) => Lesson::Fails(reason(fault)),
        FaultKind::VendorError | FaultKind::Protocol => Lesson::Senseless(reason(fault)),
        // The gateway's own limits: the vendor was not asked.
        FaultKind::Overloaded | FaultKind::RateLimited if fault.status.is_none() => Lesson::Nothing,
        _ => Lesson::Works,
    }
}

/// The layer.
pub(super) struct Breaker<T> {
    inner: T,
    circuit: Arc<Circuit>,
}

impl<T> Breaker<T> {
    pub(super) fn new(inner: T, circuit: Arc<Circuit>) -> Self {
        Self { inner, circuit }
    }
}

impl<T: Layer> Layer for Breaker<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        let passage = self.circuit.enter().map_err(|rest| {
            Fault::new(FaultKind::Overloaded)
                .message("the circuit is open: the vendor has just failed several times, nothing is sent to it")
                .retry(Retry::After(rest))
        })?;
        let result = self.inner.carry(call).await;
        passage.ended(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::record::{CallName, Effect};
    use crate::transport::testing::{Scripted, call, fails, metrics, series};

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(script: Scripted) -> (Breaker<Scripted>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        (Breaker::new(script, Circuit::new(3, OPEN_FOR, Arc::clone(&metrics), system)), metrics)
    }

    async fn read(breaker: &Breaker<Scripted>) -> Result<Reply, FaultKind> {
        breaker.carry(&mut call(CallName::Read)).await.map_err(|fault| fault.kind)
    }

    fn state(breaker: &Breaker<Scripted>) -> CircuitState {
        breaker.circuit.health().0
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_the_circuit_and_then_nothing_is_sent() {
        let kinds = [FaultKind::Unavailable, FaultKind::Timeout, FaultKind::VendorError];
        let (breaker, metrics) = breaker(Scripted::new(kinds.map(fails)));
        for kind in kinds {
            assert_eq!(read(&breaker).await.expect_err("fails"), kind);
        }
        advance(Duration::from_secs(4)).await;
        let fault = breaker.carry(&mut call(CallName::Update)).await.expect_err("open");
        assert_eq!((fault.kind, fault.effect), (FaultKind::Overloaded, Effect::None));
        assert_eq!(fault.retry, Retry::After(Duration::from_secs(6)));
        assert_eq!(breaker.inner.times(), 3);
        assert_eq!(series(&metrics, r#"vendor_circuit_state{system="crm"}"#), 2);
        assert!(breaker.circuit.health().2.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn verdicts_of_a_vendor_that_works_interrupt_the_row() {
        use FaultKind::{Ambiguous, Broken, Conflict, NotFound, Rejected, Unavailable};
        for verdict in [Ambiguous, Conflict, NotFound, Rejected] {
            let script = [Broken, Unavailable, verdict, Broken, Unavailable];
            let (breaker, _) = breaker(Scripted::new(script.map(fails)));
            for _ in script {
                let _ = read(&breaker).await;
            }
            assert_eq!(state(&breaker), CircuitState::Closed, "{verdict:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_without_sense_are_told_and_open_nothing() {
        let refused = |status| Err(Fault::new(FaultKind::VendorError).status(status).message("refused"));
        let script = [fails(FaultKind::Protocol), refused(409), fails(FaultKind::Protocol), refused(400)];
        let (of_one_record, _) = breaker(Scripted::new(script));
        for _ in 0..4 {
            let _ = read(&of_one_record).await;
        }
        assert_eq!(state(&of_one_record), CircuitState::Closed);
        assert_eq!(of_one_record.circuit.health().2.map(|last| last.reason).as_deref(), Some("refused"));
        // Nor do they make up for failures.
        let script = [fails(FaultKind::Broken), refused(500), fails(FaultKind::Protocol), fails(FaultKind::Broken)];
        let (failing, _) = breaker(Scripted::new(script));
        for _ in 0..4 {
            let _ = read(&failing).await;
        }
        assert_eq!(state(&failing), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn the_gateways_own_limits_say_nothing_about_the_vendor() {
        use FaultKind::{Overloaded, RateLimited, Timeout};
        let script = [Timeout, Timeout, Overloaded, RateLimited, Timeout];
        let (breaker, _) = breaker(Scripted::new(script.map(fails)));
        for _ in script {
            let _ = read(&breaker).await;
        }
        assert_eq!(state(&breaker), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_in_a_hurry_do_not_open_the_circuit_for_the_others() {
        let (breaker, _) =
            breaker(Scripted::new((0..9).map(|_| Err(Fault::new(FaultKind::Timeout).retry(Retry::Never)))));
        for _ in 0..9 {
            let _ = read(&breaker).await;
        }
        assert_eq!(state(&breaker), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn exactly_one_probe_is_let_through_and_its_success_closes() {
        let script = Scripted::new([FaultKind::Broken; 3].map(fails)).taking(Duration::from_secs(1));
        let (breaker, metrics) = breaker(script);
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        let (probe, other) = tokio::join!(read(&breaker), read(&breaker));
        assert!(probe.is_ok());
        assert_eq!(other.expect_err("refused"), FaultKind::Overloaded);
        assert_eq!(breaker.inner.times(), 4);
        assert_eq!(state(&breaker), CircuitState::Closed);
        assert_eq!(series(&metrics, r#"vendor_circuit_state{system="crm"}"#), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_probe_opens_again_for_the_whole_time() {
        let (breaker, _) = breaker(Scripted::new([FaultKind::Broken; 4].map(fails)));
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        assert_eq!(read(&breaker).await.expect_err("fails"), FaultKind::Broken);
        advance(Duration::from_millis(9_999)).await;
        assert_eq!(read(&breaker).await.expect_err("refused"), FaultKind::Overloaded);
        advance(Duration::from_millis(1)).await;
        assert!(read(&breaker).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_makes_room_for_the_next() {
        let script = Scripted::new([FaultKind::Broken; 3].map(fails)).taking(Duration::from_secs(1));
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
        use FaultKind::{Broken, NotFound};
        let (breaker, _) = breaker(Scripted::new([Broken, Broken, Broken, NotFound].map(fails)));
        for _ in 0..3 {
            let _ = read(&breaker).await;
        }
        advance(OPEN_FOR).await;
        assert_eq!(read(&breaker).await.expect_err("a verdict"), NotFound);
        assert_eq!(state(&breaker), CircuitState::Closed);
        assert!(breaker.circuit.health().1.is_some());
    }
}
