//! The history of a fake vendor's records: which writes took effect, and how often.

use serde_json::Value;

/// One change that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The record's own id.
    pub id: String,
    /// The record after the change, as the vendor returns it.
    pub record: Value,
}

/// The changes in the order in which they took effect. Recording is off until [`Changes::enable`].
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Changes {
    entries: Option<Vec<Change>>,
}

impl Changes {
    /// Starts recording.
    pub(in crate::sandbox) fn enable(&mut self) {
        self.entries.get_or_insert_default();
    }

    /// All recorded changes, oldest first.
    pub(in crate::sandbox) fn all(&self) -> Vec<Change> {
        self.entries.clone().unwrap_or_default()
    }

    /// Records a change, if recording is on.
    pub(in crate::sandbox) fn record(&mut self, id: &str, record: impl FnOnce() -> Value) {
        if let Some(entries) = &mut self.entries {
            entries.push(Change { id: id.to_owned(), record: record() });
        }
    }
}
