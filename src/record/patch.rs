//! The two patch formats, applied to a record as callers see it (contract 4.1).
//!
//! The `json-patch` crate implements RFC 7396 and RFC 6902. This module adds which members may
//! change at all.

mod error;
mod mapped;
mod merge;
mod missing_value;
mod operations;
mod parse_operation;
mod places;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::json_members::{MAX_DEPTH, validate_name};
use super::json_parse::{is_within_depth, parse_strict};
use super::json_pointer::json_pointer;
use super::raw_json::{RawJson, RawObject};
use super::vendor_error::FieldError;
use error::read_only_error;
pub use error::{PatchError, READ_ONLY_DETAIL};
pub use mapped::MappedPatch;
pub use merge::merge_fields;
pub use operations::{apply_json_patch, operation_places};
use parse_operation::parse_operation;

/// Members of a record that a patch may repeat; they are ignored.
const IGNORED_MEMBERS: [&str; 3] = ["warnings", "read_only", "pending_operation"];

/// A patch of a record, its syntax checked.
#[derive(Clone, Debug)]
pub enum Patch {
    /// `application/merge-patch+json` (RFC 7396).
    Merge(MergePatch),
    /// `application/json-patch+json` (RFC 6902).
    Json(Vec<PatchOperation>),
    /// A patch of another document that is made from the record.
    Mapped(Arc<dyn MappedPatch>),
}

/// A merge patch. Its values stay text, because most of them are only passed on.
#[derive(Clone, Debug)]
pub struct MergePatch {
    /// The members other than `fields`; none of them can change.
    envelope: RawObject,
    /// The members of `fields`.
    fields: RawObject,
}

/// The `fields` of a record after a patch.
pub type PatchedFields = Map<String, Value>;

impl Patch {
    /// Parses a merge patch.
    ///
    /// # Errors
    /// `Malformed` for bad JSON, `ReadOnly` for a document that would replace the record or its
    /// `fields` as a whole.
    pub fn parse_merge_patch(body: &Bytes) -> Result<Self, PatchError> {
        if let Some((envelope, fields)) = RawObject::parse_opening(body, "fields") {
            return Ok(Self::Merge(MergePatch { envelope, fields }));
        }
        let (pointer, detail) = match parse_strict(body)? {
            Value::Object(_) => {
                ("/fields", "fields cannot be removed or replaced as a whole; give the members that change")
            }
            _ => (
                "",
                "a merge patch of a record must be an object such as {\"fields\":{\"Name\":\"new\"}}; \
                 any other value would replace the whole record",
            ),
        };
        Err(PatchError::ReadOnly(vec![FieldError::new(pointer, detail)]))
    }

    /// Parses a JSON Patch.
    ///
    /// # Errors
    /// `Malformed` for bad JSON, for JSON that is not an array of operations, and for a path with a
    /// member name that no body may hold.
    pub fn parse_json_patch(body: &[u8]) -> Result<Self, PatchError> {
        let Value::Array(operations) = parse_strict(body)? else {
            return Err(PatchError::Malformed("a JSON Patch must be an array of operations (RFC 6902 §3)".to_owned()));
        };
        let operations = operations.into_iter().enumerate().map(|(index, value)| {
            let operation = parse_operation(value).map_err(|why| {
                PatchError::Malformed(format!("operation {index} is not an operation of RFC 6902: {why}"))
            })?;
            // A reserved name has no character that a path escapes.
            operation_places(&operation)
                .flat_map(|path| path.split('/'))
                .try_for_each(validate_name)
                .map_err(|why| PatchError::Malformed(format!("operation {index}: {why}")))?;
            Ok(operation)
        });
        operations.collect::<Result<_, _>>().map(Self::Json)
    }

    /// The changed members of `fields` if the patch alone determines them: a merge patch whose
    /// values are scalars, arrays or null, and which repeats nothing of the record except its
    /// `identity`. `state` are the record's `fields` in the state of that tag, where they are known
    /// and [needed](Self::needs_state).
    ///
    /// # Errors
    /// `ReadOnly` with the members that cannot change.
    pub fn as_flat_changes(
        &self,
        identity: &RecordIdentity<'_>,
        state: Option<&Map<String, Value>>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<Option<RawObject>, PatchError> {
        let patch = match self {
            Self::Merge(patch) => patch,
            Self::Json(_) => return Ok(None),
            Self::Mapped(patch) => return patch.flat_changes(identity.etag, state, reserved),
        };
        let fields = validate_merge_patch(patch, identity, reserved)?;
        let flat = fields.iter().all(|(_, value)| !value.is_object());
        Ok((flat && !fields.is_empty()).then(|| fields.clone()))
    }

    /// Whether [`as_flat_changes`](Self::as_flat_changes) may find more with the record's `fields`.
    #[must_use]
    pub fn needs_state(&self) -> bool {
        match self {
            Self::Mapped(patch) => patch.needs_state(),
            Self::Merge(_) | Self::Json(_) => false,
        }
    }

    /// Whether the response reveals something about the record's values: a JSON Patch with a `test`
    /// operation.
    #[must_use]
    pub fn has_test(&self) -> bool {
        match self {
            Self::Json(operations) => operations.iter().any(|one| matches!(one, PatchOperation::Test(_))),
            Self::Merge(_) => false,
            Self::Mapped(patch) => patch.has_test(),
        }
    }

    /// Checks what does not depend on the record's values, before the record is read (contract 4).
    /// An `etag` in the patch counts as current.
    ///
    /// # Errors
    /// `ReadOnly` with the members that cannot change.
    pub fn validate(&self, system: &str, id: &str, reserved: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
        match self {
            Self::Merge(patch) => {
                let etag = patch.envelope.get("etag").and_then(RawJson::to_text).unwrap_or_default();
                validate_merge_patch(patch, &RecordIdentity { system, id, etag: &etag }, reserved).map(drop)
            }
            Self::Json(operations) => {
                operations.iter().try_for_each(|operation| operations::check_writable(operation, reserved))
            }
            Self::Mapped(patch) => patch.validate(reserved),
        }
    }

    /// The values that can never be sent, whatever the record holds, and everything else that is
    /// wrong with a patch that has such values. Only a patch in other words than the record's has
    /// any: the vendor judges its own.
    #[must_use]
    pub fn rejected_values(&self, reserved: &dyn Fn(&str) -> bool) -> Vec<FieldError> {
        match self {
            Self::Mapped(patch) => patch.rejected_values(reserved),
            Self::Merge(_) | Self::Json(_) => Vec::new(),
        }
    }

    /// The same patch, with an `id` of a merge patch in its canonical spelling.
    #[must_use]
    pub fn with_canonical_id(self, canonical: impl Fn(&str) -> Option<String>) -> Self {
        let Self::Merge(MergePatch { envelope, fields }) = self else { return self };
        let Some(id) = envelope.get("id").and_then(RawJson::to_text).and_then(|id| canonical(&id)) else {
            return Self::Merge(MergePatch { envelope, fields });
        };
        let id = RawJson::from(&Value::from(id));
        let envelope =
            envelope.iter().map(|(name, value)| (name.to_owned(), if name == "id" { &id } else { value }.clone()));
        Self::Merge(MergePatch { envelope: envelope.collect(), fields })
    }

    /// The members of `fields` in a merge patch.
    #[must_use]
    pub fn merge_members(&self) -> Option<&RawObject> {
        match self {
            Self::Merge(patch) => Some(&patch.fields),
            Self::Json(_) => None,
            Self::Mapped(patch) => patch.merge_members(),
        }
    }

    /// The members of `fields` that a JSON Patch sets as a whole, with their last values.
    #[must_use]
    pub fn replaced_members(&self) -> PatchedFields {
        let Self::Json(operations) = self else { return PatchedFields::new() };
        operations::replaced_members(operations)
    }

    /// Applies the patch to a record as callers see it, with its `fields`, and returns the new
    /// `fields`.
    ///
    /// # Errors
    /// `ReadOnly`, `TestFailed` or `Failed`. A changed member that is not reserved but read-only is
    /// left to the caller of this function, because a patch may repeat its value.
    pub fn apply(
        &self,
        document: &Map<String, Value>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError> {
        let text = |name| document.get(name).and_then(Value::as_str).unwrap_or_default();
        let identity = RecordIdentity { system: text("system"), id: text("id"), etag: text("etag") };
        let fields = match self {
            Self::Merge(patch) => {
                let changes = validate_merge_patch(patch, &identity, reserved)?.to_map();
                let before = document.get("fields").and_then(Value::as_object);
                Value::Object(merge_fields(before.unwrap_or(&Map::new()), &changes))
            }
            Self::Json(operations) => {
                let mut record = Value::Object(document.clone());
                let check = |operation: &PatchOperation| operations::check_writable(operation, reserved);
                apply_json_patch(&mut record, operations, &check)?;
                record.get_mut("fields").map(Value::take).unwrap_or_default()
            }
            Self::Mapped(patch) => Value::Object(patch.apply(document, reserved)?),
        };
        match fields {
            Value::Object(fields) if fields.values().all(|value| is_within_depth(value, MAX_DEPTH - 2)) => Ok(fields),
            Value::Object(_) => {
                let detail = format!("the patched record would be nested deeper than {MAX_DEPTH} levels");
                Err(PatchError::Failed(FieldError::new("/fields", detail)))
            }
            _ => Err(PatchError::ReadOnly(vec![FieldError::new("/fields", "fields cannot be replaced as a whole")])),
        }
    }
}

/// The members of a record that a patch may repeat but not change.
#[derive(Clone, Copy, Debug)]
pub struct RecordIdentity<'i> {
    /// The system's name.
    pub system: &'i str,
    /// The full canonical id.
    pub id: &'i str,
    /// The tag, with its quotes.
    pub etag: &'i str,
}

/// The `fields` of a merge patch, after a check that nothing else would change.
fn validate_merge_patch<'p>(
    patch: &'p MergePatch,
    identity: &RecordIdentity<'_>,
    reserved: &dyn Fn(&str) -> bool,
) -> Result<&'p RawObject, PatchError> {
    let current = [("system", identity.system), ("id", identity.id), ("etag", identity.etag)];
    let mut errors = Vec::new();
    for (name, value) in patch.envelope.iter() {
        let pointer = || json_pointer("", &[name]);
        if let Some((_, current)) = current.iter().find(|(identity, _)| *identity == name) {
            if value.to_text().as_deref() != Some(current) {
                errors.push(FieldError::new(pointer(), "cannot change; omit it, or repeat its current value"));
            }
        } else if !IGNORED_MEMBERS.contains(&name) {
            errors.push(FieldError::new(pointer(), "cannot change; only members of /fields can"));
        }
    }
    errors.extend(patch.fields.names().filter(|name| reserved(name)).map(read_only_error));
    if errors.is_empty() { Ok(&patch.fields) } else { Err(PatchError::ReadOnly(errors)) }
}
