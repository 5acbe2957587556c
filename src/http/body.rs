//! Reading a request's body: at most `max_body` bytes, in the time allowed, of a type that the
//! route takes (http-rules 93 to 98, 118, 119).

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::http::header::{TRANSFER_ENCODING, UPGRADE};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::compat;
use super::context::RequestContext;
use super::headers::{self, BodyType};
use super::request_state::RequestState;
use crate::problem::{Problem, ProblemKind};
use crate::record::{JsonError, parse_strict};

/// What is read of an unread body before its connection is closed instead, in bytes.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Reads the body. `accepted` are the types that the route takes.
///
/// # Errors
/// 413 by `Content-Length`, 415, then 413 and 408 while reading, 400 when the body ends too early.
pub(super) async fn read(context: &RequestContext, accepted: &[BodyType]) -> Result<(BodyType, Bytes), Problem> {
    read_up_to(context, accepted, context.api().limits.max_body).await
}

/// The same, of a body that may have `max_body` bytes.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_up_to(
    context: &RequestContext,
    accepted: &[BodyType],
    max_body: u64,
) -> Result<(BodyType, Bytes), Problem> {
    let (headers, limits) = (context.headers(), context.api().limits);
    if headers::content_length(headers).is_some_and(|length| length > max_body) {
        return Err(body_too_large(max_body));
    }
    if headers::has_content_encoding(headers) {
        return Err(ProblemKind::UnsupportedMediaType.with_detail("the body has a Content-Encoding; send it without"));
    }
    let body_type = headers::body_type(headers, accepted)?;
    let Some(request) = context.http_request() else { return item_body(context, body_type) };
    let mut payload = context.state().take_payload().unwrap_or(Payload::None);
    let mut stream = compat::limit_to_content_length(request, &mut payload);
    let body = tokio::time::timeout(limits.body_timeout, collect(&mut stream, max_body)).await;
    drop(stream);
    context.state().put_payload(payload);
    let late = |_| {
        let detail = format!("the body did not arrive within {} ms", limits.body_timeout.as_millis());
        ProblemKind::RequestTimeout.with_detail(detail)
    };
    Ok((body_type, body.map_err(late)??))
}

/// Parses a body that is JSON.
///
/// # Errors
/// 400.
pub(super) fn parse_json(body: &Bytes) -> Result<Value, Problem> {
    parse_strict(body).map_err(malformed_json)
}

/// 400 for a body that is not JSON.
pub(super) fn malformed_json(JsonError(detail): JsonError) -> Problem {
    ProblemKind::MalformedRequest.with_detail(detail)
}

/// The body of an item of a batch, which has arrived with the batch.
fn item_body(context: &RequestContext, body_type: BodyType) -> Result<(BodyType, Bytes), Problem> {
    let body = context.item().map(|item| item.body.clone()).unwrap_or_default();
    Ok((body_type, check_limit(0, Ok(body), context.api().limits.max_body)?))
}

/// A body as it arrives.
trait BodyStream: Stream<Item = Result<Bytes, PayloadError>> + Unpin {}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> BodyStream for S {}

async fn collect(payload: &mut impl BodyStream, max_body: u64) -> Result<Bytes, Problem> {
    // Most bodies come in one chunk, which is not copied.
    let first = match payload.next().await {
        None => return Ok(Bytes::new()),
        Some(chunk) => check_limit(0, chunk, max_body)?,
    };
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut body = BytesMut::from(&*first);
    let mut chunk = second;
    loop {
        body.extend_from_slice(&check_limit(body.len(), chunk, max_body)?);
        match payload.next().await {
            Some(next) => chunk = next,
            None => return Ok(body.freeze()),
        }
    }
}

fn check_limit(so_far: usize, chunk: Result<Bytes, PayloadError>, max_body: u64) -> Result<Bytes, Problem> {
    let chunk = chunk.map_err(|error| body_read_error(&error))?;
    let fits = u64::try_from(so_far.saturating_add(chunk.len())).is_ok_and(|length| length <= max_body);
    if fits { Ok(chunk) } else { Err(body_too_large(max_body)) }
}

fn body_too_large(max_body: u64) -> Problem {
    ProblemKind::BodyTooLarge.with_detail(format!("the body has more than {max_body} bytes"))
}

fn body_read_error(error: &PayloadError) -> Problem {
    let why = match error {
        // actix-http reports a broken chunk as the end of the connection.
        PayloadError::Incomplete(_) => "the connection ended before it, or its chunks are malformed",
        PayloadError::Http2Payload(_) => "the stream ended before it",
        PayloadError::Io(_) => "the connection failed before it",
        _ => "what follows on the connection is not HTTP",
    };
    ProblemKind::MalformedRequest.with_detail(format!("the body could not be read to its end: {why}"))
}

/// Whether the connection can be used again after a refusal. A server reads a body to its end or
/// closes the connection (RFC 9112 §9.3): a short rest is read here.
pub(super) async fn drain_unread_body(request: &HttpRequest, state: &RequestState) -> bool {
    let headers = request.headers();
    let announced = headers::content_length(headers).unwrap_or(0);
    if request.version() > Version::HTTP_11 || (announced == 0 && !headers.contains_key(TRANSFER_ENCODING)) {
        return true;
    }
    if announced > DRAIN_BYTES as u64 || headers.contains_key(UPGRADE) {
        return false;
    }
    // A handler that panicked while it read has lost the rest.
    let Some(mut payload) = state.take_payload() else { return false };
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
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, drain).await.unwrap_or(false);
    state.put_payload(payload);
    drained
}
