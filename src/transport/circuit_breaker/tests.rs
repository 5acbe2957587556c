//! The circuit breaker with scripted responses and virtual time.

use tokio::time::{advance, timeout};

use super::*;
use crate::record::{SideEffect, VendorRequestKind};
use crate::transport::testing::{ScriptedLayer, err_kind, metric_value, metrics, ok, request};

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
async fn descriptions_neither_open_nor_close_the_circuit() {
    use VendorErrorKind::{ConnectionLost, ServerError, Timeout};
    let describe = async |breaker: &BreakerLayer<ScriptedLayer>| {
        breaker.call(&mut request(VendorRequestKind::Schema)).await.map_err(|fault| fault.kind)
    };
    let script = [ConnectionLost, Timeout, ServerError, Timeout, ServerError].map(err_kind);
    let (failing, _) = breaker(ScriptedLayer::new(script));
    for _ in 0..5 {
        describe(&failing).await.expect_err("fails");
    }
    assert_eq!((state(&failing), failing.inner.call_count()), (CircuitState::Closed, 5));
    assert!(failing.circuit.health().2.is_some(), "an operator sees it");
    // A description that can be had says nothing of the records.
    let failed = || err_kind(ServerError);
    let script = [failed(), failed(), ok(), failed()];
    let (breaker, _) = breaker(ScriptedLayer::new(script));
    for _ in 0..2 {
        read(&breaker).await.expect_err("fails");
    }
    describe(&breaker).await.expect("described");
    read(&breaker).await.expect_err("fails");
    assert_eq!(state(&breaker), CircuitState::Open);
    assert_eq!(describe(&breaker).await.expect_err("open"), VendorErrorKind::CircuitOpen);
    advance(OPEN_FOR).await;
    describe(&breaker).await.expect("it need not wait for a probe");
    assert_eq!(state(&breaker), CircuitState::HalfOpen, "the probe is still to come");
    read(&breaker).await.expect("the probe");
    assert_eq!(state(&breaker), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn invalid_responses_are_reported_but_do_not_open_the_circuit() {
    let server_error = |status| Err(VendorError::new(VendorErrorKind::ServerError).status(status).message("rejected"));
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
async fn an_open_circuit_becomes_half_open_without_a_request() {
    let (breaker, metrics) = breaker(ScriptedLayer::new([VendorErrorKind::ConnectionLost; 3].map(err_kind)));
    for _ in 0..3 {
        let _ = read(&breaker).await;
    }
    advance(Duration::from_millis(9_999)).await;
    assert_eq!(state(&breaker), CircuitState::Open);
    advance(Duration::from_millis(1)).await;
    assert_eq!(state(&breaker), CircuitState::HalfOpen);
    breaker.circuit.refresh_gauge();
    assert_eq!(metric_value(&metrics, r#"vendor_circuit_state{system="crm"}"#), 1);
    assert_eq!(breaker.inner.call_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_a_text_has_the_word_of_the_metrics() {
    let (breaker, _) = breaker(ScriptedLayer::new([err_kind(VendorErrorKind::ServerError)]));
    let _ = read(&breaker).await;
    assert_eq!(breaker.circuit.health().2.map(|last| last.reason).as_deref(), Some("vendor_error"));
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
    assert_eq!(state(&breaker), CircuitState::HalfOpen);
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
