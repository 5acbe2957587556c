//! How one vendor call is carried safely.
//!
//! A call goes through the layers of [`stack`] and comes back as a reply that is a success, or as a [`VendorError`] that was judged
//! once, where the reply was read. Nothing here knows a record or a caller.

mod auth;
mod bulkhead;
mod circuit_breaker;
mod client;
mod rate_limiter;
mod redact;
mod retry;
mod retry_after;
mod sanitize;
pub mod stack;
mod tcp;
#[cfg(test)]
mod testing;
mod timed_attempt;
mod tls;
pub mod trace;

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use self::trace::CallTrace;
pub use crate::record::VendorCallKind;
use crate::record::VendorError;
pub use circuit_breaker::{CircuitState, LastFailure};
pub use client::fetch;
pub use sanitize::{sanitize_text, strip_stack_trace};
pub use stack::VendorHealth;
pub use stack::{StackError, StackSettings, TransportStack};

/// One call to a vendor, as an adapter writes it; signing, deadline and tracing are added on the way.
#[derive(Clone)]
pub struct VendorRequest {
    /// Which call: label, and whether it may be repeated blindly.
    pub kind: VendorCallKind,
    /// HTTP method.
    pub method: Method,
    /// Path and query after the configured `base_url`, beginning with `/`, percent-encoded.
    pub path: String,
    /// Headers of the vendor's protocol (never the caller's). Secrets are added by [`VendorProtocol::sign`] only.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, already in the vendor's form. `None` = no body and no Content-Type.
    pub body: Option<Bytes>,
    /// When the caller's patience ends. The call's own timeout applies as well. Set by the gateway.
    pub deadline: Option<Instant>,
    /// The place of this very call in the trace of its request. Set by the gateway.
    pub trace: CallTrace,
    /// Sign-in calls are not signed.
    pub needs_auth: bool,
}

/// What most calls say and wish to hear.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for the fields of most calls, with the one that signs them.
const TYPICAL_HEADERS: usize = 5;

impl VendorRequest {
    /// A call with no headers and no body.
    #[must_use]
    pub fn new(name: VendorCallKind, method: Method, path: impl Into<String>) -> Self {
        Self {
            kind: name,
            method,
            path: path.into(),
            headers: Vec::with_capacity(TYPICAL_HEADERS),
            body: None,
            deadline: None,
            trace: CallTrace::default(),
            needs_auth: name != VendorCallKind::SignIn,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// The body is left out: it holds field values and, on signing in, the secret. Header values that are secret print as such.
impl std::fmt::Debug for VendorRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Call")
            .field("name", &self.kind)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

/// What a vendor answered, read to its end.
#[derive(Clone, Debug)]
pub struct VendorResponse {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, as sent; empty if absent.
    pub content_type: String,
    /// `Retry-After`, seconds or date, translated to a duration from now.
    pub retry_after: Option<Duration>,
    /// The body, at most `max_vendor_body` bytes.
    pub body: Bytes,
}

/// Carries one vendor call. One method, so that a layer is 50 to 100 lines.
#[async_trait(?Send)]
pub trait Transport {
    /// Sends the call and gives back a reply that the vendor's own rules call a success.
    ///
    /// # Errors
    /// Everything else is a [`VendorError`], judged by [`VendorProtocol::fault`] or by the layer that met it.
    async fn send(&self, call: VendorRequest) -> Result<VendorResponse, VendorError>;
}

/// What stands between the stack's entrance and the wire. A layer may send the same call several times, so it borrows it:
/// nothing of a call is copied on the way but what is put on the wire.
trait Layer {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError>;
}

/// A vendor's token or key, ready for a header. Cannot be printed.
#[derive(Clone)]
pub struct Token {
    /// The header's value (or the part that is secret of it).
    pub secret: HeaderValue,
    /// When the vendor will stop to accept it; `None` = a static key.
    pub expires: Option<Instant>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").field("secret", &"…").field("expires", &self.expires).finish()
    }
}

/// What the layers must know of a vendor's protocol. Every adapter is one.
#[async_trait(?Send)]
pub trait VendorProtocol: Send + Sync {
    /// Judges a reply: `None` = a success as the vendor documents it for this call.
    fn classify(&self, call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError>;

    /// Puts the token (and static key headers) onto a call.
    fn sign(&self, call: &mut VendorRequest, token: &Token);

    /// Gets a token, over a transport that does not sign.
    ///
    /// # Errors
    /// [`FaultKind::CredentialsRejected`](crate::record::FaultKind::CredentialsRejected) when the vendor refuses them.
    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError>;
}
