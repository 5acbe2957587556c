//! Makes texts of vendors fit for callers.

/// Only this much of a text is read, in bytes: the result is short, a hostile text may not be.
const MAX_INPUT_BYTES: usize = 8 * 1024;

/// Reduces a text to one line of at most 300 characters, without markup, control characters and
/// stack trace. Returns `None` if nothing is left, or if the text is an HTML page.
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
    let short: String = words.collect::<Vec<_>>().join(" ").chars().take(MAX_CHARS).collect();
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
/// or more, as .NET, Java and JavaScript write it.
#[must_use]
pub fn strip_stack_trace(text: &str) -> &str {
    let starts_trace = |(at, _): &(usize, &str)| {
        let before = text.get(..*at).unwrap_or_default();
        let trimmed = before.trim_end_matches([' ', '\t']);
        let is_line_start = trimmed.ends_with(['\n', '\r']) || before.ends_with('\t');
        !trimmed.is_empty() && (is_line_start || before.len() - trimmed.len() >= 3)
    };
    let end = text.match_indices("at ").find(starts_trace).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
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
            ("\u{0}\u{1b}", None),
        ] {
            assert_eq!(sanitize_text(text).as_deref(), expected, "{text}");
        }
        assert_eq!(sanitize_text(&format!("x{}", "<".repeat(1 << 20))).map(|text| text.len()), Some(300));
        assert_eq!(sanitize_text(&"x".repeat(1000)).map(|text| text.len()), Some(300));
    }
}
