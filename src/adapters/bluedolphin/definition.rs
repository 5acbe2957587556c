//! An object definition as callers see it: the vendor's lists of named things become objects keyed by that name or id, so
//! that a merge patch can change one of them. Pure functions; `replacement` goes the other way.
//!
//! What becomes of a definition's members:
//!
//! | vendor | callers |
//! |---|---|
//! | `object_properties[]` `{name, value, is_mandatory, …}` | `properties.{name}` `{value, locked}`; `locked` is false where the vendor does not say |
//! | `related_boem[]` `{id, …}` | `questionnaires.{id}` = the entry without `id`; what else the vendor shows there can be read and not changed |
//! | `status` 0, 1 | `active`, `disabled` |
//! | `id` | left out |
//! | anything else | as it is |

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::adapters::common::unreadable;
use crate::record::{Fault, Fields, raw_members};

/// What callers see of a definition, and its id. `whole` = a definition as GET shows it, which always has both maps; list
/// items have what the list gives.
pub(super) fn shown(text: &[u8], whole: bool) -> Result<(Option<String>, Fields), Fault> {
    let members = raw_members(text).map_err(unreadable)?;
    let mut id = None;
    let mut fields: Vec<(&str, Box<RawValue>)> = Vec::with_capacity(members.len() + 2);
    for (name, value) in &members {
        match name.as_ref() {
            "id" => id = serde_json::from_str(value.get()).map_err(unreadable)?,
            "object_properties" => fields.push(("properties", keyed(value, "name", property)?)),
            "related_boem" => fields.push(("questionnaires", keyed(value, "id", without_id)?)),
            "status" => fields.push(("status", status(value)?)),
            other => fields.push((other, (*value).to_owned())),
        }
    }
    for map in ["properties", "questionnaires"] {
        if whole && !fields.iter().any(|(name, _)| *name == map) {
            fields.push((map, raw("{}")?));
        }
    }
    let mut names = HashSet::new();
    if let Some((twice, _)) = fields.iter().find(|(name, _)| !names.insert(*name)) {
        return Err(unreadable(format_args!("two members that would both be {twice:?}")));
    }
    Ok((id, Fields::from_members(fields.iter().map(|(name, value)| (*name, value.as_ref())))))
}

fn raw(text: impl Into<String>) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(text.into()).map_err(unreadable)
}

fn status(value: &RawValue) -> Result<Box<RawValue>, Fault> {
    match value.get() {
        "0" => raw("\"active\""),
        "1" => raw("\"disabled\""),
        other => raw(other),
    }
}

/// The members of one entry of a list.
type Entry<'e> = [(Cow<'e, str>, &'e RawValue)];

/// A list of things with a name (or an id) as an object keyed by it, in the vendor's order.
fn keyed(
    list: &RawValue,
    key: &str,
    entry: fn(&str, &Entry<'_>) -> Result<Box<RawValue>, Fault>,
) -> Result<Box<RawValue>, Fault> {
    let entries: Option<Vec<&RawValue>> = serde_json::from_str(list.get()).map_err(unreadable)?;
    let mut names = HashSet::new();
    let mut shown = Vec::new();
    for item in entries.unwrap_or_default() {
        let members = raw_members(item.get().as_bytes()).map_err(unreadable)?;
        let name =
            members.iter().find(|(name, _)| name == key).map(|(_, value)| serde_json::from_str::<String>(value.get()));
        let Some(Ok(name)) = name else { return Err(unreadable(format_args!("an entry without {key:?}"))) };
        if !names.insert(name.clone()) {
            return Err(unreadable(format_args!("two entries of one {key}")));
        }
        let value = entry(key, &members)?;
        shown.push((name, value));
    }
    raw(Fields::from_members(shown.iter().map(|(name, value)| (name.as_str(), value.as_ref()))).as_json())
}

fn property(_: &str, members: &Entry<'_>) -> Result<Box<RawValue>, Fault> {
    let (mut value, mut locked) = ("null", "false");
    for (name, member) in members {
        match (name.as_ref(), member.get()) {
            ("value", text) => value = text,
            ("is_mandatory", "true" | "1") => locked = "true",
            ("is_mandatory", "false" | "0" | "null") => locked = "false",
            ("is_mandatory", _) => return Err(unreadable("an is_mandatory that is neither true nor false")),
            _ => {}
        }
    }
    raw(format!("{{\"value\":{value},\"locked\":{locked}}}"))
}

fn without_id(id: &str, members: &Entry<'_>) -> Result<Box<RawValue>, Fault> {
    let others = members.iter().filter(|(name, _)| name != id);
    raw(Fields::from_members(others.map(|(name, value)| (name.as_ref(), *value))).as_json())
}

/// The name, where a definition shows one.
pub(super) fn name_in(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("name").and_then(Value::as_str)
}

/// Whether a definition shows that it is active; the vendor deletes disabled ones only.
pub(super) fn is_active(fields: &Map<String, Value>) -> bool {
    fields.get("status").and_then(Value::as_str) == Some("active")
}
