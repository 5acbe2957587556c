//! `If-Match` and `If-None-Match` (RFC 9110 §13.1.1, §13.1.2; http-rules 8 to 29, 40 to 50).
//!
//! A malformed header is 400: to ignore it would perform the very write that it is to prevent.

use std::borrow::Cow;

use actix_web::http::header::{HeaderMap, HeaderName};

use super::syntax;
use crate::problem::Problem;
use crate::record::{EntityTag, Precondition};

/// Parses one of the two headers; `None` if it is absent.
///
/// # Errors
/// 400 when it is neither `*` alone nor a list of entity tags with at least one member.
pub(crate) fn parse_precondition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Precondition>, Problem> {
    let lines: Vec<&[u8]> = syntax::field_values(headers, name).map(syntax::trim).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    if lines == [b"*"] {
        return Ok(Some(Precondition::Exists));
    }
    let mut tags = Vec::with_capacity(1);
    let complete = lines.iter().all(|line| parse_etag_list(line, &mut tags).is_some());
    if !complete || tags.is_empty() {
        return Err(syntax::bad_header(&format!(
            "{name} must be `*` alone or a list of entity tags, each in double quotes as in `ETag`, such as {name}: \"c7.x\""
        )));
    }
    Ok(Some(Precondition::AnyOf(tags)))
}

/// Parses an entity tag of the gateway itself.
pub(crate) fn parse_own_etag(text: &str) -> Option<EntityTag> {
    match parse_one_etag(text.as_bytes())? {
        (tag, []) => Some(tag),
        _ => None,
    }
}

fn parse_etag_list(line: &[u8], tags: &mut Vec<EntityTag>) -> Option<()> {
    let mut rest = line;
    let mut separated = true;
    loop {
        rest = syntax::trim(rest);
        match rest {
            [] => return Some(()),
            [b',', after @ ..] => {
                separated = true;
                rest = after;
            }
            _ if separated => {
                let (tag, after) = parse_one_etag(rest)?;
                tags.push(tag);
                separated = false;
                rest = after;
            }
            _ => return None,
        }
    }
}

fn parse_one_etag(bytes: &[u8]) -> Option<(EntityTag, &[u8])> {
    let (weak, quoted) = bytes.strip_prefix(b"W/").map_or((false, bytes), |quoted| (true, quoted));
    let inner = quoted.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| *byte == b'"')?;
    let (opaque, after) = inner.split_at_checked(end)?;
    let allowed = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..=0xff));
    // Each octet becomes one character, so that two tags are equal exactly when their octets are.
    let opaque = match std::str::from_utf8(opaque) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(opaque.iter().map(|byte| char::from(*byte)).collect()),
    };
    allowed.then(|| (EntityTag::from_header(weak, &opaque), after.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderValue, IF_MATCH};

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<Precondition>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_bytes(line).expect("a field value"));
        }
        parse_precondition(&headers, &IF_MATCH)
    }

    fn any_of(tags: &[(bool, &str)]) -> Precondition {
        Precondition::AnyOf(tags.iter().map(|(weak, opaque)| EntityTag::from_header(*weak, opaque)).collect())
    }

    #[test]
    fn a_well_formed_field_is_one_list_whatever_its_lines() {
        let cases: &[(&[&[u8]], Option<Precondition>)] = &[
            (&[], None),
            (&[b"*"], Some(Precondition::Exists)),
            (&[b" * "], Some(Precondition::Exists)),
            (&[br#""a""#], Some(any_of(&[(false, "a")]))),
            (&[br#""""#], Some(any_of(&[(false, "")]))),
            (&[br#"W/"a""#], Some(any_of(&[(true, "a")]))),
            (&[br#""a", W/"b","c""#], Some(any_of(&[(false, "a"), (true, "b"), (false, "c")]))),
            (&[b", \"a\",\t,"], Some(any_of(&[(false, "a")]))),
            (&[br#""a,b""#], Some(any_of(&[(false, "a,b")]))),
            (&[br#""a\""#], Some(any_of(&[(false, "a\\")]))),
            (&[br#""x""#, br#""y""#], Some(any_of(&[(false, "x"), (false, "y")]))),
            (&[b"", br#""y""#], Some(any_of(&[(false, "y")]))),
            (&[b"\"\xe4\""], Some(any_of(&[(false, "\u{e4}")]))),
            (&[br#""*""#], Some(any_of(&[(false, "*")]))),
        ];
        for (lines, expected) in cases {
            assert_eq!(&read(lines).expect("well-formed"), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_malformed_field_is_an_error_and_never_absent() {
        let cases: &[&[&[u8]]] = &[
            &[b""],
            &[b","],
            &[b"abc"],
            &[br#""abc"#],
            &[br#"abc""#],
            &[br#"w/"a""#],
            &[br#"W / "a""#],
            &[br#"W/ "a""#],
            &[br#""a" "b""#],
            &[br#""a""b""#],
            &[br#""a b""#],
            &[b"\"a\tb\""],
            &[b"*,"],
            &[br#"*, "a""#],
            &[br#""a", *"#],
            &[b"*, *"],
            &[b"*", b"*"],
            &[b"*", br#""a""#],
            &[b"*", b""],
            &[br#""a"; "b""#],
        ];
        for lines in cases {
            let problem = read(lines).expect_err("malformed");
            assert_eq!(problem.kind.as_str(), "malformed-request", "{lines:?}");
        }
    }

    #[test]
    fn the_gateways_own_tag_is_read_back() {
        assert_eq!(parse_own_etag(r#""c7.x""#), Some(EntityTag::from_header(false, "c7.x")));
        assert_eq!(parse_own_etag(r#""c7.x" "#), None);
        assert_eq!(parse_own_etag("c7.x"), None);
    }
}
