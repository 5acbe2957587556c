//! Spans: what a collector is told of a request whose trace is sampled (OpenTelemetry).
//!
//! One span per request (SERVER), a child of the caller's, and one per vendor call (CLIENT), a child of the request's: its id is
//! the very parent id that the vendor was sent, repeats and sign-ins included. What goes on in the background after the answer
//! is not part of the trace; the operation and the ledger tell of it.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions, and values of closed sets alone: no path (`http.route`
//! instead), no query, no id, no text of anybody. That is why `url.path` and `url.full` are left out although the conventions
//! ask for them.
//!
//! Spans are handed to the SDK's batch processor, which a thread of its own empties. Its queue is bounded: when the collector
//! does not keep up, spans are dropped, and nobody waits. Off is the usual state, and then there is nothing here: a `None` in
//! the request's [`TraceContext`], looked at once per request and once per call.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _};

use super::sampling::Sampler;
use super::{TraceContext, random_bytes};

/// Where spans go, and which traces are recorded.
#[derive(Debug)]
pub struct Tracer {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
}

/// That a trace is recorded, and where in it the request is.
#[derive(Clone, Debug)]
pub(super) struct SampledContext {
    tracer: Arc<Tracer>,
    /// The request's span.
    span_id: SpanId,
    /// The caller's span; the invalid one if the trace begins here.
    parent_id: SpanId,
}

impl Tracer {
    pub(super) fn new(processor: BatchSpanProcessor, sampling: Sampler) -> Arc<Self> {
        let scope = InstrumentationScope::builder("records-gateway").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self { processor, sampler: sampling, scope })
    }

    /// Continues the caller's trace, or begins one, and decides whether it is recorded; the vendors are told.
    #[must_use]
    pub fn trace_from_headers(self: &Arc<Self>, traceparent: &[&str], tracestate: &[&str]) -> TraceContext {
        const SAMPLED: u8 = 0b01;
        let mut context = TraceContext::from_headers(traceparent, tracestate);
        let callers = context.parent_id.map(|_| context.flags & SAMPLED != 0);
        let trace_id = TraceId::from_hex(&context.trace_id).unwrap_or(TraceId::INVALID);
        if self.sampler.should_sample(callers, trace_id) {
            context.flags |= SAMPLED;
            let parent = context.parent_id.map_or(SpanId::INVALID, SpanId::from);
            let span = SpanId::from_bytes(random_bytes());
            context.sampled = Some(SampledContext { tracer: Arc::clone(self), span_id: span, parent_id: parent });
        } else {
            context.flags &= !SAMPLED;
        }
        context
    }

    /// Sends what is left, if that can be done in time.
    pub fn close(&self, within: Duration) {
        if self.processor.shutdown_with_timeout(within).is_err() {
            tracing::warn!("the last traces could not be exported in time");
        }
    }
}

impl SampledContext {
    fn record(&self, trace_id: &str, span: FinishedSpan) {
        let trace_id = TraceId::from_hex(trace_id).unwrap_or(TraceId::INVALID);
        let span_context = SpanContext::new(trace_id, span.id, TraceFlags::SAMPLED, false, TraceState::NONE);
        self.tracer.processor.on_end(SpanData {
            span_context,
            parent_span_id: span.parent,
            parent_span_is_remote: span.kind == SpanKind::Server && span.parent != SpanId::INVALID,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.started_at,
            end_time: SystemTime::now().max(span.started_at),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.tracer.scope.clone(),
        });
    }
}

/// What is particular about a span that has ended.
struct FinishedSpan {
    id: SpanId,
    parent: SpanId,
    kind: SpanKind,
    name: String,
    started_at: SystemTime,
    attributes: Vec<KeyValue>,
    failed: bool,
}

/// What a request asks for, in the words of closed sets.
#[derive(Clone, Copy, Debug)]
pub struct RequestAttributes<'r> {
    /// As it came.
    pub method: &'r Method,
    /// The route with its parameters' names; `None` if there is no such path.
    pub route: Option<&'static str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The configured system.
    pub system: Option<&'r str>,
    /// The word of the metrics.
    pub action: &'static str,
}

/// The span of a request. It ends when this is dropped, however the request ended.
#[derive(Debug)]
pub struct RequestSpan {
    context: Arc<TraceContext>,
    started_at: SystemTime,
    method: &'static str,
    route: Option<&'static str>,
    attributes: Vec<KeyValue>,
    /// Status, and the problem's name where there is one; `None` = the caller left before there was an answer.
    response: Option<(u16, Option<&'static str>)>,
}

impl RequestSpan {
    /// Begins, if the trace is recorded.
    #[must_use]
    pub fn begin(context: &Arc<TraceContext>, asked: RequestAttributes<'_>) -> Option<Self> {
        context.sampled.as_ref()?;
        let method = known_method(asked.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", asked.scheme),
            KeyValue::new("records_gateway.action", asked.action),
        ];
        attributes.extend(asked.route.map(|route| KeyValue::new("http.route", route)));
        attributes.extend(asked.system.map(|system| KeyValue::new("records_gateway.system", system.to_owned())));
        let begun = SystemTime::now();
        Some(Self {
            context: Arc::clone(context),
            started_at: begun,
            method,
            route: asked.route,
            attributes,
            response: None,
        })
    }

    /// What the caller is answered.
    pub fn set_response(&mut self, status: u16, problem: Option<&'static str>) {
        self.response = Some((status, problem));
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let Some(recording) = &self.context.sampled else { return };
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
        let ended = FinishedSpan {
            id: recording.span_id,
            parent: recording.parent_id,
            kind: SpanKind::Server,
            name: self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
            started_at: self.started_at,
            attributes,
            // What a caller did wrong is no error of the server's.
            failed: self.response.is_none_or(|(status, _)| status >= 500),
        };
        recording.record(&self.context.trace_id, ended);
    }
}

/// Whom a stack calls.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct PeerAttributes {
    pub(in crate::transport) system: String,
    pub(in crate::transport) host: String,
    pub(in crate::transport) port: u16,
}

/// A vendor call that has ended.
pub(in crate::transport) struct CallAttributes<'c> {
    pub(in crate::transport) peer: &'c PeerAttributes,
    pub(in crate::transport) call: &'static str,
    pub(in crate::transport) method: &'c Method,
    pub(in crate::transport) status: Option<u16>,
    /// What went wrong, in a word of a closed set.
    pub(in crate::transport) error: Option<String>,
}

/// Records the span of a call whose id is `span`, and which was sent so often before.
pub(super) fn record_call(
    context: &TraceContext,
    span: SpanId,
    resent: u32,
    took: Duration,
    called: CallAttributes<'_>,
) {
    let Some(recording) = &context.sampled else { return };
    let method = known_method(called.method);
    let failed = called.error.is_some();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("server.address", called.peer.host.clone()),
        KeyValue::new("server.port", i64::from(called.peer.port)),
        KeyValue::new("records_gateway.system", called.peer.system.clone()),
        KeyValue::new("records_gateway.call", called.call),
    ];
    attributes.extend(called.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    if resent > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(resent)));
    }
    attributes.extend(called.error.map(|error| KeyValue::new("error.type", error)));
    let now = SystemTime::now();
    let ended = FinishedSpan {
        id: span,
        parent: recording.span_id,
        kind: SpanKind::Client,
        name: format!("{method} {}", called.call),
        started_at: now.checked_sub(took).unwrap_or(now),
        attributes,
        failed,
    };
    recording.record(&context.trace_id, ended);
}

/// What stands for a method that HTTP does not know.
const OTHER_METHOD: &str = "_OTHER";

fn known_method(method: &Method) -> &'static str {
    const KNOWN_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN_METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}
