//! The request target (RFC 9112 §3.2): its length, its form, and percent-decoding (http-rules 99,
//! 115).
//!
//! A percent sign that begins no octet, an octet below 0x20 or 0x7F, and octets that are not UTF-8
//! are 400. `%2F` is a slash within its segment and never separates segments; `.` and `..` are
//! ordinary segments; empty segments and a trailing slash match no route. The target is a path or a
//! URL: `host:port` alone is for CONNECT, which no route takes, and would otherwise be read as a
//! URL without a path, the front page.

use std::borrow::Cow;

use actix_web::http::Uri;
use percent_encoding::percent_decode_str;

use crate::problem::{Problem, ProblemKind};

/// In bytes; RFC 9112 §3 recommends to support at least this.
const MAX_TARGET_BYTES: usize = 8000;

/// Checks the length and the form of a target; `*` is one (RFC 9110 §9.3.7).
///
/// # Errors
/// 414 and 400.
pub(super) fn validate(uri: &Uri) -> Result<(), Problem> {
    if uri.path() == "*" {
        return Ok(());
    }
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len() + "https://".len());
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len()) + authority;
    if length > MAX_TARGET_BYTES {
        let detail = format!("the request's target has {length} bytes; the limit is {MAX_TARGET_BYTES}");
        return Err(ProblemKind::UriTooLong.with_detail(detail));
    }
    if uri.authority().is_some() && uri.scheme().is_none() {
        let detail = "the request's target is neither a path nor a URL (RFC 9112 §3.2)";
        return Err(ProblemKind::MalformedRequest.with_detail(detail));
    }
    percent_decode(uri.path(), "path").map(|_| ())
}

/// The decoded segments of the path, without the empty one before the first slash.
///
/// # Errors
/// As [`validate`].
#[cfg(any(test, fuzzing))]
pub(super) fn decode_segments(uri: &Uri) -> Result<Vec<Cow<'_, str>>, Problem> {
    validate(uri)?;
    let path = uri.path();
    path.strip_prefix('/').unwrap_or(path).split('/').map(|segment| percent_decode(segment, "path")).collect()
}

/// Percent-decodes once. `place` is for the message.
///
/// # Errors
/// 400.
pub(super) fn percent_decode<'r>(raw: &'r str, place: &str) -> Result<Cow<'r, str>, Problem> {
    // Without an early end the compiler vectorizes the loop.
    let special = |byte: u8| u8::from(!byte.is_ascii_graphic()) | u8::from(byte == b'%');
    if raw.bytes().fold(0, |found, byte| found | special(byte)) == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    let refused = |why: &str| ProblemKind::MalformedRequest.with_detail(format!("the {place} {why}"));
    let mut escapes = raw.split('%').skip(1);
    let hex = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !escapes.all(|escape| escape.get(..2).is_some_and(hex)) {
        return Err(refused("has a percent sign that two hexadecimal digits do not follow"));
    }
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| refused("is not UTF-8"))?;
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(refused("holds a control character"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_target(target: &str) -> Result<Vec<String>, &'static str> {
        let uri: Uri = target.parse().expect("a target");
        let cut = decode_segments(&uri).map_err(|problem| problem.kind.as_str())?;
        Ok(cut.into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn a_path_is_decoded_once_and_segment_by_segment() {
        assert_eq!(decode_target("/records/crm/a%2Fb").expect("segments"), ["records", "crm", "a/b"]);
        assert_eq!(decode_target("/records/crm/a%252Fb").expect("segments"), ["records", "crm", "a%2Fb"]);
        assert_eq!(decode_target("/records/crm/a+b%20c").expect("segments"), ["records", "crm", "a+b c"]);
        assert_eq!(decode_target("/%C3%A4?x=%zz").expect("segments"), ["ä"]);
        assert_eq!(decode_target("http://host/a//").expect("segments"), ["a", "", ""]);
        assert_eq!(decode_target("/").expect("segments"), [""]);
    }

    #[test]
    fn a_target_that_cannot_be_decoded_is_malformed() {
        for target in [
            "host",
            "host:80",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%ff",
            "/%c3",
            "/a%00b",
            "/a%0d%0ab",
            "/%7f",
            "/%e0%80%af",
            "/a%+1",
        ] {
            assert_eq!(decode_target(target), Err("malformed-request"), "{target}");
        }
    }

    #[test]
    fn a_target_of_more_than_8000_bytes_is_too_long() {
        assert!(decode_target(&format!("/{}", "a".repeat(7999))).is_ok());
        assert_eq!(decode_target(&format!("/{}", "a".repeat(8000))), Err("uri-too-long"));
        assert_eq!(decode_target(&format!("/?{}", "a".repeat(8000))), Err("uri-too-long"));
    }
}
