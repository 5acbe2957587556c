//! The body of a merge patch of a model's document.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::assignments::Assignment;
use super::system_map::{MapEntry, SystemMap};
use crate::record::{FieldError, PatchError, RawJson, RawObject, json_pointer, parse_strict};

/// What is wrong with a body that is no object, or whose `fields` are none.
pub(super) fn explain_refused_body(body: &Bytes) -> PatchError {
    match parse_strict(body) {
        Err(malformed) => malformed.into(),
        Ok(Value::Object(_)) => replaced_whole("fields"),
        Ok(_) => {
            let detail = "a merge patch of a record must be an object such as {\"fields\":{\"name\":\"new\"}}";
            PatchError::ReadOnly(vec![FieldError::in_model("", detail)])
        }
    }
}

/// Takes `vendor` from the members of a document, which must be an object; an absent one is empty.
///
/// # Errors
/// `ReadOnly`.
pub(super) fn take_vendor(envelope: &mut RawObject) -> Result<Map<String, Value>, PatchError> {
    let Some(vendor) = envelope.get("vendor") else { return Ok(Map::new()) };
    let members = vendor.to_object().map_err(|_| replaced_whole("vendor"))?.to_map();
    envelope.retain(|name| name != "vendor");
    Ok(members)
}

fn replaced_whole(name: &str) -> PatchError {
    let detail = format!("{name} cannot be removed or replaced as a whole; give the members that change");
    PatchError::ReadOnly(vec![FieldError::in_model(json_pointer("", &[name]), detail)])
}

/// The members of the record's `fields` that a merge patch changes, if it alone shows them all.
/// Values that can never be sent are added to `errors`.
pub(super) fn encode_members(
    map: &SystemMap,
    assignments: &[Assignment],
    vendor: &Map<String, Value>,
    errors: &mut Vec<FieldError>,
) -> Option<RawObject> {
    let is_rest = |(name, value): (&String, &Value)| {
        !value.is_object() && map.entry_meeting(std::slice::from_ref(name)).is_none()
    };
    let mut is_known = vendor.iter().all(is_rest);
    let mut members: Vec<(String, RawJson)> = Vec::with_capacity(vendor.len() + assignments.len());
    members.extend(vendor.iter().map(|(name, value)| (name.clone(), value.into())));
    for assignment in assignments {
        let Some(entry) = map.entries.get(assignment.entry) else { continue };
        match encode_text(entry, assignment) {
            Err(detail) => errors.push(entry.error(detail)),
            Ok(text) => members.push((entry.place.member().to_owned(), text)),
        }
        is_known &= entry.place.is_member() && !entry.is_read_only && entry.has_one_spelling(&assignment.new_value);
    }
    (is_known && !members.is_empty()).then(|| members.into_iter().collect())
}

/// The vendor's form of a new value as text. A value that the vendor writes as the model does stays
/// the text that it is.
fn encode_text(entry: &MapEntry, assignment: &Assignment) -> Result<RawJson, String> {
    let encoded = entry.encode(&assignment.new_value, None)?;
    if *encoded == assignment.new_value {
        return Ok(assignment.text.normalized().into_owned());
    }
    Ok((&*encoded).into())
}
