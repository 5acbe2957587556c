//! Several requests on one connection, where the caller sends the next before it has the answer to the last (RFC 9112
//! §9.3.2): what `actix-http` remembers of one request is by then what the next one said.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;

use actix_web::body::{BodySize, BodyStream, MessageBody as _};
use actix_web::dev::Extensions;
use actix_web::http::header::{CONTENT_LENGTH, HeaderValue, UPGRADE};
use actix_web::http::{ConnectionType, Method, Version};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;

use crate::problem::{Problem, ProblemName};

/// What is known of a connection beyond one request.
#[derive(Debug, Default)]
struct Connection {
    /// A request said that it is the last one.
    ending: Cell<bool>,
}

/// For `HttpServer::on_connect`.
pub fn opened(_: &dyn Any, data: &mut Extensions) {
    data.insert(Connection::default());
}

/// Lets a request pass unless an earlier one of its connection was the last by its own word: what comes after that is not to
/// be processed (RFC 9112 §9.6).
///
/// # Errors
/// 400, for a caller that no longer listens.
pub(super) fn take(request: &HttpRequest) -> Result<(), Problem> {
    let Some(connection) = request.conn_data::<Connection>().filter(|_| request.version() <= Version::HTTP_11) else {
        return Ok(());
    };
    if connection.ending.replace(ends(request)) {
        connection.ending.set(true);
        let detail = "an earlier request on this connection said that it was the last one";
        return Err(ProblemName::MalformedRequest.with(detail));
    }
    Ok(())
}

/// After an offered upgrade, too, which is never taken: `actix-http` would take what follows for the other protocol.
fn ends(request: &HttpRequest) -> bool {
    request.head().connection_type() != ConnectionType::KeepAlive || request.headers().contains_key(UPGRADE)
}

/// Says what only this answer knows, whatever request has been read meanwhile: that the connection ends, and that there
/// is no content, only its length, because the method was HEAD.
pub(super) fn framed(mut response: HttpResponse, request: &HttpRequest) -> HttpResponse {
    let connection = request.conn_data::<Connection>();
    let ending = connection.map_or_else(|| ends(request), |connection| connection.ending.get());
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
