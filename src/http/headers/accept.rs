//! `Accept` (RFC 9110 §12.5.1; http-rules 96). Every path that needs a caller responds with
//! `application/json`, but schemas are `application/schema+json`, a batch can be
//! `application/x-ndjson`, and the feed of changes can be `text/event-stream`. Problems are
//! `application/problem+json` whatever `Accept` is (RFC 9457 §3), but for the 401 and 404 of
//! browsers ([`accepts_html`]).

use actix_web::http::header::{ACCEPT, HeaderMap};

use super::syntax;
use crate::problem::{Problem, ProblemKind};

/// Requires that `Accept` allows `application/json`. A header that is absent, empty or without a
/// valid member allows everything.
///
/// # Errors
/// 406.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get_all(ACCEPT).all(|line| matches!(line.as_bytes(), b"application/json" | b"*/*")) {
        return Ok(());
    }
    require_subtype(headers, "json")
}

/// The same for `application/schema+json`, which `application/json` matches as well.
///
/// # Errors
/// 406.
pub(crate) fn require_schema(headers: &HeaderMap) -> Result<(), Problem> {
    require_json(headers).or_else(|_| require_subtype(headers, "schema+json"))
}

/// The media ranges of `Accept`. Lines that are no text are left out.
fn members(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = syntax::field_values(headers, ACCEPT).filter_map(|line| std::str::from_utf8(line).ok());
    lines.flat_map(|line| syntax::split_list(line, ','))
}

fn require_subtype(headers: &HeaderMap, subtype: &str) -> Result<(), Problem> {
    let ranges = members(headers).filter_map(|member| match_media_range(member, subtype));
    // The most specific range that fits decides; of two equally specific ones the more generous.
    let best = ranges.fold(None, |best: Option<(Option<u8>, bool)>, (fits, accepted)| match best {
        Some((seen, earlier)) if seen == fits => Some((seen, earlier || accepted)),
        Some((seen, _)) if seen > fits => best,
        _ => Some((fits, accepted)),
    });
    match best {
        None | Some((Some(_), true)) => Ok(()),
        Some(_) => Err(ProblemKind::NotAcceptable
            .with_detail(format!("Accept allows no media type of this response, such as application/{subtype}"))),
    }
}

/// The forms of the feed of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedFormat {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    EventStream,
}

/// Which form of the feed of changes `Accept` selects.
///
/// # Errors
/// 406.
pub(crate) fn json_or_event_stream(headers: &HeaderMap) -> Result<FeedFormat, Problem> {
    let is_stream = prefers_to_json(headers, "text/event-stream")?;
    Ok(if is_stream { FeedFormat::EventStream } else { FeedFormat::Json })
}

/// Whether the response may be lines of JSON, `application/x-ndjson`.
///
/// # Errors
/// 406, where `Accept` excludes both.
pub(crate) fn require_json_or_lines(headers: &HeaderMap) -> Result<bool, Problem> {
    prefers_to_json(headers, "application/x-ndjson")
}

/// Whether `Accept` prefers this media type to `application/json`: only a caller that names it gets
/// it, and of two with the same weight the first.
fn prefers_to_json(headers: &HeaderMap, media_type: &str) -> Result<bool, Problem> {
    let mut named: Option<(usize, u16)> = None;
    let mut json: Option<(usize, u16)> = None;
    for (position, member) in members(headers).enumerate() {
        let mut parts = syntax::split_list(member, ';');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let Some(weight) = weight_of(parts).filter(|weight| *weight > 0) else { continue };
        if name == media_type {
            named.get_or_insert((position, weight));
        } else if name == "application/json" {
            json.get_or_insert((position, weight));
        }
    }
    match (named, json) {
        (Some((position, weight)), Some((json_position, json_weight))) => {
            Ok(weight > json_weight || (weight == json_weight && position < json_position))
        }
        (Some(_), None) => Ok(true),
        (None, _) => require_json(headers).map(|()| false),
    }
}

/// The weight among the parameters of a range in thousandths; `None` = it is no weight.
fn weight_of<'p>(parts: impl Iterator<Item = &'p str>) -> Option<u16> {
    let mut pairs = parts.filter_map(|part| part.split_once('='));
    match pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("q")) {
        Some((_, digits)) => parse_weight(digits.trim()),
        None => Some(1000),
    }
}

/// Whether `Accept` names HTML and not JSON, as that of a browser does.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let names: Vec<String> =
        members(headers).filter_map(|member| Some(member.split(';').next()?.trim().to_ascii_lowercase())).collect();
    names.iter().any(|name| name == "text/html") && !names.iter().any(|name| name.ends_with("json"))
}

/// How specifically a range matches `application/` and the subtype (`None`: not at all), and
/// whether its weight is above 0.
fn match_media_range(member: &str, offered: &str) -> Option<(Option<u8>, bool)> {
    let mut parts = syntax::split_list(member, ';');
    let (kind, subtype) = parts.next()?.split_once('/')?;
    if !syntax::is_token(kind) || !syntax::is_token(subtype) {
        return None;
    }
    let fits = match (kind.to_ascii_lowercase().as_str(), subtype.to_ascii_lowercase().as_str()) {
        ("application", subtype) if subtype == offered => Some(2),
        ("application", "*") => Some(1),
        ("*", "*") => Some(0),
        _ => None,
    };
    Some((fits, weight_of(parts)? > 0))
}

/// A weight (RFC 9110 §12.4.2) in thousandths.
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("1", 0) => Some(1000),
        ("0", thousandths) => Some(thousandths),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_stream_is_sent_to_who_names_it() {
        use FeedFormat::{EventStream, Json};
        for (accept, expected) in [
            ("text/event-stream", Some(EventStream)),
            ("Text/Event-Stream; q=0.5, */*;q=0.1", Some(EventStream)),
            ("application/json, text/event-stream", Some(Json)),
            ("text/event-stream;q=0, application/json", Some(Json)),
            ("text/event-stream;q=0.1, application/json", Some(Json)),
            ("application/json;q=0.9, text/event-stream;q=0.95", Some(EventStream)),
            ("*/*", Some(Json)),
            ("text/*", None),
            ("text/event-stream;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(json_or_event_stream(&headers).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn lines_are_for_callers_that_name_them_first() {
        for (line, expected) in [
            ("*/*", Ok(false)),
            ("application/json", Ok(false)),
            ("application/x-ndjson", Ok(true)),
            ("Application/X-NDJSON;q=0.5, application/json;q=0.1", Ok(true)),
            ("application/json, application/x-ndjson", Ok(false)),
            ("application/x-ndjson;q=0, */*", Ok(false)),
            ("text/html", Err("not-acceptable")),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, HeaderValue::from_static(line));
            assert_eq!(require_json_or_lines(&headers).map_err(|problem| problem.kind.as_str()), expected, "{line}");
        }
    }

    #[test]
    fn the_most_specific_range_decides() {
        let cases: &[(&[&str], bool)] = &[
            (&[], true),
            (&[""], true),
            (&["*/*"], true),
            (&["application/*"], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["text/html, application/json;q=0.001"], true),
            (&["text/html", "*/*;q=0.1"], true),
            (&["text/html"], false),
            (&["application/problem+json"], false),
            (&["application/json;q=0"], false),
            (&["*/*, application/json;q=0"], false),
            (&["application/json;q=0.000, application/*"], false),
            (&["*/*;q=0"], false),
            (&["*/*;q=0, application/json"], true),
            (&["application/json;q=2"], true),
            (&["nonsense"], true),
            (&["a/b/c, ;;;, \"", "text/plain"], false),
        ];
        for (lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(require_json(&headers).is_ok(), *expected, "{lines:?}");
        }
    }
}
