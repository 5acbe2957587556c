//! A merge patch of a model's document, with what it alone shows of its effect on the record.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::assignments::{Assignment, read_assignments};
use super::system_map::{MapEntry, SystemMap};
use crate::record::{FieldError, PatchError, RawJson, RawObject, json_pointer, parse_strict};

/// A merge patch of a document.
pub(super) struct DocumentMerge {
    /// The document's members besides `fields` and `vendor`.
    pub envelope: RawObject,
    /// What it sets in `fields`.
    pub assignments: Vec<Assignment>,
    /// What it sets in `vendor`.
    pub vendor: Map<String, Value>,
    /// The members of the record's `fields` that it changes, as far as it alone shows them.
    pub known: RawObject,
    /// The values that can never be sent.
    pub rejected: Vec<FieldError>,
}

impl DocumentMerge {
    /// Parses a body.
    ///
    /// # Errors
    /// `Malformed` for bad JSON, and `ReadOnly` for a document that replaces more than members.
    pub(super) fn parse(map: &SystemMap, body: &Bytes) -> Result<Self, PatchError> {
        let Some((mut envelope, fields)) = RawObject::parse_opening(body, "fields") else {
            return Err(explain_refused_body(body));
        };
        let vendor = take_vendor(&mut envelope)?;
        let (assignments, mut rejected) = read_assignments(map, &fields);
        let known = encode_members(map, &assignments, &vendor, &mut rejected);
        Ok(Self { envelope, assignments, vendor, known, rejected })
    }

    /// The members of the record's `fields` that change, if the patch alone shows them all.
    pub(super) fn members(&self) -> Option<&RawObject> {
        let is_complete = self.known.len() == self.vendor.len() + self.assignments.len();
        (is_complete && self.rejected.is_empty() && !self.known.is_empty()).then_some(&self.known)
    }

    /// Checks the values alone.
    ///
    /// # Errors
    /// `Rejected` with the values that can never be sent.
    pub(super) fn check_values(&self) -> Result<(), PatchError> {
        if self.rejected.is_empty() { Ok(()) } else { Err(PatchError::Rejected(self.rejected.clone())) }
    }
}

/// What is wrong with a body that is no object, or whose `fields` are none.
fn explain_refused_body(body: &Bytes) -> PatchError {
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
fn take_vendor(envelope: &mut RawObject) -> Result<Map<String, Value>, PatchError> {
    let Some(vendor) = envelope.get("vendor") else { return Ok(Map::new()) };
    let members = vendor.to_object().map_err(|_| replaced_whole("vendor"))?.to_map();
    envelope.retain(|name| name != "vendor");
    Ok(members)
}

fn replaced_whole(name: &str) -> PatchError {
    let detail = format!("{name} cannot be removed or replaced as a whole; give the members that change");
    PatchError::ReadOnly(vec![FieldError::in_model(json_pointer("", &[name]), detail)])
}

/// The members of the record's `fields` that a merge patch changes, as far as it alone shows them.
/// The values that can never be sent are added to `rejected`.
fn encode_members(
    map: &SystemMap,
    assignments: &[Assignment],
    vendor: &Map<String, Value>,
    rejected: &mut Vec<FieldError>,
) -> RawObject {
    let is_rest = |(name, value): &(&String, &Value)| {
        !value.is_object() && map.entry_meeting(std::slice::from_ref(*name)).is_none()
    };
    let mut members: Vec<(String, RawJson)> = Vec::with_capacity(vendor.len() + assignments.len());
    members.extend(vendor.iter().filter(is_rest).map(|(name, value)| (name.clone(), value.into())));
    for assignment in assignments {
        let Some(entry) = map.entries.get(assignment.entry) else { continue };
        if !entry.is_read_only && entry.is_unchanged(&assignment.text) {
            members.push((entry.place.member().to_owned(), assignment.text.clone()));
            continue;
        }
        let is_plain = entry.place.is_member() && !entry.is_read_only && entry.has_one_spelling(assignment.new_value());
        match encode_text(entry, assignment) {
            Err(detail) => rejected.push(entry.error(detail)),
            Ok(text) if is_plain => members.push((entry.place.member().to_owned(), text)),
            Ok(_) => {}
        }
    }
    members.into_iter().collect()
}

/// The vendor's form of a new value as text. A value that the vendor writes as the model does stays
/// the text that it is.
fn encode_text(entry: &MapEntry, assignment: &Assignment) -> Result<RawJson, String> {
    let encoded = entry.encode(assignment.new_value(), None)?;
    if *encoded == *assignment.new_value() {
        return Ok(assignment.text.normalized().into_owned());
    }
    Ok((&*encoded).into())
}
