//! Members of JSON objects.

use serde_json::{Map, Value};

/// The members of a `json!` object.
pub(in crate::sandbox) fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A number in a textual form that `json!` would not keep.
pub(in crate::sandbox) fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// Sets members; `null` removes one.
pub(in crate::sandbox) fn set_members(target: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            target.insert(name.clone(), value.clone());
        }
    }
}
