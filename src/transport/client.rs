//! The wire: one awc client per worker and stack. The only place that knows awc.
//!
//! What awc 3.11 does with connections (read in its source, `client/pool.rs` and `client/h1proto.rs`), and what follows:
//!
//! - It never sends a request twice. Redirects are followed by a middleware only, which is left out here.
//! - Before it takes an idle connection it polls it for reading: data or an end-of-stream that the kernel has already
//!   reported rule the connection out. What remains is the moment between that look and the write, and a close that is still
//!   under way in the network. So idle connections are given up early (`keep_alive`), before the vendor would close them,
//!   and a connection that dies without an answer is [`VendorErrorKind::Broken`], with an unknown effect: bytes may have arrived.
//! - It reports such a death as `Connect(Disconnected)`, which is NOT a failure to connect.
//! - It takes a body that ends before its `Content-Length` for a whole one: the length is compared here. A cut in a chunked
//!   body cannot be seen at all, so an answer without a length that claims to be JSON is checked for a missing end.
//! - It takes an interim answer (1xx) for the final one, and an HTTP/1.1 answer without a length (which ends with the
//!   connection, RFC 9112 §6.3) for an empty one, and would hand the connection, with more still to come, to the next call:
//!   the worker's pool is dropped then.
//! - A dropped future drops its connection.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::body::None as NoBody;
use actix_web::error::PayloadError;
use actix_web::http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT, VIA,
};
use actix_web::http::uri::{Authority, PathAndQuery, Scheme};
use actix_web::http::{Method, StatusCode, Uri};
use awc::error::{ConnectError, SendRequestError};
use awc::{ClientResponse, Connector};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::IgnoredAny;

use super::stack::{StackError, StackSettings};
use super::{JSON, Layer, VendorRequest, VendorResponse, retry_after, sanitize_text, tcp, tls};
use crate::record::{VendorError, VendorErrorKind};

const USER_AGENT_VALUE: &str = concat!("records-gateway/", env!("CARGO_PKG_VERSION"));

/// Sends calls to one vendor.
pub(super) struct Client {
    id: u64,
    scheme: Scheme,
    authority: Authority,
    /// The path of the base URL, without a slash at its end.
    prefix: String,
    host: HeaderValue,
    via: HeaderValue,
    tls: Option<Arc<rustls::ClientConfig>>,
    connect_timeout: Duration,
    keep_alive: Duration,
    max_body: usize,
}

thread_local! {
    /// awc's clients stay in the thread that made them. A handful of systems: a list is faster than a map.
    static CLIENTS: RefCell<Vec<(u64, awc::Client)>> = const { RefCell::new(Vec::new()) };
}

impl Client {
    pub(super) fn new(settings: &StackSettings) -> Result<Self, StackError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let refused = |why: &str| StackError::BaseUrl { url: settings.base_url.clone(), why: why.to_owned() };
        let base: Uri = settings.base_url.parse().map_err(|_| refused("it is no absolute URL"))?;
        let parts = base.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refused("it has no scheme or no host"));
        };
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(refused("its scheme is neither https nor http"));
        }
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(refused("it must have a host and no user information"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(refused("it must not have a query"));
        }
        let tls = if scheme == Scheme::HTTPS {
            Some(tls::client_config(settings.ca_certificate.as_deref().map(Path::new))?)
        } else {
            None
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| refused("its host cannot be a header"))?;
        let via = HeaderValue::try_from(format!("1.1 {}", settings.via)).map_err(|_| StackError::Via)?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            scheme,
            authority,
            prefix: path.path().trim_end_matches('/').to_owned(),
            host,
            via,
            tls,
            connect_timeout: settings.connect_timeout,
            keep_alive: settings.keep_alive,
            max_body: settings.max_vendor_body,
        })
    }

    /// Host and port of the vendor.
    pub(super) fn address(&self) -> (String, u16) {
        let usual = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        (self.authority.host().to_owned(), self.authority.port_u16().unwrap_or(usual))
    }

    fn thread_local_client(&self) -> awc::Client {
        CLIENTS.with_borrow_mut(|clients| {
            if let Some((_, client)) = clients.iter().find(|(id, _)| *id == self.id) {
                return client.clone();
            }
            let client = self.build();
            clients.push((self.id, client.clone()));
            client
        })
    }

    fn reset_pool(&self) {
        CLIENTS.with_borrow_mut(|clients| clients.retain(|(id, _)| *id != self.id));
    }

    fn build(&self) -> awc::Client {
        // How many calls run at once is the limit layer's business, so the pool has no limit of its own.
        let mut connector = Connector::new()
            .connector(tcp::nodelay_connector())
            .timeout(self.connect_timeout)
            .handshake_timeout(self.connect_timeout)
            .conn_keep_alive(self.keep_alive)
            .limit(0);
        if let Some(tls) = &self.tls {
            connector = connector.rustls_0_23(Arc::clone(tls));
        }
        awc::Client::builder().disable_redirects().no_default_headers().disable_timeout().connector(connector).finish()
    }

    fn uri(&self, call: &VendorRequest) -> Option<Uri> {
        let path = PathAndQuery::try_from([self.prefix.as_str(), &call.path].concat()).ok()?;
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build().ok()
    }

    async fn read_response(&self, mut response: ClientResponse) -> Result<VendorResponse, VendorError> {
        let status = response.status().as_u16();
        if status < 200 {
            self.reset_pool();
            return Err(VendorError::invalid_response(format!(
                "the vendor sent an interim answer ({status}) that nobody asked for"
            )));
        }
        if is_close_delimited(&response) {
            self.reset_pool();
        }
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE).unwrap_or_default().to_owned();
        let retry_after = text(RETRY_AFTER).and_then(|value| retry_after::parse(value, SystemTime::now()));
        let length = text(CONTENT_LENGTH).and_then(|value| value.parse::<usize>().ok());
        let too_long =
            || VendorError::invalid_response(format!("the vendor's answer is longer than {} bytes", self.max_body));
        if length.is_some_and(|length| length > self.max_body) {
            return Err(too_long());
        }
        let body = read_body(&mut response, self.max_body).await?.ok_or_else(too_long)?;
        if is_truncated(&body, length, &content_type) {
            return Err(truncated_fault());
        }
        Ok(VendorResponse { status, content_type, retry_after, body })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Other threads' clients go with their threads; a thread that is ending has none any more.
        let _ = CLIENTS.try_with(|clients| {
            if let Ok(mut clients) = clients.try_borrow_mut() {
                clients.retain(|(id, _)| *id != self.id);
            }
        });
    }
}

impl Layer for Client {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let Some(uri) = self.uri(call) else {
            return Err(VendorError::invalid_response("the gateway made an address that is none").without_effect());
        };
        let mut request = self.thread_local_client().request(call.method.clone(), uri).no_decompress();
        let headers = request.headers_mut();
        headers.append(HOST, self.host.clone());
        headers.append(VIA, self.via.clone());
        headers.append(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        if call.headers.iter().all(|(name, _)| name != ACCEPT) {
            headers.append(ACCEPT, JSON);
        }
        for (name, value) in call.headers.iter().chain(call.trace.headers()) {
            headers.append(name.clone(), value.clone());
        }
        let sending = match &call.body {
            Some(body) => request.send_body(body.clone()),
            // A method whose meaning rests on a body says that there is none (RFC 9110 §8.6).
            None if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) => request.send_body(()),
            None => request.send_body(NoBody::new()),
        };
        match sending.await {
            Ok(response) => self.read_response(response).await,
            Err(error) => Err(fault_from_send_error(&error)),
        }
    }
}

fn is_close_delimited(response: &ClientResponse) -> bool {
    let has_no_body = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let says_its_length = || {
        let headers = response.headers();
        headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
    };
    !has_no_body && !says_its_length()
}

/// The body, or `None` if it is longer than `longest`; then the connection is dropped with the response.
async fn read_body(response: &mut ClientResponse, longest: usize) -> Result<Option<Bytes>, VendorError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| fault_from_payload_error(&error))?;
        if first.len().max(all.len()) + chunk.len() > longest {
            return Ok(None);
        }
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.reserve(first.len() + chunk.len());
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(if all.is_empty() { first } else { all.freeze() }))
}

fn is_truncated(body: &[u8], length: Option<usize>, content_type: &str) -> bool {
    match length {
        Some(length) => length != body.len(),
        None => {
            !body.is_empty()
                && content_type.contains("json")
                && serde_json::from_slice::<IgnoredAny>(body).is_err_and(|error| error.is_eof())
        }
    }
}

fn truncated_fault() -> VendorError {
    VendorError::new(VendorErrorKind::ConnectionLost).message("the vendor's answer was cut short")
}

fn fault_from_payload_error(error: &PayloadError) -> VendorError {
    match error {
        PayloadError::Incomplete(_) | PayloadError::Io(_) => truncated_fault(),
        other => VendorError::invalid_response(format!("the vendor's answer could not be read: {other}")),
    }
}

/// What is known of a request that got no answer. Only a failure to connect proves that nothing was sent.
fn fault_from_send_error(error: &SendRequestError) -> VendorError {
    use actix_web::error::ParseError;
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => VendorError::new(VendorErrorKind::ConnectionLost)
            .message("the vendor closed the connection without an answer"),
        SendRequestError::Connect(error) => VendorError::new(VendorErrorKind::Unavailable)
            .message(sanitize_text(&format!("no connection to the vendor: {error}")).unwrap_or_default()),
        SendRequestError::Url(_) | SendRequestError::Http(_) => {
            VendorError::invalid_response("the gateway made a request that cannot be sent").without_effect()
        }
        SendRequestError::Timeout => VendorError::new(VendorErrorKind::Timeout),
        SendRequestError::Send(_) | SendRequestError::Body(_) => VendorError::new(VendorErrorKind::ConnectionLost)
            .message("the connection broke while the request was being sent"),
        SendRequestError::Response(ParseError::Io(_) | ParseError::Incomplete | ParseError::Timeout) => {
            truncated_fault()
        }
        SendRequestError::Response(_) => VendorError::invalid_response("the vendor's answer is not HTTP"),
        _ => VendorError::new(VendorErrorKind::ConnectionLost).message("the exchange with the vendor failed"),
    }
}

/// Gets a small document that belongs to no vendor, such as an issuer's public keys: one request over a connection of its own,
/// no redirect followed, the system's roots trusted.
///
/// # Errors
/// Why there is no document, for the log.
pub async fn fetch(url: &str, within: Duration, longest: usize) -> Result<Bytes, String> {
    let uri: Uri = url.parse().map_err(|_| "its address is none".to_owned())?;
    let mut connector = Connector::new().connector(tcp::nodelay_connector()).timeout(within).handshake_timeout(within);
    if uri.scheme() == Some(&Scheme::HTTPS) {
        connector = connector.rustls_0_23(tls::client_config(None).map_err(|error| error.to_string())?);
    }
    let client =
        awc::Client::builder().disable_redirects().no_default_headers().disable_timeout().connector(connector).finish();
    let request = client.get(uri).no_decompress();
    let request = request.insert_header((USER_AGENT, USER_AGENT_VALUE)).insert_header((ACCEPT, "application/json"));
    let exchange = async {
        let mut response = request.send().await.map_err(|error| fault_from_send_error(&error).to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read_body(&mut response, longest).await.map_err(|fault| fault.to_string())?;
        let body = body.ok_or_else(|| format!("the answer is longer than {longest} bytes"))?;
        if is_truncated(&body, length, "json") { Err(truncated_fault().to_string()) } else { Ok(body) }
    };
    tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// What came back from [`post`].
pub(super) struct PostResponse {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Bytes,
}

/// Sends a document to somebody who is no vendor, over a connection of its own, and waits for the answer: for a thread that has
/// nothing else to do.
///
/// # Errors
/// Why there is no answer, for the log.
pub(super) fn post<'h>(
    url: &str,
    tls: Option<&Arc<rustls::ClientConfig>>,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    document: Bytes,
    within: Duration,
) -> Result<PostResponse, String> {
    const MAX_RESPONSE_BYTES: usize = 64 * 1024;
    let runtime = actix_web::rt::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut connector =
            Connector::new().connector(tcp::nodelay_connector()).timeout(within).handshake_timeout(within);
        if let Some(tls) = tls {
            connector = connector.rustls_0_23(Arc::clone(tls));
        }
        let client = awc::Client::builder().disable_redirects().no_default_headers().disable_timeout();
        let mut request = client.connector(connector).finish().post(url).no_decompress();
        request = request.insert_header((USER_AGENT, USER_AGENT_VALUE));
        for (name, value) in headers {
            request = request.insert_header((name, value));
        }
        let exchange = async {
            let mut response = request.send_body(document).await.map_err(|error| format!("{error}"))?;
            let body = read_body(&mut response, MAX_RESPONSE_BYTES).await.map_err(|fault| fault.to_string())?;
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.map(str::to_owned);
            Ok(PostResponse { status: response.status().as_u16(), retry_after, body: body.unwrap_or_default() })
        };
        tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
