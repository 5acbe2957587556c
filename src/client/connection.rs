//! Sends requests to the gateway.

use std::path::Path;
use std::time::{Duration, Instant};

pub(super) use actix_web::http::Method;
use actix_web::http::Uri;
use actix_web::http::header::HeaderValue;
use serde_json::Value;

use super::body::Patch;
use super::command_error::CommandError;
use crate::cli::{Connection, Exit};
use crate::transport::{ExchangeError, OneShot, exchange};

/// Longer than the longest deadline of most gateways.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long a queued write is followed.
const MAX_FOLLOW: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(500);
const MAX_RESPONSE: usize = 256 * 1024 * 1024;

/// A gateway with the caller's key.
pub(super) struct Gateway<'c> {
    url: String,
    authorization: Option<String>,
    ca_certificate: Option<&'c Path>,
}

/// A request to it.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// Its response.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    /// `null` without a body.
    pub(super) body: Value,
}

impl Request {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: vec![("Accept", "application/json".to_owned())], body: Vec::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn body(self, patch: Patch) -> Self {
        Self { body: patch.text, ..self.header("Content-Type", patch.media_type) }
    }
}

/// Whether this is the address of an HTTP server.
fn is_web_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
}

impl<'c> Gateway<'c> {
    /// Reads the key.
    pub(super) fn new(connection: &'c Connection) -> Result<Self, CommandError> {
        if !is_web_address(&connection.url) {
            let message = format!("{:?} is not a URL such as http://127.0.0.1:8080", connection.url);
            return Err(CommandError::usage(message));
        }
        let key = connection.key_file.as_deref().map(read_key).transpose()?;
        Ok(Self {
            url: connection.url.trim_end_matches('/').to_owned(),
            authorization: key.map(|key| format!("Bearer {key}")),
            ca_certificate: connection.ca_certificate.as_deref(),
        })
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response, CommandError> {
        // A POST is a preview.
        let is_read = request.method != Method::PATCH && request.method != Method::DELETE;
        let authorization = self.authorization.iter().map(|value| ("Authorization", value.as_str()));
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        if let Some((name, value)) = headers.clone().find(|(_, value)| HeaderValue::from_str(value).is_err()) {
            return Err(CommandError::usage(format!("--{} cannot be {value:?}", name.to_ascii_lowercase())));
        }
        let url = format!("{}{}", self.url, request.path);
        let sent = exchange(OneShot {
            method: request.method.clone(),
            url: &url,
            ca_certificate: self.ca_certificate,
            headers: headers.chain(authorization).collect(),
            body: request.body.into(),
            timeout: TIMEOUT,
            max_body: MAX_RESPONSE,
        });
        let response = sent.await.map_err(|error| self.no_response(&error, is_read))?;
        let etag = response.header("etag").map(str::to_owned);
        let body = match response.body.trim_ascii() {
            [] => Value::Null,
            text => serde_json::from_slice(text).map_err(|_| self.not_the_gateway(response.status, is_read))?,
        };
        Ok(Response { status: response.status, etag, body })
    }

    /// A write that may have arrived has an unknown outcome.
    fn no_response(&self, error: &ExchangeError, is_read: bool) -> CommandError {
        let message = format!("{}: {}", self.url, error.message);
        match (is_read, error.was_sent) {
            (false, true) => {
                let message = format!("{message}; the write may have been made: read the record, or GET /operations");
                CommandError { exit: Exit::OutcomeUnknown, message }
            }
            _ => CommandError { exit: Exit::ServerError, message },
        }
    }

    fn not_the_gateway(&self, status: u16, is_read: bool) -> CommandError {
        let message = format!("{}: status {status} without JSON; is it the gateway's address?", self.url);
        // Only a refusal by what stands before the gateway says that the write was not made.
        let is_unknown = !is_read && !(400..500).contains(&status);
        CommandError { exit: if is_unknown { Exit::OutcomeUnknown } else { Exit::ServerError }, message }
    }

    /// Polls the operation of a queued write until it has ended. It may still run at the end.
    pub(super) async fn await_operation(&self, accepted: &Response) -> Result<Response, CommandError> {
        let until = Instant::now() + MAX_FOLLOW;
        let mut operation = Response { status: 200, etag: None, body: accepted.body.clone() };
        let id = operation.body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        while is_running(&operation.body) && Instant::now() < until {
            tokio::time::sleep(POLL).await;
            let next = self.send(Request::new(Method::GET, format!("/operations/{id}"))).await;
            // A failed poll does not stop the write.
            if let Ok(next @ Response { status: 200, .. }) = next {
                operation = next;
            }
        }
        Ok(operation)
    }
}

fn is_running(operation: &Value) -> bool {
    operation.get("state").and_then(Value::as_str) == Some("running")
}

/// The key without the newline that editors and `echo` put at its end.
fn read_key(path: &Path) -> Result<String, CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::usage(format!("the key file {} cannot be read: {error}", path.display())))?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CommandError::usage(format!("the key file {} holds no key", path.display())));
    }
    Ok(key.to_owned())
}
