//! POST. A create whose response was lost is searched for and never sent again.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::draft::Draft;
use super::references::check_references;
use crate::problem::Problem;
use crate::record::{VendorErrorKind, diff};
use crate::system::Guarantee;
use crate::vendors::{PlannedRequest, UpdateInput};
use crate::writes::intent::{ExpectedState, WriteIntent};
use crate::writes::schema_check::count_and_reject;
use crate::writes::write_task::WriteTask;

/// Works a create out for a preview.
pub(super) async fn draft_create(
    task: &WriteTask<'_>,
    collection: &str,
    fields: &Map<String, Value>,
) -> Result<Draft, Problem> {
    let planned = plan_request(task, collection, fields).await?;
    // The write makes the same search, which finds out whether the collection exists.
    find_preexisting_matches(task, collection, fields).await?;
    Ok(Draft {
        based_on: None,
        guarantee: Guarantee::Guarded,
        planned: Some(planned),
        changes: diff(&Map::new(), fields),
        rebased: None,
    })
}

/// Plans a POST.
pub(super) async fn plan_create(
    task: &WriteTask<'_>,
    collection: &str,
    fields: &Map<String, Value>,
) -> Result<(PlannedRequest, WriteIntent), Problem> {
    let planned = plan_request(task, collection, fields).await?;
    task.system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let preexisting_ids = find_preexisting_matches(task, collection, fields).await?;
    let expected =
        ExpectedState::Created { collection: collection.to_owned(), fields: fields.clone(), preexisting_ids };
    let intent = task.new_intent(Guarantee::Guarded, &planned.losses, false, expected);
    Ok((planned, intent))
}

async fn plan_request(
    task: &WriteTask<'_>,
    collection: &str,
    fields: &Map<String, Value>,
) -> Result<PlannedRequest, Problem> {
    let before = Map::new();
    check_references(task, collection, &UpdateInput::FullRecord { before: &before, after: fields }).await?;
    let adapter = &task.system.adapter;
    adapter.plan_create(collection, fields).map_err(|errors| count_and_reject(task, errors))
}

/// The records that have these values already, so that none of them is later taken for the created
/// one.
///
/// `None` if the vendor's ids have a timestamp, which makes the search unnecessary, or if the
/// search failed or was refused: a create with a lost response then stays unknown. If the vendor
/// has no such collection, nothing is sent.
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
        Err(fault) if fault.kind == VendorErrorKind::NotFound => Err(task.system.collection_error_to_problem(&fault)),
        Err(_) => Ok(None),
    }
}
