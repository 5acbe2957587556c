//! What a patch sets: each field of the model with its new value.

use serde_json::{Map, Value};

use super::system_map::{Document, SystemMap, get};
use crate::record::FieldError;

/// A field and its new value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    /// The index of the field's entry in the map.
    pub entry: usize,
    /// The new value; null unsets.
    pub new_value: Value,
}

/// The assignments of a merge patch of `fields`, and the errors of the other members: fields that
/// the system does not keep, and groups that are no objects.
pub(super) fn read_assignments(map: &SystemMap, fields: &Map<String, Value>) -> (Vec<Assignment>, Vec<FieldError>) {
    let mut reader = AssignmentReader { map, path: Vec::new(), found: Vec::new(), errors: Vec::new() };
    reader.members(fields);
    (reader.found, reader.errors)
}

/// The assignments that make one state of `fields` from another, and the errors of
/// [`read_assignments`].
pub(super) fn compare(
    map: &SystemMap,
    before: &Document,
    after: &Map<String, Value>,
) -> (Vec<Assignment>, Vec<FieldError>) {
    let (_, errors) = read_assignments(map, after);
    let changed = |(index, entry): (usize, &super::system_map::MapEntry)| {
        let (old, new) = (get(&before.fields, &entry.field.path), get(after, &entry.field.path));
        (old != new).then(|| Assignment { entry: index, new_value: new.cloned().unwrap_or_default() })
    };
    (map.entries.iter().enumerate().filter_map(changed).collect(), errors)
}

struct AssignmentReader<'m> {
    map: &'m SystemMap,
    path: Vec<String>,
    found: Vec<Assignment>,
    errors: Vec<FieldError>,
}

impl AssignmentReader<'_> {
    fn members(&mut self, members: &Map<String, Value>) {
        for (name, value) in members {
            self.path.push(name.clone());
            self.value(value);
            self.path.pop();
        }
    }

    fn value(&mut self, value: &Value) {
        let path = self.path.as_slice();
        if let Some(entry) = self.map.entries.iter().position(|entry| entry.field.path == path) {
            self.found.push(Assignment { entry, new_value: value.clone() });
        } else if !self.map.is_group(path) {
            self.errors.push(self.map.unknown_field(path));
        } else if let Value::Object(below) = value {
            self.members(below);
        } else if value.is_null() {
            let below = self.map.entries.iter().enumerate().filter(|(_, one)| one.field.path.starts_with(path));
            self.found.extend(below.map(|(entry, _)| Assignment { entry, new_value: Value::Null }));
        } else {
            let pointer = self.map.unknown_field(path).pointer;
            self.errors.push(FieldError::in_model(pointer, "must be an object of fields"));
        }
    }
}
