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

use super::sampling::Sampling;
use super::{TraceContext, random_bytes};

/// Where spans go, and which traces are recorded.
#[derive(Debug)]
pub struct Spans {
    processor: BatchSpanProcessor,
    sampling: Sampling,
    scope: InstrumentationScope,
}

/// That a trace is recorded, and where in it the request is.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    spans: Arc<Spans>,
    /// The request's span.
    span: SpanId,
    /// The caller's span; the invalid one if the trace begins here.
    parent: SpanId,
}

impl Spans {
    pub(super) fn new(processor: BatchSpanProcessor, sampling: Sampling) -> Arc<Self> {
        let scope = InstrumentationScope::builder("records-gateway").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self { processor, sampling, scope })
    }

    /// Continues the caller's trace, or begins one, and decides whether it is recorded; the vendors are told.
    #[must_use]
    pub fn continue_from(self: &Arc<Self>, traceparent: &[&str], tracestate: &[&str]) -> TraceContext {
        const SAMPLED: u8 = 0b01;
        let mut context = TraceContext::continue_from(traceparent, tracestate);
        let callers = context.caller.map(|_| context.flags & SAMPLED != 0);
        let trace_id = TraceId::from_hex(&context.trace_id).unwrap_or(TraceId::INVALID);
        if self.sampling.takes(callers, trace_id) {
            context.flags |= SAMPLED;
            let parent = context.caller.map_or(SpanId::INVALID, SpanId::from);
            let span = SpanId::from_bytes(random_bytes());
            context.recording = Some(Recording { spans: Arc::clone(self), span, parent });
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

impl Recording {
    fn record(&self, trace_id: &str, span: Ended) {
        let trace_id = TraceId::from_hex(trace_id).unwrap_or(TraceId::INVALID);
        let span_context = SpanContext::new(trace_id, span.id, TraceFlags::SAMPLED, false, TraceState::NONE);
        self.spans.processor.on_end(SpanData {
            span_context,
            parent_span_id: span.parent,
            parent_span_is_remote: span.kind == SpanKind::Server && span.parent != SpanId::INVALID,
            span_kind: span.kind,
            name: span.name.into(),
            start_time: span.begun,
            end_time: SystemTime::now().max(span.begun),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.spans.scope.clone(),
        });
    }
}

/// What is particular about a span that has ended.
struct Ended {
    id: SpanId,
    parent: SpanId,
    kind: SpanKind,
    name: String,
    begun: SystemTime,
    attributes: Vec<KeyValue>,
    failed: bool,
}

/// What a request asks for, in the words of closed sets.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
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
    begun: SystemTime,
    method: &'static str,
    route: Option<&'static str>,
    attributes: Vec<KeyValue>,
    /// Status, and the problem's name where there is one; `None` = the caller left before there was an answer.
    answer: Option<(u16, Option<&'static str>)>,
}

impl RequestSpan {
    /// Begins, if the trace is recorded.
    #[must_use]
    pub fn begin(context: &Arc<TraceContext>, asked: Asked<'_>) -> Option<Self> {
        context.recording.as_ref()?;
        let method = known(asked.method);
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", asked.scheme),
            KeyValue::new("records_gateway.action", asked.action),
        ];
        attributes.extend(asked.route.map(|route| KeyValue::new("http.route", route)));
        attributes.extend(asked.system.map(|system| KeyValue::new("records_gateway.system", system.to_owned())));
        let begun = SystemTime::now();
        Some(Self { context: Arc::clone(context), begun, method, route: asked.route, attributes, answer: None })
    }

    /// What the caller is answered.
    pub fn answered(&mut self, status: u16, problem: Option<&'static str>) {
        self.answer = Some((status, problem));
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let Some(recording) = &self.context.recording else { return };
        let mut attributes = std::mem::take(&mut self.attributes);
        let error = match self.answer {
            Some((status, problem)) => {
                attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
                problem
            }
            None => Some("caller-left"),
        };
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        let method = if self.method == OTHER { "HTTP" } else { self.method };
        let ended = Ended {
            id: recording.span,
            parent: recording.parent,
            kind: SpanKind::Server,
            name: self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
            begun: self.begun,
            attributes,
            // What a caller did wrong is no error of the server's.
            failed: self.answer.is_none_or(|(status, _)| status >= 500),
        };
        recording.record(&self.context.trace_id, ended);
    }
}

/// Whom a stack calls.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Callee {
    pub(in crate::transport) system: String,
    pub(in crate::transport) host: String,
    pub(in crate::transport) port: u16,
}

/// A vendor call that has ended.
pub(in crate::transport) struct Called<'c> {
    pub(in crate::transport) callee: &'c Callee,
    pub(in crate::transport) call: &'static str,
    pub(in crate::transport) method: &'c Method,
    pub(in crate::transport) status: Option<u16>,
    /// What went wrong, in a word of a closed set.
    pub(in crate::transport) error: Option<String>,
}

/// Records the span of a call whose id is `span`, and which was sent so often before.
pub(super) fn record_call(context: &TraceContext, span: SpanId, resent: u32, took: Duration, called: Called<'_>) {
    let Some(recording) = &context.recording else { return };
    let method = known(called.method);
    let failed = called.error.is_some();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("server.address", called.callee.host.clone()),
        KeyValue::new("server.port", i64::from(called.callee.port)),
        KeyValue::new("records_gateway.system", called.callee.system.clone()),
        KeyValue::new("records_gateway.call", called.call),
    ];
    attributes.extend(called.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    if resent > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(resent)));
    }
    attributes.extend(called.error.map(|error| KeyValue::new("error.type", error)));
    let now = SystemTime::now();
    let ended = Ended {
        id: span,
        parent: recording.span,
        kind: SpanKind::Client,
        name: format!("{method} {}", called.call),
        begun: now.checked_sub(took).unwrap_or(now),
        attributes,
        failed,
    };
    recording.record(&context.trace_id, ended);
}

/// What stands for a method that HTTP does not know.
const OTHER: &str = "_OTHER";

fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}
