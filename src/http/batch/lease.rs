//! The lease of a stored batch: the process that holds it runs the batch (contract 4.10).

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::{BatchRow, Journal, Lease, LeaseResult};

/// The name under which the leases of batches are kept; no system has it.
const NAMESPACE: &str = "/batches";
const TTL: Duration = Duration::from_secs(15);
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// The pause before rows that could not be saved are saved again.
const SAVE_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct BatchLease {
    journal: Journal,
    lease: Lease,
    renewed_at: Cell<Instant>,
}

impl BatchLease {
    /// `None`: another process has it, or the store cannot say so.
    pub(super) async fn acquire(journal: &Journal, id: &str) -> Option<Self> {
        let requested_at = Instant::now();
        match journal.acquire(NAMESPACE, id, TTL).await {
            Ok(LeaseResult::Lease(lease)) => {
                Some(Self { journal: journal.clone(), lease, renewed_at: Cell::new(requested_at) })
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Renews the lease when it is time. `false` = another process may have the batch.
    pub(super) async fn renew_if_due(&self) -> bool {
        if self.renewed_at.get().elapsed() < RENEW_INTERVAL {
            return true;
        }
        let requested_at = Instant::now();
        match self.journal.renew(&self.lease, TTL).await {
            Ok(true) => self.renewed_at.set(requested_at),
            Ok(false) => return false,
            // It is renewed the next time, if it lasts so long.
            Err(_) => {}
        }
        self.renewed_at.get().elapsed() < TTL
    }

    /// Saves rows of the batch, again and again while the store is away. `false` = the lease is
    /// lost, and nothing is saved.
    pub(super) async fn save(&self, rows: Vec<BatchRow>) -> bool {
        loop {
            match self.journal.save_rows_of_running_batch(&self.lease, rows.clone()).await {
                Ok(is_saved) => return is_saved,
                Err(_) if !self.renew_if_due().await => return false,
                Err(_) => tokio::time::sleep(SAVE_PAUSE).await,
            }
        }
    }

    pub(super) async fn release(self) {
        // A lease that is not released expires.
        let _ = self.journal.release(&self.lease).await;
    }
}
