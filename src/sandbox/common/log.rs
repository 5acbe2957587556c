//! The log of received requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::call_kind::CallKind;
use super::http::FakeRequest;
use super::lock::lock;

/// One received request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// When its body was complete.
    pub at: SystemTime,
    /// Its kind.
    pub kind: CallKind,
    /// HTTP method.
    pub method: String,
    /// Path as sent, percent-encoded.
    pub path: String,
    /// Query as sent, without the `?`; empty if there was none.
    pub query: String,
    /// All header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Bytes,
}

impl ReceivedRequest {
    fn new(kind: CallKind, request: &FakeRequest<'_>) -> Self {
        let line =
            |value: &actix_web::http::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            at: SystemTime::now(),
            kind,
            method: request.method.to_string(),
            path: request.path.to_owned(),
            query: request.query.to_owned(),
            headers: request.headers.iter().map(|(name, value)| (name.as_str().to_owned(), line(value))).collect(),
            body: request.body.clone(),
        }
    }

    /// The first header line of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// For `GET /_sandbox/log`.
    pub(super) fn to_json(&self) -> Value {
        let headers: Vec<Value> = self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        let at = jiff::Timestamp::try_from(self.at).map(|at| at.to_string()).unwrap_or_default();
        json!({ "at": at, "call": self.kind, "method": self.method, "path": self.path, "query": self.query,
                "headers": headers, "body": self.text() })
    }
}

/// All received requests in order, without control requests.
#[derive(Debug)]
pub struct RequestLog {
    enabled: AtomicBool,
    entries: Mutex<Vec<Arc<ReceivedRequest>>>,
    count: watch::Sender<usize>,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self { enabled: AtomicBool::new(true), entries: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl RequestLog {
    /// Switches logging on or off.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }

    /// All requests, oldest first.
    pub fn all(&self) -> Vec<Arc<ReceivedRequest>> {
        lock(&self.entries).clone()
    }

    /// The number of requests of one kind.
    pub fn count(&self, kind: CallKind) -> usize {
        lock(&self.entries).iter().filter(|entry| entry.kind == kind).count()
    }

    /// The last request of one kind.
    pub fn last(&self, kind: CallKind) -> Option<Arc<ReceivedRequest>> {
        lock(&self.entries).iter().rev().find(|entry| entry.kind == kind).cloned()
    }

    /// All requests as `METHOD path?query`.
    pub fn request_lines(&self) -> Vec<String> {
        let line = |entry: &Arc<ReceivedRequest>| match entry.query.as_str() {
            "" => format!("{} {}", entry.method, entry.path),
            query => format!("{} {}?{query}", entry.method, entry.path),
        };
        lock(&self.entries).iter().map(line).collect()
    }

    /// Clears the log.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// Waits for at least `count` requests of one kind since the last [`RequestLog::clear`].
    pub async fn wait_for(&self, kind: CallKind, count: usize) {
        let mut changes = self.count.subscribe();
        while self.count(kind) < count && changes.changed().await.is_ok() {}
    }

    pub(super) fn record(&self, kind: CallKind, request: &FakeRequest<'_>) {
        if !self.enabled.load(Ordering::Acquire) {
            return;
        }
        let entry = Arc::new(ReceivedRequest::new(kind, request));
        let count = {
            let mut entries = lock(&self.entries);
            entries.push(entry);
            entries.len()
        };
        self.count.send_replace(count);
    }
}
