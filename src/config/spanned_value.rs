//! One TOML value with its position, as a serde deserializer whose errors say what is wrong and
//! what would be valid.

use serde::de::value::StringDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::de::{DeArray, DeValue};

use super::diagnostics::{Diagnostics, KeyPath};
use super::env_or_file;
use super::value_error::{ErrorKind, ValueError, list_alternatives};

/// The longest value that is shown: an operator finds a longer one by its position.
const MAX_SHOWN: usize = 80;

/// A value with its position.
#[derive(Clone)]
pub(super) struct SpannedValue<'d> {
    pub(super) diagnostics: &'d Diagnostics<'d>,
    pub(super) at: KeyPath,
    pub(super) value: &'d DeValue<'d>,
}

impl<'d> SpannedValue<'d> {
    /// Reads the value; `None` after adding the error.
    pub(super) fn read<T: Deserialize<'d>>(&self) -> Option<T> {
        T::deserialize(self.clone()).map_err(|error| self.add(error)).ok()
    }

    /// Adds an error of this value.
    pub(super) fn error(&self, message: impl Into<String>, expected: impl Into<String>) {
        self.diagnostics.error(&self.at, message, expected);
    }

    /// Adds a serde error of this value and leaves the value out from now on.
    pub(super) fn add(&self, error: ValueError) {
        let message = match error.kind {
            ErrorKind::WrongType => self.wrong_type(),
            ErrorKind::Invalid if matches!(self.value, DeValue::Integer(_)) => "is out of range".to_owned(),
            ErrorKind::Invalid if self.value.as_str() == Some("") => "is empty".to_owned(),
            ErrorKind::Invalid => format!("cannot be {}", self.display_redacted()),
            ErrorKind::Message(message) => message,
        };
        self.diagnostics.error(&error.at.unwrap_or_else(|| self.at.clone()), message, error.expected);
        self.diagnostics.mark_faulty(&self.at);
    }

    /// The value for an error message. A value from the environment or a file may be a secret and
    /// is never shown.
    pub(super) fn display_redacted(&self) -> String {
        match self.value {
            DeValue::String(text) if text.len() <= MAX_SHOWN => format!("{text:?}"),
            _ => "the value".to_owned(),
        }
    }

    /// The elements of an array; `None` after adding the error.
    pub(super) fn elements(&self, expected: &str) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.error(self.wrong_type(), expected);
            return None;
        };
        if array.is_empty() {
            self.error("is empty", expected);
        }
        Some(self.elements_of(array))
    }

    fn elements_of(&self, array: &'d DeArray<'d>) -> Vec<Self> {
        let element = |(index, value): (usize, &'d toml::Spanned<DeValue<'d>>)| Self {
            diagnostics: self.diagnostics,
            at: KeyPath { path: format!("{}[{index}]", self.at.path), offset: value.span().start },
            value: value.get_ref(),
        };
        array.iter().enumerate().map(element).collect()
    }

    /// A serde error of this value, with its position, for the reader of what it is a part of.
    fn locate(&self, error: ValueError) -> ValueError {
        let kind = match error.kind {
            ErrorKind::WrongType => ErrorKind::Message(self.wrong_type()),
            ErrorKind::Invalid => ErrorKind::Message(format!("cannot be {}", self.display_redacted())),
            message @ ErrorKind::Message(_) => message,
        };
        ValueError { kind, at: error.at.or_else(|| Some(self.at.clone())), ..error }
    }

    /// What is wrong with a value of the wrong type.
    pub(super) fn wrong_type(&self) -> String {
        let found = self.value.type_str();
        let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
        format!("is {article} {found}")
    }

    /// The text of a string, wherever it comes from; `None` if the value is none.
    fn text(&self) -> Result<Option<String>, ValueError> {
        match self.value {
            DeValue::String(text) => Ok(Some(text.clone().into_owned())),
            DeValue::Table(table) => env_or_file::resolve(self.diagnostics, &self.at, table).map(Some),
            _ => Ok(None),
        }
    }
}

/// The elements of an array.
struct ElementAccess<'d>(std::vec::IntoIter<SpannedValue<'d>>);

impl<'de> SeqAccess<'de> for ElementAccess<'_> {
    type Error = ValueError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ValueError> {
        let Some(element) = self.0.next() else { return Ok(None) };
        seed.deserialize(element.clone()).map(Some).map_err(|error| element.locate(error))
    }
}

impl<'de> Deserializer<'de> for SpannedValue<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value {
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => visitor.visit_i64(number),
                // More than 64 bits.
                Err(_) => Err(ValueError::invalid_value(Unexpected::Signed(i64::MAX), &visitor)),
            },
            DeValue::Array(array) => visitor.visit_seq(ElementAccess(self.elements_of(array).into_iter())),
            _ => Err(ValueError::invalid_type(Unexpected::Other(self.value.type_str()), &visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.text()? {
            Some(text) => visitor.visit_string(text),
            None => Err(ValueError::invalid_type(Unexpected::Other(self.value.type_str()), &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value {
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            _ => Err(ValueError::invalid_type(Unexpected::Other(self.value.type_str()), &"true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.text()? {
            Some(text) => {
                let text: StringDeserializer<ValueError> = text.into_deserializer();
                visitor.visit_enum(text)
            }
            None => Err(ValueError::wrong_type(list_alternatives(variants))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
