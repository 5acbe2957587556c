//! What must hold of a request's target and fields, whatever octets they are made of: the only door to the private parsers
//! of this room. It is there for the fuzz targets (`cfg(fuzzing)`, see `tests/fuzz`) and for this crate's own tests, which run
//! it over the inputs that are kept; the program has none of it.

#![expect(clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

use actix_web::http::Uri;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_NONE_MATCH,
};

use super::headers::{self, BodyType, WriteHeaders};
use super::{query, request_target, response};
use crate::record::Precondition;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The lines of one field; those that no field can hold are left out.
fn header_map(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            map.append(name.clone(), value);
        }
    }
    map
}

/// One line of octets that were written as characters, one for each.
fn single_header(name: &HeaderName, text: &str) -> HeaderMap {
    let octets: Vec<u8> = text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect();
    header_map(name, &octets)
}

/// Every tag of a list is read, in its order, and printed so that the same list is read again.
pub fn if_match(data: &[u8]) {
    let map = header_map(&IF_MATCH, data);
    let Ok(read) = headers::parse_precondition(&map, &IF_MATCH) else { return };
    let Some(condition) = read else { return assert!(!map.contains_key(IF_MATCH), "a field that was overlooked") };
    let printed = condition.to_string();
    let again = headers::parse_precondition(&single_header(&IF_MATCH, &printed), &IF_MATCH);
    assert_eq!(again, Ok(Some(condition.clone())), "{printed:?}");
    if let Precondition::AnyOf(tags) = &condition {
        let quotes = map.get_all(IF_MATCH).flat_map(HeaderValue::as_bytes).filter(|octet| **octet == b'"').count();
        assert_eq!(quotes, tags.len() * 2, "a tag for every pair of quotes");
    }
}

/// A preference nobody knows changes nothing, wherever it stands, and no preference is an error.
pub fn prefer(data: &[u8]) {
    let map = header_map(&PREFER, data);
    let Ok(terms) = WriteHeaders::read(&map) else { unreachable!("a preference that is an error") };
    let wait = terms.prefer.wait.map(|wait| wait.as_secs());
    assert!(wait.is_none_or(|seconds| (1..=24 * 60 * 60).contains(&seconds)), "{wait:?}");
    for more in [[b"x-unknown=1\n", data].concat(), [data, b"\nx-unknown"].concat()] {
        let with = WriteHeaders::read(&header_map(&PREFER, &more)).map(|terms| format!("{:?}", terms.prefer));
        assert_eq!(with.ok(), Some(format!("{:?}", terms.prefer)));
    }
    let minimal = WriteHeaders::read(&header_map(&PREFER, &[data, b"\nreturn=minimal"].concat()));
    assert!(minimal.is_ok_and(|terms| !terms.prefer.return_representation), "a body although none is wanted");
}

/// A key that is taken is visible ASCII, of a sensible length, and the same when it is quoted.
pub fn idempotency_key(data: &[u8]) {
    let map = header_map(&IDEMPOTENCY_KEY, data);
    let Ok(terms) = WriteHeaders::read(&map) else { return };
    let Some(key) = terms.idempotency_key else { return assert!(!map.contains_key(IDEMPOTENCY_KEY), "overlooked") };
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic()), "{key:?}");
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    let again = WriteHeaders::read(&single_header(&IDEMPOTENCY_KEY, &quoted)).map(|terms| terms.idempotency_key);
    assert_eq!(again.ok().flatten(), Some(key));
}

/// The other fields that are read are read without a panic, and what comes of them is fit to be passed on.
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
        let _ = WriteHeaders::read(&text(name));
    }
    let mut trace = text("traceparent");
    for (_, value) in &text("tracestate") {
        trace.append(HeaderName::from_static("tracestate"), value.clone());
    }
    let _ = headers::trace_context(&trace, None);
}

const KNOWN_PARAMS: &[&str] = &["collection", "limit", "cursor"];

/// A path is decoded once and written back as one that decodes to the same; a query goes into the link to the next page
/// unchanged but for its cursor, and never ends that link.
pub fn request_target(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    if let Ok(segments) = request_target::segments(&uri) {
        assert!(segments.iter().all(|one| !one.chars().any(|c| c.is_ascii_control())), "{segments:?}");
        if let [first, id] = segments.as_slice() {
            let path = response::record_path(first, id);
            let written = path.strip_prefix("/records/").and_then(|rest| rest.split_once('/'));
            let read = written.and_then(|(_, id)| request_target::percent_decode(id, "path").ok());
            assert_eq!(read.as_ref(), Some(id), "{path}");
        }
    }
    let raw = uri.query().unwrap_or_default();
    let Ok(query) = query::QueryParams::read(raw, KNOWN_PARAMS) else { return };
    let _ = query.limit();
    let Some(link) = query.next_link_header("/records/crm", Some(raw)) else {
        unreachable!("no link to the next page")
    };
    assert!(link.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' '), "{link:?}");
    let next = link.strip_prefix("</records/crm?").and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    let Some(Ok(again)) = next.map(|next| query::QueryParams::read(next, KNOWN_PARAMS)) else {
        unreachable!("{link:?}")
    };
    assert_eq!(again.get("cursor"), Some(raw).filter(|raw| !raw.is_empty()));
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
