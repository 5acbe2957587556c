//! What a patch sets: each field of the model with its new value.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::document::DocumentMembers;
use super::map_index::{FieldGroup, FieldNode};
use super::system_map::{MapEntry, SystemMap, get};
use crate::record::{FieldError, RawJson, RawObject, json_pointer};

/// A field and its new value.
#[derive(Debug)]
pub(super) struct Assignment {
    /// The index of the field's entry in the map.
    pub entry: usize,
    /// The new value as text; null unsets.
    pub text: RawJson,
    /// The same, parsed when it is needed.
    value: OnceLock<Value>,
}

/// The assignments of a merge patch of `fields`, and the errors of the other members: fields that
/// the system does not keep, and groups that are no objects.
pub(super) fn read_assignments(map: &SystemMap, fields: &RawObject) -> (Vec<Assignment>, Vec<FieldError>) {
    let found = Vec::with_capacity(fields.len());
    let mut reader = AssignmentReader { map, found, errors: Vec::new() };
    reader.members(map.index.fields(), &[], fields);
    (reader.found, reader.errors)
}

/// The assignments that make one state of `fields` from another, and the errors of
/// [`read_assignments`].
pub(super) fn compare(
    map: &SystemMap,
    before: &DocumentMembers,
    after: &Map<String, Value>,
) -> (Vec<Assignment>, Vec<FieldError>) {
    let (_, errors) = read_assignments(map, &after.into());
    let changed = |(index, entry): (usize, &MapEntry)| {
        let (old, new) = (get(&before.fields, &entry.field.path), get(after, &entry.field.path));
        (old != new).then(|| Assignment::new(index, new.cloned().unwrap_or_default()))
    };
    (map.entries.iter().enumerate().filter_map(changed).collect(), errors)
}

impl Assignment {
    fn new(entry: usize, new_value: Value) -> Self {
        Self { entry, text: (&new_value).into(), value: new_value.into() }
    }

    /// The new value; null unsets.
    pub(super) fn new_value(&self) -> &Value {
        self.value.get_or_init(|| self.text.value().unwrap_or_default())
    }
}

struct AssignmentReader<'m> {
    map: &'m SystemMap,
    found: Vec<Assignment>,
    errors: Vec<FieldError>,
}

impl AssignmentReader<'_> {
    /// Reads the members of a group of fields at this path.
    fn members(&mut self, group: &FieldGroup, above: &[&str], members: &RawObject) {
        for (name, value) in members.iter() {
            match group.get(name) {
                Some(FieldNode::Kept(entry)) => {
                    self.found.push(Assignment { entry: *entry, text: value.clone(), value: OnceLock::new() });
                }
                Some(FieldNode::Group(below)) => self.group(below, &[above, &[name]].concat(), value),
                Some(FieldNode::Missing) | None => {
                    self.errors.push(self.map.unknown_field(&[above, &[name]].concat()));
                }
            }
        }
    }

    fn group(&mut self, group: &FieldGroup, path: &[&str], value: &RawJson) {
        if let Ok(below) = value.to_object() {
            self.members(group, path, &below);
        } else if value.value().is_none() {
            let is_below = |entry: &MapEntry| entry.field.path.iter().zip(path).all(|(one, other)| one == other);
            let below = self.map.entries.iter().enumerate().filter(|(_, entry)| is_below(entry));
            self.found.extend(below.map(|(index, _)| Assignment::new(index, Value::Null)));
        } else {
            let pointer = json_pointer("/fields", path);
            self.errors.push(FieldError::in_model(pointer, "must be an object of fields"));
        }
    }
}
