//! What the check of a write against its schema has found.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use crate::catalog::CollectionSchema;
use crate::record::{FieldError, Warning, WarningCode};

/// What the check of one write has found so far.
#[derive(Default)]
pub(super) struct SchemaFindings {
    schema: OnceCell<Arc<CollectionSchema>>,
    warnings: RefCell<Vec<Warning>>,
    is_unchecked: Cell<bool>,
    has_unusual_form: Cell<bool>,
}

impl SchemaFindings {
    /// The schema that the write was checked against.
    pub(super) fn schema(&self) -> Option<&Arc<CollectionSchema>> {
        self.schema.get()
    }

    /// The write was checked against this schema.
    pub(super) fn set_schema(&self, schema: Arc<CollectionSchema>) {
        // A write is checked against one schema; a later one only confirms it.
        let _ = self.schema.set(schema);
    }

    /// Nobody has checked the values.
    pub(super) fn set_unchecked(&self) {
        self.is_unchecked.set(true);
    }

    /// The values fit the schema, and the vendor may find one of them wrong because of its form.
    pub(super) fn set_unusual_form(&self) {
        self.has_unusual_form.set(true);
    }

    /// The write is sent although it has these errors.
    pub(super) fn warn(&self, errors: Vec<FieldError>) {
        let mut warnings = self.warnings.borrow_mut();
        for FieldError { pointer, detail, .. } in errors {
            if warnings.iter().all(|warning| warning.pointer != pointer) {
                warnings.push(Warning::new(WarningCode::Schema, pointer, detail));
            }
        }
    }

    /// The errors that the write is sent with.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }

    /// Whether only a read shows what the vendor made of the values: nobody has checked them, or
    /// they have an unusual form or are known to be wrong.
    pub(super) fn needs_read_back(&self) -> bool {
        self.is_unchecked.get() || self.has_unusual_form.get() || !self.warnings.borrow().is_empty()
    }

    /// Whether the schema has members of exactly these names.
    pub(super) fn names_all<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        self.schema.get().is_some_and(|schema| names.all(|name| schema.field(name).is_some()))
    }

    /// Whether records show a member that no update can change.
    pub(super) fn is_read_only(&self, member: &str) -> bool {
        self.schema.get().is_some_and(|schema| schema.is_read_only(member))
    }
}
