//! A patch of a model's document, applied to the record.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::assignments::{Assignment, compare};
use super::document::{Document, DocumentMembers};
use super::document_merge::DocumentMerge;
use super::patch_paths::{check_operation, collect_leaves, place_of_field, vendor_pointer};
use super::place::set_path;
use super::system_map::{BLOCKED, Decoded, MapEntry, SystemMap, get};
use super::tags::model_etag;
use crate::record::{
    FieldChange, FieldError, MappedPatch, Patch, PatchError, PatchedFields, READ_ONLY_DETAIL, RawJson, RawObject,
    RecordId, apply_json_patch, diff, fields_pointer, json_pointer, merge_fields, operation_places,
};

/// Members of a model's document that a patch may repeat; they are ignored.
const IGNORED_MEMBERS: [&str; 4] = ["warnings", "read_only", "pending_operation", "partial"];

/// A patch of a model's document, its syntax checked.
pub struct ModelPatch {
    map: Arc<SystemMap>,
    id: RecordId,
    change: Change,
}

enum Change {
    Merge(DocumentMerge),
    Json(Vec<PatchOperation>),
}

impl fmt::Debug for ModelPatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ModelPatch")
            .field("model", &self.map.model)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl ModelPatch {
    /// Parses a merge patch of the document.
    ///
    /// # Errors
    /// `Malformed` for bad JSON, and `ReadOnly` for a document that replaces more than members.
    pub fn parse_merge_patch(map: &Arc<SystemMap>, id: &RecordId, body: &Bytes) -> Result<Self, PatchError> {
        let change = Change::Merge(DocumentMerge::parse(map, body)?);
        Ok(Self { map: Arc::clone(map), id: id.clone(), change })
    }

    /// Parses a JSON Patch of the document.
    ///
    /// # Errors
    /// `Malformed`; `ReadOnly` for paths outside `/fields` and `/vendor`.
    pub fn parse_json_patch(map: &Arc<SystemMap>, id: &RecordId, body: &[u8]) -> Result<Self, PatchError> {
        let Patch::Json(operations) = Patch::parse_json_patch(body)? else {
            return Err(PatchError::Malformed("this is no JSON Patch".to_owned()));
        };
        Ok(Self { map: Arc::clone(map), id: id.clone(), change: Change::Json(operations) })
    }

    fn entries<'m>(&'m self, assignments: &'m [Assignment]) -> impl Iterator<Item = (&'m MapEntry, &'m Value)> {
        assignments.iter().filter_map(|one| Some((self.map.entries.get(one.entry)?, one.new_value())))
    }

    /// The record's `fields` after the patch; `etag` is the record's.
    fn patch_fields(
        &self,
        before: &Map<String, Value>,
        etag: &str,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError> {
        let document = Document::new(&self.map, &before.into()).into_members();
        match &self.change {
            Change::Merge(merge @ DocumentMerge { envelope, assignments, vendor, .. }) => {
                merge.check_values()?;
                self.check_envelope(envelope, Some(etag))?;
                self.check_named_places(before, assignments, vendor)?;
                let after = merge_fields(&document.vendor, vendor);
                self.write_changes(before, (assignments, &diff(&document.vendor, &after)), Vec::new(), reserved)
            }
            Change::Json(operations) => {
                let after = self.apply_operations(&document, etag, operations)?;
                let (assignments, errors) = compare(&self.map, &document, &after.fields);
                let changes = diff(&document.vendor, &after.vendor);
                self.check_changed_places(before, &assignments, &changes)?;
                self.write_changes(before, (&assignments, &changes), errors, reserved)
            }
        }
    }

    fn write_changes(
        &self,
        before: &Map<String, Value>,
        (assignments, vendor): (&[Assignment], &[FieldChange]),
        mut rejected: Vec<FieldError>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError> {
        let mut after = before.clone();
        let mut read_only = Vec::new();
        // Before the fields: a repeated document also repeats the places of fields that it changes,
        // and the objects around them.
        for change in vendor {
            if reserved(&change.member) {
                read_only.push(FieldError::in_model(vendor_pointer(&change.path), READ_ONLY_DETAIL));
            }
            set_path(&mut after, &change.path, change.new_value.clone().unwrap_or_default());
        }
        for (entry, new_value) in self.entries(assignments) {
            let current = entry.place.get(before);
            if new_value.is_null() && entry.decode_in(before) == Decoded::Unset {
                continue;
            }
            match entry.encode(new_value, current) {
                Err(detail) => rejected.push(entry.error(detail)),
                Ok(value) if current == Some(&*value) => {}
                Ok(_) if entry.is_read_only => {
                    read_only.push(entry.error("read-only: omit it, or repeat its current value"));
                }
                Ok(_) if entry.place.is_blocked(before) => {
                    rejected.push(entry.error(BLOCKED));
                }
                Ok(value) => entry.place.set(&mut after, value.into_owned()),
            }
        }
        match (rejected.is_empty(), read_only.is_empty()) {
            (false, _) => Err(PatchError::Rejected(rejected)),
            (_, false) => Err(PatchError::ReadOnly(read_only)),
            _ => Ok(after),
        }
    }

    /// Only the identity may be repeated, and only as it is. An unknown `etag` counts as current.
    fn check_envelope(&self, envelope: &RawObject, etag: Option<&str>) -> Result<(), PatchError> {
        let errors = self.envelope_errors(envelope, etag);
        if errors.is_empty() { Ok(()) } else { Err(PatchError::ReadOnly(errors)) }
    }

    fn envelope_errors(&self, envelope: &RawObject, etag: Option<&str>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (name, value) in envelope.iter() {
            let is_current = match name {
                "model" => value.to_text().as_deref() == Some(&*self.map.model),
                "system" => value.to_text().as_deref() == Some(self.map.system.as_str()),
                "id" => value.to_text().as_deref() == Some(self.id.as_str()),
                "etag" => etag.is_none_or(|etag| model_etag(&self.map, &self.id, etag) == value.to_text()),
                name if IGNORED_MEMBERS.contains(&name) => continue,
                _ => {
                    let detail = "cannot change; only members of /fields and /vendor can";
                    errors.push(FieldError::in_model(json_pointer("", &[name]), detail));
                    continue;
                }
            };
            if !is_current {
                let detail = "cannot change; omit it, or repeat its current value";
                errors.push(FieldError::in_model(json_pointer("", &[name]), detail));
            }
        }
        errors
    }

    /// What a merge patch may not name, as far as it alone shows it.
    fn read_only_errors(&self, merge: &DocumentMerge, reserved: &dyn Fn(&str) -> bool) -> Vec<FieldError> {
        let names = merge.vendor.keys().filter(|name| reserved(name));
        let of_vendor = names.map(|name| FieldError::in_model(json_pointer("/vendor", &[name]), READ_ONLY_DETAIL));
        self.envelope_errors(&merge.envelope, None).into_iter().chain(of_vendor).collect()
    }

    /// A merge patch may name the place of a field in `vendor` only with its current value, or
    /// where the field cannot be read. An empty object changes nothing in the object that it names.
    fn check_named_places(
        &self,
        before: &Map<String, Value>,
        assignments: &[Assignment],
        vendor: &Map<String, Value>,
    ) -> Result<(), PatchError> {
        let mut named = Vec::new();
        collect_leaves(vendor, &mut Vec::new(), &mut named);
        let is_wrong = |(path, value): &(Vec<String>, &Value)| {
            let entry = self.map.entry_meeting(path)?;
            let current = get(before, path).unwrap_or(&Value::Null);
            let is_empty_object = value.is_object() && entry.place.names().len() > path.len() && current.is_object();
            let is_repeated = is_empty_object || current == *value;
            let is_open = || entry.place.meets(path) && self.is_open(entry, before, assignments);
            (!is_repeated && !is_open()).then(|| place_of_field(entry, path))
        };
        let errors: Vec<FieldError> = named.iter().filter_map(is_wrong).collect();
        if errors.is_empty() { Ok(()) } else { Err(PatchError::Rejected(errors)) }
    }

    fn check_changed_places(
        &self,
        before: &Map<String, Value>,
        assignments: &[Assignment],
        changes: &[FieldChange],
    ) -> Result<(), PatchError> {
        let is_wrong = |change: &FieldChange| {
            let entry = self.map.entry_meeting(&change.path)?;
            let is_open = entry.place.meets(&change.path) && self.is_open(entry, before, assignments);
            (!is_open).then(|| place_of_field(entry, &change.path))
        };
        let errors: Vec<FieldError> = changes.iter().filter_map(is_wrong).collect();
        if errors.is_empty() { Ok(()) } else { Err(PatchError::Rejected(errors)) }
    }

    /// Whether the place of a field may be changed through `vendor`: no field shows it, and the
    /// patch does not change the field.
    fn is_open(&self, entry: &MapEntry, before: &Map<String, Value>, assignments: &[Assignment]) -> bool {
        matches!(entry.decode_in(before), Decoded::Unreadable(_))
            && self.entries(assignments).all(|(assigned, _)| assigned.place != entry.place)
    }

    fn apply_operations(
        &self,
        document: &DocumentMembers,
        etag: &str,
        operations: &[PatchOperation],
    ) -> Result<DocumentMembers, PatchError> {
        let mut json = Value::Object(self.document_json(document, etag));
        apply_json_patch(&mut json, operations, &check_operation).map_err(|error| self.in_model(error))?;
        let mut take = |name: &str| match json.get_mut(name).map(Value::take) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        Ok(DocumentMembers { fields: take("fields"), vendor: take("vendor") })
    }

    /// The document that a JSON Patch is applied to.
    fn document_json(&self, document: &DocumentMembers, etag: &str) -> Map<String, Value> {
        let mut json = Map::new();
        json.insert("model".to_owned(), (*self.map.model).into());
        json.insert("system".to_owned(), self.map.system.as_str().into());
        json.insert("id".to_owned(), self.id.as_str().into());
        json.insert("etag".to_owned(), model_etag(&self.map, &self.id, etag).into());
        json.insert("fields".to_owned(), Value::Object(document.fields.clone()));
        json.insert("vendor".to_owned(), Value::Object(document.vendor.clone()));
        let read_only = self.map.entries.iter().filter(|entry| entry.is_read_only);
        json.insert("read_only".to_owned(), read_only.map(|entry| Value::from(entry.pointer())).collect());
        json
    }

    /// The places of the record behind a pointer into the document.
    fn record_places(&self, pointer: &str) -> Vec<String> {
        let path: Vec<String> =
            pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        match path.split_first() {
            Some((first, rest)) if first == "vendor" => vec![fields_pointer(rest)],
            Some((first, rest)) if first == "fields" => {
                let meets = |entry: &&MapEntry| entry.field.path.iter().zip(rest).all(|(one, other)| one == other);
                self.map.entries.iter().filter(meets).map(|entry| entry.place.pointer("/fields")).collect()
            }
            _ => vec![pointer.to_owned()],
        }
    }

    /// The same error, with the vendor's place beside a field's pointer.
    fn in_model(&self, error: PatchError) -> PatchError {
        let mark = |mut error: FieldError| {
            error.is_in_model = true;
            let field = self.map.entries.iter().find(|entry| entry.pointer() == error.pointer);
            error.vendor_pointer = field.map(MapEntry::vendor_pointer);
            error
        };
        match error {
            PatchError::Malformed(detail) => PatchError::Malformed(detail),
            PatchError::ReadOnly(errors) => PatchError::ReadOnly(errors.into_iter().map(mark).collect()),
            PatchError::Rejected(errors) => PatchError::Rejected(errors.into_iter().map(mark).collect()),
            PatchError::TestFailed(error) => PatchError::TestFailed(mark(error)),
            PatchError::Failed(error) => PatchError::Failed(mark(error)),
        }
    }
}

impl MappedPatch for ModelPatch {
    fn validate(&self, reserved: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
        match &self.change {
            Change::Merge(merge) => {
                let errors = self.read_only_errors(merge, reserved);
                // Beside rejected values they are errors like these.
                if errors.is_empty() || !merge.rejected.is_empty() { Ok(()) } else { Err(PatchError::ReadOnly(errors)) }
            }
            Change::Json(operations) => operations.iter().try_for_each(check_operation),
        }
    }

    fn rejected_values(&self, reserved: &dyn Fn(&str) -> bool) -> Vec<FieldError> {
        match &self.change {
            Change::Merge(merge) if !merge.rejected.is_empty() => {
                [merge.rejected.clone(), self.read_only_errors(merge, reserved)].concat()
            }
            Change::Merge(_) | Change::Json(_) => Vec::new(),
        }
    }

    fn needs_state(&self) -> bool {
        match &self.change {
            Change::Merge(merge) => merge.assignments.len() + merge.vendor.len() != 1 || merge.members().is_none(),
            Change::Json(_) => false,
        }
    }

    fn flat_changes(
        &self,
        etag: &str,
        state: Option<&Map<String, Value>>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<Option<RawObject>, PatchError> {
        let Change::Merge(merge) = &self.change else { return Ok(None) };
        let Some(before) = state else {
            merge.check_values()?;
            self.check_envelope(&merge.envelope, Some(etag))?;
            return Ok(merge.members().cloned());
        };
        let after = self.patch_fields(before, etag, reserved)?;
        let mut members: Vec<(String, RawJson)> = Vec::new();
        for change in diff(before, &after) {
            if change.path.len() > 1 {
                return Ok(None);
            }
            members.push((change.member.clone(), after.get(&change.member).unwrap_or(&Value::Null).into()));
        }
        let is_flat = members.iter().all(|(_, value)| !value.is_object());
        Ok((is_flat && !members.is_empty()).then(|| members.into_iter().collect()))
    }

    fn has_test(&self) -> bool {
        let Change::Json(operations) = &self.change else { return false };
        operations.iter().any(|one| matches!(one, PatchOperation::Test(_)))
    }

    fn merge_members(&self) -> Option<&RawObject> {
        match &self.change {
            // A patch with rejected values is never sent: what is known of the others is checked.
            Change::Merge(merge) if !merge.rejected.is_empty() => Some(&merge.known),
            Change::Merge(merge) => merge.members(),
            Change::Json(_) => None,
        }
    }

    fn named_places(&self) -> Vec<String> {
        let named = match &self.change {
            Change::Merge(DocumentMerge { envelope, assignments, vendor, .. }) => {
                let mut named = Vec::new();
                collect_leaves(vendor, &mut Vec::new(), &mut named);
                let fields = self.entries(assignments).map(|(entry, _)| entry.place.pointer("/fields"));
                let rest = named.into_iter().map(|(path, _)| fields_pointer(&path));
                let etag = envelope.get("etag").map(|_| "/etag".to_owned());
                fields.chain(rest).chain(etag).collect()
            }
            Change::Json(operations) => {
                operations.iter().flat_map(operation_places).flat_map(|path| self.record_places(path)).collect()
            }
        };
        self.map.join_places(named)
    }

    fn apply(
        &self,
        document: &Map<String, Value>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError> {
        let etag = document.get("etag").and_then(Value::as_str).unwrap_or_default();
        let fields = document.get("fields").and_then(Value::as_object);
        self.patch_fields(fields.unwrap_or(&Map::new()), etag, reserved)
    }
}
