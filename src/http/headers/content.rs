//! `Content-Type`, `Content-Encoding` and `Content-Length` of a request (RFC 9110 §8.3, §8.4, §8.6;
//! http-rules 93 to 98).

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};

use super::syntax;
use crate::problem::{Problem, ProblemKind};

/// The media types of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyType {
    /// `application/json`.
    Json,
    /// `application/merge-patch+json`.
    MergePatch,
    /// `application/json-patch+json`.
    JsonPatch,
}

impl BodyType {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::JsonPatch => "application/json-patch+json",
        }
    }
}

/// The type of the body, one of `accepted`. Case does not matter; parameters are ignored, except
/// that `charset` must be UTF-8.
///
/// # Errors
/// 415; 400 when the header was sent twice.
pub(crate) fn body_type(headers: &HeaderMap, accepted: &[BodyType]) -> Result<BodyType, Problem> {
    let refused = |why: &str| {
        let names: Vec<_> = accepted.iter().map(|one| one.name()).collect();
        ProblemKind::UnsupportedMediaType.with_detail(format!("{why}; send one of {}", names.join(", ")))
    };
    let Some(line) = syntax::single_value(headers, &CONTENT_TYPE)? else {
        return Err(refused("the body has no Content-Type"));
    };
    if let Some(found) = accepted.iter().find(|one| one.name().as_bytes() == line) {
        return Ok(*found);
    }
    let text = std::str::from_utf8(line).map_err(|_| refused("the Content-Type is not UTF-8"))?;
    let mut parts = syntax::split_list(text, ';');
    let essence = parts.next().unwrap_or_default();
    let Some(found) = accepted.iter().find(|one| one.name().eq_ignore_ascii_case(essence)) else {
        return Err(refused("the Content-Type is not accepted here"));
    };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let utf8 = syntax::unquote(value).is_some_and(|value| value.eq_ignore_ascii_case("utf-8"));
        if name.eq_ignore_ascii_case("charset") && !utf8 {
            return Err(refused("JSON is UTF-8 and nothing else (RFC 8259 §8.1)"));
        }
    }
    Ok(*found)
}

/// Whether the body has a content coding. The gateway decodes none.
pub(crate) fn has_content_encoding(headers: &HeaderMap) -> bool {
    let mut codings = syntax::field_values(headers, CONTENT_ENCODING)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(syntax::trim);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

/// `Content-Length`; `None` for a chunked body.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(lines: &[&'static str]) -> Result<BodyType, &'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(line));
        }
        body_type(&headers, &[BodyType::Json, BodyType::MergePatch]).map_err(|problem| problem.kind.as_str())
    }

    #[test]
    fn types_are_compared_without_case_and_with_parameters() {
        for (line, expected) in [
            ("application/json", Ok(BodyType::Json)),
            ("Application/Merge-Patch+JSON; charset=utf-8", Ok(BodyType::MergePatch)),
            ("application/json;CHARSET=\"UTF-8\" ; x=y", Ok(BodyType::Json)),
            ("application/json;charset=iso-8859-1", Err("unsupported-media-type")),
            ("application/json;charset=\"", Err("unsupported-media-type")),
            ("application/json-patch+json", Err("unsupported-media-type")),
            ("text/json", Err("unsupported-media-type")),
            ("application/json2", Err("unsupported-media-type")),
            ("application/json, application/json", Err("unsupported-media-type")),
            ("", Err("unsupported-media-type")),
        ] {
            assert_eq!(read(&[line]), expected, "{line}");
        }
        assert_eq!(read(&[]), Err("unsupported-media-type"));
        assert_eq!(read(&["application/json", "application/json"]), Err("malformed-request"));
    }

    #[test]
    fn only_identity_counts_as_no_content_coding() {
        for (line, expected) in
            [("identity", false), ("Identity", false), ("", false), ("gzip", true), ("identity, br", true), ("i", true)]
        {
            let mut headers = HeaderMap::new();
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            assert_eq!(has_content_encoding(&headers), expected, "{line}");
        }
    }
}
