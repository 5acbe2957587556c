//! DELETE. A vendor that compares versions before a delete needs no read where the caller names
//! one. For all others the gateway reads and compares under a lease. The outcome of a delete whose
//! response was lost is decided in `resolve`.

use serde_json::Map;

use super::draft::Draft;
use super::preconditions::read_and_check_preconditions;
use crate::problem::Problem;
use crate::record::{Action, RecordId, VendorRecord, Version, diff};
use crate::system::Guarantee;
use crate::vendors::{Completion, PlannedRequest};
use crate::writes::intent::{ExpectedState, WriteIntent};
use crate::writes::write_task::WriteTask;

/// The state that a delete is about.
struct DeletedState {
    /// `None` if it was not read.
    record: Option<VendorRecord>,
    version: Version,
    etag: String,
}

/// Works a delete out for a preview. The record is always read; the request is the one that the
/// write would send, also where the write would send it without reading.
pub(super) async fn draft_delete(task: &WriteTask<'_>, id: &RecordId) -> Result<Draft, Problem> {
    let system = task.system;
    let guarantee = system.guarantee(Action::Delete, id.collection());
    let (record, etag) = read_and_check_preconditions(task, id).await?;
    let (version, shown) = (record.version(), needs_read(task).then_some(&record));
    let planned = system.adapter.plan_delete(id, shown, (guarantee == Guarantee::Native).then_some(&version));
    let planned = planned.map_err(|errors| system.rejected_problem(errors))?;
    let changes = diff(&record.fields.to_map(), &Map::new());
    Ok(Draft { based_on: Some(etag.to_header()), guarantee, planned: Some(planned), changes, rebased: None })
}

/// Whether the record is read before the write is sent.
pub(super) fn needs_read(task: &WriteTask<'_>) -> bool {
    let Some(id) = task.command.op.record() else { return true };
    task.system.guarantee(Action::Delete, id.collection()) != Guarantee::Native || named_state(task, id).is_none()
}

/// Plans a DELETE.
pub(super) async fn plan_delete(task: &WriteTask<'_>, id: &RecordId) -> Result<(PlannedRequest, WriteIntent), Problem> {
    let system = task.system;
    let guarantee = system.guarantee(Action::Delete, id.collection());
    let state = if let Some(state) = named_state(task, id).filter(|_| guarantee == Guarantee::Native) {
        state
    } else {
        let (record, etag) = read_and_check_preconditions(task, id).await?;
        DeletedState { version: record.version(), record: Some(record), etag: etag.to_header() }
    };
    let expected = (guarantee == Guarantee::Native).then_some(&state.version);
    let planned = system.adapter.plan_delete(id, state.record.as_ref(), expected);
    let planned = planned.map_err(|errors| system.rejected_problem(errors))?;
    system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let is_queued = planned.completion == Completion::Queued;
    let intent = WriteIntent {
        resendable_request: WriteIntent::build_resendable_request(&planned, guarantee),
        etag_before: Some(state.etag),
        ..task.new_intent(guarantee, &planned.losses, is_queued, ExpectedState::Deleted)
    };
    Ok((planned, intent))
}

/// The state that `If-Match` names: one ETag with a version of this very record.
fn named_state(task: &WriteTask<'_>, id: &RecordId) -> Option<DeletedState> {
    let command = task.command;
    // A 202 says that the precondition held (http-rules 189).
    if command.if_none_match.is_some() || command.prefer.respond_async {
        return None;
    }
    let (etag, version) = command.precondition.as_ref()?.single_version(&task.system.name, id)?;
    Some(DeletedState { record: None, version, etag: etag.to_header() })
}
