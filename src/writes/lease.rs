//! The lease that makes one writer of a record wait for another (contract 4.3).

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::problems::{write_in_progress, write_not_begun};
use crate::journal::{Journal, Lease, LeaseResult};
use crate::problem::Problem;
use crate::record::{OperationId, RecordId};
use crate::system::{CallerContext, System};

/// The first pause while another writer holds the record.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// A held lease, which is released on drop unless it was handed to a write that has begun.
pub(super) struct LeaseGuard {
    journal: Journal,
    lease: Option<Lease>,
}

impl LeaseGuard {
    /// A copy of the lease, for the intent that names it.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease.clone()
    }

    /// Hands the lease to the write that was begun with it.
    pub(super) fn hand_to_write(mut self) {
        self.lease = None;
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            // The first poll queues the command. If that fails, the lease expires.
            let _ = self.journal.release(&lease).now_or_never();
        }
    }
}

/// Waits for the lease of a record and takes it.
pub(super) async fn acquire_lease(
    journal: &Journal,
    system: &System,
    id: &RecordId,
    context: &CallerContext,
) -> Result<LeaseGuard, Problem> {
    let mut backoff = RecordLockBackoff::new(journal, system, id, context);
    loop {
        // The lease lasts until the request is sent, however long the transport queues it.
        let until_sent = context.deadline.saturating_duration_since(Instant::now()) + system.policy.timeout;
        let ttl = system.lease_ttl().max(until_sent);
        let acquired = journal.acquire(system.name.as_str(), id.as_str(), ttl).await;
        let running = match acquired.map_err(|error| write_not_begun(&error))? {
            LeaseResult::Lease(lease) => return Ok(LeaseGuard { journal: journal.clone(), lease: Some(lease) }),
            LeaseResult::Held => None,
            LeaseResult::Running(operation) => Some(operation),
        };
        backoff.wait(running.as_ref()).await?;
    }
}

/// Waits with growing pauses for another writer of a record.
pub(super) struct RecordLockBackoff<'w> {
    journal: &'w Journal,
    system: &'w System,
    id: &'w RecordId,
    context: &'w CallerContext,
    pause: Duration,
}

impl<'w> RecordLockBackoff<'w> {
    pub(super) fn new(journal: &'w Journal, system: &'w System, id: &'w RecordId, context: &'w CallerContext) -> Self {
        Self { journal, system, id, context, pause: MIN_BACKOFF }
    }

    /// Rejects at once while a blocking write runs; pauses, deadline permitting, while another
    /// write is sent.
    pub(super) async fn wait(&mut self, running: Option<&OperationId>) -> Result<(), Problem> {
        ensure_not_blocked(self.journal, self.system, self.id)?;
        if Instant::now() + self.pause >= self.context.deadline {
            return Err(write_in_progress(self.system, running));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(MAX_BACKOFF);
        Ok(())
    }
}

/// Rejects with 409 while a blocking write (queued or unresolved) of the record runs (contract
/// 4.4).
pub(super) fn ensure_not_blocked(journal: &Journal, system: &System, id: &RecordId) -> Result<(), Problem> {
    match journal.blocking_write_on(system.name.as_str(), id.as_str()) {
        Some(operation) => Err(write_in_progress(system, Some(&operation))),
        None => Ok(()),
    }
}
