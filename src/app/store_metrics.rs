//! What the store reports to the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::JournalMetrics;
use crate::metrics::{ChangeType, Metrics};

/// Counts ledger entries and measures commits.
pub(super) struct LedgerMetrics(pub(super) Arc<Metrics>);

impl JournalMetrics for LedgerMetrics {
    fn on_ledger_entry(&self) {
        self.0.ledger_entries(1);
    }

    fn on_commit(&self, seconds: f64) {
        self.0.ledger_commit(Duration::from_secs_f64(seconds.max(0.0)));
    }

    fn on_change(&self, system: &str, change: ChangeType) {
        self.0.change(system, change);
    }
}
