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

use super::json::{Opened, parse_strict};
use super::{Invalid, JsonError, JsonText, Members, pointer_below};

/// Members of a record that a patch body may carry along, to be ignored.
const IGNORED: [&str; 3] = ["warnings", "read_only", "pending_operation"];

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
    others: Members,
    /// The members of `fields`.
    fields: Members,
}

/// Why a patch cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// Not a patch document: 400.
    Malformed(String),
    /// It would change what is not the caller's to change: 422 `read-only-member`.
    ReadOnly(Vec<Invalid>),
    /// A `test` operation failed: 409 `patch-test-failed`.
    TestFailed(Invalid),
    /// A path of a JSON Patch is not there: 422 `patch-failed`.
    Failed(Invalid),
}

impl From<JsonError> for PatchError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.0)
    }
}

/// The state that a patch makes of a record's fields.
pub type Applied = Map<String, Value>;

impl Patch {
    /// Reads a merge patch.
    ///
    /// # Errors
    /// Bad JSON; or a document whose result could not be a record.
    pub fn merge(body: &Bytes) -> Result<Self, PatchError> {
        let no_record = |pointer, detail: &str| Err(PatchError::ReadOnly(vec![Invalid::at(pointer, detail)]));
        let text = ByteString::try_from(body.clone()).unwrap_or_default();
        if let Some(read) = Opened::read(&text, "fields") {
            let kept = |members: Vec<(Cow<'_, str>, &RawValue)>| {
                let member = |(name, value): (Cow<'_, str>, _)| {
                    let name = match name {
                        Cow::Borrowed(name) => text.slice_ref(name),
                        Cow::Owned(name) => name.into(),
                    };
                    (name, JsonText::within(&text, value))
                };
                members.into_iter().map(member).collect()
            };
            return Ok(Self::Merge(MergePatch {
                others: kept(read.others),
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
    pub fn json(body: &[u8]) -> Result<Self, PatchError> {
        let Value::Array(operations) = parse_strict(body)? else {
            return Err(PatchError::Malformed("a JSON Patch is an array of operations (RFC 6902 §3)".to_owned()));
        };
        let operations = operations.into_iter().enumerate().map(|(index, value)| {
            operations::read(value)
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
    pub fn flat(
        &self,
        identity: &Identity<'_>,
        read_only: &dyn Fn(&str) -> bool,
    ) -> Result<Option<&Members>, PatchError> {
        let Self::Merge(patch) = self else { return Ok(None) };
        let fields = merged_fields(patch, identity, read_only)?;
        let flat = fields.iter().all(|(_, value)| !value.is_object());
        Ok((flat && !fields.is_empty()).then_some(fields))
    }

    /// Whether its answer tells something about the values that the record has: a JSON Patch with a `test`.
    #[must_use]
    pub fn asks(&self) -> bool {
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
    pub fn check(&self, system: &str, id: &str, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
        match self {
            Self::Merge(patch) => {
                let etag = patch.others.iter().find(|(name, _)| *name == "etag").and_then(|(_, value)| value.value());
                let etag = etag.as_ref().and_then(Value::as_str).unwrap_or_default();
                merged_fields(patch, &Identity { system, id, etag }, read_only).map(drop)
            }
            Self::Json(operations) => {
                operations.iter().try_for_each(|operation| operations::writable(operation, read_only))
            }
        }
    }

    /// The same patch with the `id` that a merge patch may repeat in its canonical spelling, where it has one.
    #[must_use]
    pub fn with_canonical_id(self, canonical: impl Fn(&str) -> Option<String>) -> Self {
        let Self::Merge(MergePatch { others, fields }) = self else { return self };
        if others.names().all(|name| name != "id") {
            return Self::Merge(MergePatch { others, fields });
        }
        let respelled = |(name, value): (&str, &JsonText)| {
            let id = if name == "id" { value.value() } else { None };
            let id = id.as_ref().and_then(Value::as_str).and_then(&canonical);
            (name.to_owned(), id.map_or_else(|| value.clone(), |id| JsonText::from(&Value::from(id))))
        };
        Self::Merge(MergePatch { others: others.iter().map(respelled).collect(), fields })
    }

    /// The members of `fields` that a merge patch names.
    #[must_use]
    pub fn merged(&self) -> Option<&Members> {
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
    ) -> Result<Applied, PatchError> {
        let text = |name| document.get(name).and_then(Value::as_str).unwrap_or_default();
        let identity = Identity { system: text("system"), id: text("id"), etag: text("etag") };
        let mut fields = Value::Object(document.get("fields").and_then(Value::as_object).cloned().unwrap_or_default());
        match self {
            Self::Merge(patch) => {
                json_patch::merge(&mut fields, &Value::Object(merged_fields(patch, &identity, read_only)?.to_map()));
            }
            Self::Json(operations) => {
                let mut whole = Value::Object(document.clone());
                operations::apply(&mut whole, operations, read_only)?;
                fields = whole.get_mut("fields").map(Value::take).unwrap_or_default();
            }
        }
        match fields {
            Value::Object(fields) => Ok(fields),
            _ => Err(PatchError::ReadOnly(vec![Invalid::at("/fields", "fields cannot be replaced as a whole")])),
        }
    }
}

/// What a record is called and which state of it is meant: the members a patch may repeat but not change.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'i> {
    /// The system's name.
    pub system: &'i str,
    /// The full canonical id.
    pub id: &'i str,
    /// The tag with its quotes.
    pub etag: &'i str,
}

/// The `fields` of a merge patch, after checking that nothing else would change.
fn merged_fields<'p>(
    patch: &'p MergePatch,
    identity: &Identity<'_>,
    read_only: &dyn Fn(&str) -> bool,
) -> Result<&'p Members, PatchError> {
    let present = [("system", identity.system), ("id", identity.id), ("etag", identity.etag)];
    let mut wrong = Vec::new();
    for (name, value) in patch.others.iter() {
        let pointer = || pointer_below("", &[name]);
        if let Some((_, now)) = present.iter().find(|(identity, _)| *identity == name) {
            if value.value().as_ref().and_then(Value::as_str) != Some(now) {
                wrong.push(Invalid::at(pointer(), "cannot change; leave it out, or repeat its present value"));
            }
        } else if !IGNORED.contains(&name) {
            wrong.push(Invalid::at(pointer(), "not a member that can change; only members of /fields can"));
        }
    }
    wrong.extend(patch.fields.names().filter(|name| read_only(name)).map(read_only_field));
    if wrong.is_empty() { Ok(&patch.fields) } else { Err(PatchError::ReadOnly(wrong)) }
}

fn read_only_field(name: &str) -> Invalid {
    Invalid::at(pointer_below("/fields", &[name]), "read-only: the vendor or the gateway sets it")
}
