//! Several requests on one connection.
//!
//! On HTTP/1.1 a client may send the next request before it has the response to the last (RFC 9112
//! §9.3.2). actix-http's `Codec` (`src/h1/codec.rs`) keeps one method and one connection type for
//! the whole connection, so that a response is framed by what the latest request said. Its
//! `Dispatcher` (`src/h1/dispatcher.rs`) also executes what follows a request with `Connection:
//! close`. On HTTP/2 its `Dispatcher` (`src/h2/dispatcher.rs`) announces no
//! `SETTINGS_MAX_CONCURRENT_STREAMS`, and keeps each request until its response has been read.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use actix_web::body::{BodySize, BodyStream, MessageBody as _};
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER, UPGRADE};
use actix_web::http::{ConnectionType, Method, Version};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;

use super::holding_body::hold_until_sent;
use crate::problem::{Problem, ProblemKind};

/// The most requests of one HTTP/2 connection at once, those included whose responses the client
/// has not read. It is more than three systems with default limits can run and queue.
const MAX_CONCURRENT_STREAMS: usize = 1024;

/// What is known of a connection beyond one request.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// A request or a response said that it is the last one.
    closing: Cell<bool>,
    /// HTTP/2: how many requests have responses that the client has not read.
    in_flight: Rc<Cell<usize>>,
    /// The signals between the stream and the requests.
    signals: Rc<StreamSignals>,
    is_over_tls: bool,
}

/// The signals between a connection's stream and its requests.
#[derive(Debug, Default)]
pub(super) struct StreamSignals {
    /// Set to end the connection.
    pub(super) aborted: Cell<bool>,
    /// Whether the client has said that nothing more comes, or is gone.
    pub(super) ended: Cell<bool>,
}

impl Connection {
    pub(super) fn new(signals: Rc<StreamSignals>, is_over_tls: bool) -> Self {
        Self { signals, is_over_tls, ..Self::default() }
    }

    /// The switch that ends a connection with TLS.
    pub(super) fn abort_switch(&self) -> Option<Rc<StreamSignals>> {
        self.is_over_tls.then(|| Rc::clone(&self.signals))
    }
}

/// Counts a request among those of its connection until its response has been read.
#[derive(Debug)]
pub(super) struct StreamPermit(Option<Rc<Cell<usize>>>);

impl StreamPermit {
    fn try_acquire(in_flight: &Rc<Cell<usize>>) -> Option<Self> {
        let count = in_flight.get();
        (count < MAX_CONCURRENT_STREAMS).then(|| {
            in_flight.set(count + 1);
            Self(Some(Rc::clone(in_flight)))
        })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.0 {
            in_flight.set(in_flight.get().saturating_sub(1));
        }
    }
}

/// Counts a request; `None` = its connection has too many.
pub(super) fn acquire_stream_permit(request: &HttpRequest) -> Option<StreamPermit> {
    match request.conn_data::<Connection>().filter(|_| request.version() > Version::HTTP_11) {
        Some(connection) => StreamPermit::try_acquire(&connection.in_flight),
        None => Some(StreamPermit(None)),
    }
}

/// The response to one request too many. It has no body: a client that reads no responses would not
/// read it either, and what is kept for that client must not grow.
pub(super) fn too_many_streams() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).finish()
}

/// The same response, which holds the permit until it has been read.
pub(super) fn hold_permit_until_sent(response: HttpResponse, permit: StreamPermit) -> HttpResponse {
    if permit.0.is_none() {
        return response;
    }
    hold_until_sent(response, permit)
}

/// Executes nothing that follows this request on its connection.
pub(in crate::http) fn mark_closing(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Connection>() {
        connection.closing.set(true);
    }
}

/// Says whether the client of a request has closed the connection, or the half of it that it writes
/// to; also while the response is streamed.
pub(in crate::http) fn disconnect_watch(request: &HttpRequest) -> impl Fn() -> bool + use<> {
    let signals = request.conn_data::<Connection>().map(|connection| Rc::clone(&connection.signals));
    move || signals.as_ref().is_some_and(|signals| signals.ended.get())
}

/// Whether the request came over TLS.
pub(in crate::http) fn is_over_tls(request: &HttpRequest) -> bool {
    request.conn_data::<Connection>().is_some_and(|connection| connection.is_over_tls)
}

/// Refuses a request that follows the last one of its connection (RFC 9112 §9.6).
///
/// # Errors
/// 400, which the client most likely does not read.
pub(in crate::http) fn check_not_closing(request: &HttpRequest) -> Result<(), Problem> {
    let Some(connection) = request.conn_data::<Connection>().filter(|_| request.version() <= Version::HTTP_11) else {
        return Ok(());
    };
    if connection.closing.replace(is_last_request(request)) {
        connection.closing.set(true);
        let detail = "an earlier request on this connection, or the response to it, ended the connection";
        return Err(ProblemKind::MalformedRequest.with_detail(detail));
    }
    Ok(())
}

/// An offered upgrade ends the connection as well: no upgrade is accepted, and actix-http would
/// read what follows as the other protocol.
fn is_last_request(request: &HttpRequest) -> bool {
    request.head().connection_type() != ConnectionType::KeepAlive || request.headers().contains_key(UPGRADE)
}

/// Frames a response by its own request, whatever request has been read meanwhile: sets
/// `Connection: close`, and leaves only the length of the content where the method is HEAD.
pub(super) fn fix_response_framing(mut response: HttpResponse, request: &HttpRequest) -> HttpResponse {
    let connection = request.conn_data::<Connection>();
    let closes = connection.map_or_else(|| is_last_request(request), |connection| connection.closing.get());
    if closes && request.version() <= Version::HTTP_11 {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    match response.body().size() {
        BodySize::Sized(length @ 1..) if request.method() == Method::HEAD => {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            response.head_mut().no_chunking(true);
            response.set_body(BodyStream::new(stream::empty::<Result<Bytes, Infallible>>())).map_into_boxed_body()
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_permits_are_limited_and_are_released() {
        let connection = Connection::default();
        let mut permits: Vec<_> =
            (0..MAX_CONCURRENT_STREAMS).filter_map(|_| StreamPermit::try_acquire(&connection.in_flight)).collect();
        assert_eq!(permits.len(), MAX_CONCURRENT_STREAMS);
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_none());
        let response = hold_permit_until_sent(HttpResponse::Ok().body("12345"), permits.pop().expect("a permit"));
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_none());
        assert_eq!(response.body().size(), BodySize::Sized(5));
        drop(response);
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_some());
        drop(permits);
        assert_eq!(connection.in_flight.get(), 0);
    }
}
