//! The call that a write would send, as a preview shows it.

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::record::{RawJson, sha256};
use crate::system::System;
use crate::transport::{Token, VendorRequest};

/// What stands for a value that authorizes a call.
const MASK: &str = "•••";

/// A call to the vendor.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PreviewCall {
    /// The kind of the call: `create`, `update` or `delete`.
    pub call: &'static str,
    /// The HTTP method.
    #[schema(example = "PUT")]
    pub method: String,
    /// The whole URL.
    #[schema(format = "uri")]
    pub url: String,
    /// The headers of the vendor's protocol. Values that authorize the call are `•••`.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub headers: Headers,
    /// The body; null if there is none.
    #[schema(value_type = Option<Value>)]
    pub body: Option<RawJson>,
    /// SHA-256 over the bytes of the body, in hex.
    #[schema(example = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    pub body_sha256: String,
}

/// Headers in their order.
#[derive(Clone, Debug)]
pub struct Headers(Vec<(String, String)>);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl PreviewCall {
    pub(super) fn new(system: &System, request: &VendorRequest) -> Self {
        let body = request.body.as_deref().unwrap_or_default();
        Self {
            call: request.kind.as_str(),
            method: request.method.to_string(),
            url: system.transport.url(&request.path),
            headers: masked_headers(system, request),
            body: request.body.as_ref().and_then(body_json),
            body_sha256: const_hex::encode(sha256([body])),
        }
    }
}

/// The request's headers, and those that authorize it without their values.
fn masked_headers(system: &System, request: &VendorRequest) -> Headers {
    let plain = &request.headers;
    let mut signed = request.clone();
    let placeholder = Token { secret: HeaderValue::from_static("-"), expires: None };
    system.adapter.sign(&mut signed, &placeholder);
    let show = |(name, value): &(HeaderName, HeaderValue)| {
        let is_plain = plain.iter().any(|(other, text)| other == name && text == value) && !value.is_sensitive();
        let text = value.to_str().ok().filter(|_| is_plain);
        (name.to_string(), text.unwrap_or(MASK).to_owned())
    };
    Headers(signed.headers.iter().map(show).collect())
}

/// A body that is JSON as it stands; any other as a string.
fn body_json(body: &Bytes) -> Option<RawJson> {
    let text = std::str::from_utf8(body).ok()?;
    let raw = serde_json::from_str::<&RawValue>(text).is_ok();
    let json = if raw { text.to_owned() } else { Value::from(text).to_string() };
    serde_json::from_str(&json).ok()
}
