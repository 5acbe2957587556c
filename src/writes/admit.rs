//! Step 1. No blocking write runs on the record, and a guarded write holds the record's lease.

use super::command::WriteCommand;
use super::lease::{LeaseGuard, acquire_lease, ensure_not_blocked};
use super::outcome::AttemptExit;
use super::problems::guarantee_unavailable;
use super::write_task::WriteTask;
use crate::problem::Problem;
use crate::record::RecordId;
use crate::system::{Guarantee, System};

/// A write that may be planned.
pub(super) struct Admitted<'t> {
    pub task: &'t WriteTask<'t>,
    /// The lease of a guarded write.
    pub lease: Option<LeaseGuard>,
}

/// Whether the vendor compares versions for this write.
///
/// # Errors
/// `guarantee-unavailable`: it does not, and the caller requires it.
pub(super) fn check_guarantee(system: &System, command: &WriteCommand) -> Result<bool, Problem> {
    let guarantee = |id: &RecordId| system.guarantee(command.op.action(), id.collection());
    let is_native = command.op.record().map(guarantee) == Some(Guarantee::Native);
    if command.require_native && !is_native {
        return Err(guarantee_unavailable(system, command.op.action()));
    }
    Ok(is_native)
}

/// Checks what the vendor can guarantee and that no blocking write (queued or unresolved) runs, and
/// takes the lease that a guarded write needs.
pub(super) async fn admit<'t>(task: &'t WriteTask<'t>) -> Result<Admitted<'t>, AttemptExit> {
    let WriteTask { services, system, command, context, .. } = *task;
    let is_native = check_guarantee(system, command)?;
    let Some(id) = command.op.record() else { return Ok(Admitted { task, lease: None }) };
    ensure_not_blocked(&services.journal, system, id)?;
    let lease = if is_native { None } else { Some(acquire_lease(&services.journal, system, id, context).await?) };
    Ok(Admitted { task, lease })
}
