//! One attempt: timed, judged and measured.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::redact::SecretRedactor;
use super::trace::{CallAttributes, PeerAttributes};
use super::{Layer, VendorProtocol, VendorRequest, VendorResponse};
use crate::metrics::{CallOutcome, Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// Turns what came off the wire into a success or a judged fault.
pub(super) struct AttemptLayer<T> {
    inner: T,
    vendor: Arc<dyn VendorProtocol>,
    peer: PeerAttributes,
    redactor: Arc<SecretRedactor>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> AttemptLayer<T> {
    pub(super) fn new(
        inner: T,
        vendor: Arc<dyn VendorProtocol>,
        callee: PeerAttributes,
        secrets: Arc<SecretRedactor>,
        timeout: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Self {
        Self { inner, vendor, peer: callee, redactor: secrets, timeout, metrics, system }
    }

    /// `Retry::Never` marks a timeout that tells nothing of the vendor: its caller left it less than half the usual time.
    /// Else callers in a hurry could open the circuit for all the others.
    fn timeout_fault(&self, given: Duration) -> VendorError {
        let fault = VendorError::new(VendorErrorKind::Timeout).message("the vendor did not answer in time");
        if given < self.timeout / 2 { fault.retry(Retry::Never) } else { fault }
    }

    /// What a span tells of the call.
    fn span_attributes<'c>(
        &'c self,
        call: &'c VendorRequest,
        outcome: CallOutcome,
        result: &Result<VendorResponse, VendorError>,
    ) -> CallAttributes<'c> {
        let (status, error) = match result {
            Ok(reply) => (Some(reply.status), None),
            Err(fault) => (fault.status, Some(error_type(fault, outcome))),
        };
        CallAttributes { peer: &self.peer, call: call.kind.as_str(), method: &call.method, status, error }
    }

    /// The vendor's own judgement first; a redirect it has no word on is nothing to follow.
    fn classify(&self, call: &VendorRequest, reply: VendorResponse) -> Result<VendorResponse, VendorError> {
        match self.vendor.classify(call, &reply) {
            Some(mut fault) => {
                if let (Retry::Soon, Some(wait)) = (fault.retry, reply.retry_after) {
                    fault.retry = Retry::After(wait);
                }
                Err(self.redactor.redact_for_call(call, fault))
            }
            None if (300..400).contains(&reply.status) => {
                let what = format!("the vendor answered with a redirect ({}), which is never followed", reply.status);
                Err(VendorError::invalid_response(what))
            }
            None => Ok(reply),
        }
    }
}

impl<T: Layer> Layer for AttemptLayer<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let started = Instant::now();
        let own_end = started + self.timeout;
        let end = call.deadline.map_or(own_end, |deadline| deadline.min(own_end));
        if end <= started {
            let why = "the deadline passed before the call could be sent";
            return Err(VendorError::new(VendorErrorKind::Overloaded).message(why));
        }
        let (outcome, result) = match timeout_at(end, self.inner.call(call)).await {
            Ok(Ok(reply)) => (outcome_of_status(reply.status), self.classify(call, reply)),
            Ok(Err(fault)) => (outcome_of_fault(&fault), Err(fault)),
            Err(_) => (CallOutcome::Timeout, Err(self.timeout_fault(end - started))),
        };
        let took = started.elapsed();
        self.metrics.vendor_request(self.system, call.kind, outcome, took.as_secs_f64());
        call.trace.finish(took, || self.span_attributes(call, outcome, &result));
        // A call that changes nothing has changed nothing, whatever became of it.
        result.map_err(|fault| if call.kind.is_safe() { fault.without_effect() } else { fault })
    }
}

/// `error.type` of a call: the status where it is one of an error, else what went wrong instead.
fn error_type(fault: &VendorError, outcome: CallOutcome) -> String {
    match (fault.status, outcome) {
        (Some(status @ 400..), _) => status.to_string(),
        (_, CallOutcome::Timeout | CallOutcome::Connect | CallOutcome::Broken) => outcome.as_str().to_owned(),
        _ if fault.kind == VendorErrorKind::NotFound => "not_found".to_owned(),
        _ => "unexpected_answer".to_owned(),
    }
}

fn outcome_of_status(status: u16) -> CallOutcome {
    match status {
        ..300 => CallOutcome::Ok2xx,
        300..400 => CallOutcome::Redirect3xx,
        400..500 => CallOutcome::Refused4xx,
        500.. => CallOutcome::Failed5xx,
    }
}

fn outcome_of_fault(fault: &VendorError) -> CallOutcome {
    match fault.kind {
        VendorErrorKind::Unavailable => CallOutcome::Connect,
        VendorErrorKind::Timeout => CallOutcome::Timeout,
        _ => CallOutcome::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SideEffect, VendorCallKind};
    use crate::transport::testing::{ScriptedLayer, StatusVendor, metric_value, metrics, ok, request, status};

    fn attempt(script: ScriptedLayer) -> (AttemptLayer<ScriptedLayer>, Arc<Metrics>) {
        let (metrics, system) = metrics();
        let timeout = Duration::from_secs(10);
        (
            AttemptLayer::new(
                script,
                Arc::new(StatusVendor),
                PeerAttributes::default(),
                SecretRedactor::new(&[]),
                timeout,
                Arc::clone(&metrics),
                system,
            ),
            metrics,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_is_returned_and_counted() {
        let (attempt, metrics) = attempt(ScriptedLayer::new([ok()]));
        assert_eq!(attempt.call(&mut request(VendorCallKind::Read)).await.expect("a reply").status, 200);
        assert_eq!(metric_value(&metrics, r#"vendor_requests_total{call="read",outcome="2xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_vendor_times_out_and_a_write_has_an_unknown_effect() {
        for (name, effect) in [(VendorCallKind::Update, SideEffect::Unknown), (VendorCallKind::Read, SideEffect::None)]
        {
            let (attempt, metrics) = attempt(ScriptedLayer::new([]).with_endless_latency());
            let started = Instant::now();
            let fault = attempt.call(&mut request(name)).await.expect_err("a timeout");
            assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Timeout, effect));
            assert_eq!(started.elapsed().as_secs(), 10);
            let counted =
                format!(r#"vendor_requests_total{{call="{}",outcome="timeout",system="crm"}}"#, name.as_str());
            assert_eq!(metric_value(&metrics, &counted), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_ends_a_call_before_the_timeout() {
        let (attempt, _) = attempt(ScriptedLayer::new([]).with_endless_latency());
        let mut call = request(VendorCallKind::Read);
        let started = Instant::now();
        call.deadline = Some(started + Duration::from_secs(3));
        let fault = attempt.call(&mut call).await.expect_err("a timeout");
        assert_eq!((fault.kind, fault.retry), (VendorErrorKind::Timeout, Retry::Never));
        assert_eq!(started.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_deadline_sends_nothing() {
        let (attempt, _) = attempt(ScriptedLayer::new([ok()]));
        let mut call = request(VendorCallKind::Update);
        call.deadline = Some(Instant::now());
        let fault = attempt.call(&mut call).await.expect_err("too late");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Overloaded, SideEffect::None));
        assert_eq!(attempt.inner.call_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendor_classifies_a_response_and_its_retry_after_is_kept() {
        let mut busy = status(503);
        busy.as_mut().expect("a reply").retry_after = Some(Duration::from_secs(7));
        let (attempt, metrics) = attempt(ScriptedLayer::new([busy]));
        let fault = attempt.call(&mut request(VendorCallKind::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.retry), (VendorErrorKind::Unavailable, Retry::After(Duration::from_secs(7))));
        assert_eq!(metric_value(&metrics, r#"vendor_requests_total{call="update",outcome="5xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redirect_is_an_invalid_response() {
        let (attempt, _) = attempt(ScriptedLayer::new([status(302)]));
        let fault = attempt.call(&mut request(VendorCallKind::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::Unknown));
    }
}
