//! The map of a model over one collection of one system.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::codec::Codec;
use super::field::Field;
use super::fingerprint::MapFingerprint;
use super::map_index::MapIndex;
use super::place::{Place, get_below};
use crate::record::{FieldError, RawJson, SystemName, json_pointer, nearest_name, values_equal};

/// Where and how a system keeps one field.
#[derive(Clone, Debug, PartialEq)]
pub struct MapEntry {
    /// The model's field.
    pub field: Field,
    /// Where the system keeps it.
    pub place: Place,
    /// How the system writes it.
    pub codec: Codec,
    /// The vendor's value that means: unset.
    pub none: Option<Value>,
    /// Whether callers cannot change it.
    pub is_read_only: bool,
}

/// What a vendor's value is in the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'v> {
    /// Nothing: absent, null, or the map's `none`.
    Unset,
    /// A value of the field's type.
    Value(Cow<'v, Value>),
    /// A value that the map cannot read, and why.
    Unreadable(String),
}

/// Why nothing can be read at a place below a value that is no object.
pub(super) const BLOCKED: &str = "the record has no object around the place of this field";

impl Decoded<'_> {
    /// The same, with a value of its own.
    pub(super) fn into_owned(self) -> Decoded<'static> {
        match self {
            Self::Unset => Decoded::Unset,
            Self::Value(value) => Decoded::Value(Cow::Owned(value.into_owned())),
            Self::Unreadable(why) => Decoded::Unreadable(why),
        }
    }
}

impl MapEntry {
    /// Reads a vendor's value; `None` where the record has none.
    #[must_use]
    pub fn decode<'v>(&self, vendor: Option<Cow<'v, Value>>) -> Decoded<'v> {
        let Some(vendor) = vendor.filter(|value| !value.is_null()) else { return Decoded::Unset };
        if self.none.as_ref().is_some_and(|none| values_equal(none, &vendor)) {
            return Decoded::Unset;
        }
        match self.codec.decode(vendor) {
            None => Decoded::Unreadable("the map does not say what the system's value means".to_owned()),
            Some(value) => match self.field.validate(&value) {
                Ok(()) => Decoded::Value(value),
                Err(rule) => Decoded::Unreadable(format!("the system's value does not fit the field, which {rule}")),
            },
        }
    }

    /// Reads the value in a record's `fields`.
    #[must_use]
    pub fn decode_in<'v>(&self, fields: &'v Map<String, Value>) -> Decoded<'v> {
        if self.place.is_blocked(fields) {
            return Decoded::Unreadable(BLOCKED.to_owned());
        }
        self.decode(self.place.get(fields).map(Cow::Borrowed))
    }

    /// The vendor's form of a new value; `null` unsets. `present` is the record's value: a
    /// spelling that means the new value stays.
    ///
    /// # Errors
    /// What would be right.
    pub fn encode<'v>(&'v self, new_value: &'v Value, present: Option<&'v Value>) -> Result<Cow<'v, Value>, String> {
        let before = present.map(|value| (value, self.decode(Some(Cow::Borrowed(value)))));
        if new_value.is_null() {
            return Ok(match (before, &self.none) {
                (Some((present, Decoded::Unset)), _) => Cow::Borrowed(present),
                (_, Some(none)) => Cow::Borrowed(none),
                (_, None) => Cow::Borrowed(new_value),
            });
        }
        self.field.validate(new_value)?;
        match before {
            Some((present, Decoded::Value(value))) if self.codec.means_same(&value, new_value) => {
                Ok(Cow::Borrowed(present))
            }
            _ => self.encode_and_verify(new_value),
        }
    }

    /// Encodes a value and reads it back: what is sent has the meaning of what was given.
    fn encode_and_verify<'v>(&self, new_value: &'v Value) -> Result<Cow<'v, Value>, String> {
        let encoded = self.codec.encode(new_value)?;
        let reads_back = match self.decode(Some(Cow::Borrowed(&encoded))) {
            Decoded::Value(back) => self.codec.means_same(&back, new_value),
            Decoded::Unset => return Err("this value means unset here: send null".to_owned()),
            Decoded::Unreadable(_) => false,
        };
        if reads_back {
            Ok(encoded)
        } else {
            Err("the system's form cannot hold this value: it would read as another one".to_owned())
        }
    }

    /// Whether the vendor's value and the model's are one text, in both directions.
    pub(super) fn is_unchanged(&self, text: &RawJson) -> bool {
        self.codec == Codec::Same && self.none.is_none() && self.place.is_member() && self.field.fits_by_text(text)
    }

    /// Whether the vendor's form of a new value does not depend on the record.
    pub(super) fn has_one_spelling(&self, new_value: &Value) -> bool {
        if new_value.is_null() { self.none.is_none() } else { self.codec.has_one_spelling(new_value) }
    }

    /// The pointer in the model's document.
    #[must_use]
    pub fn pointer(&self) -> String {
        json_pointer("/fields", &self.field.path.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The pointer of the place in the record.
    #[must_use]
    pub fn record_pointer(&self) -> String {
        self.place.pointer("/fields")
    }

    /// The pointer of the vendor's place in the model's document.
    #[must_use]
    pub fn vendor_pointer(&self) -> String {
        self.place.pointer("/vendor")
    }

    /// An error of the field, in the model's words.
    pub(super) fn error(&self, detail: impl Into<String>) -> FieldError {
        let error = FieldError::in_model(self.pointer(), detail);
        FieldError { vendor_pointer: Some(self.vendor_pointer()), ..error }
    }
}

/// The map of a model over one collection of one system.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemMap {
    /// The model's name.
    pub model: Arc<str>,
    /// The system's name.
    pub system: SystemName,
    /// The collection, in the vendor's canonical form; `None` for any.
    pub collection: Option<String>,
    /// The mapped fields, in the order of the model.
    pub entries: Vec<MapEntry>,
    /// The fields that the system does not keep.
    pub missing: Vec<Field>,
    /// The places of fields that count as one for a rebase: the model's `together`.
    pub together: Vec<Vec<Place>>,
    /// Whether the system reads the names of members in any case.
    pub ignores_case: bool,
    /// Members that a create sets where the model gives none.
    pub create: Map<String, Value>,
    /// Over the model, the map and the adapter's shape of records.
    pub fingerprint: MapFingerprint,
    /// What operations and the ledger call the map: `customer@fingerprint`.
    pub label: Arc<str>,
    /// Of the entries and the missing fields.
    pub index: MapIndex,
}

impl SystemMap {
    /// These pointers into the record, with the places of all fields that count as one with a field
    /// that they touch.
    pub(super) fn join_places(&self, mut pointers: Vec<String>) -> Vec<String> {
        let paths: Vec<Vec<String>> = pointers.iter().filter_map(|pointer| record_path(pointer)).collect();
        let is_touched = |place: &Place| paths.iter().any(|path| place.meets(path));
        let joined = self.together.iter().filter(|group| group.iter().any(is_touched)).flatten();
        pointers.extend(joined.map(|place| place.pointer("/fields")));
        pointers
    }

    /// The entry whose place is at, above or below this path of the record's `fields`, in any case
    /// that the system reads.
    pub(super) fn entry_meeting(&self, path: &[String]) -> Option<&MapEntry> {
        let meets =
            |entry: &&MapEntry| entry.place.meets(path) || (self.ignores_case && entry.place.meets_in_any_case(path));
        self.entries.iter().find(meets)
    }

    /// The entry whose place is this path, or lies above it.
    #[must_use]
    pub fn entry_above(&self, path: &[String]) -> Option<&MapEntry> {
        self.entries.iter().find(|entry| path.starts_with(entry.place.names()))
    }

    /// The error of a field that the system does not keep, or that no model has.
    pub(super) fn unknown_field(&self, path: &[&str]) -> FieldError {
        let pointer = json_pointer("/fields", path);
        let name = path.join(".");
        if self.missing.iter().any(|field| field.path == path) {
            return FieldError::in_model(pointer, format!("{}.{name} is not kept by {}", self.model, self.system));
        }
        let known: Vec<String> = self.entries.iter().map(|entry| entry.field.name()).collect();
        let nearest = nearest_name(&name, known.iter().map(String::as_str)).map(str::to_owned);
        let detail = match &nearest {
            Some(nearest) if *nearest == name => {
                format!("no such field; {nearest} is a member of an object: {}", name.replace('.', "/"))
            }
            Some(nearest) => format!("no such field; nearest: {nearest}"),
            None => "no such field".to_owned(),
        };
        FieldError { nearest, ..FieldError::in_model(pointer, detail) }
    }

    /// Examples of the fields that callers can change: of the first, or of all.
    #[must_use]
    pub fn example(&self, has_all: bool) -> Value {
        let mut example = Map::new();
        let writable = self.entries.iter().filter(|entry| !entry.is_read_only);
        for entry in writable.take(if has_all { usize::MAX } else { 1 }) {
            put(&mut example, &entry.field.path, entry.field.example());
        }
        Value::Object(example)
    }

    /// A JSON Patch of the first field that callers can change.
    #[must_use]
    pub fn example_json_patch(&self) -> Value {
        let first = self.entries.iter().find(|entry| !entry.is_read_only);
        let replace =
            |entry: &MapEntry| json!({ "op": "replace", "path": entry.pointer(), "value": entry.field.example() });
        first.map(replace).into_iter().collect()
    }
}

/// The names below `fields` of a pointer into the record.
pub(super) fn record_path(pointer: &str) -> Option<Vec<String>> {
    let below = pointer.strip_prefix("/fields/")?;
    Some(below.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}

/// Puts a value at a path of `fields`.
pub(super) fn put(fields: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((name, below)) = path.split_first() else { return };
    if below.is_empty() {
        fields.insert(name.clone(), value);
    } else if let Value::Object(group) = fields.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())) {
        put(group, below, value);
    }
}

/// The value at a path of `fields`.
pub(super) fn get<'v>(fields: &'v Map<String, Value>, path: &[String]) -> Option<&'v Value> {
    let (name, below) = path.split_first()?;
    get_below(fields.get(name)?, below)
}

/// Removes the value at a path, and leaves the objects around it.
pub(super) fn remove(members: &mut Map<String, Value>, path: &[String]) {
    match path.split_first() {
        Some((name, [])) => {
            members.shift_remove(name);
        }
        Some((name, below)) => {
            if let Some(Value::Object(child)) = members.get_mut(name) {
                remove(child, below);
            }
        }
        None => {}
    }
}
