//! A new record from a document of a model.

use serde_json::{Map, Value};

use super::assignments::{Assignment, read_assignments};
use super::place::{Place, set_path};
use super::system_map::{SystemMap, record_path};
use crate::record::{FieldError, json_pointer};

impl SystemMap {
    /// The `fields` of a new record: the model's fields encoded, the members of `vendor`, and those
    /// of `create` that neither names; and the errors of the values that cannot be sent, which are
    /// not among them.
    #[must_use]
    pub fn encode_new_record(
        &self,
        fields: &Map<String, Value>,
        vendor: Option<&Value>,
    ) -> (Map<String, Value>, Vec<FieldError>) {
        let (assignments, mut errors) = read_assignments(self, &fields.into());
        let mut record = Map::new();
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
        for Assignment { entry, new_value, .. } in &assignments {
            let Some(entry) = self.entries.get(*entry) else { continue };
            match entry.encode(new_value, None) {
                Err(detail) => errors.push(entry.error(detail)),
                // A vendor sets what it is not given.
                Ok(value) if value.is_null() => {}
                Ok(_) if entry.is_read_only => errors.push(entry.error("read-only: the vendor sets it")),
                Ok(value) => set_path(&mut record, entry.place.names(), value.into_owned()),
            }
        }
        add_defaults(&mut record, &self.create, &mut Vec::new(), &|path| named(path, &assignments));
        (record, errors)
    }

    /// Whether a place, or a value above it, is among the members of a new record.
    fn names_place(&self, members: &Map<String, Value>, place: &Place) -> bool {
        let is_member =
            |name: &str| name == place.member() || (self.ignores_case && name.eq_ignore_ascii_case(place.member()));
        members.iter().any(|(name, value)| is_member(name) && is_named(value, place.below()))
    }

    /// A pointer into the record in the words of the model, with the vendor's pointer beside it
    /// where a field shows the place. `None` for a pointer that is not below `/fields`.
    #[must_use]
    pub fn translate(&self, pointer: &str) -> Option<(String, Option<String>)> {
        let path = record_path(pointer)?;
        let vendor = json_pointer("/vendor", &path.iter().map(String::as_str).collect::<Vec<_>>());
        let mut inside = self.entries.iter().filter(|entry| entry.place.names().starts_with(&path));
        let only_inside = match (inside.next(), inside.next()) {
            (Some(entry), None) => Some(entry),
            _ => None,
        };
        match self.entry_above(&path).or(only_inside) {
            Some(entry) => Some((entry.pointer(), Some(vendor))),
            None => Some((vendor, None)),
        }
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
