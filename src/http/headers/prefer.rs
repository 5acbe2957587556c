//! `Prefer` (RFC 7240; http-rules 149 to 157). It is never an error.

use std::time::Duration;

use actix_web::http::header::HeaderMap;

use super::{names, syntax};
use crate::writes::{Handling, Prefer};

/// The longest wait. The server's deadline limits it further.
const MAX_WAIT_SECS: u64 = 24 * 60 * 60;

/// Parses the preferences that the gateway knows; unknown and malformed ones are ignored.
pub(crate) fn parse_prefer(headers: &HeaderMap) -> Prefer {
    let mut prefer = Prefer::default();
    let (mut minimal, mut wait_seen, mut async_seen) = (false, false, false);
    let (mut rebase_seen, mut handling_seen) = (false, false);
    let lines = syntax::field_values(headers, names::PREFER);
    let texts: Vec<&str> = lines.filter_map(|line| std::str::from_utf8(line).ok()).collect();
    for (name, value) in texts.iter().flat_map(|line| syntax::split_list(line, ',')).filter_map(parse_preference) {
        match name.as_str() {
            "return" => {
                minimal |= value == "minimal";
                prefer.return_representation |= value == "representation";
            }
            "handling" if !handling_seen => {
                handling_seen = true;
                prefer.handling = match value.as_str() {
                    "lenient" => Some(Handling::Lenient),
                    "strict" => Some(Handling::Strict),
                    _ => None,
                };
            }
            // The first of a name counts (RFC 7240 §2).
            "respond-async" if !async_seen => {
                async_seen = true;
                prefer.respond_async = value.is_empty();
            }
            "wait" if !wait_seen => {
                wait_seen = true;
                prefer.wait = parse_wait_seconds(&value);
            }
            "rebase" if !rebase_seen => {
                rebase_seen = true;
                prefer.rebase = value == "disjoint";
            }
            _ => {}
        }
    }
    // Both together count as neither (RFC 7240 §4.2).
    prefer.return_representation &= !minimal;
    prefer
}

fn parse_preference(member: &str) -> Option<(String, String)> {
    let first = syntax::split_list(member, ';').next()?;
    let (name, value) = match first.split_once('=') {
        Some((name, value)) => (name.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t'])),
        None => (first, "\"\""),
    };
    syntax::is_token(name).then_some(())?;
    Some((name.to_ascii_lowercase(), syntax::unquote(value)?))
}

fn parse_wait_seconds(digits: &str) -> Option<Duration> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if all_digits { digits.parse().unwrap_or(u64::MAX) } else { 0 };
    (seconds > 0).then(|| Duration::from_secs(seconds.min(MAX_WAIT_SECS)))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn read(lines: &[&'static str]) -> (bool, bool, Option<u64>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(names::PREFER, HeaderValue::from_static(line));
        }
        let prefer = parse_prefer(&headers);
        (prefer.return_representation, prefer.respond_async, prefer.wait.map(|wait| wait.as_secs()))
    }

    #[test]
    fn a_rebase_is_preferred_by_the_word_disjoint() {
        for (line, expected) in [
            ("rebase=disjoint", true),
            ("return=minimal, Rebase=\"disjoint\"", true),
            ("rebase", false),
            ("rebase=any", false),
            ("rebase=Disjoint", false),
            ("rebase=any, rebase=disjoint", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(names::PREFER, HeaderValue::from_static(line));
            assert_eq!(parse_prefer(&headers).rebase, expected, "{line}");
        }
    }

    #[test]
    fn known_preferences_are_read_and_everything_else_is_ignored() {
        type Read = (bool, bool, Option<u64>);
        let cases: &[(&[&str], Read)] = &[
            (&[], (false, false, None)),
            (&["return=representation"], (true, false, None)),
            (&["Return=\"representation\"; foo=bar"], (true, false, None)),
            (&["return=Representation"], (false, false, None)),
            (&["return=minimal"], (false, false, None)),
            (&["return=minimal, return=representation"], (false, false, None)),
            (&["return=representation", "return=minimal"], (false, false, None)),
            (&["respond-async, wait=10"], (false, true, Some(10))),
            (&["RESPOND-ASYNC=\"\"", "wait = 5"], (false, true, Some(5))),
            (&["wait=5, wait=9"], (false, false, Some(5))),
            (&["wait=0"], (false, false, None)),
            (&["wait=-1"], (false, false, None)),
            (&["wait=abc"], (false, false, None)),
            (&["wait=1.5"], (false, false, None)),
            (&["wait=99999999999999999999999"], (false, false, Some(86400))),
            (&["x=\"a, return=representation\""], (false, false, None)),
            (&["===, \"\", ;;, return=representation"], (true, false, None)),
            (&["return=\"representation"], (false, false, None)),
        ];
        for (lines, expected) in cases {
            assert_eq!(&read(lines), expected, "{lines:?}");
        }
    }
}
