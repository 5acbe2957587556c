//! The spans of a sampled trace, and their attributes.
//!
//! A request is one SERVER span, a child of the caller's span. Each vendor attempt is one CLIENT
//! span, a child of the request's span, retries and sign-ins included. The id of a CLIENT span is
//! the parent id that the vendor received. Work after the response is not part of the trace;
//! operations and the ledger record it.
//!
//! Attributes follow the semantic conventions of OpenTelemetry, with values of closed sets only: no
//! path, query, id or free text. So `url.path` and `url.full` are absent, although the conventions
//! require them; `http.route` replaces them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind};

use super::context::TraceContext;
use super::tracer::{FinishedSpan, SampledContext};
use crate::record::SystemName;
use crate::transport::origin::RequestOrigin;

/// The attributes that are known when a request starts.
#[derive(Clone, Copy, Debug)]
pub struct RequestAttributes<'r> {
    /// The method as received.
    pub method: &'r Method,
    /// The path template; `None` if no route matches.
    pub route: Option<&'static str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The configured system.
    pub system: Option<&'r str>,
    /// The `action` label of the metrics.
    pub action: &'static str,
}

/// The span of a request. It ends when it is dropped, however the request ends.
#[derive(Debug)]
pub struct RequestSpan {
    context: Arc<TraceContext>,
    started_at: SystemTime,
    method: &'static str,
    route: Option<&'static str>,
    attributes: Vec<KeyValue>,
    /// Status and problem name; `None` = the caller disconnected before the response.
    response: Option<(u16, Option<&'static str>)>,
}

impl RequestSpan {
    /// Starts the span, if the trace is sampled.
    #[must_use]
    pub fn begin(context: &Arc<TraceContext>, request: RequestAttributes<'_>) -> Option<Self> {
        context.sampled()?;
        let method = known_method(request.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", request.scheme),
            KeyValue::new("records_gateway.action", request.action),
        ];
        attributes.extend(request.route.map(|route| KeyValue::new("http.route", route)));
        attributes.extend(request.system.map(|system| KeyValue::new("records_gateway.system", system.to_owned())));
        Some(Self {
            context: Arc::clone(context),
            started_at: SystemTime::now(),
            method,
            route: request.route,
            attributes,
            response: None,
        })
    }

    /// Sets the status and the name of the problem, if the response is one.
    pub fn set_response(&mut self, status: u16, problem: Option<&'static str>) {
        self.response = Some((status, problem));
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let Some(sampled) = self.context.sampled() else { return };
        let mut attributes = std::mem::take(&mut self.attributes);
        let error = match self.response {
            Some((status, problem)) => {
                attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
                problem
            }
            None => Some("caller-left"),
        };
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        let method = if self.method == OTHER_METHOD { "HTTP" } else { self.method };
        sampled.record(FinishedSpan {
            id: sampled.span_id,
            parent: sampled.parent_id,
            kind: SpanKind::Server,
            name: self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
            started_at: self.started_at,
            attributes,
            // A caller's error is not an error of the server.
            failed: self.response.is_none_or(|(status, _)| status >= 500),
        });
    }
}

/// The vendor that a stack sends to.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct PeerAttributes {
    system: String,
    vendor: (String, u16),
    sign_in: (String, u16),
}

impl PeerAttributes {
    /// `address` is host and port of an origin.
    pub(in crate::transport) fn new(system: &SystemName, address: impl Fn(RequestOrigin) -> (String, u16)) -> Self {
        let (vendor, sign_in) = (address(RequestOrigin::Vendor), address(RequestOrigin::SignIn));
        Self { system: system.to_string(), vendor, sign_in }
    }

    fn address(&self, origin: RequestOrigin) -> &(String, u16) {
        match origin {
            RequestOrigin::Vendor => &self.vendor,
            RequestOrigin::SignIn => &self.sign_in,
        }
    }
}

/// The attributes of a finished vendor attempt.
pub(in crate::transport) struct CallAttributes<'c> {
    pub(in crate::transport) peer: &'c PeerAttributes,
    pub(in crate::transport) origin: RequestOrigin,
    pub(in crate::transport) call: &'static str,
    pub(in crate::transport) method: &'c Method,
    pub(in crate::transport) status: Option<u16>,
    /// `error.type`, a word of a closed set.
    pub(in crate::transport) error: Option<String>,
}

/// Records the span of a vendor attempt.
pub(super) fn record_call(
    sampled: &SampledContext,
    id: SpanId,
    resend_count: u32,
    elapsed: Duration,
    call: CallAttributes<'_>,
) {
    let method = known_method(call.method);
    let failed = call.error.is_some();
    let (host, port) = call.peer.address(call.origin);
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("server.address", host.clone()),
        KeyValue::new("server.port", i64::from(*port)),
        KeyValue::new("records_gateway.system", call.peer.system.clone()),
        KeyValue::new("records_gateway.call", call.call),
    ];
    attributes.extend(call.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    if resend_count > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(resend_count)));
    }
    attributes.extend(call.error.map(|error| KeyValue::new("error.type", error)));
    let now = SystemTime::now();
    sampled.record(FinishedSpan {
        id,
        parent: sampled.span_id,
        kind: SpanKind::Client,
        name: format!("{method} {}", call.call),
        started_at: now.checked_sub(elapsed).unwrap_or(now),
        attributes,
        failed,
    });
}

/// Replaces a method that the semantic conventions do not list.
const OTHER_METHOD: &str = "_OTHER";

fn known_method(method: &Method) -> &'static str {
    const KNOWN_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN_METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}
