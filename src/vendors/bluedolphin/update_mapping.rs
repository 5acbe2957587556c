//! From a change of `fields` to the vendor's update, as pure functions; `response_mapping` is the
//! inverse.
//!
//! The vendor's update replaces the definition, with one exception: it never removes or unlocks a
//! locked property, and it changes the value of one only if the property is sent as mandatory.

use serde_json::{Map, Value, json};

use super::protocol::is_id;
use crate::record::{FieldError, SchemaRule, json_pointer};
use crate::vendors::common::field_error;

/// The length of names and values. The create page allows 256 characters for names; the lower limit
/// applies.
const MAX_TEXT_CHARS: usize = 255;

const PROPERTY_RULE: &str = "must be an object {\"value\": \"…\", \"locked\": false}";
const NAME_RULE: &str = "must be a string of 1 to 255 characters";

/// The members of `fields` that an update can change.
pub(super) const CHANGEABLE_MEMBERS: [&str; 4] = ["name", "properties", "questionnaires", "status"];

/// The vendor's request for a change.
#[derive(Debug)]
pub(super) enum UpdateRequest {
    /// Only the status changes: an enable or disable call.
    Status {
        /// Whether to enable the definition.
        active: bool,
    },
    /// A PUT.
    Replace {
        /// The body without its `id`.
        body: Map<String, Value>,
        /// Whether a property is removed. A new name counts: the vendor reads it as removal and
        /// addition, and the values that objects have of the property are lost.
        removes_property: bool,
    },
}

/// Builds the update from `before` to `after`.
///
/// A PUT omits locked properties that do not change: the vendor keeps them, and only then keeps the
/// questions linked to them.
pub(super) fn build_update(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Result<UpdateRequest, Vec<FieldError>> {
    let changed: Vec<&str> = after
        .keys()
        .chain(before.keys().filter(|name| !after.contains_key(*name)))
        .map(String::as_str)
        .filter(|name| value_of(before, name) != value_of(after, name))
        .collect();
    let mut invalid = Vec::new();
    for name in changed.iter().filter(|name| !CHANGEABLE_MEMBERS.contains(name)) {
        invalid.push(field_error(name, "read-only: the vendor's update does not accept it"));
    }
    let status = changed.contains(&"status").then(|| parse_status(after, changed.len() > 1)).transpose();
    let status = status.unwrap_or_else(|error| {
        invalid.push(error);
        None
    });
    // Not `json!`, which gives exponents a form of its own.
    let body = Map::from_iter([
        ("name".to_owned(), build_name(before, after, &mut invalid)),
        ("object_properties".to_owned(), build_properties(before, after, &mut invalid).into()),
        ("related_boem".to_owned(), build_questionnaires(before, after, &mut invalid).into()),
    ]);
    if changed.is_empty() {
        invalid.push(FieldError::new(
            "",
            "nothing would change, and this vendor's update destroys data that it does not show",
        ));
    }
    match status {
        _ if !invalid.is_empty() => Err(invalid),
        Some(active) => Ok(UpdateRequest::Status { active }),
        None => {
            let removes_property = removes_entry(before, after, "properties");
            Ok(UpdateRequest::Replace { body, removes_property })
        }
    }
}

/// Rejects values that no definition can have. Values that the record may have already are left to
/// [`build_update`].
pub(super) fn validate_patch(patch: &Map<String, Value>) -> Vec<FieldError> {
    let mut invalid = Vec::new();
    if patch.contains_key("status") {
        invalid.extend(parse_status(patch, false).err());
    }
    if patch.get("name").is_some_and(|name| name.as_str().is_none_or(str::is_empty)) {
        invalid.push(text_error(field_error("name", NAME_RULE), patch.get("name")));
    }
    for (name, entry) in entries(patch, "properties", &mut invalid) {
        if !entry.is_object() {
            invalid.push(FieldError::new(entry_pointer("properties", &name), PROPERTY_RULE).rule(SchemaRule::Type));
        }
    }
    entries(patch, "questionnaires", &mut invalid);
    invalid
}

/// The ids of the questionnaires that a change links, in the vendor's form.
pub(super) fn new_questionnaires(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let known = entries(before, "questionnaires", &mut Vec::new());
    let linked = entries(after, "questionnaires", &mut Vec::new());
    linked.into_iter().map(|(id, _)| id).filter(|id| is_id(id) && !known.contains_key(id)).collect()
}

/// The JSON Pointer to a questionnaire.
pub(super) fn questionnaire_pointer(id: &str) -> String {
    entry_pointer("questionnaires", id)
}

/// A member; `None` for null, which means absent.
fn value_of<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn parse_status(after: &Map<String, Value>, with_others: bool) -> Result<bool, FieldError> {
    match after.get("status").and_then(Value::as_str) {
        Some("active" | "disabled") if with_others => {
            Err(field_error("status", "the vendor enables and disables with separate calls: patch it alone"))
        }
        Some("active") => Ok(true),
        Some("disabled") => Ok(false),
        word => {
            let rule = if word.is_some() { SchemaRule::Enum } else { SchemaRule::Type };
            Err(field_error("status", "must be \"active\" or \"disabled\"").rule(rule))
        }
    }
}

/// The error of a text, with the rule that the value breaks.
fn text_error(error: FieldError, value: Option<&Value>) -> FieldError {
    error.rule(match value {
        Some(Value::String(_)) => SchemaRule::Length,
        Some(Value::Null) | None => SchemaRule::Required,
        Some(_) => SchemaRule::Type,
    })
}

fn has_valid_length(text: &str) -> bool {
    (1..=MAX_TEXT_CHARS).contains(&text.chars().count())
}

fn build_name(before: &Map<String, Value>, after: &Map<String, Value>, invalid: &mut Vec<FieldError>) -> Value {
    let (old, new) = (value_of(before, "name"), value_of(after, "name"));
    if old != new && !new.and_then(Value::as_str).is_some_and(has_valid_length) {
        invalid.push(text_error(field_error("name", NAME_RULE), new));
    }
    new.cloned().unwrap_or_default()
}

/// Whether an entry of a member is removed.
fn removes_entry(before: &Map<String, Value>, after: &Map<String, Value>, member: &str) -> bool {
    let (old, new) = (entries(before, member, &mut Vec::new()), entries(after, member, &mut Vec::new()));
    old.keys().any(|name| !new.contains_key(name))
}

/// The entries of a member that must be an object. One that is null is absent.
fn entries(fields: &Map<String, Value>, member: &str, invalid: &mut Vec<FieldError>) -> Map<String, Value> {
    match value_of(fields, member) {
        None => Map::new(),
        Some(Value::Object(entries)) => {
            let present = entries.iter().filter(|(_, entry)| !entry.is_null());
            present.map(|(name, entry)| (name.clone(), entry.clone())).collect()
        }
        Some(_) => {
            let detail = "must be an object whose members are named after its entries";
            invalid.push(field_error(member, detail).rule(SchemaRule::Type));
            Map::new()
        }
    }
}

/// The names of `after`: first those of `before` in its order, then the new ones.
fn names_in_order<'m>(
    before: &'m Map<String, Value>,
    after: &'m Map<String, Value>,
) -> impl Iterator<Item = &'m String> {
    let kept = before.keys().filter(|name| after.contains_key(*name));
    kept.chain(after.keys().filter(|name| !before.contains_key(*name)))
}

fn entry_pointer(member: &str, name: &str) -> String {
    json_pointer("/fields", &[member, name])
}

/// A property of a definition.
#[derive(PartialEq)]
struct Property<'p> {
    value: Option<&'p Value>,
    locked: bool,
}

impl<'p> Property<'p> {
    /// From a definition as read.
    fn read(entry: &'p Value) -> Self {
        // The vendor's update rejects an empty value, and its GET may show one: both mean no value.
        let value = entry.get("value").filter(|value| !value.is_null() && value.as_str() != Some(""));
        Self { value, locked: entry.get("locked").and_then(Value::as_bool).unwrap_or(false) }
    }

    /// From a patched definition.
    ///
    /// The vendor shows the value of some properties as `""` and refuses it in an update, so a
    /// patch may only repeat it.
    fn parse(name: &str, entry: &'p Value, previous: Option<&Value>, invalid: &mut Vec<FieldError>) -> Option<Self> {
        let at = entry_pointer("properties", name);
        let Value::Object(members) = entry else {
            invalid.push(FieldError::new(at, PROPERTY_RULE).rule(SchemaRule::Type));
            return None;
        };
        let errors_before = invalid.len();
        for (member, value) in members {
            match (member.as_str(), value) {
                ("value", Value::Null) | ("locked", Value::Bool(_) | Value::Null) => {}
                ("value", Value::String(text)) if has_valid_length(text) => {}
                ("value", value) if previous.and_then(|entry| entry.get("value")) == Some(value) => {}
                ("value", value) => {
                    let detail = "must be a string of 1 to 255 characters, or null for none";
                    invalid.push(text_error(FieldError::new(format!("{at}/value"), detail), Some(value)));
                }
                ("locked", _) => {
                    let error = FieldError::new(format!("{at}/locked"), "must be true or false");
                    invalid.push(error.rule(SchemaRule::Type));
                }
                (other, _) => {
                    let detail = format!("a property has no member {other:?}, only value and locked");
                    invalid.push(FieldError::new(at.clone(), detail).rule(SchemaRule::Unknown));
                }
            }
        }
        (invalid.len() == errors_before).then(|| Self::read(entry))
    }

    fn to_json(&self, name: &str) -> Value {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), name.into());
        if let Some(value) = self.value {
            entry.insert("value".to_owned(), value.clone());
        }
        entry.insert("is_mandatory".to_owned(), self.locked.into());
        Value::Object(entry)
    }
}

fn build_properties(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    invalid: &mut Vec<FieldError>,
) -> Vec<Value> {
    let (old, new) = (entries(before, "properties", &mut Vec::new()), entries(after, "properties", invalid));
    let is_lost =
        |name: &&String| !new.contains_key(*name) && old.get(*name).is_some_and(|entry| Property::read(entry).locked);
    for name in old.keys().filter(is_lost) {
        invalid.push(FieldError::new(entry_pointer("properties", name), "a locked property cannot be removed"));
    }
    let mut put = Vec::new();
    for (name, entry) in names_in_order(&old, &new).filter_map(|name| Some((name, new.get(name)?))) {
        let previous = old.get(name).map(Property::read);
        if old.get(name) == Some(entry) {
            put.extend(previous.filter(|property| !property.locked).map(|property| property.to_json(name)));
            continue;
        }
        let Some(property) = Property::parse(name, entry, old.get(name), invalid) else { continue };
        match previous {
            Some(previous) if previous.locked && !property.locked => {
                invalid.push(FieldError::new(
                    entry_pointer("properties", name),
                    "a locked property stays locked: give `locked` with the value true",
                ));
            }
            Some(previous) if previous == property && previous.locked => {}
            None if !has_valid_length(name) => {
                let error =
                    FieldError::new(entry_pointer("properties", name), "a property's name has 1 to 255 characters");
                invalid.push(error.rule(SchemaRule::Length));
            }
            _ => put.push(property.to_json(name)),
        }
    }
    put
}

fn build_questionnaires(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    invalid: &mut Vec<FieldError>,
) -> Vec<Value> {
    let (old, new) = (entries(before, "questionnaires", &mut Vec::new()), entries(after, "questionnaires", invalid));
    for (id, entry) in &new {
        let detail = match (old.get(id), entry) {
            (Some(previous), current) if previous == current => continue,
            (None, Value::Object(members)) if members.is_empty() && is_id(id) => continue,
            (None, Value::Object(members)) if members.is_empty() => {
                "a questionnaire's id has 24 digits and lower-case letters"
            }
            (None, _) => "a questionnaire is added as an empty object, {}",
            (Some(_), _) => "a definition's questionnaire can be added and removed, not changed",
        };
        invalid.push(FieldError::new(entry_pointer("questionnaires", id), detail));
    }
    names_in_order(&old, &new).map(|id| json!({"id": id})).collect()
}

/// The members that a create accepts.
const CREATABLE_MEMBERS: [&str; 3] = ["name", "object_template_id", "roles"];

/// Checks the fields of a create.
pub(super) fn check_create(fields: &Map<String, Value>) -> Vec<FieldError> {
    let unknown = fields.keys().filter(|name| !CREATABLE_MEMBERS.contains(&name.as_str()));
    let mut invalid: Vec<_> = unknown
        .map(|name| {
            field_error(name, "the vendor's create accepts only a name, a template and roles: change it afterwards")
        })
        .map(|error| error.rule(SchemaRule::Unknown))
        .collect();
    if !fields.get("name").and_then(Value::as_str).is_some_and(has_valid_length) {
        let error = field_error("name", "is required: a string of 1 to 255 characters");
        invalid.push(text_error(error, fields.get("name")));
    }
    invalid
}
