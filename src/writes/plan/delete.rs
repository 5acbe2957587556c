//! DELETE. No vendor compares versions on deletes, so the gateway reads and compares under a lease.
//! What became of a delete whose response was lost is decided in `resolve`.

use super::preconditions::read_and_check_preconditions;
use crate::problem::Problem;
use crate::record::RecordId;
use crate::system::Guarantee;
use crate::vendors::{Completion, PlannedRequest};
use crate::writes::intent::{ExpectedState, WriteIntent};
use crate::writes::task::WriteTask;

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
