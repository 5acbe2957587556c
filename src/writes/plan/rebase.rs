//! `Prefer: rebase=disjoint`: a change that was made for an earlier state of the record is applied
//! to the current one, if the two change different places (contract 4.2). The write is then bound
//! to the current version.

use serde_json::{Map, Value};

use super::document::patch_document;
use super::preconditions::{RebaseFailure, failed_precondition, is_excluded, precondition_holds, read_record};
use crate::metrics::RebaseOutcome;
use crate::problem::{Problem, RebaseRefusal};
use crate::record::{EntityTag, Patch, RawObject, RecordId, VendorRecord, diff, json_pointer, rebase};
use crate::writes::applied_rebase::AppliedRebase;
use crate::writes::write_task::WriteTask;

/// The record and its ETag, after a check of the preconditions. A tag that is no longer current is
/// accepted if the change can be rebased.
///
/// # Errors
/// `precondition-failed`.
pub(super) async fn read_and_rebase(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
) -> Result<(VendorRecord, EntityTag, Option<AppliedRebase>), Problem> {
    let (record, etag) = read_record(task, id).await?;
    let holds = precondition_holds(task, &etag);
    if holds && !is_excluded(task, &etag) {
        return Ok((record, etag, None));
    }
    let mut rebase_failure = RebaseFailure::default();
    if !holds && task.command.prefer.rebase && !is_excluded(task, &etag) {
        match try_rebase(task, id, patch, &record, &etag).await {
            Ok(rebased) => return Ok((record, etag, Some(rebased))),
            Err(refused) => rebase_failure = refused,
        }
    }
    Err(failed_precondition(task, id, &record, &etag, rebase_failure).await)
}

async fn try_rebase(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
    record: &VendorRecord,
    etag: &EntityTag,
) -> Result<AppliedRebase, RebaseFailure> {
    let (services, system) = (task.services, task.system);
    let sent = task.command.precondition.as_ref().and_then(|given| given.single_version(&system.name, id));
    // A tag of another record is stale for another reason than a change.
    let Some((sent, _)) = sent else { return Err(RebaseFailure::default()) };
    let from = sent.to_header();
    // Two states with different halves of surrogate pairs look the same.
    let is_readable = record.unreadable_texts().is_empty();
    let base = if is_readable { services.known_state(&from).await } else { None };
    let Some(base) = base else {
        services.metrics.rebase(system.index, RebaseOutcome::UnknownBase);
        return Err(RebaseFailure { refusal: Some(RebaseRefusal::StateUnknown), ..RebaseFailure::default() });
    };
    let touched = touched_places(task, id, patch, &from, &base);
    let mut found = rebase(&base, &record.fields.to_map(), touched, &system.policy.together);
    if !found.overlap.is_empty() {
        services.metrics.rebase(system.index, RebaseOutcome::Overlap);
        return Err(RebaseFailure { overlap: found.overlap, ..RebaseFailure::default() });
    }
    // A member that the vendor stamps on every write is no sign of another writer's change.
    let stamped = record.fields.names().filter(|member| system.adapter.is_stamped(id.collection(), member));
    let stamped: Vec<String> = stamped.map(|member| json_pointer("/fields", &[member])).collect();
    found.moved.retain(|pointer| !stamped.contains(pointer));
    Ok(AppliedRebase { from, onto: etag.to_header(), moved: found.moved })
}

/// The places that the patch names, and those that it changes in the state that it was made for. A
/// patch that does not fit that state does not fit the current one either, which gives the reason.
fn touched_places(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
    etag: &str,
    base: &Map<String, Value>,
) -> impl Iterator<Item = String> {
    let record = VendorRecord { fields: RawObject::from(base), version: None, warnings: Vec::new() };
    let document = patch_document(task, id, &record, etag, base);
    let after = patch.apply(&document, &|name| task.system.adapter.is_reserved(id.collection(), name));
    let changed = after.map(|after| diff(base, &after)).unwrap_or_default();
    patch.named_places().into_iter().chain(changed.into_iter().map(|change| change.pointer))
}
