//! The access log: one line per request on standard error, where `access_log` is on.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use bytes::Bytes;

use super::request_state::RequestState;

/// The target of the lines, which `RUST_LOG` can name.
const TARGET: &str = "access";

/// How a request ended.
pub(super) struct AccessLine<'l> {
    pub(super) method: &'l Method,
    /// `None` if the caller disconnected.
    pub(super) status: Option<u16>,
    /// `ok`, the problem's name, or `disconnected`.
    pub(super) outcome: &'static str,
    /// Of the response's body; `None` if there was no response.
    pub(super) bytes: Option<u64>,
}

impl AccessLine<'_> {
    /// Logs the line. It never holds a path, because paths hold ids.
    pub(super) fn log(&self, state: &RequestState) {
        tracing::info!(
            target: TARGET,
            request_id = &*state.request_id.0,
            caller = state.caller_name(),
            method = self.method.as_str(),
            route = state.route().map_or("none", |route| route.path),
            system = state.system().map_or("none", |system| system.name.as_str()),
            status = self.status,
            outcome = self.outcome,
            ms = to_millis(state.received_at.elapsed()),
            vendor_ms = to_millis(state.vendor_time()),
            bytes = self.bytes,
            "request"
        );
    }
}

/// A body without a length. Its line is logged when it ends, with the bytes that were sent.
pub(super) struct LoggedStream {
    pub(super) body: BoxBody,
    pub(super) state: Rc<RequestState>,
    pub(super) method: Method,
    pub(super) status: u16,
    pub(super) outcome: &'static str,
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
        let Self { method, status, outcome, bytes, state, .. } = self;
        AccessLine { method, status: Some(*status), outcome, bytes: Some(*bytes) }.log(state);
    }
}

fn to_millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
