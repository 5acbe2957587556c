//! A response's body that keeps something else until it has been sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

struct HoldingBody<T> {
    body: BoxBody,
    _held: T,
}

impl<T: Unpin> MessageBody for HoldingBody<T> {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// The same response, which drops `held` when it has been sent.
pub(super) fn hold_until_sent<T: Unpin + 'static>(response: HttpResponse, held: T) -> HttpResponse {
    response.map_body(|_, body| BoxBody::new(HoldingBody { body, _held: held }))
}
