//! What a stand-in has received, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{CallKind, FakeRequest, lock};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// When its body had been read.
    pub at: SystemTime,
    /// Its kind.
    pub call: CallKind,
    /// HTTP method.
    pub method: String,
    /// Path as sent, percent-encoded.
    pub path: String,
    /// Query as sent, without the `?`; empty if there was none.
    pub query: String,
    /// Every header line, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Bytes,
}

impl ReceivedRequest {
    fn new(call: CallKind, request: &FakeRequest<'_>) -> Self {
        let line =
            |value: &actix_web::http::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            at: SystemTime::now(),
            call,
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

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// For `GET /_sandbox/log`.
    pub(super) fn to_json(&self) -> Value {
        let headers: Vec<Value> = self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        let at = jiff::Timestamp::try_from(self.at).map(|at| at.to_string()).unwrap_or_default();
        json!({ "at": at, "call": self.call, "method": self.method, "path": self.path, "query": self.query,
                "headers": headers, "body": self.text() })
    }
}

/// Every request received, in order; control requests are left out.
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
    /// Switches logging on or off; off, a request costs nothing here.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }

    /// Everything received, oldest first.
    pub fn all(&self) -> Vec<Arc<ReceivedRequest>> {
        lock(&self.entries).clone()
    }

    /// What was received of one kind, oldest first.
    pub fn requests_of_kind(&self, call: CallKind) -> Vec<Arc<ReceivedRequest>> {
        lock(&self.entries).iter().filter(|entry| entry.call == call).cloned().collect()
    }

    /// How many were received of one kind.
    pub fn count(&self, call: CallKind) -> usize {
        lock(&self.entries).iter().filter(|entry| entry.call == call).count()
    }

    /// The last one received of one kind.
    pub fn last(&self, call: CallKind) -> Option<Arc<ReceivedRequest>> {
        lock(&self.entries).iter().rev().find(|entry| entry.call == call).cloned()
    }

    /// Everything received, as `METHOD path?query`.
    pub fn request_lines(&self) -> Vec<String> {
        let line = |entry: &Arc<ReceivedRequest>| match entry.query.as_str() {
            "" => format!("{} {}", entry.method, entry.path),
            query => format!("{} {}?{query}", entry.method, entry.path),
        };
        lock(&self.entries).iter().map(line).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// Waits until at least this many calls of a kind have been received since the last [`RequestLog::clear`].
    pub async fn wait_for(&self, call: CallKind, count: usize) {
        let mut changes = self.count.subscribe();
        while self.count(call) < count && changes.changed().await.is_ok() {}
    }

    pub(super) fn record(&self, call: CallKind, request: &FakeRequest<'_>) {
        if !self.enabled.load(Ordering::Acquire) {
            return;
        }
        let entry = Arc::new(ReceivedRequest::new(call, request));
        let count = {
            let mut entries = lock(&self.entries);
            entries.push(entry);
            entries.len()
        };
        self.count.send_replace(count);
    }
}
