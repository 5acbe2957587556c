//! What differs between two states of a record's fields, and whether a state holds what was wanted.

use serde_json::{Map, Value};

use super::json::values_equal;
use super::push_pointer;

/// One place where the wanted state differs from the old one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// JSON Pointer into the record (RFC 6901), such as `/fields/properties/Supplier/value`.
    pub pointer: String,
    /// The member of `fields` it lies in.
    pub member: String,
    /// The names below `fields` that lead there.
    pub path: Vec<String>,
    /// The old value; `None` = absent (or null, which vendors do not tell apart).
    pub before: Option<Value>,
    /// The wanted value; `None` = absent or null.
    pub wanted: Option<Value>,
}

/// Every place where `after` differs from `before`, objects entered, arrays as a whole; `1.10` and `1.1` differ.
#[must_use]
pub fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    collect(before, after, &mut Vec::new(), &mut found);
    found
}

fn collect(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<Difference>,
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
            collect(old, new, path, found);
        } else {
            found.push(Difference {
                pointer: fields_pointer(path),
                member: path.first().cloned().unwrap_or_default(),
                path: path.clone(),
                before: old.cloned(),
                wanted: new.cloned(),
            });
        }
        path.pop();
    }
}

/// The JSON Pointer (RFC 6901) of a path below `fields`.
#[must_use]
pub fn fields_pointer(path: &[String]) -> String {
    let mut pointer = String::with_capacity(64);
    push_fields_pointer(&mut pointer, path.iter().map(String::as_str));
    pointer
}

/// Appends the JSON Pointer of a path below `fields`.
pub fn push_fields_pointer<'n>(pointer: &mut String, names: impl IntoIterator<Item = &'n str>) {
    pointer.push_str("/fields");
    for name in names {
        push_pointer(pointer, name);
    }
}

impl Difference {
    /// A change of one whole member of `fields` whose old value is not known.
    #[must_use]
    pub fn of_member(name: &str, wanted: Option<Value>) -> Self {
        let path = vec![name.to_owned()];
        Self {
            pointer: fields_pointer(&path),
            member: name.to_owned(),
            path,
            before: None,
            wanted: wanted.filter(|value| !value.is_null()),
        }
    }

    /// Whether `observed` (the members of `fields`) shows the wanted value here, numbers compared by value.
    #[must_use]
    pub fn holds_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.wanted) {
            (seen, Some(wanted)) => includes(seen, wanted),
            // Of an entry of a map nothing may be left, of the map itself that it is empty.
            (Some(Value::Object(seen)), None) => seen.is_empty() && self.path.len() == 1,
            (Some(seen), None) => is_blank(seen) || *seen == Value::Bool(false),
            (None, None) => true,
        }
    }

    /// Whether `observed` still shows the old value here.
    #[must_use]
    pub fn unchanged_in(&self, observed: &Map<String, Value>) -> bool {
        match (self.value_in(observed), &self.before) {
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
fn includes(seen: Option<&Value>, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Some(Value::Object(seen)), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| wanted.is_null() || includes(seen.get(name), wanted))
        }
        // An entry of a map that says nothing but that it is there is there or not.
        (None | Some(Value::Null), Value::Object(_)) => false,
        (None | Some(Value::Null), wanted) => is_blank(wanted),
        (Some(seen), wanted) => values_equal(seen, wanted),
    }
}

/// What vendors do not tell from nothing: a reset value reads back as absent, as null or as one of these (or as the flag that is
/// off), and one of these as nothing.
fn is_blank(value: &Value) -> bool {
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
pub fn holds(wanted: &[Difference], observed: &Map<String, Value>) -> bool {
    wanted.iter().all(|difference| difference.holds_in(observed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn differences_name_the_deepest_changed_place() {
        let before = map(r#"{"a":1,"p":{"x/y":{"v":1,"w":2},"gone":1},"n":null}"#);
        let after = map(r#"{"a":1,"p":{"x/y":{"v":3,"w":2}},"new":[1]}"#);
        let found: Vec<_> = differences(&before, &after).into_iter().map(|one| one.pointer).collect();
        assert_eq!(found, ["/fields/p/x~1y/v", "/fields/p/gone", "/fields/new"]);
    }

    #[test]
    fn a_changed_form_of_a_number_is_a_change_and_reads_back_by_value() {
        let wanted = differences(&map(r#"{"a":1.10}"#), &map(r#"{"a":1.1}"#));
        assert_eq!(wanted.len(), 1);
        assert!(holds(&wanted, &map(r#"{"a":1.100}"#)));
        assert!(!holds(&wanted, &map(r#"{"a":1.2}"#)));
    }

    #[test]
    fn an_added_object_holds_with_members_that_the_vendor_fills_in() {
        let wanted = differences(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"x"}}}"#));
        assert!(holds(&wanted, &map(r#"{"p":{"new":{"value":"x","locked":false}}}"#)));
        assert!(!holds(&wanted, &map(r#"{"p":{"new":{"value":"y","locked":false}}}"#)));
    }

    #[test]
    fn an_empty_value_holds_where_it_reads_back_as_nothing() {
        let wanted = differences(&map(r#"{"p":{}}"#), &map(r#"{"p":{"new":{"value":"","list":[]}},"q":[]}"#));
        assert!(holds(&wanted, &map(r#"{"p":{"new":{"value":null,"locked":false}}}"#)));
        assert!(!holds(&wanted, &map(r#"{"p":{"new":{"value":"x"}}}"#)));
        assert!(!holds(&wanted, &map(r#"{"p":{"new":{"value":null}},"q":1}"#)));
    }

    #[test]
    fn an_entry_that_says_nothing_but_that_it_is_there_is_there_or_not() {
        let (without, with) = (map(r#"{"p":{}}"#), map(r#"{"p":{"new":{}}}"#));
        for (before, after) in [(&without, &with), (&with, &without)] {
            let wanted = differences(before, after);
            assert!(holds(&wanted, after) && !holds(&wanted, before), "{wanted:?}");
            assert!(wanted[0].unchanged_in(before) && !wanted[0].unchanged_in(after));
        }
        assert!(!holds(&differences(&map("{}"), &map(r#"{"p":{}}"#)), &map("{}")));
    }

    #[test]
    fn a_flag_left_out_holds_where_it_reads_back_off() {
        let wanted = differences(&map(r#"{"p":{"value":"x","locked":false}}"#), &map(r#"{"p":{"value":"y"}}"#));
        assert!(holds(&wanted, &map(r#"{"p":{"value":"y","locked":false}}"#)));
        assert!(!holds(&wanted, &map(r#"{"p":{"value":"y","locked":true}}"#)));
    }

    #[test]
    fn a_removed_value_holds_where_it_reads_back_empty() {
        let wanted = differences(&map(r#"{"a":"x","b":{"c":1}}"#), &map(r#"{"b":{}}"#));
        assert!(holds(&wanted, &map(r#"{"a":null,"b":{}}"#)));
        assert!(holds(&wanted, &map(r#"{"a":""}"#)));
        assert!(holds(&wanted, &map(r#"{"a":{},"b":{}}"#)));
        assert!(holds(&wanted, &map(r#"{"a":[],"b":{}}"#)));
        assert!(!holds(&wanted, &map(r#"{"a":{"left":1},"b":{}}"#)));
        assert!(!holds(&wanted, &map(r#"{"a":"x"}"#)));
    }
}
