//! Makes texts of vendors fit for callers.

/// Only this much of a text is read, in bytes: the result is short, a hostile text may not be.
const MAX_INPUT_BYTES: usize = 8 * 1024;

/// Reduces a text to one line of at most 300 characters, without markup, control characters, stack
/// trace and what has the form of a credential. Returns `None` if nothing is left, or if the text
/// is an HTML page.
#[must_use]
pub fn sanitize_text(text: &str) -> Option<String> {
    const MAX_CHARS: usize = 300;
    let text = text.get(..text.floor_char_boundary(MAX_INPUT_BYTES)).unwrap_or_default();
    let is_html_page = text.trim_start().starts_with('<') || text.to_ascii_lowercase().contains("<html");
    if is_html_page {
        return None;
    }
    let text = strip_markup(strip_stack_trace(text));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = hide_credentials(&words.collect::<Vec<_>>().join(" "));
    let short: String = line.chars().take(MAX_CHARS).collect();
    (!short.is_empty()).then_some(short)
}

/// A vendor's code as callers get it; `None` unless it is 1 to 64 visible ASCII characters without
/// markup and quotes.
pub(super) fn sanitize_code(code: &str) -> Option<String> {
    const MAX_CODE: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"'&\\".contains(&byte);
    let code = code.trim();
    ((1..=MAX_CODE).contains(&code.len()) && code.bytes().all(is_plain)).then(|| code.to_owned())
}

/// Returns the text before a stack trace: its class names must not be taken for the vendor's
/// message.
///
/// A stack trace starts with `at ` at the beginning of a line, after a tab, or after three blanks
/// or more, or before what has the form of a frame, as .NET, Java and JavaScript write it; or with
/// Python's `Traceback`.
#[must_use]
pub fn strip_stack_trace(text: &str) -> &str {
    let text = text.split("Traceback (most recent call last)").next().unwrap_or_default();
    let starts_trace = |(at, _): &(usize, &str)| {
        let (before, after) = text.split_at_checked(*at).unwrap_or_default();
        let trimmed = before.trim_end_matches([' ', '\t']);
        let is_line_start = trimmed.ends_with(['\n', '\r']) || before.ends_with('\t');
        let blanks = before.len() - trimmed.len();
        !trimmed.is_empty() && (is_line_start || blanks >= 3 || blanks > 0 && starts_with_frame(after))
    };
    let end = text.match_indices("at ").find(starts_trace).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

/// Whether a text begins with a frame: `at A.B(…)`, `at A in FILE:line 5`, `at f (FILE:1:2)`.
fn starts_with_frame(text: &str) -> bool {
    let mut words = text.split_whitespace().skip(1);
    let (function, next) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_call = function.split_once('(').is_some_and(|(name, _)| name.contains('.'));
    let has_line = next == "in" && text.contains(":line ");
    is_call || has_line || next.starts_with('(') && next.contains(':')
}

/// Names of credentials in queries, headers and JSON.
const CREDENTIALS: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "api_key",
    "api-key",
    "apikey",
    "authorization",
    "subscription-key",
    "signature",
    "sig",
];

/// A line with `…` in the place of what has the form of a credential, known to the gateway or not:
/// the value of such a name, a bearer token, a JWT.
fn hide_credentials(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let (mut shown, mut at) = (String::with_capacity(line.len()), 0);
    while let Some(next) = line.get(at..).and_then(|rest| rest.chars().next()) {
        let is_word_start = !line.get(..at).unwrap_or_default().ends_with(|c: char| c.is_ascii_alphanumeric());
        let rest = lower.get(at..).unwrap_or_default();
        let credential = if is_word_start { find_credential(rest) } else { None };
        if let Some((kept, hidden)) = credential {
            shown.push_str(line.get(at..at + kept).unwrap_or_default());
            shown.push('…');
            at += kept + hidden;
        } else {
            shown.push(next);
            at += next.len_utf8();
        }
    }
    shown
}

/// How much of the beginning of a text is kept and how much after it is a credential. The text is
/// in lower case.
fn find_credential(text: &str) -> Option<(usize, usize)> {
    const MIN_SECRET: usize = 16;
    let value_length =
        |value: &str| value.find(|c: char| c.is_whitespace() || "&,;\"'()[]{}<>".contains(c)).unwrap_or(value.len());
    let looks_secret = |value: &str| value.len() >= MIN_SECRET || value.contains(|c: char| c.is_ascii_digit());
    if text.starts_with("eyj") {
        let length = value_length(text);
        return (length >= MIN_SECRET).then_some((0, length));
    }
    if let Some(value) = text.strip_prefix("bearer ") {
        let length = value_length(value);
        return looks_secret(value.get(..length)?).then_some((text.len() - value.len(), length));
    }
    let name = CREDENTIALS.iter().find(|name| text.starts_with(**name))?;
    let after = text.get(name.len()..)?.trim_start_matches(['"', '\'', ' ']);
    let value = after.strip_prefix(['=', ':'])?;
    // In prose a colon is followed by a blank: `Password: must be longer`.
    let is_prose = value.starts_with(' ') && *name != "authorization";
    let value = value.trim_start_matches(['"', '\'', ' ']);
    let value = value.strip_prefix("bearer ").or_else(|| value.strip_prefix("basic ")).unwrap_or(value);
    let length = value_length(value);
    let is_hidden = length > 0 && (!is_prose || looks_secret(value.get(..length)?));
    is_hidden.then_some((text.len() - value.len(), length))
}

/// Removes tags and comments, and everything after the start of a script or style.
fn strip_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        let is_tag = tag.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?'));
        let name = tag.get(..6).unwrap_or(tag).to_ascii_lowercase();
        match tag.split_once('>') {
            _ if name.starts_with("script") || name.starts_with("style") => return plain,
            Some((_, after)) if is_tag => {
                plain.push(' ');
                rest = after;
            }
            _ => {
                plain.push('<');
                rest = tag;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_short_visible_and_free_of_markup() {
        for code in ["0x80060882", "ERR-17", "Some.Namespace:42"] {
            assert_eq!(sanitize_code(code).as_deref(), Some(code));
        }
        for unfit in ["", " ", "a b", "<b>", "a\u{7}", "\"x\"", "é", &"x".repeat(65)] {
            assert_eq!(sanitize_code(unfit), None, "{unfit:?}");
        }
    }

    #[test]
    fn vendor_text_is_sanitized() {
        for (text, expected) in [
            ("the  value\r\nis wrong", Some("the value is wrong")),
            ("look at the value", Some("look at the value")),
            ("1 < 2 and 3 > 2", Some("1 < 2 and 3 > 2")),
            ("Value is <b>wrong</b><script>alert(1)</script>", Some("Value is wrong")),
            ("Oops <p>no</p><!-- x --><table><tr>", Some("Oops no")),
            ("<html><body>Sign in</body></html>", None),
            ("Sign in: <HTML>", None),
            ("boom: java.lang.X\n\tat com.foo.Bar(Bar.java:12)", Some("boom: java.lang.X")),
            ("Error: x\r\n at System.Web.Foo() in D:\\a\\b.cs:line 3", Some("Error: x")),
            ("Error: x\n  at f (/var/task/i.js:1:2)", Some("Error: x")),
            ("Conflict.   at Namespace.Class.Method()", Some("Conflict.")),
            ("at last", Some("at last")),
            ("Failed. at A.B.C(String d) in C:\\x.cs:line 5", Some("Failed.")),
            ("Failed at X in C:\\x.cs:line 5", Some("Failed")),
            ("Error: x at f (/var/task/i.js:1:2)", Some("Error: x")),
            ("Invalid. Traceback (most recent call last): File \"x.py\"", Some("Invalid.")),
            ("look at the value in line 5", Some("look at the value in line 5")),
            ("token eyJhbGciOiJIUzI1NiJ9.e30.c2ln was rejected", Some("token … was rejected")),
            ("Authorization: Bearer abcdef is no good", Some("Authorization: Bearer … is no good")),
            ("Bearer 0123abc expired; a bearer token is needed", Some("Bearer … expired; a bearer token is needed")),
            ("GET /x?access_token=abc&a=1 failed", Some("GET /x?access_token=…&a=1 failed")),
            ("client_secret=abc", Some("client_secret=…")),
            ("{\"password\": \"abc123\", \"a\": 1}", Some("{\"password\": \"…\", \"a\": 1}")),
            ("Password: must be longer", Some("Password: must be longer")),
            ("api_key=abc; Server=x", Some("api_key=…; Server=x")),
            ("the token is missing", Some("the token is missing")),
            ("\u{0}\u{1b}", None),
        ] {
            assert_eq!(sanitize_text(text).as_deref(), expected, "{text}");
        }
        assert_eq!(sanitize_text(&format!("x{}", "<".repeat(1 << 20))).map(|text| text.len()), Some(300));
        assert_eq!(sanitize_text(&"x".repeat(1000)).map(|text| text.len()), Some(300));
    }
}
