//! What later items need of an item that has ended.

use std::collections::HashMap;

use serde::Deserialize;

use super::outcome::ItemClass;

/// The result of an item, for those that depend on it.
#[derive(Default)]
pub(super) struct DependencyResult {
    /// The id of its record, as a segment of a path.
    pub(super) record: Option<String>,
    pub(super) etag: Option<String>,
    /// Its path as it was sent, or the instance of the problem that it was not begun for.
    pub(super) path: String,
    /// The status and the problem that it ended with.
    pub(super) ended: String,
}

/// An item that ended in an earlier process, by its document.
#[derive(Deserialize)]
pub(super) struct EndedItem {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    /// Whether it counts as a failure, which the status of a queued write does not show.
    #[serde(skip)]
    pub(super) is_failure: bool,
}

impl EndedItem {
    /// `class` is the number of its [`ItemClass`].
    pub(super) fn from_document(text: &str, class: i64) -> Option<Self> {
        let ended: Self = serde_json::from_str(text).ok()?;
        let is_failure = ![ItemClass::Ok, ItemClass::Running].iter().any(|good| *good as i64 == class);
        Some(Self { is_failure, ..ended })
    }

    /// The last segment of the path in a header.
    pub(super) fn last_segment(&self, header: &str) -> Option<String> {
        self.headers.get(header).and_then(|path| path.rsplit('/').next()).map(str::to_owned)
    }
}
