//! Distributed tracing: W3C Trace Context towards vendors (http-rules 181 to 184), OpenTelemetry
//! spans towards a collector.
//!
//! The caller's trace always continues in the vendor requests. Spans are recorded and exported only
//! if the environment configures a collector, and only for sampled traces.

mod call;
mod context;
mod otlp;
mod sampling;
mod spans;
mod traceparent;
mod tracer;

pub use call::CallTrace;
pub use context::TraceContext;
pub use otlp::OtelEnvError;
pub(super) use spans::{CallAttributes, PeerAttributes};
pub use spans::{RequestAttributes, RequestSpan};
pub use tracer::Tracer;
