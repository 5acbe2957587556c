//! Single requests to servers that are not vendors, each over a connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use actix_web::http::uri::Scheme;
use actix_web::http::{Method, StatusCode, Uri};
use bytes::Bytes;

use super::connector::{USER_AGENT_VALUE, build_client, stream_url};
use super::receive::{fault_from_send_error, is_truncated, read_body, truncated_fault};
use crate::record::{SideEffect, VendorError};
use crate::transport::tls;

/// Gets a small document, such as the public keys of a token issuer.
///
/// Trusts the operating system's root certificates and follows no redirect. `timeout` covers the
/// whole exchange. `max_body` is in bytes.
///
/// # Errors
/// Why there is no document, for the log.
pub async fn fetch(url: &str, timeout: Duration, max_body: usize) -> Result<Bytes, String> {
    let uri: Uri = url.parse().map_err(|_| "the address is not a URL".to_owned())?;
    let tls = if uri.scheme() == Some(&Scheme::HTTPS) {
        Some(tls::client_config(None).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let (stream_url, host) = split_host(uri)?;
    let request = build_client(tls.as_ref(), timeout, None).get(stream_url).no_decompress();
    let request = request.insert_header((HOST, host)).insert_header((ACCEPT_ENCODING, "identity"));
    let request = request.insert_header((USER_AGENT, USER_AGENT_VALUE)).insert_header((ACCEPT, "application/json"));
    let exchange = async {
        let mut response = request.send().await.map_err(|error| fault_from_send_error(&error).to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("the response status is {}", response.status()));
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read_body(&mut response, max_body, length, |_| Ok(())).await.map_err(|fault| fault.to_string())?;
        let body = body.ok_or_else(|| format!("the response is longer than {max_body} bytes"))?;
        if is_truncated(&body, length, "json") { Err(truncated_fault().to_string()) } else { Ok(body) }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err("no response in time".to_owned()))
}

/// A request to a gateway, on a connection of its own.
pub struct OneShot<'r> {
    /// HTTP method.
    pub method: Method,
    /// `http` or `https`.
    pub url: &'r str,
    /// PEM file of a private CA, trusted instead of the system's roots.
    pub ca_certificate: Option<&'r Path>,
    /// Headers besides `Host`, `User-Agent` and `Accept-Encoding`.
    pub headers: Vec<(&'r str, &'r str)>,
    /// Empty for none.
    pub body: Bytes,
    /// For the whole exchange.
    pub timeout: Duration,
    /// The longest response body, in bytes.
    pub max_body: usize,
}

/// The response to a [`OneShot`].
pub struct OneShotResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl OneShotResponse {
    /// The value of a header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why there is no response.
#[derive(Debug)]
pub struct ExchangeError {
    /// For a person.
    pub message: String,
    /// Whether the server may have received the request.
    pub was_sent: bool,
}

impl ExchangeError {
    fn not_sent(message: impl Into<String>) -> Self {
        Self { message: message.into(), was_sent: false }
    }

    fn sent_error(message: impl Into<String>) -> Self {
        Self { message: message.into(), was_sent: true }
    }
}

/// Sends a request and reads the whole response, whatever its status. Follows no redirect.
///
/// # Errors
/// Why there is no response, and whether the request may have arrived.
pub async fn exchange(request: OneShot<'_>) -> Result<OneShotResponse, ExchangeError> {
    let no_url = |_| ExchangeError::not_sent("the address is not a URL such as http://127.0.0.1:8080");
    let uri: Uri = request.url.parse().map_err(no_url)?;
    let tls = if uri.scheme() == Some(&Scheme::HTTPS) {
        let config = tls::client_config(request.ca_certificate);
        Some(config.map_err(|error| ExchangeError::not_sent(error.to_string()))?)
    } else {
        None
    };
    let (stream_url, host) = split_host(uri).map_err(ExchangeError::not_sent)?;
    let client = build_client(tls.as_ref(), request.timeout, None);
    let mut sending = client.request(request.method, stream_url).no_decompress();
    sending = sending.insert_header((HOST, host)).insert_header((ACCEPT_ENCODING, "identity"));
    sending = sending.insert_header((USER_AGENT, USER_AGENT_VALUE));
    for (name, value) in request.headers {
        sending = sending.insert_header((name, value));
    }
    let (body, max_body) = (request.body, request.max_body);
    let exchange = async {
        let sent = if body.is_empty() { sending.send().await } else { sending.send_body(body).await };
        let mut response = sent.map_err(|error| {
            let fault = fault_from_send_error(&error);
            let was_sent = fault.effect != SideEffect::None;
            ExchangeError { message: error_message(fault), was_sent }
        })?;
        let read = read_body(&mut response, max_body, None, |_| Ok(())).await;
        let body = read.map_err(|fault| ExchangeError::sent_error(error_message(fault)))?;
        let body =
            body.ok_or_else(|| ExchangeError::sent_error(format!("the response is longer than {max_body} bytes")))?;
        Ok(OneShotResponse { status: response.status().as_u16(), headers: response.headers().clone(), body })
    };
    let exchanged = tokio::time::timeout(request.timeout, exchange).await;
    exchanged.unwrap_or_else(|_| Err(ExchangeError::sent_error("no response in time")))
}

/// The error's own text. Only a timeout has none.
fn error_message(fault: VendorError) -> String {
    fault.message.unwrap_or_else(|| "no response in time".to_owned())
}

/// The URL for awc, and the `Host` of the original one.
fn split_host(url: Uri) -> Result<(Uri, String), String> {
    let host = url.authority().map(ToString::to_string);
    stream_url(url).zip(host).ok_or_else(|| "the address has no host".to_owned())
}

/// The response to [`post`].
pub(in crate::transport) struct PostResponse {
    pub(in crate::transport) status: u16,
    pub(in crate::transport) retry_after: Option<String>,
    pub(in crate::transport) body: Bytes,
}

/// Posts a document and blocks until the response is read: for a thread without a runtime.
///
/// # Errors
/// Why there is no response, for the log.
pub(in crate::transport) fn post<'h>(
    url: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    document: Bytes,
    timeout: Duration,
) -> Result<PostResponse, String> {
    const MAX_RESPONSE_BYTES: usize = 64 * 1024;
    let runtime = actix_web::rt::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let (stream_url, host) = split_host(url.parse().map_err(|_| "the address is not a URL".to_owned())?)?;
        let mut request = build_client(tls, timeout, None).post(stream_url).no_decompress();
        request = request.insert_header((HOST, host)).insert_header((USER_AGENT, USER_AGENT_VALUE));
        for (name, value) in headers {
            request = request.insert_header((name, value));
        }
        let exchange = async {
            let mut response = request.send_body(document).await.map_err(|error| error.to_string())?;
            let body = read_body(&mut response, MAX_RESPONSE_BYTES, None, |_| Ok(()))
                .await
                .map_err(|fault| fault.to_string())?;
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.map(str::to_owned);
            Ok(PostResponse { status: response.status().as_u16(), retry_after, body: body.unwrap_or_default() })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err("no response in time".to_owned()))
    })
}
