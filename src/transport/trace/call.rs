//! One vendor request in the trace of its caller's request.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use opentelemetry::trace::SpanId;

use super::context::TraceContext;
use super::spans::{CallAttributes, record_call};
use super::traceparent::parse_traceparent;

/// The trace headers and the span id of one vendor request. The default sends and records nothing.
#[derive(Clone, Debug, Default)]
pub struct CallTrace {
    context: Option<Arc<TraceContext>>,
    resend_count: u32,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl CallTrace {
    /// A new vendor request within a trace.
    #[must_use]
    pub fn child_of(context: &Arc<TraceContext>) -> Self {
        Self { context: Some(Arc::clone(context)), resend_count: 0, headers: context.headers_for_call() }
    }

    /// Gives the next attempt its own parent id (http-rules 182).
    pub(in crate::transport) fn next_attempt(&mut self) {
        if let Some(context) = &self.context {
            self.headers = context.headers_for_call();
            self.resend_count += 1;
        }
    }

    /// The trace, for a request that this one causes.
    pub(in crate::transport) fn context(&self) -> Option<&Arc<TraceContext>> {
        self.context.as_ref()
    }

    /// `traceparent` and `tracestate` of the attempt.
    pub(in crate::transport) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Ends an attempt: adds its duration to [`vendor_time`](TraceContext::vendor_time) and records
    /// its span if the trace is sampled.
    pub(in crate::transport) fn finish<'c>(&self, elapsed: Duration, attributes: impl FnOnce() -> CallAttributes<'c>) {
        let Some(context) = &self.context else { return };
        context.add_vendor_time(elapsed);
        if let Some(sampled) = context.sampled() {
            record_call(sampled, self.span_id(), self.resend_count, elapsed, attributes());
        }
    }

    /// The span id is the parent id that the vendor received.
    fn span_id(&self) -> SpanId {
        let sent = self.headers.first().and_then(|(_, parent)| parent.to_str().ok()).and_then(parse_traceparent);
        sent.map_or(SpanId::INVALID, |sent| SpanId::from(sent.parent_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_retried_call_has_its_own_parent_id() {
        let mut call = CallTrace::child_of(&Arc::new(TraceContext::from_headers(&[PARENT], &["a=1"])));
        let before = call.headers().to_vec();
        call.next_attempt();
        let headers = call.headers();
        assert_ne!(headers[0].1, before[0].1);
        assert!(headers[0].1.to_str().expect("text").starts_with(&format!("00-{ID}-")));
        assert_eq!(headers[1], before[1]);
    }

    #[test]
    fn the_vendor_time_of_a_request_is_the_sum_of_its_calls() {
        let context = TraceContext::new_root();
        CallTrace::child_of(&context).finish(Duration::from_millis(20), || unreachable!("not recorded"));
        CallTrace::child_of(&context).finish(Duration::from_micros(22_001), || unreachable!("not recorded"));
        assert_eq!(context.vendor_time(), Duration::from_micros(42_001));
    }
}
