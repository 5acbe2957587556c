//! PATCH, from the caller's precondition to the vendor's verdict.

use serde_json::{Map, Value};

use super::conclude::others_were_faster;
use super::intended::{Intended, Wanted};
use super::intent::Stop;
use super::line::{Context, Ended, LOST_TURNS};
use super::pending::Pending;
use super::read::missing_or;
use super::{Done, Guarantee, Verdict, Written};
use crate::adapters::{Change, Completion, Planned, UpdateStyle, Versioning};
use crate::metrics::DetectedBy;
use crate::problem::{Problem, ProblemName};
use crate::record::{
    Action, EntityTag, Fields, Identity, Members, Patch, PatchError, Precondition, RecordId, Stored, Version,
    differences,
};
use crate::store::Lease;

/// How often a write with `If-Match: *` reads and tries in all (contract 4.2).
const STAR_ATTEMPTS: usize = 3;

/// A change worked out against one version of the record.
struct Prepared {
    /// Every place that changes.
    wanted: Wanted,
    /// The changed members of `fields`, for a vendor with partial update.
    members: Members,
    /// The fields as read and as wanted, where the record was read.
    whole: Option<(Map<String, Value>, Map<String, Value>)>,
    /// The version it is worked out against.
    version: Version,
    /// That version's tag.
    etag: String,
}

impl Context<'_> {
    /// The whole of a PATCH.
    pub(super) async fn update(&mut self, id: &RecordId, patch: &Patch) -> Result<Ended, Stop> {
        let native = self.system.adapter.profile().versioning == Versioning::Native;
        if !native {
            self.refuse_if_native_is_required()?;
        }
        let any_state = matches!(self.write.precondition, Some(Precondition::Exists) | None);
        let (mut conflicts, mut lost_turns) = (0, 0);
        loop {
            // What was sent before has come to its end.
            self.sending.replace(None);
            self.gateway.refuse_while_running(self.system, id).await?;
            let lease = if native { None } else { Some(self.gateway.lease(self.system, id, self.ask).await?) };
            let ended = self.update_once(id, patch, lease.clone()).await;
            if let (Some(lease), Err(_) | Ok(Ended::Nothing(_))) = (lease, &ended) {
                self.release(lease).await;
            }
            match ended {
                Ok(Ended::Verdict(Verdict::Problem(problem)))
                    if any_state && problem.name == ProblemName::PreconditionFailed && !self.caller_was_told() =>
                {
                    conflicts += 1;
                    if conflicts == STAR_ATTEMPTS {
                        let operation = problem.operation;
                        return Err(Problem { operation, ..others_were_faster(self.system) }.into());
                    }
                }
                Err(Stop::Again) if lost_turns < LOST_TURNS => lost_turns += 1,
                other => return other,
            }
        }
    }

    async fn update_once(&mut self, id: &RecordId, patch: &Patch, lease: Option<Lease>) -> Result<Ended, Stop> {
        match self.begun_update(id, patch, lease).await? {
            Ok((planned, pending)) => Ok(Ended::Verdict(self.carry(planned, pending).await)),
            Err(unchanged) => Ok(Ended::Nothing(unchanged)),
        }
    }

    /// All that comes before the vendor's call. The inner `Err` is the answer to a patch that changes nothing.
    async fn begun_update(
        &mut self,
        id: &RecordId,
        patch: &Patch,
        lease: Option<Lease>,
    ) -> Result<Result<(Planned, Pending), Verdict>, Stop> {
        let prepared = match self.without_reading(id, patch)? {
            Some(prepared) => prepared,
            None => match Box::pin(self.by_reading(id, patch)).await? {
                Ok(prepared) => prepared,
                Err(unchanged) => return Ok(Err(unchanged)),
            },
        };
        let planned = self.plan(id, &prepared)?;
        self.system.consent(&planned.losses, &self.write.accept_loss)?;
        let pending = Pending { lease, ..self.intended_update(id, prepared, &planned).into() };
        self.gateway.begin(self.system, self.write, self.ask, &pending).await?;
        Ok(Ok((planned, pending)))
    }

    /// The change, if it is known without a read: one tag that holds a version of this very record, and changed members
    /// that are scalars, arrays or null. That is ONE vendor call.
    fn without_reading(&self, id: &RecordId, patch: &Patch) -> Result<Option<Prepared>, Problem> {
        let profile = self.system.adapter.profile();
        let possible = profile.versioning == Versioning::Native
            && profile.update_style == UpdateStyle::Partial
            && self.write.none_match.is_none()
            // A 202 is about a write whose precondition held (http-rules 189).
            && !self.write.prefer.respond_async;
        let precondition = self.write.precondition.as_ref().filter(|_| possible);
        let Some((tag, version)) = precondition.and_then(|given| given.single(&self.system.name, id)) else {
            return Ok(None);
        };
        let etag = tag.text();
        let identity = Identity { system: self.system.name.as_str(), id: id.as_str(), etag: &etag };
        let read_only = |name: &str| self.system.adapter.read_only(name);
        let flat = patch.flat(&identity, &read_only).map_err(|error| self.patch_problem(error))?;
        Ok(flat.map(|members| {
            let wanted = Wanted::Members(members.clone());
            Prepared { wanted, members: members.clone(), whole: None, version, etag }
        }))
    }

    /// Reads the record, checks the preconditions and applies the patch. The inner `Err` is the answer to a patch that
    /// changes nothing.
    async fn by_reading(&mut self, id: &RecordId, patch: &Patch) -> Result<Result<Prepared, Verdict>, Problem> {
        let (stored, tag) = self.read_and_check(id).await?;
        let before = stored.fields.to_map();
        let mut document = Map::new();
        document.insert("system".to_owned(), Value::from(self.system.name.as_str()));
        document.insert("id".to_owned(), Value::from(id.as_str()));
        let etag = tag.text();
        document.insert("etag".to_owned(), Value::from(etag.as_str()));
        document.insert("fields".to_owned(), Value::Object(before.clone()));
        // `test` may look at whatever GET shows.
        let shown = self.system.show(id, &stored, None);
        document.insert("read_only".to_owned(), shown.read_only.into());
        if let Some(warnings) = serde_json::to_value(&shown.warnings).ok().filter(|_| !shown.warnings.is_empty()) {
            document.insert("warnings".to_owned(), warnings);
        }
        let read_only = |name: &str| self.system.adapter.read_only(name);
        let after = patch.apply(&document, &read_only).map_err(|error| self.patch_problem(error))?;
        let wanted = differences(&before, &after);
        if wanted.is_empty() {
            return Ok(Err(self.nothing_to_change(id, &stored)));
        }
        let mut members = Map::new();
        for one in &wanted {
            members.insert(one.member.clone(), after.get(&one.member).cloned().unwrap_or_default());
        }
        let wanted = Wanted::Values(wanted.into_iter().map(Into::into).collect());
        let members = Members::from(&members);
        Ok(Ok(Prepared { wanted, members, version: stored.version(), etag, whole: Some((before, after)) }))
    }

    /// Reads the record and evaluates `If-Match` and `If-None-Match` (RFC 9110 §13.2.2).
    pub(super) async fn read_and_check(&mut self, id: &RecordId) -> Result<(Stored, EntityTag), Problem> {
        self.session.patience(self.ask.deadline);
        let read = self.system.adapter.read(&self.session, id).await;
        let stored = read.map_err(|fault| self.session.quoted(missing_or(self.system, id, &fault)))?;
        let tag = self.system.tag(id, &stored.version());
        let holds = self.write.precondition.as_ref().is_none_or(|given| given.holds_for(&tag));
        let excluded = self.write.none_match.as_ref().is_some_and(|given| match given {
            Precondition::Exists => true,
            Precondition::AnyOf(tags) => tags.iter().any(|one| one.matches_weakly(&tag)),
        });
        if !holds || excluded {
            let mut stale = self.gateway.failed_precondition(self.system, DetectedBy::Gateway);
            stale.current_etag = Some(tag.text());
            let known = self.write.precondition.as_ref().and_then(|given| given.single(&self.system.name, id));
            if let Some((known, _)) = known.filter(|_| !holds) {
                stale.changed = self.gateway.shown.changed_since(&known.text(), &stored.fields.to_map()).await;
            }
            return Err(stale);
        }
        Ok((stored, tag))
    }

    fn plan(&self, id: &RecordId, prepared: &Prepared) -> Result<Planned, Problem> {
        let adapter = &self.system.adapter;
        let expected = (adapter.profile().versioning == Versioning::Native).then_some(&prepared.version);
        let change = match (adapter.profile().update_style, &prepared.whole) {
            (UpdateStyle::Replace, Some((before, after))) => Change::Whole { before, after },
            _ => Change::Members(&prepared.members),
        };
        adapter.plan_update(id, &change, expected).map_err(|errors| self.system.rejected(errors))
    }

    fn intended_update(&self, id: &RecordId, prepared: Prepared, planned: &Planned) -> Intended {
        let profile = self.system.adapter.profile();
        let tag = |version: &Version| self.system.tag(id, version).text();
        let guarantee = if profile.versioning == Versioning::Native { Guarantee::Native } else { Guarantee::Guarded };
        let after = match (&prepared.version, &prepared.whole) {
            (Version::Counter(number), _) if profile.version_counts_up => {
                number.checked_add(1).map(|next| tag(&Version::Counter(next)))
            }
            (Version::Digest(_), Some((_, after))) => Some(tag(&Fields::from_map(after).digest())),
            _ => None,
        };
        Intended {
            wanted: prepared.wanted,
            before: Some(prepared.etag),
            after,
            resend: Intended::resendable(planned, guarantee),
            queued: planned.completion == Completion::Queued || self.write.prefer.respond_async,
            ..self.intended(Action::Update, Some(id), guarantee, &planned.losses)
        }
    }

    fn nothing_to_change(&self, id: &RecordId, stored: &Stored) -> Verdict {
        let representation = self.write.prefer.representation;
        let record = representation.then(|| Box::new(self.system.show(id, stored, None)));
        let native = self.system.adapter.profile().versioning == Versioning::Native;
        Verdict::Written(Written {
            preference_applied: representation.then(|| "return=representation".to_owned()),
            done: record.map_or(Done::Silent, Done::Shown),
            operation: None,
            guarantee: Some(if native { Guarantee::Native } else { Guarantee::Guarded }),
            etag: None,
        })
    }

    fn patch_problem(&self, error: PatchError) -> Problem {
        patch_problem(error).system(self.system.name.as_str())
    }
}

/// What a patch that cannot be taken is to its caller.
#[must_use]
pub fn patch_problem(error: PatchError) -> Problem {
    let summary = |errors: &[crate::record::Invalid]| {
        let all: Vec<String> = errors.iter().map(|one| format!("{}: {}", one.pointer, one.detail)).collect();
        all.join("; ")
    };
    let (name, errors) = match error {
        PatchError::Malformed(detail) => return ProblemName::MalformedRequest.with(detail),
        PatchError::ReadOnly(errors) => (ProblemName::ReadOnlyMember, errors),
        PatchError::TestFailed(error) => (ProblemName::PatchTestFailed, vec![error]),
        PatchError::Failed(error) => (ProblemName::PatchFailed, vec![error]),
    };
    name.with(summary(&errors)).errors(errors)
}
