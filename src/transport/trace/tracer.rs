//! Where spans go, and which traces are recorded.
//!
//! A thread of the SDK's batch processor exports the spans. Its queue is bounded: if the collector
//! does not keep up, spans are dropped and no request waits. Without a collector there is no
//! [`Tracer`], and tracing costs one comparison per request and per vendor attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _};

use super::sampling::Sampler;
use super::traceparent::random_id;

/// The exporter of spans, with its sampler.
#[derive(Debug)]
pub struct Tracer {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
}

/// A sampled trace, and the place of the request in it.
#[derive(Clone, Debug)]
pub(super) struct SampledContext {
    tracer: Arc<Tracer>,
    trace_id: TraceId,
    /// The span of the request.
    pub(super) span_id: SpanId,
    /// The span of the caller; invalid if the trace starts here.
    pub(super) parent_id: SpanId,
}

impl Tracer {
    pub(super) fn new(processor: BatchSpanProcessor, sampler: Sampler) -> Arc<Self> {
        let scope = InstrumentationScope::builder("records-gateway").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self { processor, sampler, scope })
    }

    /// Decides whether a trace is sampled. `caller` is the caller's span id and decision, if it
    /// sent one.
    pub(super) fn sample(self: &Arc<Self>, trace_id: TraceId, caller: Option<(u64, bool)>) -> Option<SampledContext> {
        self.sampler.should_sample(caller.map(|(_, sampled)| sampled), trace_id).then(|| SampledContext {
            tracer: Arc::clone(self),
            trace_id,
            span_id: SpanId::from_bytes(random_id()),
            parent_id: caller.map_or(SpanId::INVALID, |(span_id, _)| SpanId::from(span_id)),
        })
    }

    /// Exports the remaining spans, waiting at most `timeout`.
    pub fn close(&self, timeout: Duration) {
        if self.processor.shutdown_with_timeout(timeout).is_err() {
            tracing::warn!("the last traces could not be exported in time");
        }
    }
}

/// A finished span without what all spans share.
pub(super) struct FinishedSpan {
    pub(super) id: SpanId,
    pub(super) parent: SpanId,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) started_at: SystemTime,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) failed: bool,
}

impl SampledContext {
    /// Hands a span to the exporter.
    pub(super) fn record(&self, span: FinishedSpan) {
        self.tracer.processor.on_end(SpanData {
            span_context: SpanContext::new(self.trace_id, span.id, TraceFlags::SAMPLED, false, TraceState::NONE),
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
