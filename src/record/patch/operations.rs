//! The operations of a JSON Patch (RFC 6902), one at a time: `json-patch` does them; which members may change at all, `test` by
//! numeric value (§4.6) and bounds on what a patch can cost are added here.

use json_patch::{AddOperation, PatchOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

use super::{PatchError, read_only_error};
use crate::record::FieldError;
use crate::record::json::values_equal;

/// How many bytes a JSON Patch may copy in all: `copy` can double a document with each operation.
const MAX_COPIED: usize = 4 * 1024 * 1024;
/// How many elements and members a JSON Patch may make move up or down in all: adding and removing at the front of a long array
/// moves all of it. About a tenth of a second.
const MAX_SHIFTED: usize = 1_000_000;

/// One operation. What serde reads of it goes through a buffer that holds no number of more than 64 bits, nor its form: so the
/// value goes past it, and members that mean nothing (RFC 6902 §4) are left out.
pub(super) fn parse_operation(mut operation: Value) -> serde_json::Result<PatchOperation> {
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

/// Applies operations in their order.
pub(super) fn apply(
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
                    return Err(operation_error(index, path, "there is no value at this path to test"));
                };
                if !values_equal(seen, &test.value) {
                    return Err(PatchError::TestFailed(FieldError::new(
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
                    return Err(operation_error(index, path, "the patch copies more than 4 MiB in all"));
                }
            }
            PatchOperation::Add(_)
            | PatchOperation::Remove(_)
            | PatchOperation::Replace(_)
            | PatchOperation::Move(_) => {}
        }
        check_writable(operation, read_only)?;
        let from = if let PatchOperation::Move(operation) = operation { Some(operation.from.as_str()) } else { None };
        moved =
            [Some(path), from].into_iter().flatten().fold(moved, |moved, path| moved + count_siblings(document, path));
        if moved > MAX_SHIFTED {
            return Err(operation_error(index, path, "the patch moves more than a million elements in all"));
        }
        json_patch::patch_unsafe(document, std::slice::from_ref(operation))
            .map_err(|error| operation_error(index, path, &error.kind.to_string()))?;
    }
    Ok(())
}

/// How many values stand in the array or object that a path leads into.
fn count_siblings(document: &Value, path: &str) -> usize {
    let parent = path.rsplit_once('/').and_then(|(parent, _)| document.pointer(parent));
    match parent {
        Some(Value::Array(elements)) => elements.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

fn operation_error(index: usize, path: &str, why: &str) -> PatchError {
    PatchError::Failed(FieldError::new(path, format!("operation {index}: {why}")))
}

/// What an operation writes; `test` writes nothing, and `move` writes where it takes from, too.
pub(super) fn check_writable(operation: &PatchOperation, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    match operation {
        PatchOperation::Test(_) => return Ok(()),
        PatchOperation::Move(moved) => check_path(moved.from.as_str(), read_only)?,
        _ => {}
    }
    check_path(operation.path().as_str(), read_only)
}

/// Only what lies below a member of `/fields` that is not read-only may be written.
fn check_path(path: &str, read_only: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    let member = path.strip_prefix("/fields/").and_then(|rest| rest.split('/').next());
    match member.map(|name| name.replace("~1", "/").replace("~0", "~")) {
        Some(name) if read_only(&name) => Err(PatchError::ReadOnly(vec![read_only_error(&name)])),
        Some(_) => Ok(()),
        None => Err(PatchError::ReadOnly(vec![FieldError::new(path, "only members of /fields can change")])),
    }
}
