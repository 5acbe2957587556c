//! PATCH: reads the record if it must, plans one vendor request, stores the intent and sends it.

use serde_json::{Map, Value};

use super::begin::{EarlyReturn, journal_intent};
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::lease::{acquire_lease, ensure_no_async_write, release_lease};
use super::outcome::{SuccessBody, WriteOutcome, WriteSuccess};
use super::preconditions::read_and_check_preconditions;
use super::send::send_and_resolve;
use super::system::join_errors;
use super::write_problems::star_retries_exhausted;
use super::write_task::{MAX_LEASE_RETRIES, WriteTask};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Action, Patch, PatchError, RawObject, RecordId, RecordIdentity, VendorRecord, Version, diff};
use crate::store::Lease;
use crate::vendors::{Completion, PlannedRequest, UpdateInput, UpdateStyle, Versioning};

/// How often a write with `If-Match: *` reads and tries in all (contract 4.2).
const MAX_STAR_ATTEMPTS: usize = 3;

/// A change to one version of the record.
struct PatchPlan {
    /// Every path that changes.
    expected: ExpectedState,
    /// The changed members of `fields`, for a vendor with partial updates.
    members: RawObject,
    /// `fields` before and after, if the record was read.
    full_states: Option<(Map<String, Value>, Map<String, Value>)>,
    /// The version that the change applies to.
    version: Version,
    /// That version's ETag.
    etag: String,
}

/// Executes a PATCH.
pub(super) async fn update(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<WriteOutcome, EarlyReturn> {
    let WriteTask { gateway, system, context, .. } = *task;
    let is_native = system.compares_versions();
    if !is_native {
        task.check_guarantee()?;
    }
    let (mut conflicts, mut lease_losses) = (0, 0);
    loop {
        // The operation of an earlier attempt has ended.
        task.in_flight_op.replace(None);
        ensure_no_async_write(&gateway.store, system, id).await?;
        let lease = if is_native { None } else { Some(acquire_lease(&gateway.store, system, id, context).await?) };
        let result = attempt_update(task, id, patch, lease.clone()).await;
        if let (Some(lease), Err(_)) = (lease, &result) {
            release_lease(&gateway.store, lease).await;
        }
        match result {
            Ok(WriteOutcome::Problem(problem))
                if task.is_if_match_any()
                    && problem.name == ProblemKind::PreconditionFailed
                    && !task.has_responded() =>
            {
                conflicts += 1;
                if conflicts == MAX_STAR_ATTEMPTS {
                    let operation = problem.operation;
                    return Err(Problem { operation, ..star_retries_exhausted(system) }.into());
                }
            }
            Err(EarlyReturn::Restart) if lease_losses < MAX_LEASE_RETRIES => lease_losses += 1,
            other => return other,
        }
    }
}

async fn attempt_update(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
    lease: Option<Lease>,
) -> Result<WriteOutcome, EarlyReturn> {
    let (planned, write) = plan_and_begin(task, id, patch, lease).await?;
    Ok(send_and_resolve(task, planned, write).await)
}

/// All steps before the vendor request.
async fn plan_and_begin(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
    lease: Option<Lease>,
) -> Result<(PlannedRequest, InFlightWrite), EarlyReturn> {
    let plan = match plan_blind(task, id, patch)? {
        Some(plan) => plan,
        None => Box::pin(plan_with_read(task, id, patch)).await?,
    };
    let planned = plan_request(task, id, &plan)?;
    task.system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let write = InFlightWrite { lease, ..new_update_intent(task, id, plan, &planned).into() };
    journal_intent(task.gateway, task.system, task.command, task.context, &write).await?;
    Ok((planned, write))
}

/// The change, if it can be planned without a read: `If-Match` is one ETag with a version of this
/// very record, and the changed members are scalars, arrays or null. The PATCH is then ONE vendor
/// call.
fn plan_blind(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<Option<PatchPlan>, Problem> {
    let (system, command) = (task.system, task.command);
    let capabilities = system.adapter.capabilities();
    let is_possible = capabilities.versioning == Versioning::Native
        && capabilities.update_style == UpdateStyle::Partial
        && command.if_none_match.is_none()
        // A 202 says that the precondition held (http-rules 189).
        && !command.prefer.respond_async;
    let precondition = command.precondition.as_ref().filter(|_| is_possible);
    let Some((etag, version)) = precondition.and_then(|given| given.single_version(&system.name, id)) else {
        return Ok(None);
    };
    let etag = etag.to_header();
    let identity = RecordIdentity { system: system.name.as_str(), id: id.as_str(), etag: &etag };
    let is_read_only = |name: &str| system.adapter.is_read_only(name);
    let changes = patch
        .as_flat_changes(&identity, &is_read_only)
        .map_err(|error| patch_error_to_problem(error).system(system.name.as_str()))?;
    Ok(changes.map(|members| {
        let expected = ExpectedState::Members(members.clone());
        PatchPlan { expected, members: members.clone(), full_states: None, version, etag }
    }))
}

/// Reads the record, checks the preconditions and applies the patch.
async fn plan_with_read(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<PatchPlan, EarlyReturn> {
    let system = task.system;
    let (stored, etag) = read_and_check_preconditions(task, id).await?;
    let etag = etag.to_header();
    let before = stored.fields.to_map();
    let document = patch_document(task, id, &stored, &etag, &before);
    let is_read_only = |name: &str| system.adapter.is_read_only(name);
    let after = patch
        .apply(&document, &is_read_only)
        .map_err(|error| patch_error_to_problem(error).system(system.name.as_str()))?;
    let changes = diff(&before, &after);
    if changes.is_empty() {
        return Err(EarlyReturn::NoChange(Box::new(no_change_outcome(task, id, &stored))));
    }
    let mut members = Map::new();
    for change in &changes {
        members.insert(change.member.clone(), after.get(&change.member).cloned().unwrap_or_default());
    }
    Ok(PatchPlan {
        expected: ExpectedState::Values(changes.into_iter().map(Into::into).collect()),
        members: RawObject::from(&members),
        version: stored.version(),
        etag,
        full_states: Some((before, after)),
    })
}

/// The JSON document that a patch is applied to. It has every member that GET shows, because a JSON
/// Patch may test each of them.
fn patch_document(
    task: &WriteTask<'_>,
    id: &RecordId,
    stored: &VendorRecord,
    etag: &str,
    fields: &Map<String, Value>,
) -> Map<String, Value> {
    let mut document = Map::new();
    document.insert("system".to_owned(), Value::from(task.system.name.as_str()));
    document.insert("id".to_owned(), Value::from(id.as_str()));
    document.insert("etag".to_owned(), Value::from(etag));
    document.insert("fields".to_owned(), Value::Object(fields.clone()));
    let view = task.system.to_view(id, stored, None);
    document.insert("read_only".to_owned(), view.read_only.into());
    if let Some(warnings) = serde_json::to_value(&view.warnings).ok().filter(|_| !view.warnings.is_empty()) {
        document.insert("warnings".to_owned(), warnings);
    }
    document
}

fn plan_request(task: &WriteTask<'_>, id: &RecordId, plan: &PatchPlan) -> Result<PlannedRequest, Problem> {
    let adapter = &task.system.adapter;
    let compared_version = task.system.compares_versions().then_some(&plan.version);
    let input = match (adapter.capabilities().update_style, &plan.full_states) {
        (UpdateStyle::Replace, Some((before, after))) => UpdateInput::FullRecord { before, after },
        _ => UpdateInput::Members(&plan.members),
    };
    adapter.plan_update(id, &input, compared_version).map_err(|errors| task.system.rejected_problem(errors))
}

fn new_update_intent(task: &WriteTask<'_>, id: &RecordId, plan: PatchPlan, planned: &PlannedRequest) -> WriteIntent {
    let system = task.system;
    let etag_of = |version: &Version| system.tag(id, version).to_header();
    let guarantee = system.update_guarantee();
    let etag_after = match (&plan.version, &plan.full_states) {
        (Version::Sequence(number), _) if system.adapter.capabilities().version_is_sequence => {
            number.checked_add(1).map(|next| etag_of(&Version::Sequence(next)))
        }
        (Version::Digest(_), Some((_, after))) => Some(etag_of(&Version::from_fields(after))),
        _ => None,
    };
    WriteIntent {
        expected: plan.expected,
        etag_before: Some(plan.etag),
        etag_after,
        resendable_request: WriteIntent::build_resendable_request(planned, guarantee),
        is_async: planned.completion == Completion::Queued || task.command.prefer.respond_async,
        ..task.new_intent(Action::Update, Some(id), guarantee, &planned.losses)
    }
}

fn no_change_outcome(task: &WriteTask<'_>, id: &RecordId, stored: &VendorRecord) -> WriteOutcome {
    let wants_record = task.command.prefer.return_representation;
    let record = wants_record.then(|| Box::new(task.system.to_view(id, stored, None)));
    WriteOutcome::Success(WriteSuccess {
        preference_applied: wants_record.then(|| "return=representation".to_owned()),
        body: record.map_or(SuccessBody::NoContent, SuccessBody::Record),
        operation: None,
        guarantee: Some(task.system.update_guarantee()),
        etag: None,
    })
}

/// The problem that an inapplicable patch is to its caller.
#[must_use]
pub fn patch_error_to_problem(error: PatchError) -> Problem {
    let (kind, errors) = match error {
        PatchError::Malformed(detail) => return ProblemKind::MalformedRequest.with_detail(detail),
        PatchError::ReadOnly(errors) => (ProblemKind::ReadOnlyMember, errors),
        PatchError::TestFailed(error) => (ProblemKind::PatchTestFailed, vec![error]),
        PatchError::Failed(error) => (ProblemKind::PatchFailed, vec![error]),
    };
    kind.with_detail(join_errors(&errors)).errors(errors)
}
