//! DELETE. No vendor compares versions on deletes, so the gateway reads and compares under a lease.
//! What became of a delete whose response was lost is decided in `resolve`.

use serde_json::Map;

use super::draft::Draft;
use super::preconditions::read_and_check_preconditions;
use crate::problem::Problem;
use crate::record::{RecordId, diff};
use crate::system::Guarantee;
use crate::vendors::{Completion, PlannedRequest};
use crate::writes::intent::{ExpectedState, WriteIntent};
use crate::writes::task::WriteTask;

/// Works a delete out for a preview.
pub(super) async fn draft_delete(task: &WriteTask<'_>, id: &RecordId) -> Result<Draft, Problem> {
    let system = task.system;
    let (record, etag) = read_and_check_preconditions(task, id).await?;
    let planned = system.adapter.plan_delete(id, &record).map_err(|errors| system.rejected_problem(errors))?;
    Ok(Draft {
        based_on: Some(etag.to_header()),
        guarantee: Guarantee::Guarded,
        planned: Some(planned),
        changes: diff(&record.fields.to_map(), &Map::new()),
        rebased: None,
    })
}

/// Plans a DELETE.
pub(super) async fn plan_delete(task: &WriteTask<'_>, id: &RecordId) -> Result<(PlannedRequest, WriteIntent), Problem> {
    let system = task.system;
    let (record, etag) = read_and_check_preconditions(task, id).await?;
    let planned = system.adapter.plan_delete(id, &record).map_err(|errors| system.rejected_problem(errors))?;
    system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let is_queued = planned.completion == Completion::Queued;
    let intent = WriteIntent {
        resendable_request: WriteIntent::build_resendable_request(&planned, Guarantee::Guarded),
        etag_before: Some(etag.to_header()),
        ..task.new_intent(Guarantee::Guarded, &planned.losses, is_queued, ExpectedState::Deleted)
    };
    Ok((planned, intent))
}
