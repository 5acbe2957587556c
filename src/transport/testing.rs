//! What the layers' tests share: a vendor that answers from a script, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Layer, Token, Transport, VendorCallKind, VendorProtocol, VendorRequest, VendorResponse};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{SystemName, VendorError, VendorErrorKind};

/// Answers call after call from a script, and with 200 when the script is at its end.
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

    /// Each call takes this long.
    pub(super) fn with_latency(mut self, takes: Duration) -> Self {
        self.latency = takes;
        self
    }

    pub(super) fn with_endless_latency(self) -> Self {
        self.with_latency(Duration::from_secs(1_000_000))
    }

    /// How many calls came.
    pub(super) fn call_count(&self) -> usize {
        self.calls.lock().expect("no panic").len()
    }

    /// The calls that came, with the time.
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

impl<T: Layer> Layer for Arc<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        self.as_ref().call(call).await
    }
}

/// The token that does not expire.
pub(super) const STATIC_KEY: &str = "static";

/// Judges by status alone; the token is the body of the answer to the sign-in, and lives 100 seconds unless it is static.
pub(super) struct StatusVendor;

#[async_trait(?Send)]
impl VendorProtocol for StatusVendor {
    fn classify(&self, _: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
        let kind = match reply.status {
            ..=399 => return None,
            401 => VendorErrorKind::TokenRejected,
            404 => VendorErrorKind::NotFound,
            429 => VendorErrorKind::RateLimited,
            503 => VendorErrorKind::Unavailable,
            500.. => VendorErrorKind::ServerError,
            _ => VendorErrorKind::Rejected,
        };
        Some(VendorError::new(kind).status(reply.status))
    }

    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        let reply = transport.send(VendorRequest::new(VendorCallKind::SignIn, Method::POST, "/token")).await?;
        let secret = HeaderValue::from_bytes(&reply.body).map_err(|_| VendorError::invalid_response("no token"))?;
        let expires = (secret != STATIC_KEY).then(|| Instant::now() + Duration::from_secs(100));
        Ok(Token { secret, expires })
    }
}

pub(super) fn request(name: VendorCallKind) -> VendorRequest {
    VendorRequest::new(name, Method::GET, "/v1/things/1")
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a script")]
pub(super) fn response(status: u16, body: &'static str) -> Result<VendorResponse, VendorError> {
    Ok(VendorResponse {
        status,
        content_type: String::new(),
        retry_after: None,
        body: Bytes::from_static(body.as_bytes()),
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
    let name = SystemName::parse("crm").expect("a name");
    let metrics = Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let system = metrics.index(&name).expect("configured");
    (metrics, system)
}

/// The value of one series, 0 if it is not there.
pub(super) fn metric_value(metrics: &Metrics, wanted: &str) -> u64 {
    let text = String::from_utf8(metrics.render().expect("text")).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok()).unwrap_or_default()
}
