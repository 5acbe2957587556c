//! What differs between two states of a record's fields, and whether a state holds what was wanted.

use serde_json::{Map, Value};

use super::json::values_equal;
use super::write_pointer;

/// One place where the wanted state differs from the old one.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// JSON Pointer into the record (RFC 6901), such as `/fields/properties/Supplier/value`.
    pub pointer: String,
    /// The member of `fields` it lies in.
    pub member: String,
    /// The names below `fields` that lead there.
    pub path: Vec<String>,
    /// The old value; `None` = absent (or null, which vendors do not tell apart).
    pub old_value: Option<Value>,
    /// The wanted value; `None` = absent or null.
    pub new_value: Option<Value>,
}

/// Every place where `after` differs from `before`, objects entered, arrays as a whole; `1.10` and `1.1` differ.
#[must_use]
pub fn diff(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<FieldChange> {
    let mut found = Vec::new();
    collect_changes(before, after, &mut Vec::new(), &mut found);
    found
}

fn collect_changes(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<FieldChange>,
) {
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    for name in after.keys().chain(removed) {
        let old = before.get(name).filter(|value| !value.is_null());
        let new = after.get(name).filter(|value| !value.is_null());
        if old == new {
            continue;
        }
        path.push(name.clone());
        if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
            collect_changes(old, new, path, found);
        } else {
            found.push(FieldChange {
                pointer: fields_pointer(path),
                member: path.first().cloned().unwrap_or_default(),
                path: path.clone(),
                old_value: old.cloned(),
                new_value: new.cloned(),
            });
        }
        path.pop();
    }
}

/// The JSON Pointer (RFC 6901) of a path below `fields`.
#[must_use]
pub fn fields_pointer(path: &[String]) -> String {
    let mut pointer = String::with_capacity(64);
    write_fields_pointer(&mut pointer, path.iter().map(String::as_str));
    pointer
}

/// Appends the JSON Pointer of a path below `fields`.
pub fn write_fields_pointer<'n>(pointer: &mut String, names: impl IntoIterator<Item = &'n str>) {
    pointer.push_str("/fields");
    for name in names {
        write_pointer(pointer, name);
    }
}

impl FieldChange {
    /// A change of one whole member of `fields` whose old value is not known.
    #[must_use]
    pub fn for_member(name: &str, wanted: Option<Value>) -> Self {
        let path = vec![name.to_owned()];
        Self {
            pointer: fields_pointer(&path),
            member: name.to_owned(),
            path,
            old_value: None,
            new_value: wanted.filter(|value| !value.is_null()),
        }
    }

    /// Whether `observed` (the members of `fields`) shows the wanted value here, numbers compared by value.
    #[must_use]
    pub fn is_applied_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.new_value) {
            (seen, Some(wanted)) => contains_value(seen, wanted),
            // Of an entry of a map nothing may be left, of the map itself that it is empty.
            (Some(Value::Object(seen)), None) => seen.is_empty() && self.path.len() == 1,
            (Some(seen), None) => is_empty_value(seen) || *seen == Value::Bool(false),
            (None, None) => true,
        }
    }

    /// Whether `observed` still shows the old value here.
    #[must_use]
    pub fn is_unchanged_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.old_value) {
            (Some(seen), Some(before)) => values_equal(seen, before),
            (seen, before) => seen.is_none() && before.is_none(),
        }
    }

    /// What `observed` shows here; null is nothing.
    #[must_use]
    pub fn value_in<'v>(&self, observed: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.path.split_first()?;
        let found = rest.iter().try_fold(observed.get(first)?, |value, name| value.get(name))?;
        (!found.is_null()).then_some(found)
    }
}

/// Whether `seen` has everything that `wanted` has. An object that was added may read back with members the vendor fills in.
fn contains_value(seen: Option<&Value>, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Some(Value::Object(seen)), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| wanted.is_null() || contains_value(seen.get(name), wanted))
        }
        // An entry of a map that says nothing but that it is there is there or not.
        (None | Some(Value::Null), Value::Object(_)) => false,
        (None | Some(Value::Null), wanted) => is_empty_value(wanted),
        (Some(seen), wanted) => values_equal(seen, wanted),
    }
}

/// What vendors do not tell from nothing: a reset value reads back as absent, as null or as one of these (or as the flag that is
/// off), and one of these as nothing.
fn is_empty_value(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether `observed` shows every wanted value.
#[must_use]
pub fn all_applied(wanted: &[FieldChange], observed: &Map<String, Value>) -> bool {
    wanted.iter().all(|difference| difference.is_applied_in(observed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn a_diff_points_to_the_deepest_changed_value() {
        let before = map(r#"{"a":1,"p":{"x/y":{"v":1,"w":2},"gone":1},"n":null}"#);
        let after = map(r#"{"a":1,"p":{"x/y":{"v":3,"w":2}},"new":[1]}"#);
        let found: Vec<_> = diff(&before, &after).into_iter().map(|one| one.pointer).collect();
        assert_eq!(found, ["/fields/p/x~1y/v", "/fields/p/gone", "/fields/new"]);
    }

    #[test]
    fn a_new_number_format_is_a_change_but_is_applied_by_value() {
        let wanted = diff(&map(r#"{"a":1.10}"#), &map(r#"{"a":1.1}"#));
        assert_eq!(wanted.len(), 1);
        assert!(all_applied(&wanted, &map(r#"{"a":1.100}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"a":1.2}"#)));
    }

    #[test]
    fn an_added_object_is_applied_even_with_vendor_defaults() {
        let wanted = diff(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"x"}}}"#));
        assert!(all_applied(&wanted, &map(r#"{"p":{"new":{"value":"x","locked":false}}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"p":{"new":{"value":"y","locked":false}}}"#)));
    }

    #[test]
    fn an_empty_value_is_applied_if_it_reads_back_as_absent() {
        let wanted = diff(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"","list":[]}},"q":[]}"#));
        assert!(all_applied(&wanted, &map(r#"{"p":{"new":{"value":null,"locked":false}}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"p":{"new":{"value":"x"}}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"p":{"new":{"value":null}},"q":1}"#)));
    }

    #[test]
    fn an_empty_map_entry_is_either_present_or_absent() {
        let (without, with) = (map(r#"{"p":{}}"#), map(r#"{"p":{"new":{}}}"#));
        for (before, after) in [(&without, &with), (&with, &without)] {
            let wanted = diff(before, after);
            assert!(all_applied(&wanted, after) && !all_applied(&wanted, before), "{wanted:?}");
            assert!(wanted[0].is_unchanged_in(before) && !wanted[0].is_unchanged_in(after));
        }
        assert!(!all_applied(&diff(&map("{}"), &map(r#"{"p":{}}"#)), &map("{}")));
    }

    #[test]
    fn an_omitted_flag_is_applied_if_it_reads_back_false() {
        let wanted = diff(&map(r#"{"p":{"value":"x","locked":false}}"#), &map(r#"{"p":{"value":"y"}}"#));
        assert!(all_applied(&wanted, &map(r#"{"p":{"value":"y","locked":false}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"p":{"value":"y","locked":true}}"#)));
    }

    #[test]
    fn a_removed_value_is_applied_if_it_reads_back_empty() {
        let wanted = diff(&map(r#"{"a":"x","b":{"c":1}}"#), &map(r#"{"b":{}}"#));
        assert!(all_applied(&wanted, &map(r#"{"a":null,"b":{}}"#)));
        assert!(all_applied(&wanted, &map(r#"{"a":""}"#)));
        assert!(all_applied(&wanted, &map(r#"{"a":{},"b":{}}"#)));
        assert!(all_applied(&wanted, &map(r#"{"a":[],"b":{}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"a":{"left":1},"b":{}}"#)));
        assert!(!all_applied(&wanted, &map(r#"{"a":"x"}"#)));
    }
}
