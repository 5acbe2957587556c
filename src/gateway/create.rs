//! POST. A create whose response was lost is searched for and never sent again.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::begin::{EarlyReturn, journal_intent};
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::outcome::{Guarantee, WriteOutcome};
use super::send::send_and_resolve;
use super::write_task::WriteTask;
use crate::problem::Problem;
use crate::record::{Action, VendorErrorKind};

/// Executes a POST.
pub(super) async fn create(
    task: &WriteTask<'_>,
    collection: &str,
    fields: &Map<String, Value>,
) -> Result<WriteOutcome, EarlyReturn> {
    let system = task.system;
    task.check_guarantee()?;
    let planned = system.adapter.plan_create(collection, fields).map_err(|errors| system.rejected_problem(errors))?;
    system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let preexisting_ids = find_preexisting_matches(task, collection, fields).await?;
    let intent = WriteIntent {
        expected: ExpectedState::Created { collection: collection.to_owned(), fields: fields.clone(), preexisting_ids },
        ..task.new_intent(Action::Create, None, Guarantee::Guarded, &planned.losses)
    };
    let write = InFlightWrite::from(intent);
    journal_intent(task.gateway, system, task.command, task.context, &write).await?;
    Ok(send_and_resolve(task, planned, write).await)
}

/// The records that have these values already, so that none of them is later taken for the created
/// one.
///
/// `None` if the vendor's ids have a timestamp, which makes the search unnecessary, or if the
/// search failed: a create with a lost response then stays unknown. If the vendor has no such
/// collection or field, nothing is sent.
async fn find_preexisting_matches(
    task: &WriteTask<'_>,
    collection: &str,
    fields: &Map<String, Value>,
) -> Result<Option<Vec<String>>, Problem> {
    let adapter = &task.system.adapter;
    if adapter.capabilities().ids_are_timestamped {
        return Ok(None);
    }
    let left = task.context.deadline.saturating_duration_since(Instant::now());
    task.session.set_deadline(Instant::now() + (left / 4).min(task.system.policy.timeout));
    match adapter.find_matching(&task.session, collection, fields).await {
        Ok(matching) => Ok(matching.map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect())),
        Err(fault) if matches!(fault.kind, VendorErrorKind::NotFound | VendorErrorKind::Rejected) => {
            Err(task.system.fault_to_problem(&fault))
        }
        Err(_) => Ok(None),
    }
}
