//! The operations of a JSON Patch (RFC 6902). The `json-patch` crate applies them one at a time.
//! This module adds which members may change, `test` by numeric value (§4.6), and limits on the
//! cost of a patch.

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::{Map, Value};

use super::error::{PatchError, read_only_error};
use super::missing_value::missing_value_error;
use crate::record::json_equal::values_equal;
use crate::record::vendor_error::FieldError;

/// How many bytes all operations of a patch may copy: `copy` can double a document each time.
const MAX_COPIED: usize = 4 * 1024 * 1024;
/// How many elements and members all operations of a patch may shift: an insertion at the front of
/// an array shifts all of it. This takes about a tenth of a second.
const MAX_SHIFTED: usize = 1_000_000;

/// Applies operations in their order; `check` says which may write where they do.
///
/// # Errors
/// Those of `check`, `TestFailed` or `Failed`.
pub fn apply_json_patch(
    document: &mut Value,
    operations: &[PatchOperation],
    check: &dyn Fn(&PatchOperation) -> Result<(), PatchError>,
) -> Result<(), PatchError> {
    let (mut copied, mut shifted) = (0_usize, 0_usize);
    for (index, operation) in operations.iter().enumerate() {
        let path = operation.path().as_str();
        match operation {
            PatchOperation::Test(test) => {
                let Some(seen) = document.pointer(path) else {
                    return Err(PatchError::Failed(missing_value_error(document, index, operation.path())));
                };
                if !values_equal(seen, &test.value) {
                    return Err(PatchError::TestFailed(FieldError::new(
                        path,
                        format!("operation {index}: the record has another value here"),
                    )));
                }
                continue;
            }
            PatchOperation::Copy(copy) => {
                copied = copied
                    .saturating_add(document.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len()));
                if copied > MAX_COPIED {
                    return Err(operation_error(index, path, "the operations together copy more than 4 MiB"));
                }
            }
            PatchOperation::Add(_)
            | PatchOperation::Remove(_)
            | PatchOperation::Replace(_)
            | PatchOperation::Move(_) => {}
        }
        check(operation)?;
        let from = if let PatchOperation::Move(operation) = operation { Some(operation.from.as_str()) } else { None };
        shifted =
            [Some(path), from].into_iter().flatten().fold(shifted, |sum, path| sum + count_siblings(document, path));
        if shifted > MAX_SHIFTED {
            return Err(operation_error(index, path, "the operations together shift more than a million elements"));
        }
        json_patch::patch_unsafe(document, std::slice::from_ref(operation))
            .map_err(|error| apply_error(&error.kind, document, index, operation))?;
    }
    Ok(())
}

fn apply_error(kind: &PatchErrorKind, document: &Value, index: usize, operation: &PatchOperation) -> PatchError {
    let missing = match (kind, operation) {
        (PatchErrorKind::CannotMoveInsideItself, _) => {
            return operation_error(index, operation.path().as_str(), "a value cannot be moved into itself");
        }
        (PatchErrorKind::InvalidFromPointer, PatchOperation::Move(moved)) => &moved.from,
        (PatchErrorKind::InvalidFromPointer, PatchOperation::Copy(copied)) => &copied.from,
        _ => operation.path(),
    };
    PatchError::Failed(missing_value_error(document, index, missing))
}

/// How many values the array or object that holds this path has.
fn count_siblings(document: &Value, path: &str) -> usize {
    let parent = path.rsplit_once('/').and_then(|(parent, _)| document.pointer(parent));
    match parent {
        Some(Value::Array(elements)) => elements.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

fn operation_error(index: usize, path: &str, reason: &str) -> PatchError {
    PatchError::Failed(FieldError::new(path, format!("operation {index}: {reason}")))
}

/// The members of `/fields` that the operations set as a whole.
pub(super) fn replaced_members(operations: &[PatchOperation]) -> Map<String, Value> {
    let mut members = Map::new();
    for operation in operations {
        let value = match operation {
            PatchOperation::Add(add) => &add.value,
            PatchOperation::Replace(replace) => &replace.value,
            _ => continue,
        };
        if let Some(name) = operation.path().as_str().strip_prefix("/fields/").filter(|rest| !rest.contains('/')) {
            members.insert(name.replace("~1", "/").replace("~0", "~"), value.clone());
        }
    }
    members
}

/// Checks every path that an operation writes: `test` writes none, and `move` also writes its
/// `from`.
pub(super) fn check_writable(operation: &PatchOperation, reserved: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    match operation {
        PatchOperation::Test(_) => return Ok(()),
        PatchOperation::Move(moved) => check_path(moved.from.as_str(), reserved)?,
        _ => {}
    }
    check_path(operation.path().as_str(), reserved)
}

/// Only members of `/fields` that are not reserved, and values below them, may be written.
fn check_path(path: &str, reserved: &dyn Fn(&str) -> bool) -> Result<(), PatchError> {
    let member = path.strip_prefix("/fields/").and_then(|rest| rest.split('/').next());
    match member.map(|name| name.replace("~1", "/").replace("~0", "~")) {
        Some(name) if reserved(&name) => Err(PatchError::ReadOnly(vec![read_only_error(&name)])),
        Some(_) => Ok(()),
        None => Err(PatchError::ReadOnly(vec![FieldError::new(path, "only members of /fields can change")])),
    }
}

/// `path` and `from` of an operation.
pub fn operation_places(operation: &PatchOperation) -> impl Iterator<Item = &str> {
    let from = match operation {
        PatchOperation::Move(moved) => Some(moved.from.as_str()),
        PatchOperation::Copy(copied) => Some(copied.from.as_str()),
        _ => None,
    };
    from.into_iter().chain([operation.path().as_str()])
}
