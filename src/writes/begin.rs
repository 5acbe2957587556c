//! Step 3. The intent is in the journal before the request is sent. From here on the write gets an
//! outcome, whatever happens to this task or this process.

use std::sync::Arc;

use super::idempotency::{idempotency_claim, outcome_from_key, plan_claim};
use super::in_flight_write::InFlightWrite;
use super::lease::{LeaseGuard, RecordLockBackoff};
use super::outcome::AttemptExit;
use super::plan::Planned;
use super::problems::{begin_failed, shutting_down, write_in_progress};
use super::reconcile_on_drop::ReconcileOnDrop;
use super::write_task::WriteTask;
use crate::journal::{BeginResult, Intent, JournalError};
use crate::record::{Precondition, RecordId};
use crate::vendors::PlannedRequest;

/// A write that must be sent, and whose outcome must be recorded.
pub(super) struct Journaled<'t> {
    pub task: &'t WriteTask<'t>,
    pub request: PlannedRequest,
    pub guard: ReconcileOnDrop<'t>,
}

/// Stores the intent.
pub(super) async fn journal_intent(planned: Planned<'_>) -> Result<Journaled<'_>, AttemptExit> {
    let Planned { task, lease, mut request, intent } = planned;
    // From before the intent is stored: others can take it over from then on.
    request.request.permission = Some(task.services.permission_to_send(&intent.operation));
    let held = lease.as_ref().and_then(LeaseGuard::lease);
    let write = InFlightWrite { lease: held, ..intent.into() };
    claim_intent(task, &write).await?;
    if let Some(lease) = lease {
        lease.hand_to_write();
    }
    task.services.metrics.operations_running(task.system.index, 1);
    Ok(Journaled { task, request, guard: ReconcileOnDrop::new(task.services, write) })
}

/// Waits until the record is free and stores the intent, which claims the write's idempotency key.
async fn claim_intent(task: &WriteTask<'_>, write: &InFlightWrite) -> Result<(), AttemptExit> {
    let WriteTask { services, system, context, .. } = *task;
    let intent = to_journal_intent(task, write);
    let mut backoff = write.id().map(|id| RecordLockBackoff::new(&services.journal, system, id, context));
    loop {
        if !task.gate.begin() {
            return Err(shutting_down().into());
        }
        let begun = services.journal.begin(intent.clone()).await;
        if !matches!(begun, Ok(BeginResult::Started) | Err(JournalError::CommitUnknown)) {
            task.gate.set_not_begun();
        }
        match begun.map_err(|error| begin_failed(system, &write.operation, &error))? {
            BeginResult::Started => return Ok(()),
            BeginResult::LeaseLost => return Err(AttemptExit::Restart),
            BeginResult::Running(operation) => return Err(write_in_progress(system, Some(&operation)).into()),
            BeginResult::IdempotencyKey(state) => {
                return Err(outcome_from_key(&services.metrics, system, task.command, state));
            }
            BeginResult::LeaseHeld => match &mut backoff {
                Some(backoff) => backoff.wait(None).await?,
                None => return Err(write_in_progress(system, None).into()),
            },
        }
    }
}

fn to_journal_intent(task: &WriteTask<'_>, write: &InFlightWrite) -> Intent {
    let WriteTask { system, command, context, .. } = *task;
    let precondition = command.precondition.as_ref().map(Precondition::to_header);
    // The ledger names the compared version only where `If-Match` does not.
    let compared_etag = write.compared_etag().filter(|etag| precondition.as_deref() != Some(*etag)).map(str::to_owned);
    Intent {
        operation: write.operation.clone(),
        request_id: Arc::clone(&context.request_id.0),
        batch_item: context.batch_item.clone(),
        model: command.mapping.clone(),
        caller: Arc::clone(&context.caller.0),
        system: system.name.to_shared_str(),
        record: write.id().map(RecordId::to_shared_str),
        action: write.action,
        precondition,
        compared_etag,
        rebased_onto: write.rebased.as_ref().map(|rebased| rebased.onto.clone()),
        has_if_plan: write.has_if_plan,
        paths: write.paths().into(),
        losses: write.losses.clone(),
        is_async: write.is_async,
        lease: write.lease.clone(),
        idempotency: if write.claims_plan { plan_claim(command, context) } else { idempotency_claim(command, context) },
        recovery: write.to_json().map(Into::into),
    }
}
