//! Child metrics of a family, by their position among all labels.

use std::sync::OnceLock;

/// Child metrics, each created when it is first counted: most label combinations never occur, and a
/// scrape should not consist of zeros.
pub(super) struct ChildCache<C>(Vec<OnceLock<C>>);

impl<C> ChildCache<C> {
    pub(super) fn new(length: usize) -> Self {
        Self((0..length).map(|_| OnceLock::new()).collect())
    }

    pub(super) fn with(&self, index: usize, create: impl FnOnce() -> C, act: impl FnOnce(&C)) {
        if let Some(cell) = self.0.get(index) {
            act(cell.get_or_init(create));
        }
    }
}
