//! The HTTP client of the tests.

use std::pin::Pin;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
/// Longer than any response takes: a gateway that hangs fails the test.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one gateway.
#[derive(Clone)]
pub(crate) struct TestClient {
    client: awc::Client,
    base: String,
}

impl TestClient {
    pub(crate) fn new(base: String) -> Self {
        let connector = awc::Connector::new().limit(0);
        let client = awc::Client::builder().timeout(RESPONSE_TIMEOUT).disable_redirects().connector(connector).finish();
        Self { client, base }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request {
            client: self.clone(),
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            prefer: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }
}

/// A request before it is sent.
#[derive(Clone)]
pub(crate) struct Request {
    client: TestClient,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    prefer: Vec<String>,
    body: Option<String>,
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn if_match(self, tags: &str) -> Self {
        self.header("If-Match", tags)
    }

    pub(crate) fn idempotency_key(self, key: &str) -> Self {
        self.header("Idempotency-Key", &format!("\"{key}\""))
    }

    pub(crate) fn prefer(mut self, preference: &str) -> Self {
        self.prefer.push(preference.to_owned());
        self
    }

    /// Removes every preference that the environment has set.
    pub(crate) fn without_prefer(mut self) -> Self {
        self.prefer.clear();
        self
    }

    /// A merge patch of these fields.
    pub(crate) fn fields(self, fields: &Value) -> Self {
        self.merge_patch(&json!({ "fields": fields }).to_string())
    }

    pub(crate) fn merge_patch(self, body: &str) -> Self {
        self.header("Content-Type", MERGE_PATCH).body(body)
    }

    pub(crate) fn json_patch(self, operations: &Value) -> Self {
        self.header("Content-Type", JSON_PATCH).body(&operations.to_string())
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(&body.to_string())
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// The preview of this write.
    pub(crate) fn preview(mut self) -> Self {
        let query = if self.method == Method::DELETE { "?action=delete" } else { "" };
        self.path = format!("{}/preview{query}", self.path);
        self.method = Method::POST;
        self
    }

    pub(crate) async fn send(self) -> TestResponse {
        self.try_send().await.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Opens a stream of events.
    pub(crate) async fn open_stream(self) -> EventStream {
        let url = format!("{}{}", self.client.base, self.path);
        let mut request = self.client.client.request(self.method, url).no_decompress();
        for (name, value) in self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())) {
            request = request.append_header((name, value));
        }
        let response = request.append_header(("Accept", "text/event-stream")).send().await.expect("a response");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
        EventStream {
            body: Box::pin(response.map(|chunk| chunk.map_err(|error| error.to_string()))),
            text: String::new(),
        }
    }

    /// For requests that may get no response.
    pub(crate) async fn try_send(self) -> Result<TestResponse, String> {
        let url = format!("{}{}", self.client.base, self.path);
        let mut request = self.client.client.request(self.method, url).no_decompress();
        for (name, value) in &self.headers {
            request = request.append_header((name.as_str(), value.as_str()));
        }
        if !self.prefer.is_empty() {
            request = request.append_header(("Prefer", self.prefer.join(", ")));
        }
        let sending = match self.body {
            Some(body) => request.send_body(body),
            None => request.send(),
        };
        let mut response = sending.await.map_err(|error| error.to_string())?;
        let body = response.body().limit(64 << 20).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(TestResponse { status: response.status().as_u16(), headers: response.headers().clone(), text })
    }
}

/// A streamed response.
pub(crate) struct EventStream {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, String>>>>,
    text: String,
}

impl EventStream {
    /// The lines of the next event or comment; `None` = the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let lines = block.lines().map(str::to_owned).collect();
                let rest = rest.to_owned();
                self.text = rest;
                return Some(lines);
            }
            let chunk = tokio::time::timeout(RESPONSE_TIMEOUT, self.body.next()).await.expect("something in time")?;
            self.text.push_str(&String::from_utf8_lossy(&chunk.ok()?));
        }
    }

    /// The id and the document of the next event.
    pub(crate) async fn next_event(&mut self) -> (String, Value) {
        loop {
            let lines = self.next().await.expect("an event");
            let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                assert_eq!(field("event: ").as_deref(), Some("change"));
                return (id, serde_json::from_str(&data).unwrap());
            }
        }
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag in {self:?}"))
    }

    /// The last segment of a problem's type; empty if the response is none.
    pub(crate) fn problem(&self) -> String {
        if self.header("content-type") != Some("application/problem+json") {
            return String::new();
        }
        let document = self.json();
        assert_eq!(document["status"], self.status, "{document}");
        document["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// Fails unless this is that problem with that status.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, problem: &str) -> &Self {
        assert_eq!((self.status, self.problem().as_str()), (status, problem), "{self:?}");
        self
    }

    /// Fails unless this is that status.
    #[track_caller]
    pub(crate) fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}
