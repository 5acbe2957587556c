//! OAuth 2 client credentials (RFC 6749 §4.4).

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value};

use super::access_token::{limit_token_ttl, secret_header};
use super::errors::unparseable_response;
use crate::record::{VendorError, VendorErrorKind, percent_encode};
use crate::transport::{JSON, VendorRequest, VendorRequestKind, sanitize_text};

const FORM_MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Requests a token with a form. Both the client's id and its secret are in the body.
pub(crate) fn client_credentials_request(path: &str, client_id: &str, secret: &str, scope: &str) -> VendorRequest {
    let fields =
        [("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", secret), ("scope", scope)];
    VendorRequest::new(VendorRequestKind::SignIn, Method::POST, path)
        .header(ACCEPT, JSON)
        .header(CONTENT_TYPE, FORM_MEDIA_TYPE)
        .body(form_body(&fields))
}

/// A body in the form `name=value&name=value`.
fn form_body(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Parses the response to a request for a token: `prefix` and `access_token` as a header value, and
/// the time for which it is trusted.
pub(crate) fn parse_token_response(body: &[u8], prefix: &str) -> Result<(HeaderValue, Duration), VendorError> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(unparseable_response)?;
    let Some(token) = members.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty()) else {
        let message = members.get("message").and_then(Value::as_str).and_then(sanitize_text);
        return Err(message.map_or_else(
            || unparseable_response("it holds no access_token"),
            |message| VendorError::new(VendorErrorKind::CredentialsRejected).message(message),
        ));
    };
    let header = secret_header(&format!("{prefix}{token}"))
        .ok_or_else(|| unparseable_response("an access_token that cannot be a header value"))?;
    Ok((header, token_lifetime(members.get("expires_in"))))
}

/// `expires_in`: seconds, as a number or as a text.
fn token_lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds: Option<f64> = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let lifetime = seconds
        .filter(|seconds| !seconds.is_nan())
        .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    limit_token_ttl(lifetime)
}
