//! Step 2. The one vendor request of a write, complete to the last byte, and the intent that
//! describes it. The record is read where that is needed.

mod create;
mod delete;
mod preconditions;
mod references;
mod update;

pub use update::patch_error_to_problem;

use super::admit::Admitted;
use super::command::WriteOp;
use super::intent::WriteIntent;
use super::lease::LeaseGuard;
use super::outcome::EarlyReturn;
use super::task::WriteTask;
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
pub(super) async fn plan(admitted: Admitted<'_>) -> Result<Planned<'_>, EarlyReturn> {
    let Admitted { task, lease } = admitted;
    let (request, intent) = match &task.command.op {
        WriteOp::Update { id, patch } => update::plan_update(task, id, patch).await?,
        // Everything that a PATCH rarely needs is boxed, which keeps the pipeline's future small.
        WriteOp::Delete { id } => Box::pin(delete::plan_delete(task, id)).await?,
        WriteOp::Create { collection, fields } => Box::pin(create::plan_create(task, collection, fields)).await?,
    };
    // Meanwhile the adapter may have learned that the vendor compares no versions here.
    if lease.is_none() && intent.record.is_some() && intent.guarantee == Guarantee::Guarded {
        return Err(EarlyReturn::LeaseLost);
    }
    Ok(Planned { task, lease, request, intent })
}
