//! `Accept` (RFC 9110 §12.5.1; http-rules 96). Every response but the pages is
//! `application/json`; problems are `application/problem+json` whatever `Accept` is (RFC 9457 §3).

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
    let lines: Vec<&str> =
        syntax::field_values(headers, ACCEPT).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let ranges = lines.iter().flat_map(|line| syntax::split_list(line, ',')).filter_map(match_media_range);
    // The most specific range that fits decides; of two equally specific ones the more generous.
    let best = ranges.fold(None, |best: Option<(Option<u8>, bool)>, (fits, accepted)| match best {
        Some((seen, earlier)) if seen == fits => Some((seen, earlier || accepted)),
        Some((seen, _)) if seen > fits => best,
        _ => Some((fits, accepted)),
    });
    match best {
        None | Some((Some(_), true)) => Ok(()),
        Some(_) => Err(ProblemKind::NotAcceptable
            .with_detail("Accept excludes application/json, the only media type of this response")),
    }
}

/// Whether `Accept` names HTML and not JSON, as that of a browser does.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = syntax::field_values(headers, ACCEPT).filter_map(|line| std::str::from_utf8(line).ok());
    let names: Vec<String> = lines
        .flat_map(|line| syntax::split_list(line, ','))
        .filter_map(|member| Some(member.split(';').next()?.trim().to_ascii_lowercase()))
        .collect();
    names.iter().any(|name| name == "text/html") && !names.iter().any(|name| name.ends_with("json"))
}

/// How specifically a range matches `application/json` (`None`: not at all), and whether its weight
/// is above 0.
fn match_media_range(member: &str) -> Option<(Option<u8>, bool)> {
    let mut parts = syntax::split_list(member, ';');
    let (kind, subtype) = parts.next()?.split_once('/')?;
    if !syntax::is_token(kind) || !syntax::is_token(subtype) {
        return None;
    }
    let fits = match (kind.to_ascii_lowercase().as_str(), subtype.to_ascii_lowercase().as_str()) {
        ("application", "json") => Some(2),
        ("application", "*") => Some(1),
        ("*", "*") => Some(0),
        _ => None,
    };
    let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let accepted = match weight {
        Some((_, digits)) => q_is_positive(digits.trim())?,
        None => true,
    };
    Some((fits, accepted))
}

fn q_is_positive(text: &str) -> Option<bool> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if digits && fraction.bytes().all(|byte| byte == b'0') => Some(true),
        "0" if digits => Some(fraction.bytes().any(|byte| byte != b'0')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

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
        for (lines, wanted) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(require_json(&headers).is_ok(), *wanted, "{lines:?}");
        }
    }
}
