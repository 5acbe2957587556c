//! The two patch formats, applied to the record as callers see it (contract 4.1).
//!
//! RFC 7396 and RFC 6902 are done by the `json-patch` crate; what is added is which members may change at all, and what
//! `operations` says.

mod operations;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use json_patch::PatchOperation;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::{ObjectWithMember, parse_strict};
use super::{FieldError, JsonError, RawJson, RawObject, json_pointer};

/// Members of a record that a patch body may carry along, to be ignored.
const IGNORED_MEMBERS: [&str; 3] = ["warnings", "read_only", "pending_operation"];

/// A change to a record as the caller wrote it, syntax checked.
#[derive(Clone, Debug)]
pub enum Patch {
    /// `application/merge-patch+json` (RFC 7396).
    Merge(MergePatch),
    /// `application/json-patch+json` (RFC 6902).
    Json(Vec<PatchOperation>),
}

/// A merge patch, its values as text: most of them are only handed on.
#[derive(Clone, Debug)]
pub struct MergePatch {
    /// The members beside `fields`; none of them can change.
    envelope: RawObject,
    /// The members of `fields`.
    fields: RawObject,
}

/// Why a patch cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// Not a patch document: 400.
    Malformed(String),
    /// It would change what is not the caller's to change: 422 `read-only-member`.
    ReadOnly(Vec<FieldError>),
    /// A `test` operation failed: 409 `patch-test-failed`.
    TestFailed(FieldError),
    /// A path of a JSON Patch is not there: 422 `patch-failed`.
    Failed(FieldError),
}

impl From<JsonError> for PatchError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.0)
    }
}

/// The state that a patch makes of a record's fields.
pub type PatchedFields = Map<String, Value>;

impl Patch {
    /// Reads a merge patch.
    ///
    /// # Errors
    /// Bad JSON; or a document whose result could not be a record.
    pub fn parse_merge_patch(body: &Bytes) -> Result<Self, PatchError> {
        let no_record = |pointer, detail: &str| Err(PatchError::ReadOnly(vec![FieldError::new(pointer, detail)]));
        let text = ByteString::try_from(body.clone()).unwrap_or_default();
        if let Some(read) = ObjectWithMember::parse(&text, "fields") {
            let kept = |members: Vec<(Cow<'_, str>, &RawValue)>| {
                let member = |(name, value): (Cow<'_, str>, _)| {
                    let name = match name {
                        Cow::Borrowed(name) => text.slice_ref(name),
                        Cow::Owned(name) => name.into(),
                    };
                    (name, RawJson::slice_of(&text, value))
                };
                members.into_iter().map(member).collect()
            };
            return Ok(Self::Merge(MergePatch {
                envelope: kept(read.others),
                fields: kept(read.inner.unwrap_or_default()),
            }));
        }
        match parse_strict(body)? {
            Value::Object(_) => {
                no_record("/fields", "fields cannot be removed or replaced as a whole; name its members")
            }
            _ => no_record(
                "",
                "a merge patch of a record is an object such as {\"fields\":{\"Name\":\"new\"}}; \
                 any other value would replace the record as a whole",
            ),
        }
    }

    /// Reads a JSON Patch.
    ///
    /// # Errors
    /// Bad JSON, or JSON that is not an array of operations.
    pub fn parse_json_patch(body: &[u8]) -> Result<Self, PatchError> {
        let Value::Array(operations) = parse_strict(body)? else {
            return Err(PatchError::Malformed("a JSON Patch is an array of operations (RFC 6902 §3)".to_owned()));
        };
        let operations = operations.into_iter().enumerate().map(|(index, value)| {
            operations::parse_operation(value)
                .map_err(|error| PatchError::Malformed(format!("operation {index} is not one of RFC 6902: {error}")))
        });
        Ok(Self::Json(operations.collect::<Result<_, _>>()?))
    }

    /// The changed members of `fields` if they are known without reading the record: a merge patch whose changes are
    /// scalars, arrays or null, and which names nothing else than `identity` (the record's present `system` and `id`, and
    /// the tag the caller sent in `If-Match`).
    ///
    /// # Errors
    /// The members that would change although they must not.
    pub fn as_flat_changes(
        &self,
        identity: &RecordIdentity<'_>,
        read_only: &dyn Fn(&str) -> bool,
    ) -> Result<Option<&RawObject>, PatchError> {
        let Self::Merge(patch) = self else { return Ok(None) };
        let fields = validate_merge_patch(patch, identity, read_only)?;
        let flat = fields.iter().all(|(_, value)| !value.is_object());
        Ok((flat && !fields.is_empty()).then_some(fields))
    }

    /// Whether its answer tells something about the values that the record has: a JSON Patch with a `test`.
    #[must_use]
    pub fn has_test(&self) -> bool {
        match self {
            Self::Json(operations) => operations.iter().any(|one| matches!(one, PatchOperation::Test(_))),
            Self::Merge(_) => false,
        }
    }

    /// What the patch alone shows to be impossible, whatever the record holds: told before the record is looked at
    /// (contract 4). Whether an `etag` it repeats is the present one only the record shows.
    ///
    /// # Errors
    /// The members that would change although they must not.
    pub fn validate(&self, system: &str, id: &str, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
        match self {
            Self::Merge(patch) => {
                let etag = patch.envelope.iter().find(|(name, _)| *name == "etag").and_then(|(_, value)| value.value());
                let etag = etag.as_ref().and_then(Value::as_str).unwrap_or_default();
                validate_merge_patch(patch, &RecordIdentity { system, id, etag }, read_only).map(drop)
            }
            Self::Json(operations) => {
                operations.iter().try_for_each(|operation| operations::check_writable(operation, read_only))
            }
        }
    }

    /// The same patch with the `id` that a merge patch may repeat in its canonical spelling, where it has one.
    #[must_use]
    pub fn with_canonical_id(self, canonical: impl Fn(&str) -> Option<String>) -> Self {
        let Self::Merge(MergePatch { envelope: others, fields }) = self else { return self };
        if others.names().all(|name| name != "id") {
            return Self::Merge(MergePatch { envelope: others, fields });
        }
        let respelled = |(name, value): (&str, &RawJson)| {
            let id = if name == "id" { value.value() } else { None };
            let id = id.as_ref().and_then(Value::as_str).and_then(&canonical);
            (name.to_owned(), id.map_or_else(|| value.clone(), |id| RawJson::from(&Value::from(id))))
        };
        Self::Merge(MergePatch { envelope: others.iter().map(respelled).collect(), fields })
    }

    /// The members of `fields` that a merge patch names.
    #[must_use]
    pub fn merge_members(&self) -> Option<&RawObject> {
        match self {
            Self::Merge(patch) => Some(&patch.fields),
            Self::Json(_) => None,
        }
    }

    /// Applies the patch to a record (`document` = the record as shown, with its `fields`) and gives back the new fields.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub fn apply(
        &self,
        document: &Map<String, Value>,
        read_only: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError> {
        let text = |name| document.get(name).and_then(Value::as_str).unwrap_or_default();
        let identity = RecordIdentity { system: text("system"), id: text("id"), etag: text("etag") };
        let mut fields = Value::Object(document.get("fields").and_then(Value::as_object).cloned().unwrap_or_default());
        match self {
            Self::Merge(patch) => {
                json_patch::merge(
                    &mut fields,
                    &Value::Object(validate_merge_patch(patch, &identity, read_only)?.to_map()),
                );
            }
            Self::Json(operations) => {
                let mut whole = Value::Object(document.clone());
                operations::apply(&mut whole, operations, read_only)?;
                fields = whole.get_mut("fields").map(Value::take).unwrap_or_default();
            }
        }
        match fields {
            Value::Object(fields) => Ok(fields),
            _ => Err(PatchError::ReadOnly(vec![FieldError::new("/fields", "fields cannot be replaced as a whole")])),
        }
    }
}

/// What a record is called and which state of it is meant: the members a patch may repeat but not change.
#[derive(Clone, Copy, Debug)]
pub struct RecordIdentity<'i> {
    /// The system's name.
    pub system: &'i str,
    /// The full canonical id.
    pub id: &'i str,
    /// The tag with its quotes.
    pub etag: &'i str,
}

/// The `fields` of a merge patch, after checking that nothing else would change.
fn validate_merge_patch<'p>(
    patch: &'p MergePatch,
    identity: &RecordIdentity<'_>,
    read_only: &dyn Fn(&str) -> bool,
) -> Result<&'p RawObject, PatchError> {
    let present = [("system", identity.system), ("id", identity.id), ("etag", identity.etag)];
    let mut wrong = Vec::new();
    for (name, value) in patch.envelope.iter() {
        let pointer = || json_pointer("", &[name]);
        if let Some((_, now)) = present.iter().find(|(identity, _)| *identity == name) {
            if value.value().as_ref().and_then(Value::as_str) != Some(now) {
                wrong.push(FieldError::new(pointer(), "cannot change; leave it out, or repeat its present value"));
            }
        } else if !IGNORED_MEMBERS.contains(&name) {
            wrong.push(FieldError::new(pointer(), "not a member that can change; only members of /fields can"));
        }
    }
    wrong.extend(patch.fields.names().filter(|name| read_only(name)).map(read_only_error));
    if wrong.is_empty() { Ok(&patch.fields) } else { Err(PatchError::ReadOnly(wrong)) }
}

fn read_only_error(name: &str) -> FieldError {
    FieldError::new(json_pointer("/fields", &[name]), "read-only: the vendor or the gateway sets it")
}
