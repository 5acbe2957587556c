//! The paths that a patch of a model's document names.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::system_map::MapEntry;
use crate::record::{FieldError, PatchError, json_pointer};

/// The paths of a merge patch with what they get.
pub(super) fn collect_leaves<'v>(
    members: &'v Map<String, Value>,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, &'v Value)>,
) {
    for (name, value) in members {
        path.push(name.clone());
        match value {
            Value::Object(below) if !below.is_empty() => collect_leaves(below, path, found),
            value => found.push((path.clone(), value)),
        }
        path.pop();
    }
}

/// A pointer into `vendor`.
pub(super) fn vendor_pointer(path: &[String]) -> String {
    json_pointer("/vendor", &path.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Only values below `/fields` and `/vendor` may be written.
pub(super) fn check_operation(operation: &PatchOperation) -> Result<(), PatchError> {
    let from = match operation {
        PatchOperation::Test(_) => return Ok(()),
        PatchOperation::Move(moved) => Some(moved.from.as_str()),
        _ => None,
    };
    let is_writable = |path: &str| path.starts_with("/fields/") || path.starts_with("/vendor/");
    match [Some(operation.path().as_str()), from].into_iter().flatten().find(|path| !is_writable(path)) {
        None => Ok(()),
        Some(path) => {
            let detail = "only members of /fields and /vendor can change";
            Err(PatchError::ReadOnly(vec![FieldError::in_model(path, detail)]))
        }
    }
}

/// The error of a field's place that is named in `vendor`.
pub(super) fn place_of_field(entry: &MapEntry, path: &[String]) -> FieldError {
    let detail = format!("is the place of {}; change it there", entry.pointer());
    FieldError::in_model(vendor_pointer(path), detail)
}
