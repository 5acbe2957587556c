//! A record as patches see it.

use serde_json::{Map, Value};

use crate::record::{RecordId, VendorRecord};
use crate::writes::write_task::WriteTask;

/// The JSON document that a patch is applied to. It has every member that GET shows, because a JSON
/// Patch may test each of them.
pub(super) fn patch_document(
    task: &WriteTask<'_>,
    id: &RecordId,
    record: &VendorRecord,
    etag: &str,
    fields: &Map<String, Value>,
) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("system".to_owned(), Value::from(task.system.name.as_str()));
    document.insert("id".to_owned(), Value::from(id.as_str()));
    document.insert("etag".to_owned(), Value::from(etag));
    document.insert("fields".to_owned(), Value::Object(fields.clone()));
    let view = task.system.to_view(id, record, None);
    document.insert("read_only".to_owned(), view.read_only.into());
    if let Some(warnings) = serde_json::to_value(&view.warnings).ok().filter(|_| !view.warnings.is_empty()) {
        document.insert("warnings".to_owned(), warnings);
    }
    document
}
