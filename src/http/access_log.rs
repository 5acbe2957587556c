//! The access log: one line per request on standard error, where `access_log` is on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use bytes::Bytes;

use super::request_state::RequestState;
use crate::record::RequestId;
use crate::system::System;
use crate::transport::trace::TraceContext;

/// The target of the lines, which `RUST_LOG` can name.
const TARGET: &str = "access";

/// The line of one request. It holds nothing that would keep the request in flight.
pub(super) struct AccessLine {
    request_id: RequestId,
    caller: String,
    route: &'static str,
    system: Option<Arc<System>>,
    received_at: Instant,
    trace: Option<Arc<TraceContext>>,
    pub(super) method: Method,
    /// `None` if the caller disconnected.
    pub(super) status: Option<u16>,
    /// `ok`, `partial`, the problem's name, or `disconnected`.
    pub(super) outcome: &'static str,
    /// Of the response's body; `None` if there was no response.
    pub(super) bytes: Option<u64>,
}

impl AccessLine {
    pub(super) fn new(state: &RequestState, method: Method) -> Self {
        Self {
            request_id: state.request_id.clone(),
            caller: state.caller_name().to_owned(),
            route: state.route().map_or("none", |route| route.path),
            system: state.system().map(Arc::clone),
            received_at: state.received_at,
            trace: state.trace_if_started(),
            method,
            status: None,
            outcome: "disconnected",
            bytes: None,
        }
    }

    /// Logs the line. It never holds a path, because paths hold ids.
    pub(super) fn log(&self) {
        tracing::info!(
            target: TARGET,
            request_id = &*self.request_id.0,
            caller = self.caller,
            method = self.method.as_str(),
            route = self.route,
            system = self.system.as_ref().map_or("none", |system| system.name.as_str()),
            status = self.status,
            outcome = self.outcome,
            ms = to_millis(self.received_at.elapsed()),
            vendor_ms = to_millis(self.trace.as_ref().map(|trace| trace.vendor_time()).unwrap_or_default()),
            bytes = self.bytes,
            "request"
        );
    }
}

/// A body without a length. Its line is logged when it ends, with the bytes that were sent.
pub(super) struct LoggedStream {
    pub(super) body: BoxBody,
    pub(super) line: AccessLine,
    pub(super) bytes: u64,
}

impl MessageBody for LoggedStream {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.bytes = self.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        }
        polled
    }
}

impl Drop for LoggedStream {
    fn drop(&mut self) {
        self.line.bytes = Some(self.bytes);
        self.line.log();
    }
}

fn to_millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
