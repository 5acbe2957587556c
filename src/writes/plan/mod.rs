//! Step 2. The one vendor request of a write, complete to the last byte, and the intent that
//! describes it. The record is read where that is needed.

mod create;
mod delete;
mod document;
mod draft;
mod if_plan;
mod preconditions;
mod rebase;
mod references;
mod spelling;
mod update;

pub(super) use draft::Draft;
pub(super) use if_plan::{PlanTagInput, max_ttl_ms};
pub use update::patch_error_to_problem;

use super::admit::Admitted;
use super::command::WriteOp;
use super::intent::{ExpectedState, WriteIntent};
use super::lease::LeaseGuard;
use super::outcome::AttemptExit;
use super::write_task::WriteTask;
use crate::problem::Problem;
use crate::system::Guarantee;
use crate::vendors::PlannedRequest;

/// A write whose intent can be stored.
pub(super) struct Planned<'t> {
    pub task: &'t WriteTask<'t>,
    pub lease: Option<LeaseGuard>,
    pub request: PlannedRequest,
    pub intent: WriteIntent,
}

/// Checks the preconditions and the losses, and plans the request.
pub(super) async fn plan(admitted: Admitted<'_>) -> Result<Planned<'_>, AttemptExit> {
    let Admitted { task, lease } = admitted;
    let (request, intent) = match &task.command.op {
        WriteOp::Update { id, patch } => update::plan_update(task, id, patch).await?,
        // Everything that a PATCH rarely needs is boxed, which keeps the pipeline's future small.
        WriteOp::Delete { id } => Box::pin(delete::plan_delete(task, id)).await?,
        WriteOp::Create { collection, fields } => Box::pin(create::plan_create(task, collection, fields)).await?,
    };
    if task.command.if_plan.is_some() {
        let was_read = was_read(&intent, task);
        let based_on = intent.etag_before.as_deref();
        let input = PlanTagInput { based_on, planned: Some(&request), guarantee: intent.guarantee };
        Box::pin(if_plan::check_if_plan(task, &input, was_read)).await?;
    }
    // Meanwhile the adapter may have learned that the vendor compares no versions here.
    if lease.is_none() && intent.record.is_some() && intent.guarantee == Guarantee::Guarded {
        return Err(AttemptExit::Restart);
    }
    Ok(Planned { task, lease, request, intent })
}

/// Whether the preconditions were compared with the record.
fn was_read(intent: &WriteIntent, task: &WriteTask<'_>) -> bool {
    match &intent.expected {
        ExpectedState::Members(_) => false,
        ExpectedState::Deleted => delete::needs_read(task),
        ExpectedState::Values(_) | ExpectedState::Created { .. } => true,
    }
}

/// Plans a write for its preview: all that [`plan`] does, without the check of its losses.
pub(super) async fn build_draft(task: &WriteTask<'_>) -> Result<Draft, Problem> {
    match &task.command.op {
        WriteOp::Update { id, patch } => update::draft_update(task, id, patch).await,
        WriteOp::Delete { id } => delete::draft_delete(task, id).await,
        WriteOp::Create { collection, fields } => create::draft_create(task, collection, fields).await,
    }
}
