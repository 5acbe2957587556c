//! JSON that is kept as text: what the gateway passes on reaches the other side digit for digit.
//!
//! This is the raw form of a JSON object in this crate. The parsed form is [`Map`], for applying
//! patches and comparing values.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use memchr::memchr;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json_error::JsonError;
use super::json_members::Member;
use super::json_parse::{parse_unchecked, read_object, read_object_opening, read_objects};
use super::json_write::{JsonObjectWriter, write_json};

/// What stands in a vendor's JSON for half of a surrogate pair: the replacement character, in a
/// spelling that no writer of JSON uses.
pub const UNREADABLE_TEXT: &str = "\\uFFfd";

/// A JSON value as text, without white space around it. Numbers keep their form. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJson(ByteString);

impl RawJson {
    /// A whole text that is JSON, without white space around it; `None` for any other.
    #[must_use]
    pub fn of_whole(body: &Bytes) -> Option<Self> {
        let text = ByteString::try_from(body.clone()).ok()?;
        let is_whole = serde_json::from_str::<&RawValue>(&text).is_ok_and(|value| value.get().len() == text.len());
        is_whole.then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it holds [`UNREADABLE_TEXT`].
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        // Most values have no escape at all.
        memchr(b'\\', self.0.as_bytes()).is_some() && self.0.contains(UNREADABLE_TEXT)
    }

    /// The same value with [`UNREADABLE_TEXT`] for each replacement character.
    #[must_use]
    pub fn marked_unreadable(&self) -> Self {
        Self(self.0.replace(char::REPLACEMENT_CHARACTER, UNREADABLE_TEXT).into())
    }

    /// The value, parsed; `None` for `null`.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        parse_unchecked(&self.0).ok().filter(|value| !value.is_null())
    }

    /// The same value as the gateway writes it: without white space, and with only the escapes that
    /// it needs.
    #[must_use]
    pub fn normalized(&self) -> Cow<'_, Self> {
        let text = self.as_str().as_bytes();
        let is_normal = !matches!(text, [b'{' | b'[', ..]) && memchr(b'\\', text).is_none();
        if is_normal { Cow::Borrowed(self) } else { Cow::Owned((&self.value().unwrap_or_default()).into()) }
    }

    /// The value of a string; `None` for any other value.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        let quoted = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr(b'\\', quoted.as_bytes()).is_none() {
            return Some(quoted.to_owned());
        }
        serde_json::from_str(&self.0).ok()
    }

    /// The members of an object; their values share this text.
    ///
    /// # Errors
    /// It is not an object, or it is ambiguous.
    pub fn to_object(&self) -> Result<RawObject, JsonError> {
        RawObject::parse_text(&self.0, 0)
    }

    /// The same of an object that may nest `around` levels deeper.
    ///
    /// # Errors
    /// As [`to_object`](Self::to_object).
    pub fn to_deeper_object(&self, around: usize) -> Result<RawObject, JsonError> {
        RawObject::parse_text(&self.0, around)
    }

    /// The elements of an array; they share this text and are not checked for ambiguity.
    ///
    /// # Errors
    /// It is not an array.
    pub fn elements(&self) -> Result<Vec<Self>, JsonError> {
        let elements: Vec<&RawValue> = serde_json::from_str(&self.0)?;
        Ok(elements.into_iter().map(|element| Self::slice_of(&self.0, element)).collect())
    }

    /// A part of a larger text; the larger text lives as long as the part.
    #[must_use]
    pub fn slice_of(text: &ByteString, value: &RawValue) -> Self {
        Self(text.slice_ref(value.get()))
    }
}

impl AsRef<str> for RawJson {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&Value> for RawJson {
    fn from(value: &Value) -> Self {
        let mut text = String::new();
        write_json(&mut text, value);
        Self(text.into())
    }
}

impl From<&RawObject> for RawJson {
    fn from(object: &RawObject) -> Self {
        Self(object.to_json().into())
    }
}

/// The name by which `serde_json` knows a text that is JSON: what a [`RawValue`] is serialized as.
/// A `RawValue` itself can only be made by parsing the text again.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Serialized as the value that it holds.
impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serializer.serialize_struct(RAW_VALUE, 1)?;
        value.serialize_field(RAW_VALUE, self.as_str())?;
        value.end()
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.get().into()))
    }
}

/// A JSON object: names with their values as text, in the order of the source. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawObject(Arc<Vec<(ByteString, RawJson)>>);

impl RawObject {
    /// Parses a whole text that must be an object, checked as [`parse_strict`](super::parse_strict)
    /// does. Names and values share the text.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(body: &Bytes) -> Result<Self, JsonError> {
        Self::parse_deeper(body, 0)
    }

    /// The same of a text that may nest `around` levels deeper: so many are around a document.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse_deeper(body: &Bytes, around: usize) -> Result<Self, JsonError> {
        Self::parse_text(&ByteString::try_from(body.clone())?, around)
    }

    /// Parses a whole text that must be an array of objects, each checked as
    /// [`parse_strict`](super::parse_strict) does. Names and values share the text.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse_array(body: &Bytes) -> Result<Vec<Self>, JsonError> {
        let text = ByteString::try_from(body.clone())?;
        let objects = read_objects(&text)?;
        Ok(objects.into_iter().map(|members| Self::from_slices(&text, members)).collect())
    }

    fn parse_text(text: &ByteString, around: usize) -> Result<Self, JsonError> {
        read_object(text, around).map(|members| Self::from_slices(text, members))
    }

    /// Parses an object and, in the same pass, the object in its member `opened`: the other
    /// members, and those of `opened`.
    ///
    /// `None` if the text or that member is not an object, or if
    /// [`parse_strict`](super::parse_strict) rejects the text.
    #[must_use]
    pub fn parse_opening(body: &Bytes, opened: &'static str) -> Option<(Self, Self)> {
        let text = ByteString::try_from(body.clone()).ok()?;
        let object = read_object_opening(&text, opened)?;
        let inner = Self::from_slices(&text, object.opened.unwrap_or_default());
        Some((Self::from_slices(&text, object.members), inner))
    }

    fn from_slices(text: &ByteString, members: Vec<Member<'_>>) -> Self {
        let member = |(name, value): Member<'_>| {
            let name = match name {
                Cow::Borrowed(name) => text.slice_ref(name),
                Cow::Owned(name) => name.into(),
            };
            (name, RawJson(text.slice_ref(value)))
        };
        members.into_iter().map(member).collect()
    }

    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawJson> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Keeps only the members whose name `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        Arc::make_mut(&mut self.0).retain(|(name, _)| keep(name));
    }

    /// The text of the object.
    #[must_use]
    pub fn to_json(&self) -> String {
        JsonObjectWriter::with_capacity(self.json_size()).raw_members(self.iter()).finish()
    }

    /// The length of the text, without the escapes of names.
    #[must_use]
    pub fn json_size(&self) -> usize {
        // Quotes, colon and comma of each member, and the braces.
        self.iter().map(|(name, value)| name.len() + value.as_str().len() + 4).sum::<usize>() + 2
    }

    /// The members, parsed. Numbers keep their form.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), value.value().unwrap_or_default())).collect()
    }
}

impl<N: Into<ByteString>> FromIterator<(N, RawJson)> for RawObject {
    fn from_iter<I: IntoIterator<Item = (N, RawJson)>>(members: I) -> Self {
        Self(Arc::new(members.into_iter().map(|(name, value)| (name.into(), value)).collect()))
    }
}

impl From<&Map<String, Value>> for RawObject {
    fn from(map: &Map<String, Value>) -> Self {
        map.iter().map(|(name, value)| (name.clone(), value.into())).collect()
    }
}

/// Serialized as pairs of names and values: the stored form of a write's recovery data.
impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<(String, RawJson)>::deserialize(deserializer).map(Self::from_iter)
    }
}

/// An object as callers see it, for `#[serde(with = "json_object")]`.
pub mod json_object {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{RawJson, RawObject};

    /// Writes the members.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(object: &RawObject, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(object.iter())
    }

    /// Reads the members.
    ///
    /// # Errors
    /// It is not an object, or it is ambiguous.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawObject, D::Error> {
        RawJson::deserialize(deserializer)?.to_object().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_original_text() {
        let text = r#"{"First Name":"A\u00e9","n":1.10,"q\"":[1, 2]}"#;
        let object = RawObject::parse(&Bytes::from_static(text.as_bytes())).expect("an object");
        assert_eq!(object.to_json(), text);
        assert_eq!(object.to_map().get("n").map(ToString::to_string).as_deref(), Some("1.10"));
    }

    #[test]
    fn a_raw_value_is_serialized_as_serde_json_does() {
        let text = r#"{"a":[1.10,12345678901234567890,"\u00e9"],"b":null}"#;
        let raw: RawJson = serde_json::from_str(text).expect("JSON");
        let own: &RawValue = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::to_string(&[&raw]).expect("JSON"), serde_json::to_string(&[own]).expect("JSON"));
        assert_eq!(serde_json::to_value(&raw).expect("JSON"), serde_json::to_value(own).expect("JSON"));
    }

    #[test]
    fn the_stored_form_is_pairs_of_names_and_values() {
        let object = RawObject::parse(&Bytes::from_static(br#"{"a":1.10,"b":{"c":null}}"#)).expect("an object");
        let stored = serde_json::to_string(&object).expect("JSON");
        assert_eq!(stored, r#"[["a",1.10],["b",{"c":null}]]"#);
        assert_eq!(serde_json::from_str::<RawObject>(&stored).expect("an object"), object);
        assert!(serde_json::from_str::<RawObject>(r#"[["a",1x]]"#).is_err());
        assert_eq!(serde_json::to_string(&RawObject::default()).expect("JSON"), "[]");
    }
}
