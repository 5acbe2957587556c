//! One attempt: sends a request once, within its timeout, and classifies the response.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::layer::Layer;
use super::protocol::VendorProtocol;
use super::redact::SecretRedactor;
use super::request::VendorRequest;
use super::response::VendorResponse;
use super::sanitize::{sanitize_code, sanitize_text};
use super::trace::{CallAttributes, PeerAttributes};
use crate::metrics::{CallOutcome, Metrics, SystemIndex};
use crate::record::{Retry, VendorError, VendorErrorKind};

/// Turns the result of one exchange into a success or a classified [`VendorError`].
pub(super) struct AttemptLayer<T> {
    inner: T,
    protocol: Arc<dyn VendorProtocol>,
    peer: PeerAttributes,
    redactor: Arc<SecretRedactor>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    system: SystemIndex,
}

impl<T> AttemptLayer<T> {
    pub(super) fn new(
        inner: T,
        protocol: Arc<dyn VendorProtocol>,
        peer: PeerAttributes,
        redactor: Arc<SecretRedactor>,
        timeout: Duration,
        metrics: Arc<Metrics>,
        system: SystemIndex,
    ) -> Self {
        Self { inner, protocol, peer, redactor, timeout, metrics, system }
    }

    /// A timeout with `Retry::Never` says nothing about the vendor: the caller left it less than
    /// half the configured timeout. The circuit breaker ignores it, so that callers with short
    /// deadlines cannot open the circuit for everyone.
    fn timeout_fault(&self, allowed: Duration) -> VendorError {
        let fault = VendorError::new(VendorErrorKind::Timeout).message("the vendor did not respond in time");
        if allowed < self.timeout / 2 { fault.retry(Retry::Never) } else { fault }
    }

    /// The attributes of the span.
    fn span_attributes<'c>(
        &'c self,
        request: &'c VendorRequest,
        outcome: CallOutcome,
        result: &Result<VendorResponse, VendorError>,
    ) -> CallAttributes<'c> {
        let (status, error) = match result {
            Ok(response) => (Some(response.status), None),
            Err(fault) => (fault.status, Some(error_type(fault, outcome))),
        };
        CallAttributes {
            peer: &self.peer,
            origin: request.origin,
            call: request.kind.as_str(),
            method: &request.method,
            status,
            error,
        }
    }

    /// Applies the vendor's rules. A redirect that they do not mention is never followed.
    fn classify(&self, request: &VendorRequest, response: VendorResponse) -> Result<VendorResponse, VendorError> {
        match self.protocol.classify(request, &response) {
            Some(mut fault) => {
                if let (Retry::Soon, Some(wait)) = (fault.retry, response.retry_after) {
                    fault.retry = Retry::After(wait);
                }
                let mut fault = self.redactor.redact_for_call(request, fault);
                // Whatever the adapter has taken from the response is fit for callers only now.
                fault.message = fault.message.as_deref().and_then(sanitize_text);
                fault.code = fault.code.as_deref().and_then(sanitize_code);
                Err(fault)
            }
            None if (300..400).contains(&response.status) => {
                let what =
                    format!("the vendor responded with a redirect ({}), which is never followed", response.status);
                Err(VendorError::invalid_response(what))
            }
            None => Ok(response),
        }
    }
}

impl<T: Layer> Layer for AttemptLayer<T> {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let started = Instant::now();
        let own_end = started + self.timeout;
        let end = request.deadline.map_or(own_end, |deadline| deadline.min(own_end));
        if end <= started {
            let why = "the deadline passed before the request could be sent";
            return Err(VendorError::new(VendorErrorKind::Overloaded).message(why));
        }
        if let Some(permission) = &request.permission
            && !matches!(timeout_at(end, permission.is_granted()).await, Ok(true))
        {
            let message = "the gateway could not confirm that the write is still its own, so it was not sent";
            return Err(VendorError::new(VendorErrorKind::Overloaded).message(message));
        }
        let (outcome, result) = match timeout_at(end, self.inner.call(request)).await {
            Ok(Ok(response)) => {
                let status = response.status;
                let result = self.classify(request, response);
                (outcome_of_response(status, result.as_ref().err()), result)
            }
            Ok(Err(fault)) => (outcome_of_fault(&fault), Err(fault)),
            Err(_) => (CallOutcome::Timeout, Err(self.timeout_fault(end - started))),
        };
        let elapsed = started.elapsed();
        self.metrics.vendor_request(self.system, request.kind, outcome, elapsed.as_secs_f64());
        request.trace.finish(elapsed, || self.span_attributes(request, outcome, &result));
        // A request that changes nothing has no effect, however it ended.
        result.map_err(|fault| if request.kind.is_safe() { fault.without_effect() } else { fault })
    }
}

/// The `error.type` attribute: an error status, or else a word for what went wrong.
fn error_type(fault: &VendorError, outcome: CallOutcome) -> String {
    match (fault.status, outcome) {
        (Some(status @ 400..), _) => status.to_string(),
        (_, CallOutcome::Timeout | CallOutcome::Connect | CallOutcome::ConnectionLost) => outcome.as_str().to_owned(),
        _ if fault.kind == VendorErrorKind::NotFound => "not_found".to_owned(),
        _ => "unexpected_response".to_owned(),
    }
}

/// What a response meant: some vendors report with a 500 that the request was wrong, and no alert
/// may take that for a failure of theirs.
fn outcome_of_response(status: u16, fault: Option<&VendorError>) -> CallOutcome {
    match fault.map(|fault| fault.kind) {
        Some(VendorErrorKind::Conflict) => CallOutcome::Conflict,
        // Pretectum's 400: only its text distinguishes a stale version from invalid values.
        Some(VendorErrorKind::Ambiguous) if status < 500 && fault.is_some_and(mentions_version) => {
            CallOutcome::Conflict
        }
        Some(VendorErrorKind::NotFound | VendorErrorKind::Rejected | VendorErrorKind::Busy) if status >= 500 => {
            CallOutcome::Refused4xx
        }
        _ => outcome_of_status(status),
    }
}

fn mentions_version(fault: &VendorError) -> bool {
    fault.message.as_deref().is_some_and(|message| message.to_lowercase().contains("version"))
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
        // The gateway has no memory left for the body of a response that came.
        VendorErrorKind::Overloaded => CallOutcome::Ok2xx,
        VendorErrorKind::Timeout => CallOutcome::Timeout,
        _ => CallOutcome::ConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::record::{SideEffect, VendorRequestKind};
    use crate::transport::SendPermission;
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
        assert_eq!(attempt.call(&mut request(VendorRequestKind::Read)).await.expect("a response").status, 200);
        assert_eq!(metric_value(&metrics, r#"vendor_requests_total{call="read",outcome="2xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_without_permission_is_not_sent_nor_counted() {
        let (attempt, metrics) = attempt(ScriptedLayer::new([ok()]));
        let is_granted = Arc::new(AtomicBool::new(false));
        let permission = Arc::clone(&is_granted);
        let mut write = request(VendorRequestKind::Update);
        write.permission = Some(SendPermission::new(move || std::future::ready(permission.load(Ordering::Relaxed))));
        let fault = attempt.call(&mut write).await.expect_err("denied");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Overloaded, SideEffect::None));
        let rendered = String::from_utf8(metrics.render().expect("metrics")).expect("text");
        let mut series = rendered.lines().filter(|line| line.starts_with(r#"vendor_requests_total{call="update""#));
        assert!(series.all(|line| line.ends_with(" 0")), "nothing is counted");
        is_granted.store(true, Ordering::Relaxed);
        attempt.call(&mut write).await.expect("granted");
        assert_eq!(metric_value(&metrics, r#"vendor_requests_total{call="update",outcome="2xx",system="crm"}"#), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_vendor_times_out_and_a_write_has_an_unknown_effect() {
        for (name, effect) in
            [(VendorRequestKind::Update, SideEffect::Unknown), (VendorRequestKind::Read, SideEffect::None)]
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
        let mut call = request(VendorRequestKind::Read);
        let started = Instant::now();
        call.deadline = Some(started + Duration::from_secs(3));
        let fault = attempt.call(&mut call).await.expect_err("a timeout");
        assert_eq!((fault.kind, fault.retry), (VendorErrorKind::Timeout, Retry::Never));
        assert_eq!(started.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_deadline_sends_nothing() {
        let (attempt, _) = attempt(ScriptedLayer::new([ok()]));
        let mut call = request(VendorRequestKind::Update);
        call.deadline = Some(Instant::now());
        let fault = attempt.call(&mut call).await.expect_err("too late");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::Overloaded, SideEffect::None));
        assert_eq!(attempt.inner.call_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendor_classifies_a_response_and_its_retry_after_is_kept() {
        let mut busy = status(503);
        busy.as_mut().expect("a response").retry_after = Some(Duration::from_secs(7));
        let (attempt, metrics) = attempt(ScriptedLayer::new([busy]));
        let fault = attempt.call(&mut request(VendorRequestKind::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.retry), (VendorErrorKind::Unavailable, Retry::After(Duration::from_secs(7))));
        assert_eq!(metric_value(&metrics, r#"vendor_requests_total{call="update",outcome="5xx",system="crm"}"#), 1);
    }

    #[test]
    fn the_outcome_is_what_a_response_meant() {
        use VendorErrorKind::{Ambiguous, Busy, Conflict, NotFound, Rejected, ServerError};
        let stale = "The provided _version does not match the current version of the data object";
        for (status, kind, text, expected) in [
            (500, Conflict, "", CallOutcome::Conflict),
            (412, Conflict, "", CallOutcome::Conflict),
            (400, Ambiguous, stale, CallOutcome::Conflict),
            (400, Ambiguous, "Validation failed", CallOutcome::Refused4xx),
            (500, Ambiguous, "wrong version of the framework", CallOutcome::Failed5xx),
            (500, ServerError, "", CallOutcome::Failed5xx),
            (500, NotFound, "", CallOutcome::Refused4xx),
            (500, Rejected, "", CallOutcome::Refused4xx),
            (500, Busy, "", CallOutcome::Refused4xx),
            (409, Busy, "", CallOutcome::Refused4xx),
        ] {
            let fault = VendorError::new(kind).message(text);
            assert_eq!(outcome_of_response(status, Some(&fault)), expected, "{status} {kind:?} {text}");
        }
        assert_eq!(outcome_of_response(204, None), CallOutcome::Ok2xx);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redirect_is_an_invalid_response() {
        let (attempt, _) = attempt(ScriptedLayer::new([status(302)]));
        let fault = attempt.call(&mut request(VendorRequestKind::Update)).await.expect_err("a fault");
        assert_eq!((fault.kind, fault.effect), (VendorErrorKind::InvalidResponse, SideEffect::Unknown));
    }
}
