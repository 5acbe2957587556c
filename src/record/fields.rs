//! The vendor's own names and values of one record.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::{Version, sha256, write_json_string};

/// A JSON object kept as text, so that what the vendor sent reaches the caller digit for digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFields {
    text: String,
    names: Vec<String>,
}

impl RawFields {
    /// Puts members together that were taken from a checked text (see [`raw_members`]).
    pub fn from_raw_members<'m>(members: impl IntoIterator<Item = (&'m str, &'m RawValue)>) -> Self {
        let (mut text, mut names) = (String::with_capacity(1024), Vec::new());
        text.push('{');
        for (name, value) in members {
            if text.len() > 1 {
                text.push(',');
            }
            write_json_string(&mut text, name);
            text.push(':');
            text.push_str(value.get());
            names.push(name.to_owned());
        }
        text.push('}');
        Self { text, names }
    }

    /// From a parsed object.
    #[must_use]
    pub fn from_map(map: &Map<String, Value>) -> Self {
        // `Display` of a `Value` writes JSON; writing into a String cannot fail.
        Self { text: Value::Object(map.clone()).to_string(), names: map.keys().cloned().collect() }
    }

    /// The object's text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.text
    }

    /// The members' names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The object, parsed. Numbers keep their form.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        match json::parse_preserving_numbers(&self.text) {
            Ok(Value::Object(map)) => map,
            // The text is an object from the beginning.
            _ => Map::new(),
        }
    }

    /// The version of a record that has none: a digest of the canonical form.
    #[must_use]
    pub fn content_version(&self) -> Version {
        Version::Digest(canonical_digest(&Value::Object(self.to_map())))
    }
}

/// The members of a vendor's object, in order, values as text.
///
/// # Errors
/// Not an object, not UTF-8, a name twice at any depth, too deep: a vendor's answer like that cannot be shown truthfully.
pub fn parse_raw_members(bytes: &[u8]) -> Result<Vec<(Cow<'_, str>, &RawValue)>, JsonError> {
    json::parse_strict_members(bytes)
}

/// The first half of SHA-256 over the canonical form: members sorted by name, no white space, numbers as written.
#[must_use]
pub fn canonical_digest(value: &Value) -> [u8; 16] {
    let mut text = String::with_capacity(1024);
    write_canonical(&mut text, value);
    let digest = sha256([text.as_bytes()]);
    let mut half = [0; 16];
    half.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    half
}

fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (name, member) in members {
                write_json_string(text, name);
                text.push(':');
                write_canonical(text, member);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for element in elements {
                write_canonical(text, element);
                text.push(',');
            }
            text.push(']');
        }
        Value::String(string) => write_json_string(text, string),
        Value::Number(number) => text.push_str(number.as_str()),
        Value::Bool(_) | Value::Null => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_ignores_only_member_order_and_white_space() {
        let digest = |text: &str| canonical_digest(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(digest(r#"{"a":1,"b":{"c":2,"d":3}}"#), digest(r#"{ "b": {"d":3,"c":2}, "a":1}"#));
        for other in [r#"{"a":1.0,"b":{"c":2,"d":3}}"#, r#"{"a":1,"b":{"c":2}}"#, r#"{"a":"1","b":{"c":2,"d":3}}"#] {
            assert_ne!(digest(r#"{"a":1,"b":{"c":2,"d":3}}"#), digest(other), "{other}");
        }
    }

    #[test]
    fn members_keep_their_original_text() {
        let text = r#"{"First Name":"A\u00e9","n":1.10,"q\"":[1, 2]}"#;
        let members = parse_raw_members(text.as_bytes()).expect("members");
        let fields = RawFields::from_raw_members(members.iter().map(|(name, value)| (name.as_ref(), *value)));
        assert_eq!(fields.as_json(), text);
    }
}
