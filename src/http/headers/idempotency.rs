//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header §2.1; http-rules 158, 159) and what
//! it is bound to.

use actix_web::http::header::HeaderMap;

use super::{names, syntax};
use crate::problem::Problem;

const MAX_KEY_LEN: usize = 255;

/// Parses the key: a Structured Field string (RFC 9651), or the same without quotes; `None` if it
/// is absent.
///
/// # Errors
/// 400 for anything else: to ignore the header would silently drop its protection.
pub(crate) fn parse_idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(line) = syntax::single_value(headers, &names::IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let key = if line.starts_with(b"\"") { parse_quoted(line) } else { parse_bare(line) };
    let fits = |key: &String| (1..=MAX_KEY_LEN).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match key.filter(fits) {
        Some(key) => Ok(Some(key)),
        None => Err(syntax::bad_header(
            "Idempotency-Key must be one string of 1 to 255 visible ASCII characters, such as \
             \"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        )),
    }
}

fn parse_quoted(line: &[u8]) -> Option<String> {
    match sfv::Parser::new(line).parse::<sfv::Item>().ok()?.bare_item {
        sfv::BareItem::String(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// A key without quotes is taken as it stands: a comma or a semicolon is a part of it.
fn parse_bare(line: &[u8]) -> Option<String> {
    std::str::from_utf8(line).ok().map(str::to_owned)
}

/// What a key is bound to: BLAKE3 over the parts, each with its length, so that no two requests
/// have the same digest. `If-Plan` is a part where it is sent.
pub(crate) fn fingerprint(method: &str, path: &str, if_match: &str, body: &[u8], if_plan: Option<&str>) -> [u8; 32] {
    let plan = if_plan.unwrap_or_default().as_bytes();
    let parts = [method.as_bytes(), path.as_bytes(), if_match.as_bytes(), body, plan];
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    let count = if if_plan.is_some() { parts.len() } else { parts.len() - 1 };
    let mut hasher = blake3::Hasher::new();
    for (length, part) in lengths.iter().zip(parts).take(count) {
        hasher.update(length).update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).expect("a field value");
            headers.append(names::IDEMPOTENCY_KEY, value);
        }
        parse_idempotency_key(&headers)
    }

    #[test]
    fn a_quoted_and_a_bare_key_are_the_same_key() {
        for line in [&br#""8e03978e-40d5""#[..], b"8e03978e-40d5", b" \"8e03978e-40d5\" ", br#""8e03978e-40d5";a=1"#] {
            assert_eq!(read(&[line]).expect("a key").as_deref(), Some("8e03978e-40d5"));
        }
        assert_eq!(read(&[br#""a\"b\\""#]).expect("a key").as_deref(), Some(r#"a"b\"#));
        assert_eq!(read(&[]).expect("absent"), None);
    }

    #[test]
    fn a_bare_key_may_hold_every_visible_character() {
        for line in ["2,3", "a;b=1", "a\\b", "a\"b", "!~"] {
            assert_eq!(read(&[line.as_bytes()]).expect("a key").as_deref(), Some(line));
        }
    }

    #[test]
    fn any_other_idempotency_key_is_an_error() {
        let long = "k".repeat(256);
        let cases: &[&[&[u8]]] = &[
            &[b""],
            &[br#""""#],
            &[br#""a"#],
            &[br#""a\x""#],
            &[br#""a b""#],
            &[b"a b"],
            &[b"a, b"],
            &[br#""a", "b""#],
            &[br#""a""#, br#""b""#],
            &[b"\"\xe4\""],
            &[b"\xc3\xa4"],
            &[long.as_bytes()],
        ];
        for lines in cases {
            assert!(read(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn no_two_requests_share_a_fingerprint_by_moving_bytes_between_parts() {
        let one = fingerprint("PATCH", "/records/a/b", "\"c\"", b"{}", None);
        assert_eq!(one, fingerprint("PATCH", "/records/a/b", "\"c\"", b"{}", None));
        assert_ne!(one, fingerprint("PATCH", "/records/a/b\"c\"", "", b"{}", None));
        assert_ne!(one, fingerprint("PATCH", "/records/a/", "b\"c\"", b"{}", None));
        assert_ne!(one, fingerprint("DELETE", "/records/a/b", "\"c\"", b"{}", None));
        assert_ne!(one, fingerprint("PATCH", "/records/a/b", "\"c\"", b"{} ", None));
        let with_plan = |plan| fingerprint("PATCH", "/records/a/b", "\"c\"", b"{}", Some(plan));
        assert!(one != with_plan("p.A") && with_plan("p.A") != with_plan("p.B"));
    }
}
