//! The client of one vendor: one awc client, with its connection pool, per worker thread.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::body::None as NoBody;
use actix_web::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
    USER_AGENT, VIA,
};
use actix_web::http::uri::{Authority, PathAndQuery, Scheme};
use actix_web::http::{Method, Uri};
use awc::ClientResponse;

use super::connector::{USER_AGENT_VALUE, build_client, stream_url};
use super::receive::{decode_body, fault_from_send_error, is_truncated, read_body, truncated_fault};
use crate::record::{VendorError, VendorErrorKind};
use crate::transport::body_budget::BodyBudget;
use crate::transport::layer::Layer;
use crate::transport::request::{JSON, VendorRequest};
use crate::transport::response::{VendorResponse, parse_retry_after};
use crate::transport::settings::{StackError, StackSettings};
use crate::transport::tls;

/// Sends requests to one vendor.
pub(in crate::transport) struct Client {
    id: u64,
    authority: Authority,
    /// Scheme and authority of the URLs that awc gets.
    stream_url: Uri,
    /// The path of the base URL without a trailing slash.
    prefix: String,
    host: HeaderValue,
    via: HeaderValue,
    tls: Option<Arc<rustls::ClientConfig>>,
    connect_timeout: Duration,
    keep_alive: Duration,
    max_body: usize,
    bodies: Arc<BodyBudget>,
}

thread_local! {
    /// awc's clients cannot leave their thread. For a few systems a list is faster than a map.
    static CLIENTS: RefCell<Vec<(u64, awc::Client)>> = const { RefCell::new(Vec::new()) };
}

impl Client {
    pub(in crate::transport) fn new(settings: &StackSettings) -> Result<Self, StackError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let invalid_url = |why: &str| StackError::BaseUrl { url: settings.base_url.clone(), why: why.to_owned() };
        let base: Uri = settings.base_url.parse().map_err(|_| invalid_url("it is not an absolute URL"))?;
        let parts = base.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(invalid_url("it needs a scheme and a host"));
        };
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(invalid_url("its scheme must be https or http"));
        }
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(invalid_url("it needs a host and must not hold user information"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(invalid_url("it must not have a query"));
        }
        let tls = if scheme == Scheme::HTTPS {
            Some(tls::client_config(settings.ca_certificate.as_deref().map(Path::new))?)
        } else {
            None
        };
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| invalid_url("its host is not a valid header value"))?;
        let via = HeaderValue::try_from(format!("1.1 {}", settings.via)).map_err(|_| StackError::Via)?;
        let origin = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query("/").build();
        let stream_url =
            origin.ok().and_then(stream_url).ok_or_else(|| invalid_url("its host cannot be connected to"))?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            authority,
            stream_url,
            prefix: path.path().trim_end_matches('/').to_owned(),
            host,
            via,
            tls,
            connect_timeout: settings.connect_timeout,
            keep_alive: settings.keep_alive,
            max_body: settings.max_vendor_body,
            bodies: Arc::default(),
        })
    }

    /// The budget of the system's large bodies.
    pub(in crate::transport) fn body_budget(&self) -> &Arc<BodyBudget> {
        &self.bodies
    }

    /// Host and port of the vendor.
    pub(in crate::transport) fn address(&self) -> (String, u16) {
        (self.authority.host().to_owned(), self.stream_url.port_u16().unwrap_or_default())
    }

    fn thread_local_client(&self) -> awc::Client {
        CLIENTS.with_borrow_mut(|clients| {
            if let Some((_, client)) = clients.iter().find(|(id, _)| *id == self.id) {
                return client.clone();
            }
            let client = build_client(self.tls.as_ref(), self.connect_timeout, Some(self.keep_alive));
            clients.push((self.id, client.clone()));
            client
        })
    }

    fn uri(&self, request: &VendorRequest) -> Option<Uri> {
        let path = PathAndQuery::try_from([self.prefix.as_str(), &request.path].concat()).ok()?;
        let mut parts = self.stream_url.clone().into_parts();
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }

    /// `is_safe`: the request changed nothing, so that its response may be refused.
    async fn read_response(&self, mut response: ClientResponse, is_safe: bool) -> Result<VendorResponse, VendorError> {
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let retry_after = header(RETRY_AFTER).and_then(|value| parse_retry_after(value, SystemTime::now()));
        let coding = header(CONTENT_ENCODING).map(str::to_owned);
        let length = header(CONTENT_LENGTH).and_then(|value| value.parse::<usize>().ok());
        let too_long =
            || VendorError::invalid_response(format!("the vendor's response is longer than {} bytes", self.max_body));
        if length.is_some_and(|length| length > self.max_body) {
            return Err(too_long());
        }
        let mut reservation = self.bodies.reservation();
        let mut fits = |length| {
            let fits = reservation.try_grow_to(length) || !is_safe;
            fits.then_some(()).ok_or_else(|| {
                VendorError::new(VendorErrorKind::Overloaded)
                    .message("the responses that are being read from this vendor fill the memory for them")
            })
        };
        fits(length.unwrap_or(0))?;
        let body = read_body(&mut response, self.max_body, &mut fits).await?.ok_or_else(too_long)?;
        if is_truncated(&body, length, &content_type) {
            return Err(truncated_fault());
        }
        let body = decode_body(body, coding.as_deref(), self.max_body)?.ok_or_else(too_long)?;
        fits(body.len())?;
        Ok(VendorResponse { status, content_type, retry_after, body: reservation.hold(body) })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Each thread drops its own clients when it ends.
        let _ = CLIENTS.try_with(|clients| {
            if let Ok(mut clients) = clients.try_borrow_mut() {
                clients.retain(|(id, _)| *id != self.id);
            }
        });
    }
}

impl Layer for Client {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let Some(uri) = self.uri(request) else {
            return Err(VendorError::invalid_response("the gateway built an invalid request URL").without_effect());
        };
        let mut http_request = self.thread_local_client().request(request.method.clone(), uri).no_decompress();
        let headers = http_request.headers_mut();
        headers.append(HOST, self.host.clone());
        headers.append(VIA, self.via.clone());
        headers.append(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if request.headers.iter().all(|(name, _)| name != ACCEPT) {
            headers.append(ACCEPT, JSON);
        }
        for (name, value) in request.headers.iter().chain(request.trace.headers()) {
            headers.append(name.clone(), value.clone());
        }
        let sending = match &request.body {
            Some(body) => http_request.send_body(body.clone()),
            // A request of these methods without a body needs `Content-Length: 0` (RFC 9110 §8.6).
            None if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => http_request.send_body(()),
            None => http_request.send_body(NoBody::new()),
        };

        match sending.await {
            Ok(response) => self.read_response(response, request.kind.is_safe()).await,
            Err(error) => Err(fault_from_send_error(&error)),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
