//! The access log: one line per request on standard error, where `access_log` is on.

use actix_web::http::Method;

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
    /// Of the response's body; `None` if it is a stream.
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

fn to_millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
