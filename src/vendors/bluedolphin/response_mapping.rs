//! From the vendor's object definition to `fields`, as pure functions; `update_mapping` is the
//! inverse.
//!
//! The vendor's lists become objects that are keyed by name or id, so that a merge patch can change
//! one entry:
//!
//! - `object_properties[]` `{name, value, is_mandatory, …}` becomes `properties.{name}`
//!   `{value, locked}`; `locked` is false if the vendor gives no `is_mandatory`.
//! - `related_boem[]` `{id, …}` becomes `questionnaires.{id}`, the entry without `id`; its members
//!   cannot be changed.
//! - `status` 0 and 1 become `active` and `disabled`.
//! - `id` is omitted.
//! - Anything else is unchanged.

use std::collections::HashSet;

use bytestring::ByteString;
use serde_json::{Map, Value};

use crate::record::{RawJson, RawObject, VendorError};
use crate::vendors::common::unparseable_response;

/// The `fields` of a definition as callers see them, and its id. With `complete` both maps are
/// present, as a GET shows them. List items hold what the list shows.
pub(super) fn to_fields(definition: &RawObject, complete: bool) -> Result<(Option<String>, RawObject), VendorError> {
    let mut id = None;
    let mut fields: Vec<(ByteString, RawJson)> = Vec::with_capacity(definition.len() + 2);
    for (name, value) in definition.iter() {
        let (name, value) = match name {
            "id" => {
                id = serde_json::from_str(value.as_str()).map_err(unparseable_response)?;
                continue;
            }
            "object_properties" => ("properties", index_by(value, "name", map_property)?),
            "related_boem" => ("questionnaires", index_by(value, "id", strip_id)?),
            "status" => ("status", map_status(value)),
            other => (other, value.clone()),
        };
        fields.push((name.into(), value));
    }
    for map in ["properties", "questionnaires"] {
        if complete && !fields.iter().any(|(name, _)| name == map) {
            fields.push((map.into(), RawJson::from(&RawObject::default())));
        }
    }
    let mut names = HashSet::new();
    if let Some((duplicate, _)) = fields.iter().find(|(name, _)| !names.insert(name)) {
        return Err(unparseable_response(format_args!("two members that both become {duplicate:?}")));
    }
    Ok((id, fields.into_iter().collect()))
}

fn map_status(value: &RawJson) -> RawJson {
    match value.as_str() {
        "0" => RawJson::from(&Value::from("active")),
        "1" => RawJson::from(&Value::from("disabled")),
        _ => value.clone(),
    }
}

/// A list of entries as an object that is keyed by a member of theirs, in the vendor's order.
fn index_by(
    list: &RawJson,
    key: &str,
    map_entry: fn(&str, RawObject) -> Result<RawJson, VendorError>,
) -> Result<RawJson, VendorError> {
    if list.as_str() == "null" {
        return Ok(RawJson::from(&RawObject::default()));
    }
    let mut names = HashSet::new();
    let mut indexed = Vec::new();
    let mut has_unreadable_name = false;
    for entry in list.elements().map_err(unparseable_response)? {
        let members = entry.to_object().map_err(unparseable_response)?;
        let raw_name = members.get(key);
        let Some(name) = raw_name.and_then(RawJson::to_text) else {
            return Err(unparseable_response(format_args!("an entry without {key:?}")));
        };
        has_unreadable_name |= raw_name.is_some_and(RawJson::is_unreadable);
        if !names.insert(name.clone()) {
            return Err(unparseable_response(format_args!("two entries with the same {key}")));
        }
        indexed.push((name, map_entry(key, members)?));
    }
    let indexed = RawJson::from(&RawObject::from_iter(indexed));
    Ok(if has_unreadable_name { indexed.marked_unreadable() } else { indexed })
}

#[expect(clippy::needless_pass_by_value, reason = "it has the signature that `index_by` calls")]
fn map_property(_: &str, members: RawObject) -> Result<RawJson, VendorError> {
    let locked = match members.get("is_mandatory").map(RawJson::as_str) {
        Some("true" | "1") => true,
        None | Some("false" | "0" | "null") => false,
        Some(_) => return Err(unparseable_response("an is_mandatory that is neither true nor false")),
    };
    let value = members.get("value").cloned().unwrap_or_else(|| RawJson::from(&Value::Null));
    let property = RawObject::from_iter([("value", value), ("locked", RawJson::from(&Value::Bool(locked)))]);
    Ok(RawJson::from(&property))
}

#[expect(clippy::unnecessary_wraps, reason = "it has the signature that `index_by` calls")]
fn strip_id(id: &str, mut members: RawObject) -> Result<RawJson, VendorError> {
    members.retain(|name| name != id);
    Ok(RawJson::from(&members))
}

/// The name of a definition, if it is a string.
pub(super) fn name_of(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("name").and_then(Value::as_str)
}

/// Whether a definition is active. The vendor deletes only disabled ones.
pub(super) fn is_active(fields: &Map<String, Value>) -> bool {
    fields.get("status").and_then(Value::as_str) == Some("active")
}
