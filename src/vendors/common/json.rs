//! The JSON of vendors' responses.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

use super::errors::unparseable_response;
use crate::record::{RawJson, RawObject, VendorError};
use crate::transport::VendorResponse;

/// The first byte of a body after white space: it distinguishes an object, an array, `null` and an
/// HTML page.
pub(crate) fn first_byte(response: &VendorResponse) -> Option<u8> {
    response.body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether the body is the literal `null`.
pub(crate) fn is_null(response: &VendorResponse) -> bool {
    response.body.trim_ascii() == b"null"
}

/// The body as text. What is parsed from it shares its memory.
pub(crate) fn utf8(body: &Bytes) -> Result<ByteString, VendorError> {
    ByteString::try_from(body.clone()).map_err(unparseable_response)
}

/// The body as an object.
pub(crate) fn parse_object(body: &Bytes) -> Result<RawObject, VendorError> {
    RawObject::parse(body).map_err(unparseable_response)
}

/// The text of a member of an object whose other members may be unreadable: the id of a record in a
/// list. `is_name` finds the member.
pub(crate) fn text_member(object: &RawJson, is_name: impl Fn(&str) -> bool) -> Option<String> {
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object.as_str()).ok()?;
    let (_, value) = members.iter().find(|(name, _)| is_name(name))?;
    serde_json::from_str(value.get()).ok()
}
