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

use crate::record::{RawFields, VendorError, parse_raw_members};
use crate::vendors::common::unparseable_response;

/// What callers see of a definition, and its id. `whole` = a definition as GET shows it, which always has both maps; list
/// items have what the list gives.
pub(super) fn to_fields(text: &[u8], whole: bool) -> Result<(Option<String>, RawFields), VendorError> {
    let members = parse_raw_members(text).map_err(unparseable_response)?;
    let mut id = None;
    let mut fields: Vec<(&str, Box<RawValue>)> = Vec::with_capacity(members.len() + 2);
    for (name, value) in &members {
        match name.as_ref() {
            "id" => id = serde_json::from_str(value.get()).map_err(unparseable_response)?,
            "object_properties" => fields.push(("properties", index_by(value, "name", map_property)?)),
            "related_boem" => fields.push(("questionnaires", index_by(value, "id", strip_id)?)),
            "status" => fields.push(("status", map_status(value)?)),
            other => fields.push((other, (*value).to_owned())),
        }
    }
    for map in ["properties", "questionnaires"] {
        if whole && !fields.iter().any(|(name, _)| *name == map) {
            fields.push((map, raw_value("{}")?));
        }
    }
    let mut names = HashSet::new();
    if let Some((twice, _)) = fields.iter().find(|(name, _)| !names.insert(*name)) {
        return Err(unparseable_response(format_args!("two members that would both be {twice:?}")));
    }
    Ok((id, RawFields::from_raw_members(fields.iter().map(|(name, value)| (*name, value.as_ref())))))
}

fn raw_value(text: impl Into<String>) -> Result<Box<RawValue>, VendorError> {
    RawValue::from_string(text.into()).map_err(unparseable_response)
}

fn map_status(value: &RawValue) -> Result<Box<RawValue>, VendorError> {
    match value.get() {
        "0" => raw_value("\"active\""),
        "1" => raw_value("\"disabled\""),
        other => raw_value(other),
    }
}

/// The members of one entry of a list.
type RawEntry<'e> = [(Cow<'e, str>, &'e RawValue)];

/// A list of things with a name (or an id) as an object keyed by it, in the vendor's order.
fn index_by(
    list: &RawValue,
    key: &str,
    entry: fn(&str, &RawEntry<'_>) -> Result<Box<RawValue>, VendorError>,
) -> Result<Box<RawValue>, VendorError> {
    let entries: Option<Vec<&RawValue>> = serde_json::from_str(list.get()).map_err(unparseable_response)?;
    let mut names = HashSet::new();
    let mut shown = Vec::new();
    for item in entries.unwrap_or_default() {
        let members = parse_raw_members(item.get().as_bytes()).map_err(unparseable_response)?;
        let name =
            members.iter().find(|(name, _)| name == key).map(|(_, value)| serde_json::from_str::<String>(value.get()));
        let Some(Ok(name)) = name else { return Err(unparseable_response(format_args!("an entry without {key:?}"))) };
        if !names.insert(name.clone()) {
            return Err(unparseable_response(format_args!("two entries of one {key}")));
        }
        let value = entry(key, &members)?;
        shown.push((name, value));
    }
    raw_value(RawFields::from_raw_members(shown.iter().map(|(name, value)| (name.as_str(), value.as_ref()))).as_json())
}

fn map_property(_: &str, members: &RawEntry<'_>) -> Result<Box<RawValue>, VendorError> {
    let (mut value, mut locked) = ("null", "false");
    for (name, member) in members {
        match (name.as_ref(), member.get()) {
            ("value", text) => value = text,
            ("is_mandatory", "true" | "1") => locked = "true",
            ("is_mandatory", "false" | "0" | "null") => locked = "false",
            ("is_mandatory", _) => return Err(unparseable_response("an is_mandatory that is neither true nor false")),
            _ => {}
        }
    }
    raw_value(format!("{{\"value\":{value},\"locked\":{locked}}}"))
}

fn strip_id(id: &str, members: &RawEntry<'_>) -> Result<Box<RawValue>, VendorError> {
    let others = members.iter().filter(|(name, _)| name != id);
    raw_value(RawFields::from_raw_members(others.map(|(name, value)| (name.as_ref(), *value))).as_json())
}

/// The name, where a definition shows one.
pub(super) fn name_of(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("name").and_then(Value::as_str)
}

/// Whether a definition shows that it is active; the vendor deletes disabled ones only.
pub(super) fn is_active(fields: &Map<String, Value>) -> bool {
    fields.get("status").and_then(Value::as_str) == Some("active")
}
