//! The search for records that show given values.

use serde_json::{Map, Value};

use crate::record::{FieldChange, all_applied};

/// The changes from an empty record to `fields`: what a created record must show.
pub(crate) fn as_changes(fields: &Map<String, Value>) -> Vec<FieldChange> {
    fields.iter().map(|(name, value)| FieldChange::for_member(name, Some(value.clone()))).collect()
}

/// Collects the keys of the records that show every expected value.
pub(crate) struct MatchCollector<'w, K> {
    expected: &'w [FieldChange],
    matches: Vec<K>,
}

impl<'w, K> MatchCollector<'w, K> {
    pub(crate) fn new(expected: &'w [FieldChange]) -> Self {
        Self { expected, matches: Vec::new() }
    }

    /// Adds the record if it matches. Without expected values no record matches.
    pub(crate) fn push_if_matching(&mut self, key: K, fields: &Map<String, Value>) {
        if !self.expected.is_empty() && all_applied(self.expected, fields) {
            self.matches.push(key);
        }
    }

    pub(crate) fn into_matches(self) -> Vec<K> {
        self.matches
    }
}
