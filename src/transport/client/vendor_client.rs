//! The client of one vendor: one awc client, with its connection pool, per worker thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::body::None as NoBody;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
    USER_AGENT, VIA,
};
use awc::ClientResponse;

use super::connector::{USER_AGENT_VALUE, build_client};
use super::host::Host;
use super::lone_surrogates::replace_lone_surrogates;
use super::receive::{decode_body, fault_from_send_error, is_truncated, read_body, truncated_fault};
use crate::record::{VendorError, VendorErrorKind};
use crate::transport::body_budget::BodyBudget;
use crate::transport::layer::Layer;
use crate::transport::origin::RequestOrigin;
use crate::transport::request::{JSON, VendorRequest};
use crate::transport::response::{VendorResponse, parse_retry_after};
use crate::transport::settings::{StackError, StackSettings};

/// Sends requests to one vendor.
pub(in crate::transport) struct Client {
    id: u64,
    vendor: Host,
    /// The host that issues tokens, where that is another one.
    sign_in: Option<Host>,
    via: HeaderValue,
    connect_timeout: Duration,
    keep_alive: Duration,
    max_body: usize,
    /// The response headers that are kept.
    kept_headers: &'static [&'static str],
    bodies: Arc<BodyBudget>,
}

thread_local! {
    /// awc's clients cannot leave their thread. For a few systems a list is faster than a map.
    static CLIENTS: RefCell<Vec<(u64, RequestOrigin, awc::Client)>> = const { RefCell::new(Vec::new()) };
}

impl Client {
    /// `kept_headers` are the response headers that are kept, in lower case.
    pub(in crate::transport) fn new(
        settings: &StackSettings,
        kept_headers: &'static [&'static str],
    ) -> Result<Self, StackError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let ca_certificate = settings.ca_certificate.as_deref();
        let sign_in = settings.sign_in_url.as_deref().map(|url| Host::parse(url, ca_certificate)).transpose()?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            vendor: Host::parse(&settings.base_url, ca_certificate)?,
            sign_in,
            via: HeaderValue::try_from(format!("1.1 {}", settings.via)).map_err(|_| StackError::Via)?,
            connect_timeout: settings.connect_timeout,
            keep_alive: settings.keep_alive,
            max_body: settings.max_vendor_body,
            kept_headers,
            bodies: Arc::default(),
        })
    }

    /// The budget of the system's large bodies.
    pub(in crate::transport) fn body_budget(&self) -> &Arc<BodyBudget> {
        &self.bodies
    }

    /// Host and port of an origin.
    pub(in crate::transport) fn address(&self, origin: RequestOrigin) -> (String, u16) {
        self.host(origin).address()
    }

    /// Without a sign-in host of its own the vendor issues the tokens.
    fn host(&self, origin: RequestOrigin) -> &Host {
        match (&self.sign_in, origin) {
            (Some(sign_in), RequestOrigin::SignIn) => sign_in,
            _ => &self.vendor,
        }
    }

    fn thread_local_client(&self, origin: RequestOrigin) -> awc::Client {
        CLIENTS.with_borrow_mut(|clients| {
            if let Some((.., client)) = clients.iter().find(|(id, of, _)| *id == self.id && *of == origin) {
                return client.clone();
            }
            let client = build_client(self.host(origin).tls.as_ref(), self.connect_timeout, Some(self.keep_alive));
            clients.push((self.id, origin, client.clone()));
            client
        })
    }

    /// The headers that the protocol reads.
    fn kept_headers(&self, response: &ClientResponse) -> Vec<(&'static str, String)> {
        let value = |name: &&'static str| Some((*name, response.headers().get(*name)?.to_str().ok()?.to_owned()));
        self.kept_headers.iter().filter_map(value).collect()
    }

    /// `is_safe`: the request changed nothing, so that its response may be refused.
    async fn read_response(&self, mut response: ClientResponse, is_safe: bool) -> Result<VendorResponse, VendorError> {
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let retry_after = header(RETRY_AFTER).and_then(|value| parse_retry_after(value, SystemTime::now()));
        let headers = self.kept_headers(&response);
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
        let body = read_body(&mut response, self.max_body, length, &mut fits).await?.ok_or_else(too_long)?;
        if is_truncated(&body, length, &content_type) {
            return Err(truncated_fault());
        }
        let body = decode_body(body, coding.as_deref(), self.max_body)?.ok_or_else(too_long)?;
        let (body, lone_surrogates) = replace_lone_surrogates(body);
        fits(body.len())?;
        let body = reservation.hold(body);
        Ok(VendorResponse { status, content_type, retry_after, headers, body, lone_surrogates })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Each thread drops its own clients when it ends.
        let _ = CLIENTS.try_with(|clients| {
            if let Ok(mut clients) = clients.try_borrow_mut() {
                clients.retain(|(id, ..)| *id != self.id);
            }
        });
    }
}

impl Layer for Client {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        let host = self.host(request.origin);
        let Some(uri) = host.url(&request.path) else {
            return Err(VendorError::invalid_response("the gateway built an invalid request URL").without_effect());
        };
        let mut http_request =
            self.thread_local_client(request.origin).request(request.method.clone(), uri).no_decompress();
        let headers = http_request.headers_mut();
        headers.append(HOST, host.header.clone());
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
