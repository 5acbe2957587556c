//! Merge patches (RFC 7396).

use serde_json::{Map, Value};

/// The members after a merge patch. A `null` leaves a member that is `null` as it is: who repeats a
/// record as read changes nothing.
#[must_use]
pub fn merge_fields(before: &Map<String, Value>, changes: &Map<String, Value>) -> Map<String, Value> {
    let before = Value::Object(before.clone());
    let changes = Value::Object(changes.clone());
    let mut after = before.clone();
    json_patch::merge(&mut after, &changes);
    keep_null_members(&before, &changes, &mut after);
    match after {
        Value::Object(after) => after,
        _ => Map::new(),
    }
}

/// A `null` in a merge patch leaves a member that is `null` as it is: who repeats a record as read
/// changes nothing.
fn keep_null_members(before: &Value, changes: &Value, after: &mut Value) {
    let (Value::Object(before), Value::Object(changes), Value::Object(after)) = (before, changes, after) else {
        return;
    };
    for (name, change) in changes {
        match (before.get(name), change) {
            (Some(Value::Null), Value::Null) => {
                after.insert(name.clone(), Value::Null);
            }
            (Some(before), Value::Object(_)) => {
                if let Some(after) = after.get_mut(name) {
                    keep_null_members(before, change, after);
                }
            }
            _ => {}
        }
    }
}
