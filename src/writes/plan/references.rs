//! What the values of a write refer to.

use crate::problem::Problem;
use crate::vendors::UpdateInput;
use crate::writes::schema_check::{count_and_reject, lookup_deadline};
use crate::writes::write_task::WriteTask;

/// Lets the adapter look up what the values refer to, where it needs to. A lookup may take as long
/// as a schema; the adapter knows whether the write can do without.
///
/// # Errors
/// `rejected` for a value that refers to nothing, and the vendor's fault if it cannot be looked up.
pub(super) async fn check_references(
    task: &WriteTask<'_>,
    collection: &str,
    change: &UpdateInput<'_>,
) -> Result<(), Problem> {
    let (system, session) = (task.system, &task.session);
    session.set_deadline(lookup_deadline(task));
    let looked_up = system.adapter.find_missing_references(session, collection, change).await;
    session.set_deadline(task.context.deadline);
    match looked_up.map_err(|fault| session.with_last_status(system.vendor_error_to_problem(&fault)))? {
        errors if errors.is_empty() => Ok(()),
        errors => Err(count_and_reject(task, errors)),
    }
}
