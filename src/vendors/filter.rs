//! Conditions of a list.

use serde_json::{Map, Value};

use crate::record::FieldChange;

/// A member of `fields` that listed records show with this value.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldFilter {
    /// The member.
    pub field: String,
    /// Its value.
    pub value: Value,
}

impl FieldFilter {
    /// Whether a record shows the value. Numbers are compared by value.
    pub(super) fn matches(&self, fields: &Map<String, Value>) -> bool {
        FieldChange::for_member(&self.field, Some(self.value.clone())).is_applied_in(fields)
    }
}

/// Whether a record shows every value.
pub(super) fn all_match(filters: &[FieldFilter], fields: &Map<String, Value>) -> bool {
    filters.iter().all(|filter| filter.matches(fields))
}
