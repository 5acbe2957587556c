//! A place in a record's `fields`: where a system keeps the value of a field.

use serde_json::{Map, Value};

use crate::record::json_pointer;

/// A path of member names below `fields`; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Vec<String>);

impl Place {
    /// Reads a member's name, or a JSON Pointer (RFC 6901) below `fields` if it begins with `/`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(tokens) = text.strip_prefix('/') else {
            return if text.is_empty() { Err("is empty") } else { Ok(Self(vec![text.to_owned()])) };
        };
        let names: Option<Vec<String>> = tokens.split('/').map(unescape).collect();
        match names {
            Some(names) if names.iter().all(|name| !name.is_empty()) => Ok(Self(names)),
            Some(_) => Err("has an empty name"),
            None => Err("has a ~ that is neither ~0 nor ~1"),
        }
    }

    /// The names.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// The member of `fields` that the place is in.
    #[must_use]
    pub fn member(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The names below that member.
    pub(super) fn below(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// Whether it is a whole member of `fields`.
    pub(super) fn is_member(&self) -> bool {
        self.0.len() == 1
    }

    /// The JSON Pointer below another pointer.
    pub(super) fn pointer(&self, base: &str) -> String {
        json_pointer(base, &self.0.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The value in `fields`; `None` if there is none.
    #[must_use]
    pub fn get<'v>(&self, fields: &'v Map<String, Value>) -> Option<&'v Value> {
        get_below(fields.get(self.member())?, self.below())
    }

    /// Whether `fields` has a value above this place that is no object, so that nothing can be
    /// there.
    pub(super) fn is_blocked(&self, fields: &Map<String, Value>) -> bool {
        self.is_blocked_in(fields.get(self.member()))
    }

    /// The same for the value of the member that the place is in.
    pub(super) fn is_blocked_in(&self, member: Option<&Value>) -> bool {
        let mut value = member;
        for name in self.below() {
            match value {
                Some(Value::Object(members)) => value = members.get(name),
                Some(Value::Null) | None => return false,
                Some(_) => return true,
            }
        }
        false
    }

    /// Puts a value there, with the objects around it. `null` removes a value that is not a whole
    /// member, as a merge patch does (RFC 7396 §2).
    pub(super) fn set(&self, fields: &mut Map<String, Value>, value: Value) {
        set_path(fields, &self.0, value);
    }

    /// Whether one place is the other, or lies in it.
    #[must_use]
    pub fn meets_place(&self, other: &Self, ignores_case: bool) -> bool {
        self.meets(&other.0) || ignores_case && self.meets_in_any_case(&other.0)
    }

    /// As [`meets`](Self::meets), at a system that reads the names of members in any case.
    pub(super) fn meets_in_any_case(&self, other: &[String]) -> bool {
        let is_same_member = other.first().is_none_or(|name| name.eq_ignore_ascii_case(self.member()));
        is_same_member && self.below().iter().zip(other.iter().skip(1)).all(|(one, other)| one == other)
    }

    /// Whether a path is this place, or one lies in the other.
    pub(super) fn meets(&self, other: &[String]) -> bool {
        self.0.iter().zip(other).all(|(one, other)| one == other)
    }
}

/// Puts a value at a path below `fields`; see [`Place::set`].
pub(super) fn set_path(fields: &mut Map<String, Value>, path: &[String], value: Value) {
    if let Some((member, below)) = path.split_first() {
        set_below(fields, member, below, value);
    }
}

/// The value at a path below another value.
pub(super) fn get_below<'v>(value: &'v Value, names: &[String]) -> Option<&'v Value> {
    names.iter().try_fold(value, |value, name| value.as_object()?.get(name))
}

fn set_below(object: &mut Map<String, Value>, name: &str, below: &[String], value: Value) {
    let Some((next, rest)) = below.split_first() else {
        object.insert(name.to_owned(), value);
        return;
    };
    if value.is_null() && !object.get(name).is_some_and(Value::is_object) {
        return;
    }
    let child = object.entry(name.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    let Some(child) = child.as_object_mut() else { return };
    if rest.is_empty() && value.is_null() {
        child.shift_remove(next);
    } else {
        set_below(child, next, rest, value);
    }
}

/// One name of a JSON Pointer; `None` for a `~` that is no escape.
fn unescape(token: &str) -> Option<String> {
    let parts: Vec<&str> = token.split('~').collect();
    let is_escape = |part: &&str| part.starts_with(['0', '1']);
    parts.iter().skip(1).all(is_escape).then(|| token.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_member_or_a_pointer() {
        let names = |text: &str| Place::parse(text).map(|place| place.0);
        assert_eq!(names("First Name"), Ok(vec!["First Name".to_owned()]));
        assert_eq!(names("/a~1b/c~0d"), Ok(vec!["a/b".to_owned(), "c~d".to_owned()]));
        for wrong in ["", "/", "/a/", "/a~2"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_put_with_the_objects_around_it() {
        let set = |before: &str, value: Value| {
            let mut fields = serde_json::from_str(before).expect("an object");
            Place::parse("/p/x/value").expect("a place").set(&mut fields, value);
            Value::Object(fields).to_string()
        };
        assert_eq!(set("{}", 1.into()), r#"{"p":{"x":{"value":1}}}"#);
        assert_eq!(set(r#"{"p":{"y":1}}"#, 1.into()), r#"{"p":{"y":1,"x":{"value":1}}}"#);
        assert_eq!(set(r#"{"p":{"x":{"value":1,"z":2}}}"#, Value::Null), r#"{"p":{"x":{"z":2}}}"#);
        assert_eq!(set("{}", Value::Null), "{}");
    }
}
