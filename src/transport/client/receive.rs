//! Reads response bodies and translates awc's errors.

use std::io::Read;

use actix_web::error::{ParseError, PayloadError};
use awc::ClientResponse;
use awc::error::{ConnectError, SendRequestError};
use bytes::{Bytes, BytesMut};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt as _;
use serde::de::IgnoredAny;

use crate::record::{VendorError, VendorErrorKind};
use crate::transport::sanitize::sanitize_text;

/// Reads the body; `None` if it is longer than `max_body` bytes. `announced` is its
/// `Content-Length`, and `fits` checks its length so far. Dropping the response then closes the
/// connection.
pub(super) async fn read_body(
    response: &mut ClientResponse,
    max_body: usize,
    announced: Option<usize>,
    mut fits: impl FnMut(usize) -> Result<(), VendorError>,
) -> Result<Option<Bytes>, VendorError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| fault_from_payload_error(&error))?;
        if first.len().max(all.len()) + chunk.len() > max_body {
            return Ok(None);
        }
        fits(first.len().max(all.len()) + chunk.len())?;
        // A body of one chunk, the usual case, is not copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.unwrap_or(0).min(max_body).max(first.len() + chunk.len()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(if all.is_empty() { first } else { all.freeze() }))
}

/// The content of a body; `None` if it is longer than `max_body` bytes. Some vendors use gzip
/// although it was not accepted.
pub(super) fn decode_body(body: Bytes, coding: Option<&str>, max_body: usize) -> Result<Option<Bytes>, VendorError> {
    let coding = coding.unwrap_or_default().trim().to_ascii_lowercase();
    match coding.as_str() {
        "" | "identity" => Ok(Some(body)),
        "gzip" | "x-gzip" | "deflate" if body.is_empty() => Ok(Some(body)),
        "gzip" | "x-gzip" => read_decoded(MultiGzDecoder::new(&*body), "gzip", max_body),
        "deflate" => read_decoded(ZlibDecoder::new(&*body), "deflate", max_body),
        _ => {
            let coding = sanitize_text(&coding).unwrap_or_default();
            Err(VendorError::invalid_response(format!("the vendor's response has the unaccepted coding {coding}")))
        }
    }
}

fn read_decoded(decoder: impl Read, coding: &str, max_body: usize) -> Result<Option<Bytes>, VendorError> {
    let limit = u64::try_from(max_body).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    decoder
        .take(limit)
        .read_to_end(&mut content)
        .map_err(|error| VendorError::invalid_response(format!("the server's response is not {coding}: {error}")))?;
    Ok((content.len() <= max_body).then(|| content.into()))
}

/// Whether a body ended early: it differs from its `Content-Length` or, without one, is unfinished
/// JSON.
pub(super) fn is_truncated(body: &[u8], content_length: Option<usize>, content_type: &str) -> bool {
    match content_length {
        Some(length) => length != body.len(),
        None => {
            !body.is_empty()
                && content_type.contains("json")
                && serde_json::from_slice::<IgnoredAny>(body).is_err_and(|error| error.is_eof())
        }
    }
}

pub(super) fn truncated_fault() -> VendorError {
    VendorError::new(VendorErrorKind::ConnectionLost).message("the server's response was cut short")
}

fn fault_from_payload_error(error: &PayloadError) -> VendorError {
    match error {
        PayloadError::Incomplete(_) | PayloadError::Io(_) => truncated_fault(),
        other => VendorError::invalid_response(format!("the server's response could not be read: {other}")),
    }
}

/// Translates the error of a request that got no response. Only a failure to connect proves that
/// nothing was sent.
pub(super) fn fault_from_send_error(error: &SendRequestError) -> VendorError {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => VendorError::new(VendorErrorKind::ConnectionLost)
            .message("the server closed the connection without a response"),
        SendRequestError::Connect(error) => VendorError::new(VendorErrorKind::Unavailable)
            .message(sanitize_text(&format!("no connection to the server: {error}")).unwrap_or_default()),
        SendRequestError::Url(_) | SendRequestError::Http(_) => {
            VendorError::invalid_response("the gateway built a request that cannot be sent").without_effect()
        }
        SendRequestError::Timeout => VendorError::new(VendorErrorKind::Timeout),
        SendRequestError::Send(_) | SendRequestError::Body(_) => VendorError::new(VendorErrorKind::ConnectionLost)
            .message("the connection to the server broke while the request was being sent"),
        SendRequestError::Response(ParseError::Io(_) | ParseError::Incomplete | ParseError::Timeout) => {
            truncated_fault()
        }
        SendRequestError::Response(error) => {
            let why = sanitize_text(&error.to_string()).unwrap_or_default();
            VendorError::invalid_response(format!("the server's response is not HTTP that can be read: {why}"))
        }
        _ => VendorError::new(VendorErrorKind::ConnectionLost).message("the exchange with the server failed"),
    }
}
