//! Helpers for the tests of the layers: a vendor that responds from a script, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::layer::{Layer, Transport};
use super::protocol::{Token, VendorProtocol};
use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{SystemName, VendorError, VendorErrorKind, VendorRequestKind};

/// Responds to each request with the next step of a script, and with 200 after its end.
pub(super) struct ScriptedLayer {
    script: Mutex<VecDeque<Result<VendorResponse, VendorError>>>,
    latency: Duration,
    calls: Mutex<Vec<(Instant, VendorRequest)>>,
}

impl ScriptedLayer {
    pub(super) fn new(script: impl IntoIterator<Item = Result<VendorResponse, VendorError>>) -> Self {
        let script = Mutex::new(script.into_iter().collect());
        Self { script, latency: Duration::ZERO, calls: Mutex::default() }
    }

    /// Delays each response.
    pub(super) fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    pub(super) fn with_endless_latency(self) -> Self {
        self.with_latency(Duration::from_secs(1_000_000))
    }

    /// The number of requests received.
    pub(super) fn call_count(&self) -> usize {
        self.calls.lock().expect("no panic").len()
    }

    /// The requests received, with their times.
    pub(super) fn calls(&self) -> Vec<(Instant, VendorRequest)> {
        self.calls.lock().expect("no panic").clone()
    }
}

impl Layer for ScriptedLayer {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        self.calls.lock().expect("no panic").push((Instant::now(), call.clone()));
        let next = self.script.lock().expect("no panic").pop_front().unwrap_or_else(ok);
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
        next
    }
}

/// A token that does not expire.
pub(super) const STATIC_KEY: &str = "static";

/// Classifies by status alone. The body of the sign-in response is the token; it lives 100 seconds
/// unless it is [`STATIC_KEY`].
pub(super) struct StatusVendor;

#[async_trait(?Send)]
impl VendorProtocol for StatusVendor {
    fn classify(&self, _: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        let kind = match response.status {
            ..=399 => return None,
            401 => VendorErrorKind::TokenRejected,
            404 => VendorErrorKind::NotFound,
            429 => VendorErrorKind::RateLimited,
            503 => VendorErrorKind::Unavailable,
            500.. => VendorErrorKind::ServerError,
            _ => VendorErrorKind::Rejected,
        };
        Some(VendorError::new(kind).status(response.status))
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let response = transport.send(VendorRequest::new(VendorRequestKind::SignIn, Method::POST, "/token")).await?;
        let secret = HeaderValue::from_bytes(&response.body).map_err(|_| VendorError::invalid_response("no token"))?;
        let expires = (secret != STATIC_KEY).then(|| Instant::now() + Duration::from_secs(100));
        Ok(Token { secret, expires })
    }
}

pub(super) fn request(kind: VendorRequestKind) -> VendorRequest {
    VendorRequest::new(kind, Method::GET, "/v1/things/1")
}

#[expect(clippy::unnecessary_wraps, reason = "the type of a script's step")]
pub(super) fn response(status: u16, body: &'static str) -> Result<VendorResponse, VendorError> {
    Ok(VendorResponse {
        status,
        content_type: String::new(),
        retry_after: None,
        headers: Vec::new(),
        body: Bytes::from_static(body.as_bytes()),
        lone_surrogates: Vec::new(),
    })
}

pub(super) fn status(status: u16) -> Result<VendorResponse, VendorError> {
    response(status, "")
}

pub(super) fn ok() -> Result<VendorResponse, VendorError> {
    status(200)
}

pub(super) fn err_kind(kind: VendorErrorKind) -> Result<VendorResponse, VendorError> {
    Err(VendorError::new(kind))
}

pub(super) fn metrics() -> (Arc<Metrics>, SystemIndex) {
    let system = SystemName::parse("crm").expect("a name");
    let metrics = Metrics::new(std::slice::from_ref(&system)).expect("metrics");
    let index = metrics.index(&system).expect("configured");
    (metrics, index)
}

/// The value of one series; 0 if it does not exist.
pub(super) fn metric_value(metrics: &Metrics, series: &str) -> u64 {
    let text = String::from_utf8(metrics.render().expect("text")).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or_default()
}
