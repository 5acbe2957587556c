//! Requests and responses as the vendors' models see them.

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A request, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct FakeRequest<'a> {
    /// HTTP method.
    pub method: &'a Method,
    /// Path as sent, still percent-encoded.
    pub path: &'a str,
    /// Query as sent, without the `?`; empty if there is none.
    pub query: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Body; empty if there is none.
    pub body: &'a Bytes,
}

impl<'a> FakeRequest<'a> {
    pub(super) fn new(request: &'a HttpRequest, body: &'a Bytes) -> Self {
        Self {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            body,
        }
    }

    /// The first value of a header, if it is valid text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The percent-decoded segments of the path; empty segments are left out.
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
    }

    /// A query parameter by its exact name.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query_params().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A query parameter by its name in any case, as ASP.NET reads them.
    pub fn query_param_ci(&self, name: &str) -> Option<String> {
        self.query_params().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn query_params(&self) -> impl Iterator<Item = (String, String)> + 'a {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
    }

    /// Whether the content type is JSON.
    pub fn is_json(&self) -> bool {
        let media_type = self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json") || media_type.eq_ignore_ascii_case("text/json")
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body).ok()
    }

    /// The token of `Authorization: Bearer …`; the scheme is case-insensitive.
    pub fn bearer_token(&self) -> Option<&'a str> {
        let (scheme, secret) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A response.
#[derive(Clone, Debug)]
pub struct FakeResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// `Content-Type`; empty = none.
    pub content_type: &'static str,
    /// Other headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Bytes,
}

impl FakeResponse {
    /// A response without a body.
    pub fn empty(status: u16) -> Self {
        Self { status: to_status_code(status), content_type: "", headers: Vec::new(), body: Bytes::new() }
    }

    /// A response with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json; charset=utf-8", body.to_string())
    }

    /// A response of any media type.
    pub fn raw(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: to_status_code(status), content_type, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header, unless it is invalid.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.push((name, value));
        }
        self
    }

    /// Adds `Retry-After` with any value: seconds, a date, or an invalid one.
    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        self.with_header(RETRY_AFTER.as_str(), value)
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status).set_body(self.body);
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response.map_into_boxed_body()
    }
}

fn to_status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
