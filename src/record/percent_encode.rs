//! Percent-encoding of one path segment or one query value (RFC 3986 §2.1).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// Everything except the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same without the colon, which a path segment may hold (RFC 3986 §3.3).
const RESERVED_IN_ID: &AsciiSet = &RESERVED.remove(b':');

/// Encodes everything except the unreserved characters.
pub fn percent_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Encodes everything except the unreserved characters and the colons of record ids.
pub fn percent_encode_id(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED_IN_ID)
}
