//! Reads a TOML table into a struct that derives `Deserialize`, and collects every error on the
//! way.
//!
//! Serde stops at the first error. So the error is added to the diagnostics, its value is left out,
//! and the table is deserialized again, until nothing is wrong with what is left.

use std::cell::RefCell;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::DeTable;

use super::diagnostics::{Diagnostics, KeyPath};
use super::spanned_value::SpannedValue;
use super::value_error::ValueError;
use crate::record::nearest_name;

/// Reading stops after this many errors.
const MAX_ERRORS: usize = 1000;

/// A table. Call [`TableReader::reject_unknown`] at the end.
pub(super) struct TableReader<'d> {
    pub(super) diagnostics: &'d Diagnostics<'d>,
    pub(super) at: KeyPath,
    table: Option<&'d DeTable<'d>>,
    known: RefCell<Vec<&'static str>>,
}

impl<'d> TableReader<'d> {
    /// `None` reads as an empty table.
    pub(super) fn new(diagnostics: &'d Diagnostics<'d>, at: KeyPath, table: Option<&'d DeTable<'d>>) -> Self {
        Self { diagnostics, at, table, known: RefCell::default() }
    }

    /// Reads a value as a table; `None` after adding the error that it is none.
    pub(super) fn of(value: &SpannedValue<'d>, expected: &str) -> Option<Self> {
        let table = value.value.as_table();
        if table.is_none() {
            value.error(value.wrong_type(), expected);
        }
        Some(Self::new(value.diagnostics, value.at.clone(), Some(table?)))
    }

    /// Reads the keys that are fields of `T`; several structs may be read from one table. `None` if
    /// a field without a default is missing or wrong.
    pub(super) fn read<T: Deserialize<'d>>(&self) -> Option<T> {
        (0..MAX_ERRORS).find_map(|_| match T::deserialize(self) {
            Ok(value) => Some(Some(value)),
            Err(TableError::Value) => None,
            Err(TableError::Incomplete) => Some(None),
        })?
    }

    /// Reads the value of one key; `None` if it is missing or wrong.
    pub(super) fn value<T: Deserialize<'d>>(&self, key: &'static str) -> Option<T> {
        self.get(key)?.read()
    }

    /// A required string that is not empty.
    pub(super) fn required_text(&self, key: &'static str, expected: &str) -> Option<String> {
        self.require(&[(key, expected)]);
        let text: String = self.value(key)?;
        if text.is_empty() {
            self.error(key, "is empty", expected);
            return None;
        }
        Some(text)
    }

    /// Adds an error for each of these keys that is missing. They are pairs of a key and what would
    /// be valid.
    pub(super) fn require(&self, keys: &[(&'static str, &str)]) {
        for (key, expected) in keys.iter().filter(|(key, _)| !self.has(key)) {
            self.known.borrow_mut().push(key);
            self.diagnostics.missing_key(&self.at, key, *expected);
        }
    }

    /// Whether the table has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The value of a key, which is a known key from now on.
    pub(super) fn get(&self, key: &'static str) -> Option<SpannedValue<'d>> {
        self.known.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        Some(SpannedValue {
            diagnostics: self.diagnostics,
            at: KeyPath { path: self.at.child(key), offset: value.span().start },
            value: value.get_ref(),
        })
    }

    /// Adds an error of a key's value.
    pub(super) fn error(&self, key: &'static str, message: impl Into<String>, expected: impl Into<String>) {
        if let Some(value) = self.get(key) {
            value.error(message, expected);
        }
    }

    /// A table within this one. A missing one, or a value that is no table, reads as an empty one.
    pub(super) fn table(&self, key: &'static str) -> Self {
        let at = KeyPath { path: self.at.child(key), offset: self.at.offset };
        let table = self.get(key).and_then(|value| Self::of(&value, "a table"));
        table.unwrap_or_else(|| Self::new(self.diagnostics, at, None))
    }

    /// Every key with its value, in the order of the text.
    pub(super) fn entries(&self) -> Vec<(&'d str, SpannedValue<'d>)> {
        let mut entries: Vec<_> = self.table.into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'d toml::Spanned<_>, &'d toml::Spanned<_>)| {
            let name: &'d std::borrow::Cow<'d, str> = key.get_ref();
            let at = KeyPath { path: self.at.child(name), offset: value.span().start };
            (name.as_ref(), SpannedValue { diagnostics: self.diagnostics, at, value: value.get_ref() })
        };
        entries.into_iter().map(entry).collect()
    }

    /// Adds an error for every key that nothing has read. `hint` says where else such a key would
    /// be valid.
    pub(super) fn reject_unknown(self, hint: impl Fn(&str) -> Option<String>) {
        let mut known = self.known.into_inner();
        known.sort_unstable();
        known.dedup();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let at = KeyPath { path: self.at.child(name), offset: key.span().start };
            let message = hint(name).unwrap_or_else(|| match nearest_name(name, known.iter().copied()) {
                Some(similar) => format!("is not a key of this table; did you mean {similar:?}?"),
                None => "is not a key of this table".to_owned(),
            });
            self.diagnostics.error(&at, message, known.join(", "));
        }
    }
}

/// Why a table was not deserialized.
#[derive(Debug)]
pub(super) enum TableError {
    /// A value is wrong; its error is in the diagnostics.
    Value,
    /// A field without a default is missing or was left out.
    Incomplete,
}

impl serde::de::Error for TableError {
    /// All other errors are those of values.
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Incomplete
    }
}

impl std::fmt::Display for TableError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for TableError {}

impl<'de> Deserializer<'de> for &TableReader<'de> {
    type Error = TableError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TableError> {
        Err(TableError::Incomplete)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TableError> {
        self.known.borrow_mut().extend(fields);
        let mut entries = self.entries();
        entries.retain(|(key, value)| fields.contains(key) && !self.diagnostics.is_faulty(&value.at.path));
        visitor.visit_map(TableAccess { entries: entries.into_iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct TableAccess<'d> {
    entries: std::vec::IntoIter<(&'d str, SpannedValue<'d>)>,
    value: Option<SpannedValue<'d>>,
}

impl<'d> MapAccess<'d> for TableAccess<'d> {
    type Error = TableError;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, TableError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, TableError> {
        let value = self.value.take().ok_or(TableError::Incomplete)?;
        seed.deserialize(value.clone()).map_err(|error: ValueError| {
            value.add(error);
            TableError::Value
        })
    }
}
