//! The vendor's own names and values of one record.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::{Version, sha256, write_json_string};

/// The text of a JSON object. Numbers keep the form in which they were written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FieldsJson(Arc<RawValue>);

impl FieldsJson {
    fn from_members<'m>(members: impl Iterator<Item = (&'m str, &'m RawValue)> + Clone) -> Self {
        /// Serializes pairs as one object, in their order.
        struct Members<I>(I);

        impl<'m, I: Iterator<Item = (&'m str, &'m RawValue)> + Clone> Serialize for Members<I> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.clone())
            }
        }
        Self::from_object(&Members(members))
    }

    /// The text of a value that serializes as an object with string keys, which cannot fail.
    fn from_object(object: &impl Serialize) -> Self {
        to_raw_value(object).map_or_else(|_| Self(RawValue::NULL.to_owned().into()), |json| Self(json.into()))
    }

    /// The object's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

/// The empty object.
impl Default for FieldsJson {
    fn default() -> Self {
        Self::from_object(&Map::new())
    }
}

/// Compares the texts.
impl PartialEq for FieldsJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for FieldsJson {}

impl Serialize for FieldsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Reads an object, or a string with the text of one: earlier versions stored it that way.
impl<'de> Deserialize<'de> for FieldsJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if !json.get().starts_with('"') {
            return Ok(Self(json.into()));
        }
        let text: String = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        RawValue::from_string(text).map(|json| Self(json.into())).map_err(D::Error::custom)
    }
}

/// A record's members as the vendor sent them, with their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFields {
    json: FieldsJson,
    names: Vec<String>,
}

impl RawFields {
    /// Puts members together that were taken from a checked text (see [`parse_raw_members`]).
    pub fn from_raw_members<'m>(members: impl IntoIterator<Item = (&'m str, &'m RawValue), IntoIter: Clone>) -> Self {
        let members = members.into_iter();
        let names = members.clone().map(|(name, _)| name.to_owned()).collect();
        Self { json: FieldsJson::from_members(members), names }
    }

    /// From a parsed object.
    #[must_use]
    pub fn from_map(map: &Map<String, Value>) -> Self {
        Self { json: FieldsJson::from_object(map), names: map.keys().cloned().collect() }
    }

    /// The object's text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.json.as_str()
    }

    /// The object, for a response.
    #[must_use]
    pub fn to_fields_json(&self) -> FieldsJson {
        self.json.clone()
    }

    /// The members' names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The object, parsed. Numbers keep their form.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        match json::parse_preserving_numbers(self.as_json()) {
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
    fn fields_are_serialized_as_written_and_read_in_both_stored_forms() {
        let text = r#"{"n":12345678901234567890,"d":1.10}"#;
        let members = parse_raw_members(text.as_bytes()).expect("members");
        let fields = RawFields::from_raw_members(members.iter().map(|(name, value)| (name.as_ref(), *value)));
        assert_eq!(serde_json::to_string(&fields.to_fields_json()).expect("JSON"), text);
        for stored in [text.to_owned(), Value::from(text).to_string()] {
            let read: FieldsJson = serde_json::from_str(&stored).expect("stored fields");
            assert_eq!(read, fields.to_fields_json(), "{stored}");
        }
        assert!(serde_json::from_str::<FieldsJson>("\"{\"").is_err());
    }

    #[test]
    fn members_keep_their_original_text() {
        let text = r#"{"First Name":"A\u00e9","n":1.10,"q\"":[1, 2]}"#;
        let members = parse_raw_members(text.as_bytes()).expect("members");
        let fields = RawFields::from_raw_members(members.iter().map(|(name, value)| (name.as_ref(), *value)));
        assert_eq!(fields.as_json(), text);
    }
}
