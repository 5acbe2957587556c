//! Several requests on one connection. On HTTP/1.1, where the caller may send the next before it has the answer to the last
//! (RFC 9112 §9.3.2), what `actix-http` remembers of one request is by then what the next one said. On HTTP/2 `actix-http` takes
//! as many at once as are sent, and keeps each until its answer was taken.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER, UPGRADE};
use actix_web::http::{ConnectionType, Method, Version};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;

use crate::problem::{Problem, ProblemKind};

/// The most requests of one HTTP/2 connection at once, those included whose answers its caller has not taken: more than all
/// the vendor calls that may run and wait for three systems, as they are configured by default.
const MAX_CONCURRENT_STREAMS: usize = 1024;

/// What is known of a connection beyond one request.
#[derive(Debug, Default)]
struct Connection {
    /// A request said that it is the last one, or an answer did.
    closing: Cell<bool>,
    /// HTTP/2: the requests whose answers have not been taken.
    in_flight: Rc<Cell<usize>>,
}

/// A request's place among those of its connection, until its answer has been taken.
#[derive(Debug)]
pub(super) struct StreamPermit(Option<Rc<Cell<usize>>>);

impl StreamPermit {
    fn try_acquire(at_once: &Rc<Cell<usize>>) -> Option<Self> {
        let taken = at_once.get();
        (taken < MAX_CONCURRENT_STREAMS).then(|| {
            at_once.set(taken + 1);
            Self(Some(Rc::clone(at_once)))
        })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Some(at_once) = &self.0 {
            at_once.set(at_once.get().saturating_sub(1));
        }
    }
}

/// Finds a request its place; `None` = there are too many.
pub(super) fn acquire_stream_permit(request: &HttpRequest) -> Option<StreamPermit> {
    match request.conn_data::<Connection>().filter(|_| request.version() > Version::HTTP_11) {
        Some(connection) => StreamPermit::try_acquire(&connection.in_flight),
        None => Some(StreamPermit(None)),
    }
}

/// The answer to one too many. It has no body: a caller that takes no answers would not take that either, and what is kept
/// for it must not grow.
pub(super) fn too_many_streams() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "1")).finish()
}

/// An answer's body with the place of its request.
struct PermitBody {
    body: BoxBody,
    _permit: StreamPermit,
}

impl MessageBody for PermitBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// The same answer, which keeps the place until it has been taken.
pub(super) fn hold_permit_until_sent(response: HttpResponse, place: StreamPermit) -> HttpResponse {
    if place.0.is_none() {
        return response;
    }
    response.map_body(|_, body| BoxBody::new(PermitBody { body, _permit: place }))
}

/// Nothing that comes after this request is to be processed.
pub(super) fn mark_closing(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Connection>() {
        connection.closing.set(true);
    }
}

/// For `HttpServer::on_connect`.
pub fn on_connect(_: &dyn Any, data: &mut Extensions) {
    data.insert(Connection::default());
}

/// Lets a request pass unless an earlier one of its connection was the last by its own word: what comes after that is not to
/// be processed (RFC 9112 §9.6).
///
/// # Errors
/// 400, for a caller that no longer listens.
pub(super) fn check_not_closing(request: &HttpRequest) -> Result<(), Problem> {
    let Some(connection) = request.conn_data::<Connection>().filter(|_| request.version() <= Version::HTTP_11) else {
        return Ok(());
    };
    if connection.closing.replace(is_last_request(request)) {
        connection.closing.set(true);
        let detail = "an earlier request on this connection, or the answer to it, said that it was the last one";
        return Err(ProblemKind::MalformedRequest.with_detail(detail));
    }
    Ok(())
}

/// After an offered upgrade, too, which is never taken: `actix-http` would take what follows for the other protocol.
fn is_last_request(request: &HttpRequest) -> bool {
    request.head().connection_type() != ConnectionType::KeepAlive || request.headers().contains_key(UPGRADE)
}

/// Says what only this answer knows, whatever request has been read meanwhile: that the connection ends, and that there
/// is no content, only its length, because the method was HEAD.
pub(super) fn fix_response_framing(mut response: HttpResponse, request: &HttpRequest) -> HttpResponse {
    let connection = request.conn_data::<Connection>();
    let ending = connection.map_or_else(|| is_last_request(request), |connection| connection.closing.get());
    if ending && request.version() <= Version::HTTP_11 {
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
        let mut places: Vec<_> =
            (0..MAX_CONCURRENT_STREAMS).filter_map(|_| StreamPermit::try_acquire(&connection.in_flight)).collect();
        assert_eq!(places.len(), MAX_CONCURRENT_STREAMS);
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_none());
        let answer = hold_permit_until_sent(HttpResponse::Ok().body("taken"), places.pop().expect("a place"));
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_none());
        assert_eq!(answer.body().size(), BodySize::Sized(5));
        drop(answer);
        assert!(StreamPermit::try_acquire(&connection.in_flight).is_some());
        drop(places);
        assert_eq!(connection.in_flight.get(), 0);
    }
}
