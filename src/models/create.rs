//! A new record from a document of a model.

use serde_json::{Map, Value};

use super::assignments::{Assignment, read_assignments};
use super::place::{Place, set_path};
use super::system_map::SystemMap;
use crate::record::FieldError;

/// A new record from a document of a model.
#[derive(Debug)]
pub struct EncodedRecord {
    /// The `fields` of the record: the model's fields encoded, the members of `vendor`, and those
    /// of `create` that neither names.
    pub fields: Map<String, Value>,
    /// The entries of the model's fields that are among them.
    pub given: Vec<usize>,
    /// The errors of the values that cannot be sent, which are not among them.
    pub errors: Vec<FieldError>,
}

impl SystemMap {
    /// A new record of these fields of the model, and these members that no field shows.
    #[must_use]
    pub fn encode_new_record(&self, fields: &Map<String, Value>, vendor: Option<&Value>) -> EncodedRecord {
        let (assignments, mut errors) = read_assignments(self, &fields.into());
        let mut record = Map::new();
        let mut given = Vec::new();
        match vendor {
            None | Some(Value::Null) => {}
            Some(Value::Object(members)) => {
                record.clone_from(members);
                let named = self.entries.iter().filter(|entry| self.names_place(members, &entry.place));
                errors.extend(named.map(|entry| {
                    let detail = format!("is the place of {}; give it there", entry.pointer());
                    FieldError::in_model(entry.vendor_pointer(), detail)
                }));
            }
            Some(_) => errors.push(FieldError::in_model("/vendor", "vendor must be an object")),
        }
        let named = |place: &[String], assignments: &[Assignment]| {
            assignments.iter().any(|one| self.entries.get(one.entry).is_some_and(|entry| entry.place.names() == place))
        };
        for assignment in &assignments {
            let (index, new_value) = (&assignment.entry, assignment.new_value());
            let Some(entry) = self.entries.get(*index) else { continue };
            match entry.encode(new_value, None) {
                Err(detail) => errors.push(entry.error(detail)),
                // A vendor sets what it is not given.
                Ok(value) if value.is_null() => {}
                Ok(_) if entry.is_read_only => errors.push(entry.error("read-only: the vendor sets it")),
                Ok(value) => {
                    set_path(&mut record, entry.place.names(), value.into_owned());
                    given.push(*index);
                }
            }
        }
        add_defaults(&mut record, &self.create, &mut Vec::new(), &|path| named(path, &assignments));
        EncodedRecord { fields: record, given, errors }
    }

    /// Whether a place, or a value above it, is among the members of a new record.
    fn names_place(&self, members: &Map<String, Value>, place: &Place) -> bool {
        let is_member =
            |name: &str| name == place.member() || (self.ignores_case && name.eq_ignore_ascii_case(place.member()));
        members.iter().any(|(name, value)| is_member(name) && is_named(value, place.below()))
    }
}

/// Whether a path below a value, or a value above that path, is there.
fn is_named(value: &Value, path: &[String]) -> bool {
    match (value, path.split_first()) {
        (Value::Object(members), Some((name, below))) => members.get(name).is_some_and(|inner| is_named(inner, below)),
        _ => true,
    }
}

/// Adds members that are not there and that no field names.
fn add_defaults(
    record: &mut Map<String, Value>,
    defaults: &Map<String, Value>,
    path: &mut Vec<String>,
    is_given: &dyn Fn(&[String]) -> bool,
) {
    for (name, default) in defaults {
        path.push(name.clone());
        match (record.get_mut(name), default) {
            _ if is_given(path) => {}
            (Some(Value::Object(inner)), Value::Object(defaults)) => add_defaults(inner, defaults, path, is_given),
            (Some(_), _) => {}
            (None, Value::Object(defaults)) => {
                let mut inner = Map::new();
                add_defaults(&mut inner, defaults, path, is_given);
                record.insert(name.clone(), Value::Object(inner));
            }
            (None, default) => {
                record.insert(name.clone(), default.clone());
            }
        }
        path.pop();
    }
}
