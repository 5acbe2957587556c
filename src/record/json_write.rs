//! The texts that every write makes: JSON, JSON Pointers, new ids. The usual ways look at each character by itself; most strings
//! hold nothing to be escaped.

use std::sync::Arc;

use serde_json::Value;

/// Appends a string, in quotes.
pub fn write_json_string(text: &mut String, string: &str) {
    text.push('"');
    if contains_any_byte(string, is_special) {
        write_escaped(text, string);
    } else {
        text.push_str(string);
    }
    text.push('"');
}

fn write_escaped(text: &mut String, string: &str) {
    let mut left = string;
    while let Some((plain, rest)) = left.bytes().position(is_special).and_then(|at| left.split_at_checked(at)) {
        text.push_str(plain);
        let (special, rest) = rest.split_at_checked(1).unwrap_or_default();
        match special {
            "\"" => text.push_str("\\\""),
            "\\" => text.push_str("\\\\"),
            control => text.push_str(Value::from(control).to_string().trim_matches('"')),
        }
        left = rest;
    }
    text.push_str(left);
}

/// Whether it may stand in a JSON string only in an escape (RFC 8259 §7).
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether a string holds one of these bytes. The strings of a write are short, and many: they are looked at in blocks, each of which is
/// a few vector instructions where no byte of it is skipped.
fn contains_any_byte(string: &str, wanted: impl Fn(u8) -> bool) -> bool {
    fn in_blocks<const N: usize>(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<bool> {
        // The last block begins within the one before, unless it ends with the string.
        let last = bytes.last_chunk::<N>()?;
        let in_block = |block: &[u8; N]| block.iter().fold(false, |found, byte| found | wanted(*byte));
        Some(in_block(last) || bytes.as_chunks::<N>().0.iter().any(in_block))
    }
    let bytes = string.as_bytes();
    let found = in_blocks::<16>(bytes, &wanted).or_else(|| in_blocks::<8>(bytes, &wanted));
    found.unwrap_or_else(|| bytes.iter().any(|byte| wanted(*byte)))
}

/// Appends a value without white space; numbers keep their form.
pub fn write_json(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => text.push_str(number.as_str()),
        Value::String(string) => write_json_string(text, string),
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                write_comma(text, index);
                write_json(text, element);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                write_comma(text, index);
                write_json_string(text, name);
                text.push(':');
                write_json(text, member);
            }
            text.push('}');
        }
    }
}

fn write_comma(text: &mut String, index: usize) {
    if index > 0 {
        text.push(',');
    }
}

/// A new UUID version 7: ids that sort by time.
pub(super) fn new_uuid() -> Arc<str> {
    uuid_text(uuid::Uuid::now_v7())
}

/// The usual text of a UUID.
pub(super) fn uuid_text(id: uuid::Uuid) -> Arc<str> {
    Arc::from(&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
}

/// Appends one name to a JSON Pointer (RFC 6901 §3).
pub fn write_pointer(pointer: &mut String, name: &str) {
    pointer.push('/');
    if contains_any_byte(name, |byte| byte == b'~' || byte == b'/') {
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    } else {
        pointer.push_str(name);
    }
}

/// The JSON Pointer of these names below another pointer.
#[must_use]
pub fn json_pointer(pointer: &str, names: &[&str]) -> String {
    let mut pointer = pointer.to_owned();
    for name in names {
        write_pointer(&mut pointer, name);
    }
    pointer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~\u{0}-\u{1f}\u{7f}-\u{ff}\u{2028}]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_written_json_equals_the_output_of_serde(value in any_json()) {
            let mut text = String::new();
            write_json(&mut text, &value);
            prop_assert_eq!(&text, &value.to_string());
            prop_assert_eq!(crate::record::parse_strict(text.as_bytes()), Ok(value));
        }
    }

    #[test]
    fn a_special_byte_is_found_at_any_position() {
        for length in 0..70 {
            let plain = "é".repeat(length / 2) + &"x".repeat(length % 2);
            assert!(!contains_any_byte(&plain, is_special), "{length}");
            for place in 0..length {
                for special in ["\0", "\u{1f}", "\"", "\\"] {
                    let text = "~".repeat(place) + special + &"\u{7f}".repeat(length - place - 1);
                    assert!(contains_any_byte(&text, is_special), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_keep_their_format_and_pointers_are_escaped() {
        let mut text = String::new();
        write_json(&mut text, &serde_json::from_str("[1.10,12345678901234567890]").expect("JSON"));
        assert_eq!(text, "[1.10,12345678901234567890]");
        for (name, escaped) in
            [("a/b~c", "a~1b~0c"), ("nine-ty~/", "nine-ty~0~1"), ("twenty-one-letters~1é", "twenty-one-letters~01é")]
        {
            assert_eq!(json_pointer("", &[name, "d"]), format!("/{escaped}/d"));
        }
    }
}
