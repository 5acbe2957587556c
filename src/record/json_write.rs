//! The one writer of JSON for records. Every write makes many short strings that need no escape:
//! they are checked in blocks.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

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

/// Whether a JSON string can hold this byte only as an escape (RFC 8259 §7).
#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether a string holds one of these bytes. Blocks of a fixed size compile to a few vector
/// instructions each.
pub(super) fn contains_any_byte(string: &str, matches: impl Fn(u8) -> bool) -> bool {
    fn in_blocks<const N: usize>(bytes: &[u8], matches: impl Fn(u8) -> bool) -> Option<bool> {
        // The last block overlaps the one before unless the length is a multiple of the size.
        let last = bytes.last_chunk::<N>()?;
        let in_block = |block: &[u8; N]| block.iter().fold(false, |found, byte| found | matches(*byte));
        Some(in_block(last) || bytes.as_chunks::<N>().0.iter().any(in_block))
    }
    let bytes = string.as_bytes();
    let found = in_blocks::<16>(bytes, &matches).or_else(|| in_blocks::<8>(bytes, &matches));
    found.unwrap_or_else(|| bytes.iter().any(|byte| matches(*byte)))
}

/// Appends a value without white space. Numbers keep their form.
pub fn write_json(text: &mut String, value: &Value) {
    match value {
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_json(text, element);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_json_string(text, name);
                text.push(':');
                write_json(text, member);
            }
            text.push('}');
        }
        scalar => write_scalar(text, scalar),
    }
}

/// Appends the form of an object that content versions are computed from: members sorted by name, a
/// comma after each member and element, no white space, numbers as written. Stored ETags depend on
/// every byte of it.
pub(super) fn write_canonical(text: &mut String, object: &Map<String, Value>) {
    fn write_value(text: &mut String, value: &Value) {
        match value {
            Value::Object(members) => write_canonical(text, members),
            Value::Array(elements) => {
                text.push('[');
                for element in elements {
                    write_value(text, element);
                    text.push(',');
                }
                text.push(']');
            }
            scalar => write_scalar(text, scalar),
        }
    }
    let mut members: Vec<_> = object.iter().collect();
    members.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (name, member) in members {
        write_json_string(text, name);
        text.push(':');
        write_value(text, member);
        text.push(',');
    }
    text.push('}');
}

/// Appends a value that is neither an object nor an array.
fn write_scalar(text: &mut String, value: &Value) {
    match value {
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => text.push_str(number.as_str()),
        Value::String(string) => write_json_string(text, string),
        Value::Null | Value::Array(_) | Value::Object(_) => text.push_str("null"),
    }
}

/// Writes an object member by member. The caller sees to it that no name is written twice.
#[derive(Debug)]
pub struct JsonObjectWriter(String);

impl JsonObjectWriter {
    /// An empty object, with room for a usual record.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(1024)
    }

    /// An empty object, with room for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self::append_to(String::with_capacity(bytes))
    }

    /// An empty object at the end of a text.
    #[must_use]
    pub fn append_to(mut text: String) -> Self {
        text.push('{');
        Self(text)
    }

    /// Adds a string.
    #[must_use]
    pub fn string(mut self, name: &str, value: &str) -> Self {
        write_json_string(self.begin_member(name), value);
        self
    }

    /// Adds a value that is JSON text.
    #[must_use]
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        self.begin_member(name).push_str(json);
        self
    }

    /// Adds an object of members whose values are JSON texts.
    #[must_use]
    pub fn raw_object<'m, V: AsRef<str> + 'm>(
        self,
        name: &str,
        members: impl Iterator<Item = (&'m str, &'m V)>,
    ) -> Self {
        self.object(name, |object| object.raw_members(members))
    }

    /// Adds an object of the members that `write` adds to it.
    #[must_use]
    pub fn object(mut self, name: &str, write: impl FnOnce(Self) -> Self) -> Self {
        self.begin_member(name);
        Self(write(Self::append_to(self.0)).finish())
    }

    /// Adds a value.
    #[must_use]
    pub fn value(mut self, name: &str, value: &Value) -> Self {
        write_json(self.begin_member(name), value);
        self
    }

    /// Adds a value that always serializes: its keys are strings.
    #[must_use]
    pub fn serialized(self, name: &str, value: &impl Serialize) -> Self {
        self.raw(name, &serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()))
    }

    /// Adds an array of values that are JSON texts.
    #[must_use]
    pub fn raw_array(mut self, name: &str, elements: &[impl AsRef<str>]) -> Self {
        let text = self.begin_member(name);
        text.push('[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(element.as_ref());
        }
        text.push(']');
        self
    }

    /// Adds every member of an object.
    #[must_use]
    pub fn members(self, members: &Map<String, Value>) -> Self {
        members.iter().fold(self, |object, (name, value)| object.value(name, value))
    }

    /// Adds members whose values are JSON texts.
    #[must_use]
    pub fn raw_members<'m, V: AsRef<str> + 'm>(mut self, members: impl Iterator<Item = (&'m str, &'m V)>) -> Self {
        for (name, value) in members {
            self.begin_member(name).push_str(value.as_ref());
        }
        self
    }

    /// The text that ends with the object.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn begin_member(&mut self, name: &str) -> &mut String {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        write_json_string(&mut self.0, name);
        self.0.push(':');
        &mut self.0
    }
}

impl Default for JsonObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl From<JsonObjectWriter> for Bytes {
    fn from(object: JsonObjectWriter) -> Self {
        object.finish().into()
    }
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
    fn numbers_keep_their_format_when_they_are_written() {
        let mut text = String::new();
        write_json(&mut text, &serde_json::from_str("[1.10,12345678901234567890]").expect("JSON"));
        assert_eq!(text, "[1.10,12345678901234567890]");
    }

    #[test]
    fn the_canonical_form_never_changes() {
        let mut text = String::new();
        let object = serde_json::from_str(r#"{"b":[1.10,{"z":null,"y":"\""}],"a":true}"#).expect("an object");
        write_canonical(&mut text, &object);
        assert_eq!(text, r#"{"a":true,"b":[1.10,{"y":"\"","z":null,},],}"#);
    }
}
