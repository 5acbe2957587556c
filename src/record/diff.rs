//! Differences between two states of a record's `fields`, and whether a state shows a change.

use serde_json::{Map, Value};

use super::json_equal::values_equal;
use super::json_pointer::fields_pointer;
use super::rfc3339::parse_vendor_time;

/// A value that differs between the old state and the intended one.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// JSON Pointer into the record (RFC 6901), such as `/fields/properties/Supplier/value`.
    pub pointer: String,
    /// The member of `fields` that holds the value.
    pub member: String,
    /// The path below `fields`.
    pub path: Vec<String>,
    /// The old value; `None` if it was absent, or a member that was null.
    pub old_value: Option<Value>,
    /// The intended value; `None` for an absent one, and for a member that is to be null.
    pub new_value: Option<Value>,
}

/// Every change from `before` to `after`: objects are compared member by member, arrays as a whole;
/// `1.10` and `1.1` differ.
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
        // Vendors do not distinguish a null member of `fields` from an absent one. Inside a value
        // null is a value.
        let is_member = path.is_empty();
        let old = before.get(name).filter(|value| !(is_member && value.is_null()));
        let new = after.get(name).filter(|value| !(is_member && value.is_null()));
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

impl FieldChange {
    /// The change of a whole member of `fields` whose old value is not known.
    #[must_use]
    pub fn for_member(name: &str, new_value: Option<Value>) -> Self {
        let path = vec![name.to_owned()];
        Self {
            pointer: fields_pointer(&path),
            member: name.to_owned(),
            path,
            old_value: None,
            new_value: new_value.filter(|value| !value.is_null()),
        }
    }

    /// Takes over the spelling of its member in `observed`, for a vendor that ignores case.
    pub fn respell(&mut self, observed: &Map<String, Value>) {
        let shown = observed.keys().find(|name| name.eq_ignore_ascii_case(&self.member));
        if let (Some(shown), Some(first)) = (shown, self.path.first_mut()) {
            first.clone_from(shown);
        }
    }

    /// Whether `observed` (a state of `fields`) shows the intended value. Numbers are compared by
    /// value.
    #[must_use]
    pub fn is_applied_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.new_value) {
            (seen, Some(expected)) => contains_value(seen, expected),
            // A removed entry of a map must be gone; a removed map may read back empty.
            (Some(Value::Object(seen)), None) => seen.is_empty() && self.path.len() == 1,
            (Some(seen), None) => is_empty_value(seen) || *seen == Value::Bool(false),
            (None, None) => true,
        }
    }

    /// Whether `observed` shows another value than the intended one. A value of another JSON type
    /// may mean the same, so it contradicts nothing.
    #[must_use]
    pub fn is_contradicted_in(&self, observed: &Map<String, Value>) -> bool {
        let is_comparable = match (self.value_in(observed), &self.new_value) {
            (Some(seen), Some(expected)) => std::mem::discriminant(seen) == std::mem::discriminant(expected),
            _ => true,
        };
        is_comparable && !self.is_applied_in(observed)
    }

    /// Whether `observed` still shows the old value.
    #[must_use]
    pub fn is_unchanged_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.old_value) {
            (Some(seen), Some(before)) => values_equal(seen, before),
            (seen, before) => seen.is_none() && before.is_none(),
        }
    }

    /// The value that `observed` shows at this path; `None` for null.
    #[must_use]
    pub fn value_in<'v>(&self, observed: &'v Map<String, Value>) -> Option<&'v Value> {
        let (first, rest) = self.path.split_first()?;
        let found = rest.iter().try_fold(observed.get(first)?, |value, name| value.get(name))?;
        (!found.is_null()).then_some(found)
    }
}

/// Whether `seen` has everything that `expected` has. The vendor may have added members to a new
/// object.
fn contains_value(seen: Option<&Value>, expected: &Value) -> bool {
    match (seen, expected) {
        (Some(Value::Object(seen)), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| expected.is_null() || contains_value(seen.get(name), expected))
        }
        // An empty entry of a map carries no value; it is present or absent.
        (None | Some(Value::Null), Value::Object(_)) => false,
        (None | Some(Value::Null), expected) => is_empty_value(expected),
        (Some(seen), expected) => values_equal(seen, expected) || means_same(seen, expected),
    }
}

/// Whether two values of different form are one to vendors: a flag and its number, and two
/// spellings of one time.
fn means_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Bool(flag), Value::Number(number)) | (Value::Number(number), Value::Bool(flag)) => {
            number.as_f64() == Some(f64::from(u8::from(*flag)))
        }
        (Value::String(one), Value::String(other)) => {
            parse_vendor_time(one).is_some_and(|time| parse_vendor_time(other) == Some(time))
        }
        _ => false,
    }
}

/// Whether vendors do not distinguish this value from an absent one: either of them may read back
/// as the other.
fn is_empty_value(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether `observed` shows every intended value.
#[must_use]
pub fn all_applied(changes: &[FieldChange], observed: &Map<String, Value>) -> bool {
    changes.iter().all(|change| change.is_applied_in(observed))
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
        let changes = diff(&map(r#"{"a":1.10}"#), &map(r#"{"a":1.1}"#));
        assert_eq!(changes.len(), 1);
        assert!(all_applied(&changes, &map(r#"{"a":1.100}"#)));
        assert!(!all_applied(&changes, &map(r#"{"a":1.2}"#)));
    }

    #[test]
    fn an_equal_value_is_applied_and_an_unknown_one_contradicts_nothing() {
        let change = |new: &str| diff(&map("{}"), &map(new)).remove(0);
        for (sent, shown) in [
            (r#"{"a":true}"#, r#"{"a":1}"#),
            (r#"{"a":0}"#, r#"{"a":false}"#),
            (r#"{"a":"2024-05-01T00:00:00Z"}"#, r#"{"a":"2024-05-01T00:00:00"}"#),
            (r#"{"a":"2024-05-01T02:00:00+02:00"}"#, r#"{"a":"2024-05-01T00:00:00Z"}"#),
            (r#"{"a":"2024-05-01"}"#, r#"{"a":"2024-05-01T00:00:00.000"}"#),
        ] {
            assert!(change(sent).is_applied_in(&map(shown)), "{sent} {shown}");
        }
        for (sent, shown, is_contradicted) in [
            (r#"{"a":true}"#, r#"{"a":0}"#, false),
            (r#"{"a":"5"}"#, r#"{"a":5}"#, false),
            (r#"{"a":"2024-05-01T00:00:00Z"}"#, r#"{"a":"2024-05-02T00:00:00Z"}"#, true),
            (r#"{"a":"x"}"#, r#"{"a":"y"}"#, true),
            (r#"{"a":"x"}"#, "{}", true),
        ] {
            let change = change(sent);
            assert!(!change.is_applied_in(&map(shown)), "{sent} {shown}");
            assert_eq!(change.is_contradicted_in(&map(shown)), is_contradicted, "{sent} {shown}");
        }
    }

    #[test]
    fn an_added_object_is_applied_even_with_vendor_defaults() {
        let changes = diff(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"x"}}}"#));
        assert!(all_applied(&changes, &map(r#"{"p":{"new":{"value":"x","locked":false}}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"p":{"new":{"value":"y","locked":false}}}"#)));
    }

    #[test]
    fn an_empty_value_is_applied_if_it_reads_back_as_absent() {
        let changes = diff(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"","list":[]}},"q":[]}"#));
        assert!(all_applied(&changes, &map(r#"{"p":{"new":{"value":null,"locked":false}}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"p":{"new":{"value":"x"}}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"p":{"new":{"value":null}},"q":1}"#)));
    }

    #[test]
    fn an_empty_map_entry_is_either_present_or_absent() {
        let (without, with) = (map(r#"{"p":{}}"#), map(r#"{"p":{"new":{}}}"#));
        for (before, after) in [(&without, &with), (&with, &without)] {
            let changes = diff(before, after);
            assert!(all_applied(&changes, after) && !all_applied(&changes, before), "{changes:?}");
            assert!(changes[0].is_unchanged_in(before) && !changes[0].is_unchanged_in(after));
        }
        assert!(!all_applied(&diff(&map("{}"), &map(r#"{"p":{}}"#)), &map("{}")));
    }

    #[test]
    fn an_omitted_flag_is_applied_if_it_reads_back_false() {
        let changes = diff(&map(r#"{"p":{"value":"x","locked":false}}"#), &map(r#"{"p":{"value":"y"}}"#));
        assert!(all_applied(&changes, &map(r#"{"p":{"value":"y","locked":false}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"p":{"value":"y","locked":true}}"#)));
    }

    #[test]
    fn a_removed_value_is_applied_if_it_reads_back_empty() {
        let changes = diff(&map(r#"{"a":"x","b":{"c":1}}"#), &map(r#"{"b":{}}"#));
        assert!(all_applied(&changes, &map(r#"{"a":null,"b":{}}"#)));
        assert!(all_applied(&changes, &map(r#"{"a":""}"#)));
        assert!(all_applied(&changes, &map(r#"{"a":{},"b":{}}"#)));
        assert!(all_applied(&changes, &map(r#"{"a":[],"b":{}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"a":{"left":1},"b":{}}"#)));
        assert!(!all_applied(&changes, &map(r#"{"a":"x"}"#)));
    }
}
