//! What the layers' tests share: a vendor that answers from a script, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Call, CallName, Layer, Reply, Token, Transport, Vendor};
use crate::metrics::{Metrics, SystemIndex};
use crate::record::{Fault, FaultKind, SystemName};

/// Answers call after call from a script, and with 200 when the script is at its end.
pub(super) struct Scripted {
    script: Mutex<VecDeque<Result<Reply, Fault>>>,
    takes: Duration,
    seen: Mutex<Vec<(Instant, Call)>>,
}

impl Scripted {
    pub(super) fn new(script: impl IntoIterator<Item = Result<Reply, Fault>>) -> Self {
        let script = Mutex::new(script.into_iter().collect());
        Self { script, takes: Duration::ZERO, seen: Mutex::default() }
    }

    /// Each call takes this long.
    pub(super) fn taking(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    pub(super) fn hanging(self) -> Self {
        self.taking(Duration::from_secs(1_000_000))
    }

    /// How many calls came.
    pub(super) fn times(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    /// The calls that came, with the time.
    pub(super) fn seen(&self) -> Vec<(Instant, Call)> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Layer for Scripted {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        self.seen.lock().expect("no panic").push((Instant::now(), call.clone()));
        let next = self.script.lock().expect("no panic").pop_front().unwrap_or_else(ok);
        if !self.takes.is_zero() {
            sleep(self.takes).await;
        }
        next
    }
}

impl<T: Layer> Layer for Arc<T> {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault> {
        self.as_ref().carry(call).await
    }
}

/// The token that does not expire.
pub(super) const STATIC_KEY: &str = "static";

/// Judges by status alone; the token is the body of the answer to the sign-in, and lives 100 seconds unless it is static.
pub(super) struct StatusVendor;

#[async_trait(?Send)]
impl Vendor for StatusVendor {
    fn fault(&self, _: &Call, reply: &Reply) -> Option<Fault> {
        let kind = match reply.status {
            ..=399 => return None,
            401 => FaultKind::TokenRefused,
            404 => FaultKind::NotFound,
            429 => FaultKind::RateLimited,
            503 => FaultKind::Unavailable,
            500.. => FaultKind::VendorError,
            _ => FaultKind::Rejected,
        };
        Some(Fault::new(kind).status(reply.status))
    }

    fn sign(&self, call: &mut Call, token: &Token) {
        call.headers.push((AUTHORIZATION, token.secret.clone()));
    }

    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, Fault> {
        let reply = transport.send(Call::new(CallName::SignIn, Method::POST, "/token")).await?;
        let secret = HeaderValue::from_bytes(&reply.body).map_err(|_| Fault::protocol("no token"))?;
        let expires = (secret != STATIC_KEY).then(|| Instant::now() + Duration::from_secs(100));
        Ok(Token { secret, expires })
    }
}

pub(super) fn call(name: CallName) -> Call {
    Call::new(name, Method::GET, "/v1/things/1")
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a script")]
pub(super) fn reply(status: u16, body: &'static str) -> Result<Reply, Fault> {
    Ok(Reply { status, content_type: String::new(), retry_after: None, body: Bytes::from_static(body.as_bytes()) })
}

pub(super) fn status(status: u16) -> Result<Reply, Fault> {
    reply(status, "")
}

pub(super) fn ok() -> Result<Reply, Fault> {
    status(200)
}

pub(super) fn fails(kind: FaultKind) -> Result<Reply, Fault> {
    Err(Fault::new(kind))
}

pub(super) fn metrics() -> (Arc<Metrics>, SystemIndex) {
    let name = SystemName::parse("crm").expect("a name");
    let metrics = Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let system = metrics.index(&name).expect("configured");
    (metrics, system)
}

/// The value of one series, 0 if it is not there.
pub(super) fn series(metrics: &Metrics, wanted: &str) -> u64 {
    let text = String::from_utf8(metrics.render().expect("text")).expect("UTF-8");
    text.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok()).unwrap_or_default()
}
