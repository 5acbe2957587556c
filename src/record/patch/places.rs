//! The places that a patch names, for a rebase (contract 4.2).

use serde_json::Value;

use super::operations::operation_places;
use super::{MergePatch, Patch};
use crate::record::json_pointer::json_pointer;

impl Patch {
    /// JSON Pointers of every place that the patch names, whether it changes it or not: the values
    /// and the empty objects of a merge patch; `path` and `from` of each operation of a JSON Patch,
    /// `test` included.
    #[must_use]
    pub fn named_places(&self) -> Vec<String> {
        match self {
            Self::Merge(patch) => merge_places(patch),
            Self::Mapped(patch) => patch.named_places(),
            Self::Json(operations) => operations.iter().flat_map(operation_places).map(str::to_owned).collect(),
        }
    }
}

fn merge_places(patch: &MergePatch) -> Vec<String> {
    let mut places = Vec::new();
    // A repeated tag is the state that the whole patch relies on.
    if patch.envelope.get("etag").is_some() {
        places.push("/etag".to_owned());
    }
    for (name, value) in patch.fields.iter() {
        collect_places(json_pointer("/fields", &[name]), &value.value().unwrap_or_default(), &mut places);
    }
    places
}

fn collect_places(pointer: String, value: &Value, places: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                collect_places(json_pointer(&pointer, &[name]), value, places);
            }
        }
        _ => places.push(pointer),
    }
}
