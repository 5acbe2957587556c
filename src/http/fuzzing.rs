//! Properties of the parsers of a request's target and headers, for any input. The fuzz targets
//! (`cfg(fuzzing)`, `tests/fuzz`) and a unit test call them; the program does not contain them.

#![expect(clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

use actix_web::http::Uri;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_NONE_MATCH,
};

use super::headers::names::{IDEMPOTENCY_KEY, PREFER};
use super::headers::{self, BodyType, WriteHeaders};
use super::{query, request_target, response};
use crate::record::Precondition;

/// The lines of one header; those that no header can hold are left out.
fn header_map(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            map.append(name.clone(), value);
        }
    }
    map
}

/// One line, given as one character for each octet.
fn single_header(name: &HeaderName, text: &str) -> HeaderMap {
    let octets: Vec<u8> = text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect();
    header_map(name, &octets)
}

/// Every tag of a list is parsed, in order, and prints as the same list.
pub fn if_match(data: &[u8]) {
    let map = header_map(&IF_MATCH, data);
    let Ok(read) = headers::parse_precondition(&map, &IF_MATCH) else { return };
    let Some(condition) = read else { return assert!(!map.contains_key(IF_MATCH), "a header that was overlooked") };
    let printed = condition.to_string();
    let again = headers::parse_precondition(&single_header(&IF_MATCH, &printed), &IF_MATCH);
    assert_eq!(again, Ok(Some(condition.clone())), "{printed:?}");
    if let Precondition::AnyOf(tags) = &condition {
        let quotes = map.get_all(IF_MATCH).flat_map(HeaderValue::as_bytes).filter(|octet| **octet == b'"').count();
        assert_eq!(quotes, tags.len() * 2, "a tag for every pair of quotes");
    }
}

/// An unknown preference changes nothing at any position, and no preference is an error.
pub fn prefer(data: &[u8]) {
    let map = header_map(&PREFER, data);
    let Ok(parsed) = WriteHeaders::parse(&map) else { unreachable!("a preference that is an error") };
    let wait = parsed.prefer.wait.map(|wait| wait.as_secs());
    assert!(wait.is_none_or(|seconds| (1..=24 * 60 * 60).contains(&seconds)), "{wait:?}");
    for more in [[b"x-unknown=1\n", data].concat(), [data, b"\nx-unknown"].concat()] {
        let with = WriteHeaders::parse(&header_map(&PREFER, &more)).map(|parsed| format!("{:?}", parsed.prefer));
        assert_eq!(with.ok(), Some(format!("{:?}", parsed.prefer)));
    }
    let minimal = WriteHeaders::parse(&header_map(&PREFER, &[data, b"\nreturn=minimal"].concat()));
    assert!(minimal.is_ok_and(|parsed| !parsed.prefer.return_representation), "a body against `return=minimal`");
}

/// An accepted key is 1 to 255 visible ASCII characters, and the same key when it is quoted.
pub fn idempotency_key(data: &[u8]) {
    let map = header_map(&IDEMPOTENCY_KEY, data);
    let Ok(parsed) = WriteHeaders::parse(&map) else { return };
    let Some(key) = parsed.idempotency_key else { return assert!(!map.contains_key(IDEMPOTENCY_KEY), "overlooked") };
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic()), "{key:?}");
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let again = WriteHeaders::parse(&single_header(&IDEMPOTENCY_KEY, &quoted)).map(|parsed| parsed.idempotency_key);
    assert_eq!(again.ok().flatten(), Some(key));
}

/// The other headers are parsed without a panic, and their values can be passed on.
pub fn fields(data: &[u8]) {
    let text = |name: &'static str| header_map(&HeaderName::from_static(name), data);
    let id = headers::request_id(&text("x-request-id")).0;
    assert!((1..=128).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic()), "{id:?}");
    let key = header_map(&AUTHORIZATION, data);
    assert!(headers::bearer(&key).is_none_or(|key| !key.is_empty()), "an empty key");
    let _ = headers::accept::require_json(&header_map(&ACCEPT, data));
    let _ = headers::body_type(
        &header_map(&CONTENT_TYPE, data),
        &[BodyType::Json, BodyType::MergePatch, BodyType::JsonPatch],
    );
    let _ = headers::has_content_encoding(&header_map(&CONTENT_ENCODING, data));
    let _ = headers::content_length(&header_map(&CONTENT_LENGTH, data));
    let none_match = headers::parse_precondition(&header_map(&IF_NONE_MATCH, data), &IF_NONE_MATCH);
    let if_match = headers::parse_precondition(&header_map(&IF_MATCH, data), &IF_MATCH);
    assert_eq!(none_match.ok(), if_match.ok(), "one grammar for both");
    for name in ["accept-loss", "require-guarantee"] {
        let _ = WriteHeaders::parse(&text(name));
    }
    let mut trace = text("traceparent");
    for (_, value) in &text("tracestate") {
        trace.append(HeaderName::from_static("tracestate"), value.clone());
    }
    let _ = headers::trace_context(&trace, None);
}

const KNOWN_PARAMS: &[&str] = &["collection", "limit", "cursor"];

/// A decoded path encodes to one that decodes to the same. The link to the next page has the same
/// query except for its cursor, and no query can end the link.
pub fn request_target(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    if let Ok(segments) = request_target::decode_segments(&uri) {
        assert!(segments.iter().all(|one| !one.chars().any(|c| c.is_ascii_control())), "{segments:?}");
        if let [first, id] = segments.as_slice() {
            let path = response::record_path(first, id);
            let written = path.strip_prefix("/records/").and_then(|rest| rest.split_once('/'));
            let read = written.and_then(|(_, id)| request_target::percent_decode(id, "path").ok());
            assert_eq!(read.as_ref(), Some(id), "{path}");
        }
    }
    let raw = uri.query().unwrap_or_default();
    let Ok(query) = query::QueryParams::parse(raw, KNOWN_PARAMS) else { return };
    let _ = query.limit();
    let cursor = if raw.is_empty() { "first" } else { raw };
    let Some(link) = query.next_link_header("/records/crm", Some(cursor)) else {
        unreachable!("no link to the next page")
    };
    assert!(link.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' '), "{link:?}");
    let next = link.strip_prefix("</records/crm?").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let Some(Ok(again)) = next.map(|next| query::QueryParams::parse(next, KNOWN_PARAMS)) else {
        unreachable!("{link:?}")
    };
    assert_eq!(again.get("cursor"), Some(cursor));
    for name in ["collection", "limit"] {
        assert_eq!(again.get(name), query.get(name), "{name} in {link:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Target = fn(&[u8]);

    #[test]
    fn every_stored_fuzz_input_passes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let targets: [(&str, Target); 5] = [
            ("if_match", super::if_match),
            ("prefer", super::prefer),
            ("idempotency_key", super::idempotency_key),
            ("fields", super::fields),
            ("request_target", super::request_target),
        ];
        for (name, target) in targets {
            for kept in ["seeds", "regressions"] {
                // Not every target has had a finding.
                let Ok(inputs) = folder.join(kept).join(name).read_dir() else { continue };
                for input in inputs {
                    let input = input.expect("an input").path();
                    eprintln!("{}", input.display());
                    target(&std::fs::read(input).expect("its bytes"));
                }
            }
        }
    }
}
