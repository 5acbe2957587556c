//! The lease that makes one writer of a record wait for another (contract 4.3).

use std::time::Duration;

use tokio::time::Instant;

use super::command::OpContext;
use super::system::System;
use super::write_problems::{store_unavailable, write_in_progress};
use crate::problem::Problem;
use crate::record::{OperationId, RecordId};
use crate::store::{Lease, LeaseResult, Store};

/// The first pause while another writer holds the record.
pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// Waits for the lease of a record and takes it.
pub(super) async fn acquire_lease(
    store: &Store,
    system: &System,
    id: &RecordId,
    context: &OpContext,
) -> Result<Lease, Problem> {
    let mut pause = MIN_BACKOFF;
    loop {
        // The lease lasts until the request is sent, however long the transport queues it.
        let until_sent = context.deadline.saturating_duration_since(Instant::now()) + system.policy.timeout;
        let ttl = system.lease_ttl().max(until_sent);
        let acquired = store.acquire(system.name.as_str(), id.as_str(), ttl).await;
        let running = match acquired.map_err(|error| store_unavailable(&error))? {
            LeaseResult::Lease(lease) => return Ok(lease),
            LeaseResult::Held => None,
            LeaseResult::Running(operation) => Some(operation),
        };
        wait_for_writer(store, system, id, context, &mut pause, running.as_ref()).await?;
    }
}

/// Rejects at once while a queued write runs; waits, deadline permitting, while another write is
/// sent.
pub(super) async fn wait_for_writer(
    store: &Store,
    system: &System,
    id: &RecordId,
    context: &OpContext,
    pause: &mut Duration,
    running: Option<&OperationId>,
) -> Result<(), Problem> {
    ensure_no_async_write(store, system, id).await?;
    if Instant::now() + *pause >= context.deadline {
        return Err(write_in_progress(system, running));
    }
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(MAX_BACKOFF);
    Ok(())
}

/// Rejects with 409 while a queued write of the record runs (contract 4.4).
pub(super) async fn ensure_no_async_write(store: &Store, system: &System, id: &RecordId) -> Result<(), Problem> {
    let running =
        store.async_write_on(system.name.as_str(), id.as_str()).await.map_err(|error| store_unavailable(&error))?;
    running.map_or(Ok(()), |operation| Err(write_in_progress(system, Some(&operation))))
}

/// Releases a lease that was not used.
pub(super) async fn release_lease(store: &Store, lease: Lease) {
    // If this fails, the lease expires.
    let _ = store.release(&lease).await;
}
