//! A response read from a socket, and what holds of every response.

use records_gateway::problem::ProblemKind;
use serde_json::Value;

/// A response.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl RawResponse {
    /// Reads a head without the empty line at its end.
    pub(crate) fn from_head(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().expect("a status line");
        let status = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .unwrap_or_else(|| panic!("no status line: {text}"));
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field line");
            assert!(!value.contains(['\r', '\n', '\0']), "{line:?}");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let response =
            Self { status: status.parse().expect("a status"), headers: lines.map(field).collect(), body: Vec::new() };
        for single in ["content-length", "content-type", "date", "etag", "x-request-id", "connection", "location"] {
            assert!(response.headers.iter().filter(|(name, _)| name == single).count() < 2, "{single} twice: {text}");
        }
        assert!(response.header("server").is_none() && response.header("x-powered-by").is_none(), "{text}");
        response
    }

    /// A header field (lower-case name).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of the header fields, in lower case, sorted.
    pub(crate) fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The body as JSON; `null` if it is none.
    pub(crate) fn json_or_null(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The name of the problem; empty if the response is none.
    pub(crate) fn problem(&self) -> String {
        let document = self.json_or_null();
        document["type"].as_str().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default().to_owned()
    }

    /// The id of the operation that the response names.
    pub(crate) fn operation(&self) -> Option<String> {
        let document = self.json_or_null();
        let path = self.header("operation").or_else(|| document["operation"].as_str())?;
        Some(path.trim_start_matches("/operations/").to_owned())
    }

    /// Whether it announces that the connection ends.
    pub(crate) fn closes_connection(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Fails unless this is that problem, and shows nothing of the gateway's inside.
    pub(crate) fn assert_problem(&self, name: &str, request: &str) {
        let request: String = request.chars().take(300).collect();
        let expected = ProblemKind::parse(name).expect("a problem's name").spec().status;
        let shown = format!("{request:?} got {} {}", self.status, String::from_utf8_lossy(&self.body));
        assert_eq!(self.status, expected, "{shown}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{shown}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{shown}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{shown}");
        assert!(self.header("date").is_some() && self.header("etag").is_none(), "{shown}");
        if request.starts_with("HEAD ") {
            return;
        }
        let document = self.json();
        assert_eq!(document["status"], expected, "{shown}");
        assert_eq!(document["type"], format!("/problems/{name}"), "{shown}");
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"), "{shown}");
        for secret in ["panicked", ".rs:", "sqlite", "127.0.0.1", "stack backtrace", "actix"] {
            assert!(!self.text().contains(secret), "{secret} is shown: {shown}");
        }
    }

    /// What actix responses before there is a request to hand on: a status, no body, and the end of
    /// the connection.
    pub(crate) fn assert_empty_response(&self, status: u16, request: &str) {
        assert_eq!((self.status, self.text()), (status, ""), "{request:?}");
        assert!(self.header("content-type").is_none(), "{request:?}");
    }
}
