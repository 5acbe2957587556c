//! The error of a path that is not in the record.

use json_patch::jsonptr::{Pointer, Token};
use serde_json::Value;

use crate::record::nearest::nearest_name;
use crate::record::vendor_error::FieldError;

/// The error of an operation whose `path` or `from` is not in the document. It names the member
/// that was probably meant.
pub(super) fn missing_value_error(document: &Value, index: usize, path: &Pointer) -> FieldError {
    let mut parent = document;
    let mut more = String::new();
    let mut nearest = None;
    for token in path.tokens() {
        if let Some(child) = child_at(parent, &token) {
            parent = child;
            continue;
        }
        match parent {
            Value::Object(members) => {
                nearest = nearest_name(&token.decoded(), members.keys().map(String::as_str)).map(str::to_owned);
                more = nearest.as_ref().map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default();
            }
            Value::Array(_) => more = format!(": the array has no element {:?}", token.decoded()),
            _ => more = format!(": {:?} would be in a value that is no object or array", token.decoded()),
        }
        break;
    }
    let detail = format!("operation {index}: the record has no value here{more}");
    FieldError { nearest, ..FieldError::new(path.as_str(), detail) }
}

fn child_at<'v>(parent: &'v Value, token: &Token<'_>) -> Option<&'v Value> {
    match parent {
        Value::Object(members) => members.get(&*token.decoded()),
        Value::Array(elements) => elements.get(token.to_index().ok()?.for_len(elements.len()).ok()?),
        _ => None,
    }
}
