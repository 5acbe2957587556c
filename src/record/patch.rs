//! The two patch formats, applied to the record as callers see it (contract 4.1).
//!
//! RFC 7396 and RFC 6902 are done by the `json-patch` crate, one operation at a time; what is added here is which members
//! may change at all, `test` by numeric value (RFC 6902 §4.6), and a bound on what `copy` can blow up.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use json_patch::{AddOperation, PatchOperation, ReplaceOperation, TestOperation};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::{Opened, parse_strict, values_equal};
use super::{Invalid, JsonError, JsonText, Members};

/// How many bytes a JSON Patch may copy in all: `copy` can double a document with each operation.
const MAX_COPIED: usize = 4 * 1024 * 1024;
/// How many elements and members a JSON Patch may make move up or down in all: adding and removing at the front of a long array
/// moves all of it. About a tenth of a second.
const MAX_MOVED: usize = 1_000_000;

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
                let member = |(name, value): (Cow<'_, str>, _)| (name.into_owned(), JsonText::within(&text, value));
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
            operation(value)
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
            Self::Json(operations) => operations.iter().try_for_each(|operation| writable(operation, read_only)),
        }
    }

    /// The same patch with the `id` that a merge patch may repeat in its canonical spelling, where it has one.
    #[must_use]
    pub fn with_canonical_id(self, canonical: impl Fn(&str) -> Option<String>) -> Self {
        let Self::Merge(MergePatch { others, fields }) = self else { return self };
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
                apply_operations(&mut whole, operations, read_only)?;
                fields = whole.get_mut("fields").map(Value::take).unwrap_or_default();
            }
        }
        match fields {
            Value::Object(fields) => Ok(fields),
            _ => Err(PatchError::ReadOnly(vec![Invalid::at("/fields", "fields cannot be replaced as a whole")])),
        }
    }
}

/// One operation. What serde reads of it goes through a buffer that holds no number of more than 64 bits, nor its form: so the
/// value goes past it, and members that mean nothing (RFC 6902 §4) are left out.
fn operation(mut operation: Value) -> serde_json::Result<PatchOperation> {
    let mut value = None;
    if let Some(members) = operation.as_object_mut() {
        members.retain(|name, _| matches!(name.as_str(), "op" | "path" | "from" | "value"));
        value = members.get_mut("value").map(Value::take);
    }
    let mut operation = serde_json::from_value(operation)?;
    if let (
        PatchOperation::Add(AddOperation { value: place, .. })
        | PatchOperation::Replace(ReplaceOperation { value: place, .. })
        | PatchOperation::Test(TestOperation { value: place, .. }),
        Some(value),
    ) = (&mut operation, value)
    {
        *place = value;
    }
    Ok(operation)
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
        let pointer = || format!("/{}", escape(name));
        if let Some((_, now)) = present.iter().find(|(identity, _)| *identity == name) {
            if value.value().as_ref().and_then(Value::as_str) != Some(now) {
                wrong.push(Invalid::at(pointer(), format!("cannot change; it is {now:?}")));
            }
        } else if !IGNORED.contains(&name) {
            wrong.push(Invalid::at(pointer(), "not a member that can change; only members of /fields can"));
        }
    }
    wrong.extend(patch.fields.names().filter(|name| read_only(name)).map(read_only_field));
    if wrong.is_empty() { Ok(&patch.fields) } else { Err(PatchError::ReadOnly(wrong)) }
}

fn read_only_field(name: &str) -> Invalid {
    Invalid::at(format!("/fields/{}", escape(name)), "read-only: the vendor or the gateway sets it")
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn apply_operations(
    document: &mut Value,
    operations: &[PatchOperation],
    read_only: &dyn Fn(&str) -> bool,
) -> Result<(), PatchError> {
    let (mut copied, mut moved) = (0_usize, 0_usize);
    for (index, operation) in operations.iter().enumerate() {
        let path = operation.path().as_str();
        match operation {
            PatchOperation::Test(test) => {
                let Some(seen) = document.pointer(path) else {
                    return Err(failed(index, path, "there is no value at this path to test"));
                };
                if !values_equal(seen, &test.value) {
                    return Err(PatchError::TestFailed(Invalid::at(
                        path,
                        format!("operation {index}: the value is another"),
                    )));
                }
                continue;
            }
            PatchOperation::Copy(copy) => {
                copied = copied
                    .saturating_add(document.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len()));
                if copied > MAX_COPIED {
                    return Err(failed(index, path, "the patch copies more than 4 MiB in all"));
                }
            }
            PatchOperation::Add(_)
            | PatchOperation::Remove(_)
            | PatchOperation::Replace(_)
            | PatchOperation::Move(_) => {}
        }
        writable(operation, read_only)?;
        let from = if let PatchOperation::Move(operation) = operation { Some(operation.from.as_str()) } else { None };
        moved = [Some(path), from].into_iter().flatten().fold(moved, |moved, path| moved + siblings(document, path));
        if moved > MAX_MOVED {
            return Err(failed(index, path, "the patch moves more than a million elements in all"));
        }
        json_patch::patch_unsafe(document, std::slice::from_ref(operation))
            .map_err(|error| failed(index, path, &error.kind.to_string()))?;
    }
    Ok(())
}

/// How many values stand in the array or object that a path leads into.
fn siblings(document: &Value, path: &str) -> usize {
    let parent = path.rsplit_once('/').and_then(|(parent, _)| document.pointer(parent));
    match parent {
        Some(Value::Array(elements)) => elements.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

fn failed(index: usize, path: &str, why: &str) -> PatchError {
    PatchError::Failed(Invalid::at(path, format!("operation {index}: {why}")))
}

/// What an operation writes; `test` writes nothing, and `move` writes where it takes from, too.
fn writable(operation: &PatchOperation, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    match operation {
        PatchOperation::Test(_) => return Ok(()),
        PatchOperation::Move(moved) => changeable(moved.from.as_str(), read_only)?,
        _ => {}
    }
    changeable(operation.path().as_str(), read_only)
}

/// Only what lies below a member of `/fields` that is not read-only may be written.
fn changeable(path: &str, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    let member = path.strip_prefix("/fields/").and_then(|rest| rest.split('/').next());
    match member.map(|name| name.replace("~1", "/").replace("~0", "~")) {
        Some(name) if read_only(&name) => Err(PatchError::ReadOnly(vec![read_only_field(&name)])),
        Some(_) => Ok(()),
        None => Err(PatchError::ReadOnly(vec![Invalid::at(path, "only members of /fields can change")])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> Map<String, Value> {
        let text =
            format!(r#"{{"system":"itsm","id":"A:1","etag":"\"t\"","fields":{fields},"read_only":["/fields/type"]}}"#);
        serde_json::from_str(&text).expect("a record")
    }

    fn applied(patch: Result<Patch, PatchError>, fields: &str) -> Result<String, PatchError> {
        let read_only = |name: &str| name == "type";
        patch?.apply(&record(fields), &read_only).map(|fields| Value::Object(fields).to_string())
    }

    fn merge(body: &str, fields: &str) -> Result<String, PatchError> {
        applied(Patch::merge(&Bytes::copy_from_slice(body.as_bytes())), fields)
    }

    fn json(body: &str, fields: &str) -> Result<String, PatchError> {
        applied(Patch::json(body.as_bytes()), fields)
    }

    #[test]
    fn numbers_keep_their_form_through_both_formats() {
        let fields = r#"{"a":12345678901234567890,"b":1.10}"#;
        assert_eq!(
            merge(r#"{"fields":{"c":2.50}}"#, fields).expect("merged"),
            r#"{"a":12345678901234567890,"b":1.10,"c":2.50}"#
        );
        let patch = r#"[{"op":"add","path":"/fields/c","value":2.50},{"op":"test","path":"/fields/b","value":1.1}]"#;
        assert_eq!(json(patch, fields).expect("patched"), r#"{"a":12345678901234567890,"b":1.10,"c":2.50}"#);
        for number in [
            "99999999999999999999",
            "-99999999999999999999",
            "340282366920938463463374607431768211457",
            "1e400",
            "1E5",
            "-0",
        ] {
            let patched = format!(r#"{{"a":[{{"b":{number}}}]}}"#);
            let add = format!(
                r#"[{{"op":"add","path":"/fields/a","value":[{{"b":{number}}}],"x":{number}}},
                                  {{"op":"test","path":"/fields/a/0/b","value":{number}}}]"#
            );
            assert_eq!(json(&add, "{}").expect("patched"), patched);
            assert_eq!(merge(&format!(r#"{{"fields":{patched}}}"#), "{}").expect("merged"), patched);
        }
    }

    #[test]
    fn identity_may_be_repeated_and_not_changed() {
        let same = r#"{"id":"A:1","system":"itsm","etag":"\"t\"","warnings":[],"read_only":[],"pending_operation":"x","fields":{"a":2}}"#;
        assert_eq!(merge(same, r#"{"a":1}"#).expect("merged"), r#"{"a":2}"#);
        for wrong in [
            r#"{"id":"A:2"}"#,
            r#"{"etag":null}"#,
            r#"{"system":"crm"}"#,
            r#"{"fields":null}"#,
            r#"{"fields":[1]}"#,
            r#"{"other":1}"#,
            r#"{"fields":{"type":1}}"#,
            "[1]",
            "null",
        ] {
            assert!(matches!(merge(wrong, r#"{"a":1}"#), Err(PatchError::ReadOnly(_))), "{wrong}");
        }
    }

    #[test]
    fn what_no_record_could_make_possible_is_refused_without_one() {
        let read_only = |name: &str| name == "type";
        let check = |patch: Result<Patch, PatchError>| patch?.check("itsm", "A:1", &read_only);
        for fine in [
            r#"{"fields":{"a":{"b":null}},"etag":"any","id":"A:1","system":"itsm","warnings":1}"#,
            r#"{"fields":{}}"#,
            "{}",
        ] {
            assert_eq!(check(Patch::merge(&Bytes::from_static(fine.as_bytes()))), Ok(()), "{fine}");
        }
        for wrong in [r#"{"etag":null}"#, r#"{"id":"A:2"}"#, r#"{"fields":{"type":1}}"#, r#"{"fields":null}"#] {
            assert!(
                matches!(check(Patch::merge(&Bytes::from_static(wrong.as_bytes()))), Err(PatchError::ReadOnly(_))),
                "{wrong}"
            );
        }
        let fine = r#"[{"op":"test","path":"/id","value":1},{"op":"copy","from":"/id","path":"/fields/zzz/y"}]"#;
        assert_eq!(check(Patch::json(fine.as_bytes())), Ok(()));
        let wrong = r#"[{"op":"move","from":"/id","path":"/fields/a"}]"#;
        assert!(matches!(check(Patch::json(wrong.as_bytes())), Err(PatchError::ReadOnly(_))));
    }

    #[test]
    fn json_patch_writes_only_below_fields_and_tests_anywhere() {
        for wrong in [
            r#"[{"op":"replace","path":"","value":{}}]"#,
            r#"[{"op":"replace","path":"/fields","value":{}}]"#,
            r#"[{"op":"remove","path":"/id"}]"#,
            r#"[{"op":"add","path":"/fields/type/x","value":1}]"#,
            r#"[{"op":"move","from":"/etag","path":"/fields/a"}]"#,
            r#"[{"op":"move","from":"/fields/type","path":"/fields/a"}]"#,
        ] {
            assert!(matches!(json(wrong, r#"{"a":1,"type":{}}"#), Err(PatchError::ReadOnly(_))), "{wrong}");
        }
        let tested = r#"[{"op":"test","path":"/system","value":"itsm"},{"op":"copy","from":"/id","path":"/fields/a"}]"#;
        assert_eq!(json(tested, r#"{"a":1}"#).expect("patched"), r#"{"a":"A:1"}"#);
    }

    #[test]
    fn a_failed_test_and_a_missing_path_are_told_apart_from_a_bad_document() {
        let test = r#"[{"op":"test","path":"/fields/a","value":"1"}]"#;
        assert!(matches!(json(test, r#"{"a":1}"#), Err(PatchError::TestFailed(_))));
        for missing in [
            r#"[{"op":"remove","path":"/fields/zzz"}]"#,
            r#"[{"op":"replace","path":"/fields/l/01","value":1}]"#,
            r#"[{"op":"add","path":"/fields/l/9","value":1}]"#,
            r#"[{"op":"test","path":"/fields/zzz","value":1}]"#,
            r#"[{"op":"move","from":"/fields/a","path":"/fields/a/b"}]"#,
        ] {
            assert!(matches!(json(missing, r#"{"a":{},"l":[1,2]}"#), Err(PatchError::Failed(_))), "{missing}");
        }
        for malformed in [
            "{}",
            r#""x""#,
            "",
            r#"[{"op":"spread","path":"/fields/a"}]"#,
            r#"[{"op":"add","path":"/fields/a"}]"#,
            r#"[{"op":"add","path":"fields/a","value":1}]"#,
            r#"[{"op":"add","path":"/fields/~2","value":1}]"#,
            r#"[{"op":"add","op":"remove","path":"/fields/a","value":1}]"#,
            r#"[{"path":"/fields/a","value":1}]"#,
            r#"[{"op":"move","path":"/fields/a"}]"#,
        ] {
            assert!(matches!(json(malformed, "{}"), Err(PatchError::Malformed(_))), "{malformed}");
        }
    }

    #[test]
    fn copies_cannot_blow_up_memory() {
        let doubling: Vec<String> =
            (0..64).map(|step| format!(r#"{{"op":"copy","from":"/fields/a","path":"/fields/a/{step}"}}"#)).collect();
        let patch = format!("[{}]", doubling.join(","));
        assert!(matches!(json(&patch, r#"{"a":{"seed":"0123456789"}}"#), Err(PatchError::Failed(_))));
    }

    #[test]
    fn a_patch_cannot_keep_the_processor_busy() {
        let steps: Vec<_> = (0..1500)
            .map(|_| r#"{"op":"add","path":"/fields/l/0","value":1},{"op":"remove","path":"/fields/l/0"}"#)
            .collect();
        let patch = format!("[{}]", steps.join(","));
        let long = format!(r#"{{"l":[{}]}}"#, vec!["0"; 1000].join(","));
        assert!(matches!(json(&patch, &long), Err(PatchError::Failed(_))));
        let short = format!(r#"{{"l":[{}]}}"#, vec!["0"; 300].join(","));
        assert!(json(&patch, &short).is_ok());
    }

    #[test]
    fn a_merge_patch_is_flat_only_without_nested_objects() {
        let identity = Identity { system: "itsm", id: "A:1", etag: "\"t\"" };
        let is_flat = |body: &'static str| {
            let patch = Patch::merge(&Bytes::from_static(body.as_bytes())).expect("a patch");
            patch.flat(&identity, &|_| false).expect("allowed").is_some()
        };
        assert!(is_flat(r#"{"fields":{"a":1,"b":null,"c":[{}]}}"#));
        assert!(!is_flat(r#"{"fields":{"a":{"b":1}}}"#));
        assert!(!is_flat(r#"{"fields":{}}"#));
        assert!(!is_flat("{}"));
    }
}
