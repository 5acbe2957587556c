//! The syntax that headers share: several lines are one list, and a comma inside quotes is no
//! separator (RFC 9110 §5.3, §5.6.1).

use actix_web::http::header::{AsHeaderName, HeaderMap, HeaderName};

use crate::problem::{Problem, ProblemKind};

/// The lines of a header.
pub(super) fn field_values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).map(actix_web::http::header::HeaderValue::as_bytes)
}

/// The value of a header that is no list; `None` if it is absent.
///
/// # Errors
/// 400 when it was sent twice.
pub(super) fn single_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, Problem> {
    let mut all = field_values(headers, name);
    let first = all.next();
    if all.next().is_some() {
        return Err(bad_header(&format!("{name} was sent twice; send it once")));
    }
    Ok(first.map(trim))
}

/// Splits at `separator` outside quoted strings. White space around members and empty members are
/// dropped.
pub(super) fn split_list(line: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c: char| {
        let cut = !quoted && c == separator;
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        cut
    })
    .map(|member| member.trim_matches([' ', '\t']))
    .filter(|member| !member.is_empty())
}

/// The value of a parameter or preference: a token as it is, a quoted string without quotes and
/// escapes (RFC 9110 §5.6.4).
pub(super) fn unquote(word: &str) -> Option<String> {
    let Some(rest) = word.strip_prefix('"') else {
        return is_token(word).then(|| word.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => return None,
            '\\' => text.push(characters.next()?),
            _ => text.push(c),
        }
    }
    Some(text)
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Drops OWS at both ends: spaces and tabs only.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// 400 for a header.
pub(super) fn bad_header(detail: &str) -> Problem {
    ProblemKind::MalformedRequest.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_inside_quotes_belongs_to_the_member() {
        let all: Vec<_> = split_list(r#" a , "b,c" ,, d="e\",f" "#, ',').collect();
        assert_eq!(all, ["a", r#""b,c""#, r#"d="e\",f""#]);
    }

    #[test]
    fn a_quoted_string_is_unquoted_and_a_malformed_one_is_rejected() {
        assert_eq!(unquote(r#""a\"b""#).as_deref(), Some("a\"b"));
        assert_eq!(unquote("token").as_deref(), Some("token"));
        for broken in [r#""a"#, r#"""""#, r#""a\""#, "a b", "\"", ""] {
            assert_eq!(unquote(broken), None, "{broken}");
        }
    }
}
