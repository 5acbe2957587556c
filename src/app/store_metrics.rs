//! What the store reports to the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::store::StoreMetrics;

/// Counts ledger entries and measures commits.
pub(super) struct LedgerMetrics(pub(super) Arc<Metrics>);

impl StoreMetrics for LedgerMetrics {
    fn on_ledger_entry(&self) {
        self.0.ledger_entries(1);
    }

    fn on_commit(&self, seconds: f64) {
        self.0.ledger_commit(Duration::from_secs_f64(seconds.max(0.0)));
    }
}
