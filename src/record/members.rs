//! Members of `fields` whose values are only handed on: kept as the JSON text they came in.

use std::sync::Arc;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::parse_preserving_numbers;
use super::write_json;

/// A sound JSON value as text, its numbers in the form they came in. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJson(ByteString);

impl RawJson {
    /// A part of a body, which is kept for it.
    pub(super) fn slice_of(body: &ByteString, value: &RawValue) -> Self {
        Self(body.slice_ref(value.get()))
    }

    /// The text, without white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// The value; `None` for `null`.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        parse_preserving_numbers(&self.0).ok().filter(|value| !value.is_null())
    }
}

impl From<&Value> for RawJson {
    fn from(value: &Value) -> Self {
        let mut text = String::new();
        write_json(&mut text, value);
        Self(text.into())
    }
}

/// As a string that holds the text.
impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// Named values, in the order they came. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawObject(Arc<[(ByteString, RawJson)]>);

impl RawObject {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The values, parsed.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), value.value().unwrap_or_default())).collect()
    }
}

impl<N: Into<ByteString>> FromIterator<(N, RawJson)> for RawObject {
    fn from_iter<I: IntoIterator<Item = (N, RawJson)>>(members: I) -> Self {
        Self(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// As pairs: an object would say of its values that they are strings.
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

impl From<&Map<String, Value>> for RawObject {
    fn from(map: &Map<String, Value>) -> Self {
        map.iter().map(|(name, value)| (name.clone(), value.into())).collect()
    }
}
