//! Reading a request's body: at most `max_body` bytes, in the time allowed, of a type the route takes (http-rules 93 to 98,
//! 118, 119).

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::http::header::{TRANSFER_ENCODING, UPGRADE};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};

use super::headers::{self, BodyType};
use super::service::RequestContext;
use crate::problem::{Problem, ProblemKind};

/// What is read of a body nobody wants before the connection is given up.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The body and its type.
///
/// # Errors
/// 413 by announced length, 415, then 413 and 408 while reading, 400 when it ends too early.
pub(super) async fn read(
    inbound: &RequestContext<'_>,
    payload: &mut Payload,
    takes: &[BodyType],
) -> Result<(BodyType, Bytes), Problem> {
    let limits = inbound.api.limits;
    if headers::content_length(inbound.headers).is_some_and(|length| length > limits.max_body) {
        return Err(body_too_large(limits.max_body));
    }
    if headers::has_content_encoding(inbound.headers) {
        return Err(ProblemKind::UnsupportedMediaType.with_detail("the body has a Content-Encoding; send it without"));
    }
    let body_type = headers::body_type(inbound.headers, takes)?;
    let mut counted = limit_to_content_length(inbound, payload);
    let body = tokio::time::timeout(limits.body_timeout, collect(&mut counted, limits.max_body)).await;
    let late = |_| {
        let detail = format!("the body did not arrive within {} ms", limits.body_timeout.as_millis());
        ProblemKind::RequestTimeout.with_detail(detail)
    };
    Ok((body_type, body.map_err(late)??))
}

/// The body without what comes behind it: where the caller offers an upgrade, `actix-http` takes everything to the end of
/// the connection for the body.
fn limit_to_content_length<'p>(inbound: &RequestContext<'_>, payload: &'p mut Payload) -> impl BodyStream + use<'p> {
    let endless = inbound.headers.contains_key(UPGRADE) && !inbound.headers.contains_key(TRANSFER_ENCODING);
    let mut left = if endless { headers::content_length(inbound.headers).unwrap_or(0) } else { u64::MAX };
    let mut is_first_look = inbound.version <= Version::HTTP_11;
    stream::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        // On a connection of HTTP/1 a handler is polled when the head has been read, and in the same turn of the connection again when
        // whatever came with it has been read; later with all that comes. Whoever asks at the first look to be woken gets one turn
        // more, for what the second look shows: with its look at the socket and two for the next request.
        let mut unasked = Context::from_waker(Waker::noop());
        let context = if std::mem::take(&mut is_first_look) { &mut unasked } else { context };
        payload.poll_next_unpin(context).map_ok(|mut piece| {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left = left.saturating_sub(piece.len() as u64);
            piece
        })
    })
}

/// A body as it arrives.
trait BodyStream: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> BodyStream for S {}

async fn collect(payload: &mut impl BodyStream, max_body: u64) -> Result<Bytes, Problem> {
    // Most bodies come in one piece, which need not be copied.
    let first = match payload.next().await {
        None => return Ok(Bytes::new()),
        Some(piece) => check_limit(0, piece, max_body)?,
    };
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut body = BytesMut::from(&*first);
    let mut piece = second;
    loop {
        body.extend_from_slice(&check_limit(body.len(), piece, max_body)?);
        match payload.next().await {
            Some(next) => piece = next,
            None => return Ok(body.freeze()),
        }
    }
}

fn check_limit(so_far: usize, piece: Result<Bytes, PayloadError>, max_body: u64) -> Result<Bytes, Problem> {
    let piece = piece.map_err(|error| body_read_error(&error))?;
    let fits = u64::try_from(so_far.saturating_add(piece.len())).is_ok_and(|length| length <= max_body);
    if fits { Ok(piece) } else { Err(body_too_large(max_body)) }
}

fn body_too_large(max_body: u64) -> Problem {
    ProblemKind::BodyTooLarge.with_detail(format!("the body has more than {max_body} bytes"))
}

fn body_read_error(error: &PayloadError) -> Problem {
    ProblemKind::MalformedRequest.with_detail(format!("the body could not be read to its end: {error}"))
}

/// Whether the connection can be used again after a refusal. A server reads a body to its end or closes (RFC 9112 §9.3): a
/// little is read here, and if that was not all, the connection is closed.
pub(super) async fn drain_unread_body(request: &HttpRequest, payload: &mut Payload) -> bool {
    let headers = request.headers();
    let announced = headers::content_length(headers).unwrap_or(0);
    if request.version() > Version::HTTP_11 || (announced == 0 && !headers.contains_key(TRANSFER_ENCODING)) {
        return true;
    }
    if announced > DRAIN_BYTES as u64 || headers.contains_key(UPGRADE) {
        return false;
    }
    let mut left = DRAIN_BYTES;
    let drain = async {
        while let Some(Ok(chunk)) = payload.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(DRAIN_TIME, drain).await.unwrap_or(false)
}
