//! DELETE. No vendor compares versions on deletes, so the gateway reads and compares under a lease.

use super::begin::{EarlyReturn, journal_intent};
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::lease::{acquire_lease, ensure_no_async_write, release_lease};
use super::outcome::{Guarantee, WriteOutcome};
use super::preconditions::read_and_check_preconditions;
use super::send::send_and_resolve;
use super::write_task::{MAX_LEASE_RETRIES, WriteTask};
use crate::record::{Action, RecordId};
use crate::store::Lease;
use crate::vendors::Completion;

/// Executes a DELETE.
pub(super) async fn delete(task: &WriteTask<'_>, id: &RecordId) -> Result<WriteOutcome, EarlyReturn> {
    let store = &task.gateway.store;
    task.check_guarantee()?;
    let mut lease_losses = 0;
    loop {
        ensure_no_async_write(store, task.system, id).await?;
        let lease = acquire_lease(store, task.system, id, task.context).await?;
        let result = attempt_delete(task, id, lease.clone()).await;
        if result.is_err() {
            release_lease(store, lease).await;
        }
        match result {
            Err(EarlyReturn::Restart) if lease_losses < MAX_LEASE_RETRIES => lease_losses += 1,
            other => return other,
        }
    }
}

async fn attempt_delete(task: &WriteTask<'_>, id: &RecordId, lease: Lease) -> Result<WriteOutcome, EarlyReturn> {
    let system = task.system;
    let (stored, etag) = read_and_check_preconditions(task, id).await?;
    let planned = system.adapter.plan_delete(id, &stored).map_err(|errors| system.rejected_problem(errors))?;
    system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let intent = WriteIntent {
        expected: ExpectedState::Deleted,
        etag_before: Some(etag.to_header()),
        is_async: planned.completion == Completion::Queued || task.command.prefer.respond_async,
        ..task.new_intent(Action::Delete, Some(id), Guarantee::Guarded, &planned.losses)
    };
    let write = InFlightWrite { lease: Some(lease), ..intent.into() };
    journal_intent(task.gateway, system, task.command, task.context, &write).await?;
    Ok(send_and_resolve(task, planned, write).await)
}
