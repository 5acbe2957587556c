//! PATCH. A vendor that compares versions and updates partially needs no read for a flat patch.

use memchr::memmem;
use serde_json::{Map, Value};

use super::document::patch_document;
use super::draft::Draft;
use super::if_plan::{PlanTagInput, check_if_plan};
use super::rebase::read_and_rebase;
use super::references::check_references;
use super::spelling::check_spelling;
use crate::metrics::RebaseOutcome;
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, FieldChange, FieldError, Patch, PatchError, RawJson, RawObject, RecordId, RecordIdentity, SchemaRule,
    UnreadableText, VendorRecord, Version, diff, write_json_string,
};
use crate::system::System;
use crate::transport::VendorRequest;
use crate::vendors::{Completion, PlannedRequest, UpdateInput, UpdateStyle, UpdateTerms};
use crate::writes::applied_rebase::AppliedRebase;
use crate::writes::in_flight_write::join_preferences;
use crate::writes::intent::{ExpectedState, WriteIntent};
use crate::writes::outcome::{AttemptExit, SuccessBody, WriteOutcome, WriteSuccess};
use crate::writes::schema_check::{check_changes, check_members, count_and_reject};
use crate::writes::write_task::WriteTask;

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
    /// The rebase that made it a change to that version.
    rebased: Option<AppliedRebase>,
    /// What the record holds and no request can send back.
    unreadable: Vec<UnreadableText>,
}

/// Plans a PATCH, without reading the record where that is possible.
pub(super) async fn plan_update(
    task: &WriteTask<'_>,
    id: &RecordId,
    patch: &Patch,
) -> Result<(PlannedRequest, WriteIntent), AttemptExit> {
    let plan = match plan_blind(task, id, patch).await? {
        Some(plan) => plan,
        None => Box::pin(plan_with_read(task, id, patch)).await?,
    };
    let planned = plan_request(task, id, &plan).await?;
    task.system.check_losses(&planned.losses, &task.command.accept_loss)?;
    let intent = new_update_intent(task, id, plan, &planned);
    Ok((planned, intent))
}

/// The change, if it can be planned without a read: `If-Match` is one ETag with a version of this
/// very record, and the changed members are scalars, arrays or null. The PATCH is then ONE
/// vendor request.
async fn plan_blind(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<Option<PatchPlan>, Problem> {
    let (system, command) = (task.system, task.command);
    let capabilities = system.adapter.capabilities();
    let is_possible = system.adapter.compares(Action::Update, id.collection())
        && capabilities.update_style == UpdateStyle::Partial
        && command.if_none_match.is_none()
        && !task.must_read.get()
        // A 202 says that the precondition held (http-rules 189).
        && !command.prefer.respond_async;
    let precondition = command.precondition.as_ref().filter(|_| is_possible);
    let Some((etag, version)) = precondition.and_then(|given| given.single_version(&system.name, id)) else {
        return Ok(None);
    };
    let etag = etag.to_header();
    let identity = RecordIdentity { system: system.name.as_str(), id: id.as_str(), etag: &etag };
    let is_reserved = |name: &str| system.adapter.is_reserved(id.collection(), name);
    let needs_state = patch.needs_state() || (capabilities.ignores_case && task.schema.schema().is_none());
    let state = if needs_state { task.services.recent_states.state(&etag).await } else { None };
    let changes = patch
        .as_flat_changes(&identity, state.as_ref(), &is_reserved)
        .map_err(|error| patch_error_to_problem(error).system(system.name.as_str()))?;
    // Only the record shows whether a member is given in another case.
    let changes = changes.filter(|members| has_exact_names(task, members, state.as_ref()));
    // Only the record shows whether a read-only member is repeated or changed.
    let changes = changes.filter(|members| !members.names().any(|name| is_read_only(task, id, name)));
    if let Some(members) = changes.as_ref().filter(|_| patch.merge_members().is_none()) {
        Box::pin(check_members(task, id, members)).await?;
    }
    Ok(changes.map(|members| {
        let expected = ExpectedState::Members(to_read_form(system, id, &members));
        PatchPlan { expected, members, full_states: None, version, etag, rebased: None, unreadable: Vec::new() }
    }))
}

/// Whether the vendor reads these names as every comparison here does: as the schema or the known
/// state of the record spells them.
fn has_exact_names(task: &WriteTask<'_>, members: &RawObject, state: Option<&Map<String, Value>>) -> bool {
    !task.system.adapter.capabilities().ignores_case
        || task.schema.names_all(members.names())
        || state.is_some_and(|state| members.names().all(|name| state.contains_key(name)))
}

/// The members as a read shows them once they are set.
fn to_read_form(system: &System, id: &RecordId, members: &RawObject) -> RawObject {
    let shown = |name: &str, value: &RawJson| system.adapter.to_read_form(id.collection(), name, value);
    if members.iter().all(|(name, value)| shown(name, value).is_none()) {
        return members.clone();
    }
    let value = |name: &str, value: &RawJson| shown(name, value).unwrap_or_else(|| value.clone());
    members.iter().map(|(name, raw)| (name, value(name, raw))).collect()
}

/// The same for the change of a whole member.
fn change_to_read_form(system: &System, id: &RecordId, change: FieldChange) -> FieldChange {
    let value = change.new_value.as_ref().filter(|_| change.path.len() == 1).map(RawJson::from);
    match value.and_then(|value| system.adapter.to_read_form(id.collection(), &change.member, &value)) {
        Some(shown) => FieldChange { new_value: shown.value(), ..change },
        None => change,
    }
}

/// The record as read, and what the patch changes in it.
struct ReadChange {
    record: VendorRecord,
    etag: String,
    rebased: Option<AppliedRebase>,
    before: Map<String, Value>,
    after: Map<String, Value>,
    changes: Vec<FieldChange>,
}

/// Reads the record and plans the change of what the patch changes in it.
async fn plan_with_read(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<PatchPlan, AttemptExit> {
    let read = read_change(task, id, patch).await?;
    if read.changes.is_empty() {
        check_if_plan(task, &nothing_to_send(task, id, &read.etag), true).await?;
        return Err(AttemptExit::Outcome(Box::new(no_change_outcome(task, id, &read))));
    }
    Ok(read.into_plan(task.system, id))
}

/// What the plan tag of an empty change is made of.
fn nothing_to_send<'p>(task: &WriteTask<'_>, id: &RecordId, etag: &'p str) -> PlanTagInput<'p> {
    let guarantee = task.system.guarantee(Action::Update, id.collection());
    PlanTagInput { based_on: Some(etag), planned: None, guarantee }
}

/// Reads the record, checks the preconditions and applies the patch.
async fn read_change(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<ReadChange, Problem> {
    let system = task.system;
    let (record, etag, rebased) = read_and_rebase(task, id, patch).await?;
    let etag = etag.to_header();
    let before = record.fields.to_map();
    let document = patch_document(task, id, &record, &etag, &before);
    let is_reserved = |name: &str| system.adapter.is_reserved(id.collection(), name);
    let after = patch
        .apply(&document, &is_reserved)
        .map_err(|error| patch_error_to_problem(error).system(system.name.as_str()))?;
    check_spelling(task, patch, &record)?;
    let changes = diff(&before, &after);
    check_changeable(task, id, &changes, &before)?;
    if !changes.is_empty() {
        check_changes(task, id, &changes, &after).await?;
    }
    Ok(ReadChange { record, etag, rebased, before, after, changes })
}

impl ReadChange {
    fn into_plan(self, system: &System, id: &RecordId) -> PatchPlan {
        let Self { record, etag, rebased, before, after, changes } = self;
        let mut members = Map::new();
        for change in &changes {
            members.insert(change.member.clone(), after.get(&change.member).cloned().unwrap_or_default());
        }
        PatchPlan {
            expected: ExpectedState::Values(
                changes.into_iter().map(|change| change_to_read_form(system, id, change).into()).collect(),
            ),
            members: RawObject::from(&members),
            version: record.version(),
            unreadable: record.unreadable_texts(),
            etag,
            full_states: Some((before, after)),
            rebased,
        }
    }
}

/// Works an update out for a preview. The record is always read; the request is the one that the
/// write would send, also where the write would send it without reading.
pub(super) async fn draft_update(task: &WriteTask<'_>, id: &RecordId, patch: &Patch) -> Result<Draft, Problem> {
    let read = read_change(task, id, patch).await?;
    let (changes, rebased) = (read.changes.clone(), read.rebased.clone());
    let draft = Draft {
        based_on: Some(read.etag.clone()),
        guarantee: task.system.guarantee(Action::Update, id.collection()),
        planned: None,
        changes,
        rebased,
    };
    let blind = if draft.rebased.is_none() { plan_blind(task, id, patch).await? } else { None };
    let plan = match blind {
        Some(plan) => plan,
        None if draft.changes.is_empty() => return Ok(draft),
        None => read.into_plan(task.system, id),
    };
    Ok(Draft { planned: Some(plan_request(task, id, &plan).await?), ..draft })
}

/// Whether no update can change a member, as the adapter knows or the vendor's schema says.
fn is_read_only(task: &WriteTask<'_>, id: &RecordId, member: &str) -> bool {
    task.system.adapter.is_read_only(id.collection(), member) || task.schema.is_read_only(member)
}

/// The errors of members that the record does not have.
fn unknown_members(unknown: &[&FieldChange], before: &Map<String, Value>) -> Vec<FieldError> {
    let has_suggestion = |position: usize| position < FieldError::MAX_SUGGESTIONS;
    let known = |position| before.keys().map(String::as_str).filter(move |_| has_suggestion(position));
    let error = |(position, change): (usize, &&FieldChange)| {
        FieldError::unknown_member(&change.member, known(position)).rule(SchemaRule::Unknown)
    };
    unknown.iter().enumerate().map(error).collect()
}

/// Rejects changes of members that no update can change: read-only ones, and ones that the record
/// does not have.
fn check_changeable(
    task: &WriteTask<'_>,
    id: &RecordId,
    changes: &[FieldChange],
    before: &Map<String, Value>,
) -> Result<(), Problem> {
    let system = task.system;
    let refused = changes.iter().filter(|change| is_read_only(task, id, &change.member));
    let (read_only, unknown): (Vec<_>, Vec<_>) = refused.partition(|change| before.contains_key(&change.member));
    if !unknown.is_empty() {
        return Err(count_and_reject(task, unknown_members(&unknown, before)));
    }
    if read_only.is_empty() {
        return Ok(());
    }
    let detail = "read-only: the vendor sets it; omit it, or repeat its current value";
    let errors = read_only.iter().map(|change| FieldError::new(change.pointer.clone(), detail)).collect();
    Err(patch_error_to_problem(PatchError::ReadOnly(errors)).system(system.name.as_str()))
}

async fn plan_request(task: &WriteTask<'_>, id: &RecordId, plan: &PatchPlan) -> Result<PlannedRequest, Problem> {
    let adapter = &task.system.adapter;
    let is_compared = adapter.compares(Action::Update, id.collection());
    let terms = UpdateTerms {
        expected: is_compared.then_some(&plan.version),
        return_record: task.command.prefer.return_representation,
    };
    let input = match (adapter.capabilities().update_style, &plan.full_states) {
        (UpdateStyle::Replace, Some((before, after))) => UpdateInput::FullRecord { before, after },
        _ => UpdateInput::Members(&plan.members),
    };
    check_references(task, id.collection(), &input).await?;
    let planned = adapter.plan_update(id, &input, &terms).map_err(|errors| count_and_reject(task, errors))?;
    let damaged = find_damaged(&planned.request, &plan.unreadable);
    if damaged.is_empty() { Ok(planned) } else { Err(task.system.rejected_problem(damaged)) }
}

/// The errors of texts that the request would send with U+FFFD in the place of what the vendor
/// holds.
fn find_damaged(request: &VendorRequest, unreadable: &[UnreadableText]) -> Vec<FieldError> {
    let body = request.body.as_deref().unwrap_or_default();
    let is_sent = |one: &&UnreadableText| {
        let mut text = String::new();
        write_json_string(&mut text, &one.text);
        memmem::find(body, text.as_bytes()).is_some()
    };
    let detail = "the vendor's text has half of a surrogate pair, and this write would send U+FFFD in its place; \
                  give it a new value in the same patch, or correct it at the vendor";
    unreadable.iter().filter(is_sent).map(|one| FieldError::new(&one.pointer, detail)).collect()
}

fn new_update_intent(task: &WriteTask<'_>, id: &RecordId, plan: PatchPlan, planned: &PlannedRequest) -> WriteIntent {
    let system = task.system;
    let etag_of = |version: &Version| system.tag(id, version).to_header();
    let guarantee = system.guarantee(Action::Update, id.collection());
    let etag_after = match (&plan.version, &plan.full_states) {
        (Version::Sequence(number), _) if system.adapter.capabilities().version_is_sequence => {
            number.checked_add(1).map(|next| etag_of(&Version::Sequence(next)))
        }
        (Version::Digest(_), Some((_, after))) if plan.unreadable.is_empty() => {
            Some(etag_of(&Version::from_fields(after)))
        }
        _ => None,
    };
    let request = WriteIntent::build_resendable_request(planned, guarantee);
    // A version that a vendor counts is never the same again; a digest is, with the old values.
    let claims_plan = task.command.plan_without_key().is_some() && matches!(plan.version, Version::Digest(_));
    WriteIntent {
        claims_plan,
        etag_before: Some(plan.etag),
        etag_after,
        resendable_request: request.map(|request| request.share_members(plan.expected.members())),
        rebased: plan.rebased,
        ..task.new_intent(guarantee, &planned.losses, planned.completion == Completion::Queued, plan.expected)
    }
}

fn no_change_outcome(task: &WriteTask<'_>, id: &RecordId, read: &ReadChange) -> WriteOutcome {
    let prefer = &task.command.prefer;
    let view = || Box::new(task.system.to_view(id, &read.record, None));
    let mut view = (prefer.return_representation || read.rebased.is_some()).then(view);
    // The caller's tag was stale, also where its change is there already.
    if let (Some(view), Some(rebased)) = (&mut view, &read.rebased) {
        view.warnings.push(rebased.warning());
        task.services.metrics.rebase(task.system.index, RebaseOutcome::Applied);
    }
    let representation = prefer.return_representation.then(|| "return=representation".to_owned());
    let handling = prefer.handling.map(|handling| handling.as_preference().to_owned());
    let rebase = read.rebased.is_some().then(|| "rebase=disjoint".to_owned());
    let applied = representation.into_iter().chain(handling).chain(rebase);
    WriteOutcome::Success(WriteSuccess {
        preference_applied: join_preferences(applied),
        body: view.map_or(SuccessBody::NoContent, SuccessBody::Record),
        operation: None,
        guarantee: Some(task.system.guarantee(Action::Update, id.collection())),
        etag: None,
    })
}

/// The problem that an inapplicable patch is to its caller.
#[must_use]
pub fn patch_error_to_problem(error: PatchError) -> Problem {
    let (kind, errors) = match error {
        PatchError::Malformed(detail) => return ProblemKind::MalformedRequest.with_detail(detail),
        PatchError::ReadOnly(errors) => (ProblemKind::ReadOnlyMember, errors),
        PatchError::Rejected(errors) => (ProblemKind::Rejected, errors),
        PatchError::TestFailed(error) => (ProblemKind::PatchTestFailed, vec![error]),
        PatchError::Failed(error) => (ProblemKind::PatchFailed, vec![error]),
    };
    Problem::of_errors(kind, errors)
}
