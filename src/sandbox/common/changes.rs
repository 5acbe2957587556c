//! What a stand-in's records went through, for who must know what really took effect, and how often.

use serde_json::Value;

/// One change that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The record's own id.
    pub id: String,
    /// The record after it, as the vendor shows it.
    pub record: Value,
}

/// The changes in the order in which they took effect; kept only where somebody asked for it.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Changes {
    entries: Option<Vec<Change>>,
}

impl Changes {
    /// From now on changes are kept.
    pub(in crate::sandbox) fn enable(&mut self) {
        self.entries.get_or_insert_default();
    }

    /// Everything kept, oldest first.
    pub(in crate::sandbox) fn all(&self) -> Vec<Change> {
        self.entries.clone().unwrap_or_default()
    }

    /// Keeps one, if changes are kept.
    pub(in crate::sandbox) fn record(&mut self, id: &str, record: impl FnOnce() -> Value) {
        if let Some(kept) = &mut self.entries {
            kept.push(Change { id: id.to_owned(), record: record() });
        }
    }
}
