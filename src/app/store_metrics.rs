//! What the store reports to the metrics.

use std::sync::Arc;

use crate::journal::JournalMetrics;
use crate::metrics::{ChangeType, Metrics};

/// Counts ledger entries and measures commits.
pub(super) struct LedgerMetrics(pub(super) Arc<Metrics>);

impl JournalMetrics for LedgerMetrics {
    fn on_ledger_entry(&self) {
        self.0.ledger_entry();
    }

    fn on_commit(&self, seconds: f64) {
        self.0.ledger_commit(seconds);
    }

    fn on_change(&self, system: &str, change: ChangeType) {
        self.0.change(system, change);
    }
}
