//! Chunked bodies that have not arrived to their end when their response is sent, on HTTP/1.
//!
//! Where such a body has been dropped by then, actix-http's `Dispatcher` (`src/h1/dispatcher.rs`,
//! `should_close_for_unread_payload`) keeps the connection and reads it until the body ends, which
//! may be never: chunk extensions, trailers and the digits of a size have no limit (RFC 9112
//! §7.1.1). Where the body still exists, it closes the connection after a short time, as it does
//! with `Content-Length`.

use actix_web::dev::Payload;
use actix_web::http::Version;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::{FutureExt as _, StreamExt as _};

use super::holding_body::hold_until_sent;

/// A chunked body whose end has not arrived.
pub(super) struct UnfinishedBody(Payload);

/// Keeps the body of a request that has its response, if it is chunked and has not ended.
pub(in crate::http) fn keep_unfinished_body(request: &HttpRequest, take_body: impl FnOnce() -> Option<Payload>) {
    if request.version() > Version::HTTP_11 || !request.headers().contains_key(TRANSFER_ENCODING) {
        return;
    }
    let Some(mut body) = take_body() else { return };
    loop {
        match body.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None | Some(Err(_))) => return,
            None => break,
        }
    }
    request.extensions_mut().insert(UnfinishedBody(body));
}

impl UnfinishedBody {
    /// The kept body.
    pub(super) fn take(request: &HttpRequest) -> Option<Self> {
        request.extensions_mut().remove()
    }

    /// The same response, which holds the body until it has been sent.
    pub(super) fn hold_until_sent(self, response: HttpResponse) -> HttpResponse {
        hold_until_sent(response, self.0)
    }
}
