//! Request bodies on HTTP/1 connections.

use std::task::{Context, Poll, Waker};

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::http::header::{TRANSFER_ENCODING, UPGRADE};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use crate::http::headers;

/// The body without what follows it. Where the client offers a WebSocket upgrade, actix-http
/// (`src/h1/decoder.rs`, `PayloadType::Stream`) hands out everything to the end of the connection
/// as the body.
pub(in crate::http) fn limit_to_content_length<'p>(
    request: &HttpRequest,
    payload: &'p mut Payload,
) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin + use<'p> {
    let headers = request.headers();
    let endless = headers.contains_key(UPGRADE) && !headers.contains_key(TRANSFER_ENCODING);
    let mut left = if endless { headers::content_length(headers).unwrap_or(0) } else { u64::MAX };
    let mut is_first_poll = request.version() <= Version::HTTP_11;
    stream::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        // actix-http's HTTP/1 dispatcher polls a handler when the head has been parsed, and once
        // more in the same pass when the bytes that came with the head have been parsed. A waker
        // registered at the first poll would add a third pass that finds nothing new, so the first
        // poll registers none.
        let mut no_waker = Context::from_waker(Waker::noop());
        let context = if std::mem::take(&mut is_first_poll) { &mut no_waker } else { context };
        payload.poll_next_unpin(context).map_ok(|mut chunk| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left = left.saturating_sub(chunk.len() as u64);
            chunk
        })
    })
}
