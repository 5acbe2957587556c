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
    /// Whether its queued write is known to be applied, also where the operation is not kept any
    /// more.
    pub(super) is_applied: bool,
}

/// An item that ended in an earlier process, by its document.
#[derive(Deserialize)]
pub(super) struct EndedItem {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    /// How it counts, which the status of a queued write does not show.
    #[serde(skip)]
    class: Option<ItemClass>,
}

impl EndedItem {
    /// `class` is the number of its [`ItemClass`].
    pub(super) fn from_document(text: &str, class: i64) -> Option<Self> {
        let ended: Self = serde_json::from_str(text).ok()?;
        Some(Self { class: ItemClass::from_number(class), ..ended })
    }

    pub(super) fn is_success(&self) -> bool {
        self.class == Some(ItemClass::Ok)
    }

    /// Neither a success nor a write that still runs.
    pub(super) fn is_failure(&self) -> bool {
        !self.is_success() && self.class != Some(ItemClass::Running)
    }

    /// The last segment of the path in a header.
    pub(super) fn last_segment(&self, header: &str) -> Option<String> {
        self.headers.get(header).and_then(|path| path.rsplit('/').next()).map(str::to_owned)
    }
}
