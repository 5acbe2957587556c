//! PATCH, from the caller's precondition to the vendor's verdict.

use serde_json::{Map, Value};

use super::begin::BeginError;
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::pipeline::{MAX_LEASE_RETRIES, PipelineResult, WritePipeline};
use super::read::record_fault_to_problem;
use super::record_outcome::star_retries_exhausted;
use super::{Guarantee, SuccessBody, WriteOutcome, WriteSuccess};
use crate::metrics::DetectedBy;
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, EntityTag, Patch, PatchError, Precondition, RawFields, RawObject, RecordId, RecordIdentity, VendorRecord,
    Version, diff,
};
use crate::store::Lease;
use crate::vendors::{Completion, PlannedRequest, UpdateInput, UpdateStyle, Versioning};

/// How often a write with `If-Match: *` reads and tries in all (contract 4.2).
const MAX_STAR_ATTEMPTS: usize = 3;

/// A change worked out against one version of the record.
struct PatchPlan {
    /// Every place that changes.
    expected: ExpectedState,
    /// The changed members of `fields`, for a vendor with partial update.
    members: RawObject,
    /// The fields as read and as wanted, where the record was read.
    full_states: Option<(Map<String, Value>, Map<String, Value>)>,
    /// The version it is worked out against.
    version: Version,
    /// That version's tag.
    etag: String,
}

impl WritePipeline<'_> {
    /// The whole of a PATCH.
    pub(super) async fn update(&mut self, id: &RecordId, patch: &Patch) -> Result<PipelineResult, BeginError> {
        let native = self.system.adapter.capabilities().versioning == Versioning::Native;
        if !native {
            self.check_guarantee()?;
        }
        let any_state = matches!(self.write.precondition, Some(Precondition::Exists) | None);
        let (mut conflicts, mut lost_turns) = (0, 0);
        loop {
            // What was sent before has come to its end.
            self.in_flight_op.replace(None);
            self.gateway.ensure_no_async_write(self.system, id).await?;
            let lease =
                if native { None } else { Some(self.gateway.acquire_lease(self.system, id, self.op_context).await?) };
            let ended = self.attempt_update(id, patch, lease.clone()).await;
            if let (Some(lease), Err(_) | Ok(PipelineResult::NoChange(_))) = (lease, &ended) {
                self.release(lease).await;
            }
            match ended {
                Ok(PipelineResult::Sent(WriteOutcome::Problem(problem)))
                    if any_state && problem.name == ProblemKind::PreconditionFailed && !self.has_responded() =>
                {
                    conflicts += 1;
                    if conflicts == MAX_STAR_ATTEMPTS {
                        let operation = problem.operation;
                        return Err(Problem { operation, ..star_retries_exhausted(self.system) }.into());
                    }
                }
                Err(BeginError::Restart) if lost_turns < MAX_LEASE_RETRIES => lost_turns += 1,
                other => return other,
            }
        }
    }

    async fn attempt_update(
        &mut self,
        id: &RecordId,
        patch: &Patch,
        lease: Option<Lease>,
    ) -> Result<PipelineResult, BeginError> {
        match self.plan_and_begin(id, patch, lease).await? {
            Ok((planned, pending)) => Ok(PipelineResult::Sent(self.send_and_resolve(planned, pending).await)),
            Err(unchanged) => Ok(PipelineResult::NoChange(unchanged)),
        }
    }

    /// All that comes before the vendor's call. The inner `Err` is the answer to a patch that changes nothing.
    async fn plan_and_begin(
        &mut self,
        id: &RecordId,
        patch: &Patch,
        lease: Option<Lease>,
    ) -> Result<Result<(PlannedRequest, InFlightWrite), WriteOutcome>, BeginError> {
        let prepared = match self.plan_blind(id, patch)? {
            Some(prepared) => prepared,
            None => match Box::pin(self.plan_with_read(id, patch)).await? {
                Ok(prepared) => prepared,
                Err(unchanged) => return Ok(Err(unchanged)),
            },
        };
        let planned = self.plan(id, &prepared)?;
        self.system.check_losses(&planned.losses, &self.write.accept_loss)?;
        let pending = InFlightWrite { lease, ..self.new_update_intent(id, prepared, &planned).into() };
        self.gateway.journal_intent(self.system, self.write, self.op_context, &pending).await?;
        Ok(Ok((planned, pending)))
    }

    /// The change, if it is known without a read: one tag that holds a version of this very record, and changed members
    /// that are scalars, arrays or null. That is ONE vendor call.
    fn plan_blind(&self, id: &RecordId, patch: &Patch) -> Result<Option<PatchPlan>, Problem> {
        let profile = self.system.adapter.capabilities();
        let possible = profile.versioning == Versioning::Native
            && profile.update_style == UpdateStyle::Partial
            && self.write.if_none_match.is_none()
            // A 202 is about a write whose precondition held (http-rules 189).
            && !self.write.prefer.respond_async;
        let precondition = self.write.precondition.as_ref().filter(|_| possible);
        let Some((tag, version)) = precondition.and_then(|given| given.single_version(&self.system.name, id)) else {
            return Ok(None);
        };
        let etag = tag.to_header();
        let identity = RecordIdentity { system: self.system.name.as_str(), id: id.as_str(), etag: &etag };
        let read_only = |name: &str| self.system.adapter.is_read_only(name);
        let flat = patch.as_flat_changes(&identity, &read_only).map_err(|error| self.patch_error_to_problem(error))?;
        Ok(flat.map(|members| {
            let wanted = ExpectedState::Members(members.clone());
            PatchPlan { expected: wanted, members: members.clone(), full_states: None, version, etag }
        }))
    }

    /// Reads the record, checks the preconditions and applies the patch. The inner `Err` is the answer to a patch that
    /// changes nothing.
    async fn plan_with_read(
        &mut self,
        id: &RecordId,
        patch: &Patch,
    ) -> Result<Result<PatchPlan, WriteOutcome>, Problem> {
        let (stored, tag) = self.read_and_check_preconditions(id).await?;
        let before = stored.fields.to_map();
        let mut document = Map::new();
        document.insert("system".to_owned(), Value::from(self.system.name.as_str()));
        document.insert("id".to_owned(), Value::from(id.as_str()));
        let etag = tag.to_header();
        document.insert("etag".to_owned(), Value::from(etag.as_str()));
        document.insert("fields".to_owned(), Value::Object(before.clone()));
        // `test` may look at whatever GET shows.
        let shown = self.system.to_view(id, &stored, None);
        document.insert("read_only".to_owned(), shown.read_only.into());
        if let Some(warnings) = serde_json::to_value(&shown.warnings).ok().filter(|_| !shown.warnings.is_empty()) {
            document.insert("warnings".to_owned(), warnings);
        }
        let read_only = |name: &str| self.system.adapter.is_read_only(name);
        let after = patch.apply(&document, &read_only).map_err(|error| self.patch_error_to_problem(error))?;
        let wanted = diff(&before, &after);
        if wanted.is_empty() {
            return Ok(Err(self.no_change_outcome(id, &stored)));
        }
        let mut members = Map::new();
        for one in &wanted {
            members.insert(one.member.clone(), after.get(&one.member).cloned().unwrap_or_default());
        }
        let wanted = ExpectedState::Values(wanted.into_iter().map(Into::into).collect());
        let members = RawObject::from(&members);
        Ok(Ok(PatchPlan {
            expected: wanted,
            members,
            version: stored.version(),
            etag,
            full_states: Some((before, after)),
        }))
    }

    /// Reads the record and evaluates `If-Match` and `If-None-Match` (RFC 9110 §13.2.2).
    pub(super) async fn read_and_check_preconditions(
        &mut self,
        id: &RecordId,
    ) -> Result<(VendorRecord, EntityTag), Problem> {
        self.session.set_deadline(self.op_context.deadline);
        let read = self.system.adapter.read(&self.session, id).await;
        let stored =
            read.map_err(|fault| self.session.with_last_status(record_fault_to_problem(self.system, id, &fault)))?;
        let tag = self.system.tag(id, &stored.version());
        let holds = self.write.precondition.as_ref().is_none_or(|given| given.holds_for(&tag));
        let excluded = self.write.if_none_match.as_ref().is_some_and(|given| match given {
            Precondition::Exists => true,
            Precondition::AnyOf(tags) => tags.iter().any(|one| one.matches_weakly(&tag)),
        });
        if !holds || excluded {
            let mut stale = self.gateway.precondition_failed(self.system, DetectedBy::Gateway);
            stale.current_etag = Some(tag.to_header());
            let known = self.write.precondition.as_ref().and_then(|given| given.single_version(&self.system.name, id));
            if let Some((known, _)) = known.filter(|_| !holds) {
                stale.changed =
                    self.gateway.recent_states.diff_since(&known.to_header(), &stored.fields.to_map()).await;
            }
            return Err(stale);
        }
        Ok((stored, tag))
    }

    fn plan(&self, id: &RecordId, prepared: &PatchPlan) -> Result<PlannedRequest, Problem> {
        let adapter = &self.system.adapter;
        let expected = (adapter.capabilities().versioning == Versioning::Native).then_some(&prepared.version);
        let change = match (adapter.capabilities().update_style, &prepared.full_states) {
            (UpdateStyle::Replace, Some((before, after))) => UpdateInput::FullRecord { before, after },
            _ => UpdateInput::Members(&prepared.members),
        };
        adapter.plan_update(id, &change, expected).map_err(|errors| self.system.rejected_problem(errors))
    }

    fn new_update_intent(&self, id: &RecordId, prepared: PatchPlan, planned: &PlannedRequest) -> WriteIntent {
        let profile = self.system.adapter.capabilities();
        let tag = |version: &Version| self.system.tag(id, version).to_header();
        let guarantee = if profile.versioning == Versioning::Native { Guarantee::Native } else { Guarantee::Guarded };
        let after = match (&prepared.version, &prepared.full_states) {
            (Version::Sequence(number), _) if profile.version_is_sequence => {
                number.checked_add(1).map(|next| tag(&Version::Sequence(next)))
            }
            (Version::Digest(_), Some((_, after))) => Some(tag(&RawFields::from_map(after).content_version())),
            _ => None,
        };
        WriteIntent {
            expected: prepared.expected,
            etag_before: Some(prepared.etag),
            etag_after: after,
            resendable_request: WriteIntent::build_resendable_request(planned, guarantee),
            is_async: planned.completion == Completion::Queued || self.write.prefer.respond_async,
            ..self.new_intent(Action::Update, Some(id), guarantee, &planned.losses)
        }
    }

    fn no_change_outcome(&self, id: &RecordId, stored: &VendorRecord) -> WriteOutcome {
        let representation = self.write.prefer.return_representation;
        let record = representation.then(|| Box::new(self.system.to_view(id, stored, None)));
        let native = self.system.adapter.capabilities().versioning == Versioning::Native;
        WriteOutcome::Success(WriteSuccess {
            preference_applied: representation.then(|| "return=representation".to_owned()),
            body: record.map_or(SuccessBody::NoContent, SuccessBody::Record),
            operation: None,
            guarantee: Some(if native { Guarantee::Native } else { Guarantee::Guarded }),
            etag: None,
        })
    }

    fn patch_error_to_problem(&self, error: PatchError) -> Problem {
        patch_error_to_problem(error).system(self.system.name.as_str())
    }
}

/// What a patch that cannot be taken is to its caller.
#[must_use]
pub fn patch_error_to_problem(error: PatchError) -> Problem {
    let summary = |errors: &[crate::record::FieldError]| {
        let all: Vec<String> = errors.iter().map(|one| format!("{}: {}", one.pointer, one.detail)).collect();
        all.join("; ")
    };
    let (name, errors) = match error {
        PatchError::Malformed(detail) => return ProblemKind::MalformedRequest.with_detail(detail),
        PatchError::ReadOnly(errors) => (ProblemKind::ReadOnlyMember, errors),
        PatchError::TestFailed(error) => (ProblemKind::PatchTestFailed, vec![error]),
        PatchError::Failed(error) => (ProblemKind::PatchFailed, vec![error]),
    };
    name.with_detail(summary(&errors)).errors(errors)
}
