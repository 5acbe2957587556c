//! Reads a record and evaluates `If-Match` and `If-None-Match` (RFC 9110 §13.2.2).

use crate::metrics::DetectedBy;
use crate::problem::{Problem, RebaseRefusal};
use crate::record::{EntityTag, Precondition, RecordId, TagOrigin, VendorRecord};
use crate::writes::problems::precondition_failed;
use crate::writes::write_task::WriteTask;

/// Why there is no rebase; by default because none was preferred.
#[derive(Debug, Default)]
pub(super) struct RebaseFailure {
    pub overlap: Vec<String>,
    pub refusal: Option<RebaseRefusal>,
}

/// The record and its ETag.
///
/// # Errors
/// `precondition-failed`, with the current ETag and, where the caller's ETag is known, what has
/// changed.
pub(super) async fn read_and_check_preconditions(
    task: &WriteTask<'_>,
    id: &RecordId,
) -> Result<(VendorRecord, EntityTag), Problem> {
    let (record, etag) = read_record(task, id).await?;
    if precondition_holds(task, &etag) && !is_excluded(task, &etag) {
        return Ok((record, etag));
    }
    Err(failed_precondition(task, id, &record, &etag, RebaseFailure::default()).await)
}

/// The record and its ETag.
pub(super) async fn read_record(task: &WriteTask<'_>, id: &RecordId) -> Result<(VendorRecord, EntityTag), Problem> {
    let (system, session) = (task.system, &task.session);
    session.set_deadline(task.context.deadline);
    let read = session.read(system, id).await;
    let record = read.map_err(|fault| session.with_last_status(system.record_error_to_problem(id, &fault)))?;
    let etag = system.tag(id, &record.version());
    Ok((record, etag))
}

/// Whether `If-Match` holds.
pub(super) fn precondition_holds(task: &WriteTask<'_>, etag: &EntityTag) -> bool {
    task.command.precondition.as_ref().is_none_or(|given| given.holds_for(etag))
}

/// Whether `If-None-Match` excludes the write.
pub(super) fn is_excluded(task: &WriteTask<'_>, etag: &EntityTag) -> bool {
    task.command.if_none_match.as_ref().is_some_and(|given| match given {
        Precondition::Exists => true,
        Precondition::AnyOf(etags) => etags.iter().any(|one| one.matches_weakly(etag)),
    })
}

/// `precondition-failed`, with the current ETag and, where the caller's ETag is known, what has
/// changed.
pub(super) async fn failed_precondition(
    task: &WriteTask<'_>,
    id: &RecordId,
    record: &VendorRecord,
    etag: &EntityTag,
    rebase_failure: RebaseFailure,
) -> Problem {
    let (system, precondition) = (task.system, task.command.precondition.as_ref());
    let holds = precondition_holds(task, etag);
    let mut problem = precondition_failed(&task.services.metrics, system, DetectedBy::Gateway);
    problem.detail = failure_detail(task, id, precondition.filter(|_| !holds)).to_owned();
    problem.current_etag = Some(etag.to_header());
    let sent = precondition.and_then(|given| given.single_version(&system.name, id));
    if let Some((sent, _)) = sent.filter(|_| !holds) {
        let recent_states = &task.services.recent_states;
        // What another replica has shown is known here from now on.
        task.services.known_state(&sent.to_header()).await;
        problem.changed = system.changed_since(recent_states, &sent.to_header(), id, record).await;
    }
    Problem { overlap: rebase_failure.overlap, rebase: rebase_failure.refusal, ..problem }
}

/// Why the precondition is false. `if_match` is the one that did not hold, if it was that.
fn failure_detail(task: &WriteTask<'_>, id: &RecordId, if_match: Option<&Precondition>) -> &'static str {
    let Some(Precondition::AnyOf(tags)) = if_match else {
        return "The record matches If-None-Match, so nothing was written.";
    };
    let origins: Vec<TagOrigin> = tags.iter().map(|tag| tag.origin(&task.system.name, id)).collect();
    let of_this_record = origins.iter().find(|origin| **origin == TagOrigin::ThisRecord);
    match of_this_record.or(origins.first()) {
        Some(TagOrigin::Weak) => {
            "A weak tag never matches in If-Match. Send the strong ETag of a GET of this record, without W/."
        }
        Some(TagOrigin::OtherRecord) => "This tag belongs to another record. Send the ETag of a GET of this record.",
        Some(TagOrigin::Model) => {
            "This is the tag of a model's document. Send the ETag of a GET of this record at /records."
        }
        Some(TagOrigin::Unknown) | None => {
            "This is no tag that the gateway has given. Send the ETag of a GET of this record, unchanged."
        }
        Some(TagOrigin::ThisRecord) => {
            "The record does not match If-Match: it was changed meanwhile. Read the record again and repeat the \
             change with its new ETag."
        }
    }
}
