//! Why a text is not acceptable JSON, in words for the caller.

/// Why a text is not acceptable JSON, in a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

/// How the texts of `serde_json` begin, and what they mean.
const REASONS: [(&str, &str); 14] = [
    ("EOF while parsing a list", "the text ends inside an array"),
    ("EOF while parsing an object", "the text ends inside an object"),
    ("EOF while parsing a string", "the text ends inside a string"),
    ("EOF while parsing", "the text ends where a value must follow"),
    ("expected `:`", "a colon must follow the member name"),
    ("expected `,` or `]`", "a comma or the end of the array must follow"),
    ("expected `,` or `}`", "a comma or the end of the object must follow"),
    ("expected ident", "the only words are true, false and null"),
    ("expected value", "a value must begin here"),
    ("key must be a string", "a member name must be a string in double quotes"),
    ("trailing comma", "no comma may stand before the end of an object or array"),
    ("trailing characters", "nothing may follow the value"),
    ("invalid escape", "a string has an escape that JSON does not have"),
    ("control character", "a string has a control character; write it as an escape such as \\n"),
];

/// How `serde_json` calls half of a surrogate pair. A string is parsed apart from its text, so the
/// position in these errors counts within the string.
const LONE_SURROGATE: [&str; 3] =
    ["unexpected end of hex escape", "lone leading surrogate", "invalid unicode code point"];

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        if LONE_SURROGATE.iter().any(|start| text.starts_with(start)) {
            let detail = "a string holds half of a surrogate pair, such as \\ud83d alone; \
                          send both halves, such as \\ud83d\\ude00, or the character itself";
            return Self(detail.to_owned());
        }
        let reason = REASONS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, reason)| *reason);
        let reason =
            reason.unwrap_or_else(|| text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text));
        Self(format!("not JSON: {reason} (line {line}, column {column})"))
    }
}

impl From<std::str::Utf8Error> for JsonError {
    fn from(error: std::str::Utf8Error) -> Self {
        Self(format!("not UTF-8 from byte {} on", error.valid_up_to()))
    }
}

#[cfg(test)]
mod tests {
    use crate::record::parse_strict;

    fn detail(body: &[u8]) -> String {
        parse_strict(body).expect_err("rejected").0
    }

    #[test]
    fn errors_of_a_text_are_reported_in_plain_words() {
        for (body, expected) in [
            ("", "the body is empty"),
            (" \r\n", "the body is empty"),
            ("\u{feff}{}", "the body begins with a byte order mark; send it without (RFC 8259 §8.1)"),
            ("{", "not JSON: the text ends inside an object (line 1, column 1)"),
            ("[1,\n2", "not JSON: the text ends inside an array (line 2, column 1)"),
            ("{\"a\":", "not JSON: the text ends where a value must follow (line 1, column 5)"),
            ("{\"a", "not JSON: the text ends inside a string (line 1, column 3)"),
            ("{\"a\" 1}", "not JSON: a colon must follow the member name (line 1, column 6)"),
            ("{\"a\":[1 2]}", "not JSON: a comma or the end of the array must follow (line 1, column 9)"),
            ("{\"a\":1 2}", "not JSON: a comma or the end of the object must follow (line 1, column 8)"),
            ("[nul]", "not JSON: the only words are true, false and null (line 1, column 5)"),
            ("{\"a\":NaN}", "not JSON: a value must begin here (line 1, column 6)"),
            ("{a:1}", "not JSON: a member name must be a string in double quotes (line 1, column 2)"),
            ("[1,]", "not JSON: no comma may stand before the end of an object or array (line 1, column 4)"),
            ("{} {}", "not JSON: nothing may follow the value (line 1, column 4)"),
            ("[01]", "not JSON: invalid number (line 1, column 3)"),
            ("[\"\\x\"]", "not JSON: a string has an escape that JSON does not have (line 1, column 4)"),
        ] {
            assert_eq!(detail(body.as_bytes()), expected, "{body:?}");
        }
        assert_eq!(detail(b"{\"a\":\"\xff\"}"), "not UTF-8 from byte 6 on");
        assert!(detail(b"[\"\x01\"]").contains("a string has a control character"));
    }

    #[test]
    fn half_of_a_surrogate_pair_is_named_without_a_position() {
        for body in [
            r#"{"fields":{"a":"\ud800"}}"#,
            r#"{"fields":{"a":"\udc00"}}"#,
            r#"{"fields":{"a":"\ud800\n"}}"#,
            r#"{"fields":{"a":"\ud800\ud800"}}"#,
            r#"{"fields":{"\ud800":1}}"#,
            r#"[{"a":[["\ud800x"]]}]"#,
            r#""\ud800""#,
        ] {
            let detail = detail(body.as_bytes());
            assert!(detail.starts_with("a string holds half of a surrogate pair"), "{body}: {detail}");
            assert!(!detail.contains("column"), "{body}: {detail}");
        }
    }
}
