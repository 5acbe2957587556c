//! A patch of a document that is made from a record, such as a model's.

use std::fmt;

use serde_json::{Map, Value};

use super::PatchedFields;
use super::error::PatchError;
use crate::record::raw_json::RawObject;
use crate::record::vendor_error::FieldError;

/// A patch in other words than the record's. The write pipeline needs no more than this.
pub trait MappedPatch: fmt::Debug + Send + Sync {
    /// As [`Patch::validate`](super::Patch::validate).
    ///
    /// # Errors
    /// As there.
    fn validate(&self, reserved: &dyn Fn(&str) -> bool) -> Result<(), PatchError>;

    /// As [`Patch::rejected`](super::Patch::rejected_values).
    fn rejected_values(&self, reserved: &dyn Fn(&str) -> bool) -> Vec<FieldError>;

    /// As [`Patch::needs_state`](super::Patch::needs_state).
    fn needs_state(&self) -> bool;

    /// As [`Patch::as_flat_changes`](super::Patch::as_flat_changes); `etag` is the record's.
    ///
    /// # Errors
    /// As there.
    fn flat_changes(
        &self,
        etag: &str,
        state: Option<&Map<String, Value>>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<Option<RawObject>, PatchError>;

    /// As [`Patch::has_test`](super::Patch::has_test).
    fn has_test(&self) -> bool;

    /// As [`Patch::merge_members`](super::Patch::merge_members), in the record's words; `None` if
    /// they depend on the record. Of a patch with rejected values, those that are known.
    fn merge_members(&self) -> Option<&RawObject>;

    /// JSON Pointers into the record of every place that the patch names, whether it changes it or
    /// not.
    fn named_places(&self) -> Vec<String>;

    /// As [`Patch::apply`](super::Patch::apply), with the record as callers see it.
    ///
    /// # Errors
    /// As there.
    fn apply(
        &self,
        document: &Map<String, Value>,
        reserved: &dyn Fn(&str) -> bool,
    ) -> Result<PatchedFields, PatchError>;
}
