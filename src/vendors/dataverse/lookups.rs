//! Lookups: references to other rows. The vendor shows one as `_name_value` and takes it as
//! `navigation@odata.bind`; callers read and write it under the name that is shown.
//!
//! The value is the key of a row, or null. Where a lookup may refer to rows of several tables, a
//! write names the table too, in the form of a record's id: `accounts:00aa00aa-…`.

use serde_json::Value;

use super::protocol::is_set;
use super::tables::{Lookups, Target};
use crate::record::{FieldError, JsonObjectWriter, RawJson, SchemaRule};
use crate::vendors::common::{field_error, parse_guid};

const VALUE_RULE: &str = "refers to a row: its key, or its entity set and key such as \"accounts:00aa00aa-bb11-cc22-dd33-44ee44ee44ee\", or null";

/// A row that a value refers to.
struct Reference {
    set: Option<String>,
    key: String,
}

/// The attribute of a lookup that is shown under this name.
pub(super) fn attribute_of(member: &str) -> Option<&str> {
    member.strip_prefix('_')?.strip_suffix("_value").filter(|attribute| !attribute.is_empty())
}

/// Parses `key`, `set:key` or `/set(key)`, which is the vendor's own spelling.
fn parse_reference(text: &str) -> Option<Reference> {
    if let Some(key) = parse_guid(text) {
        return Some(Reference { set: None, key });
    }
    let vendors_own = || text.strip_prefix('/').unwrap_or(text).strip_suffix(')')?.split_once('(');
    let (set, key) = text.rsplit_once(':').or_else(vendors_own)?;
    let key = parse_guid(key)?;
    is_set(set).then(|| Reference { set: Some(set.to_owned()), key })
}

/// The form in which a read shows the value of a lookup.
pub(super) fn to_read_form(value: &Value) -> Option<Value> {
    parse_reference(value.as_str()?).map(|reference| Value::from(reference.key))
}

/// Checks the value of a lookup without knowing its table.
pub(super) fn check_value(member: &str, value: &RawJson) -> Option<FieldError> {
    let broken = match value.value() {
        // Null clears the lookup.
        None => return None,
        Some(Value::String(text)) if parse_reference(&text).is_some() => return None,
        Some(Value::String(_)) => SchemaRule::Format,
        _ => SchemaRule::Type,
    };
    Some(field_error(member, VALUE_RULE).rule(broken))
}

/// Writes a lookup under its navigation property.
pub(super) fn write(
    body: JsonObjectWriter,
    member: &str,
    value: &RawJson,
    lookups: Option<&Lookups>,
) -> Result<JsonObjectWriter, FieldError> {
    let attribute = attribute_of(member).unwrap_or(member);
    let targets = lookups.and_then(|lookups| lookups.get(attribute)).map(Vec::as_slice);
    match value.to_text() {
        None => Ok(clear(body, attribute, targets)),
        Some(text) => {
            let reference = parse_reference(&text).ok_or_else(|| field_error(member, VALUE_RULE))?;
            let target = find_target(member, attribute, &reference, targets)?;
            let address = ["/", &target.set, "(", &reference.key, ")"].concat();
            Ok(body.string(&[&target.navigation, "@odata.bind"].concat(), &address))
        }
    }
}

/// Any of its navigation properties clears a lookup.
fn clear(body: JsonObjectWriter, attribute: &str, targets: Option<&[Target]>) -> JsonObjectWriter {
    match targets {
        Some([first, ..]) => body.raw(&[&first.navigation, "@odata.bind"].concat(), "null"),
        _ => body.raw(&[attribute, "@odata.bind"].concat(), "null"),
    }
}

/// The target of a reference. Where the vendor does not show its lookups, the navigation property
/// has the attribute's name, as that of a lookup with one target usually has (INFERRED).
fn find_target(
    member: &str,
    attribute: &str,
    reference: &Reference,
    targets: Option<&[Target]>,
) -> Result<Target, FieldError> {
    match (targets, &reference.set) {
        (Some([only]), None) => Ok(only.clone()),
        (Some(targets), Some(set)) => {
            let found = targets.iter().find(|target| target.set == *set);
            found
                .cloned()
                .ok_or_else(|| wrong_form(member, format!("does not refer to {set}, but to {}", names(targets))))
        }
        (Some(targets), None) => {
            let detail = format!("may refer to {}: name the entity set too, such as \"set:key\"", names(targets));
            Err(wrong_form(member, detail))
        }
        (None, Some(set)) => Ok(Target { navigation: attribute.to_owned(), set: set.clone() }),
        (None, None) => Err(wrong_form(
            member,
            "needs the entity set of the row that it refers to, such as \"accounts:00aa00aa-…\": \
             the vendor does not show which one that is at the moment",
        )),
    }
}

fn wrong_form(member: &str, detail: impl Into<String>) -> FieldError {
    field_error(member, detail).rule(SchemaRule::Format)
}

fn names(targets: &[Target]) -> String {
    targets.iter().map(|target| target.set.as_str()).collect::<Vec<_>>().join(", ")
}
