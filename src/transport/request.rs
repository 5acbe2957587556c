//! The request to a vendor, before the layers complete it.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::origin::RequestOrigin;
use super::priority::Priority;
use super::trace::CallTrace;
use crate::record::VendorRequestKind;

/// The media type of most request and response bodies.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Capacity for the headers of most requests, the credentials included.
const TYPICAL_HEADERS: usize = 5;

/// Is denied when this process may not send a write any more, because another one may have taken it
/// over, or a person may have ended it.
#[derive(Clone)]
pub struct SendPermission(Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>);

impl SendPermission {
    /// A permission that is granted while `check` returns `true`.
    #[must_use]
    pub fn new<F: Future<Output = bool> + Send + 'static>(check: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::pin(check())))
    }

    /// Whether the request may be sent now.
    pub async fn is_granted(&self) -> bool {
        (self.0)().await
    }
}

/// One request to a vendor, as its adapter builds it.
///
/// The layers add credentials and the headers of the gateway and of the trace.
#[derive(Clone)]
pub struct VendorRequest {
    /// What the request does: its metric label, and whether repeating it is always safe.
    pub kind: VendorRequestKind,
    /// HTTP method.
    pub method: Method,
    /// The host.
    pub origin: RequestOrigin,
    /// Path and query below the host's configured address: starts with `/`, percent-encoded.
    pub path: String,
    /// Headers of the vendor's protocol, never the caller's. Only [`VendorProtocol::sign`] adds
    /// secrets.
    ///
    /// [`VendorProtocol::sign`]: super::VendorProtocol::sign
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in the vendor's format. `None` sends neither a body nor a `Content-Type`.
    pub body: Option<Bytes>,
    /// When the caller stops waiting. The timeout of the attempt applies as well. Set by the
    /// gateway.
    pub deadline: Option<Instant>,
    /// Whether it may still be sent; decided at the last moment. Set by the gateway.
    pub permission: Option<SendPermission>,
    /// Where it waits while the vendor is congested. Set by the gateway.
    pub priority: Priority,
    /// The trace headers and span id of this request. Set by the gateway.
    pub trace: CallTrace,
    /// Whether to add credentials: everything but a sign-in needs them.
    pub needs_auth: bool,
}

impl VendorRequest {
    /// A request with no headers and no body.
    #[must_use]
    pub fn new(kind: VendorRequestKind, method: Method, path: impl Into<String>) -> Self {
        Self {
            kind,
            method,
            origin: RequestOrigin::Vendor,
            path: path.into(),
            headers: Vec::with_capacity(TYPICAL_HEADERS),
            body: None,
            deadline: None,
            permission: None,
            priority: Priority::reconcile(),
            trace: CallTrace::default(),
            needs_auth: kind != VendorRequestKind::SignIn,
        }
    }

    /// Sends it to the host that issues tokens.
    #[must_use]
    pub fn to_sign_in_host(self) -> Self {
        Self { origin: RequestOrigin::SignIn, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets `Authorization`, in place of an earlier one.
    pub fn set_authorization(&mut self, credentials: HeaderValue) {
        self.headers.retain(|(name, _)| name != AUTHORIZATION);
        self.headers.push((AUTHORIZATION, credentials));
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// Omits the body: it holds field values and, in a sign-in, the secret. Sensitive headers print as
/// such.
impl std::fmt::Debug for VendorRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VendorRequest")
            .field("kind", &self.kind)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}
