//! What a vendor says, made fit for a caller.

/// So much of a text is looked at, in bytes.
const MAX_INPUT_BYTES: usize = 8 * 1024;

/// A vendor's text made fit for a caller: one line, at most 300 characters, no markup, no control characters, no stack trace.
#[must_use]
pub fn sanitize_text(text: &str) -> Option<String> {
    const MAX_CHARS: usize = 300;
    // What is shown is short; a hostile answer is not.
    let text = text.get(..text.floor_char_boundary(MAX_INPUT_BYTES)).unwrap_or_default();
    let is_a_page = text.trim_start().starts_with('<') || text.to_ascii_lowercase().contains("<html");
    if is_a_page {
        return None;
    }
    let text = strip_markup(strip_stack_trace(text));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let short: String = words.collect::<Vec<_>>().join(" ").chars().take(MAX_CHARS).collect();
    (!short.is_empty()).then_some(short)
}

/// What stands before a stack trace, of which nothing is for callers: `at Namespace.Method(` after a line's beginning or three
/// blanks, as .NET, Java and JavaScript write it. The class names in it must not be taken for the vendor's words either.
#[must_use]
pub fn strip_stack_trace(text: &str) -> &str {
    let begins = |(place, _): &(usize, &str)| {
        let before = text.get(..*place).unwrap_or_default();
        let blanks = before.trim_end_matches([' ', '\t']);
        let of_a_line = blanks.ends_with(['\n', '\r']) || before.ends_with('\t');
        !blanks.is_empty() && (of_a_line || before.len() - blanks.len() >= 3)
    };
    let end = text.match_indices("at ").find(begins).map_or(text.len(), |(place, _)| place);
    text.get(..end).unwrap_or_default()
}

/// Tags and comments left out; what follows the beginning of a script or a style, too.
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
    fn vendor_text_is_sanitized() {
        for (said, told) in [
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
            assert_eq!(sanitize_text(said).as_deref(), told, "{said}");
        }
        assert_eq!(sanitize_text(&format!("x{}", "<".repeat(1 << 20))).map(|text| text.len()), Some(300));
        assert_eq!(sanitize_text(&"x".repeat(1000)).map(|text| text.len()), Some(300));
    }
}
