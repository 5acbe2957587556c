//! Reading the record again after a write that the vendor says it has done: what to show, and what did not take effect.

use tokio::time::Instant;

use super::RecordView;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::pipeline::WritePipeline;
use super::read::read_optional;
use super::reconcile::{ObservedRecord, Resolution, unapplied_warnings, unchanged_warnings};
use crate::record::{FieldError, RecordId, VendorRecord, Warning, all_applied};

/// What a read after a write shows to be as it was.
#[derive(Default)]
struct UnchangedFields {
    /// A warning for each place.
    warnings: Vec<Warning>,
    /// Whether that is all there was to do.
    no_effect: bool,
}

impl WritePipeline<'_> {
    /// Reads the record again where an answer needs it: `return=representation`, a create, a loss to be named.
    pub(super) async fn verify_applied(
        &self,
        pending: &InFlightWrite,
        mut seen: ObservedRecord,
    ) -> (Resolution, Option<RecordView>) {
        let id = seen.created_id.clone().or_else(|| pending.id().cloned());
        let created = seen.created_id.is_some();
        let needed = created || self.write.prefer.return_representation || !pending.losses.is_empty();
        let Some(id) = id.filter(|_| needed && !matches!(pending.expected, ExpectedState::Deleted)) else {
            return (Resolution::Applied(seen), None);
        };
        if seen.record.is_none() {
            seen.record = read_optional(self.system, &self.session, &id, self.op_context.deadline).await.ok().flatten();
        }
        let late = |stored: &VendorRecord| {
            self.version_unchanged(pending, &id, stored)
                && !all_applied(&pending.field_changes(), &stored.fields.to_map())
        };
        if seen.record.as_ref().is_some_and(late) {
            // The vendor said yes: what it shows may only be late.
            let soon = Instant::now() + self.system.policy.completion_poll;
            tokio::time::sleep_until(soon.min(self.op_context.deadline)).await;
            seen.record = read_optional(self.system, &self.session, &id, self.op_context.deadline).await.ok().flatten();
        }
        let Some(stored) = &seen.record else {
            let blank = created.then(|| self.system.view_from_request(&id, pending));
            return (Resolution::Applied(seen), blank);
        };
        let still_old = self.unchanged_fields(pending, &id, stored).await;
        if still_old.no_effect {
            let errors = still_old.warnings.into_iter().map(|one| FieldError::new(one.pointer, one.detail)).collect();
            return (Resolution::NotApplied(Box::new(self.system.rejected_problem(errors))), None);
        }
        let record = self.system.to_view(&id, stored, None);
        if seen.warnings.is_empty() {
            seen.warnings = still_old.warnings;
        }
        (Resolution::Applied(seen), Some(record))
    }

    /// What a write that the vendor has done did not change.
    async fn unchanged_fields(&self, pending: &InFlightWrite, id: &RecordId, stored: &VendorRecord) -> UnchangedFields {
        let observed = stored.fields.to_map();
        let mut changes = pending.field_changes();
        if all_applied(&changes, &observed) {
            return UnchangedFields::default();
        }
        if self.version_unchanged(pending, id, stored) {
            // Where the version stands, whatever is not as wanted is as it was, even if nobody knows what that was.
            let warnings = unapplied_warnings(&changes, &observed);
            return UnchangedFields { no_effect: !warnings.is_empty(), warnings };
        }
        let Some(before) = &pending.etag_before else { return UnchangedFields::default() };
        if let ExpectedState::Members(_) = &pending.expected {
            // Nobody has read for this write, but its caller has seen the state it is about.
            let Some(then) = self.gateway.recent_states.state(before).await else { return UnchangedFields::default() };
            changes.retain(|one| !one.is_applied_in(&then));
            for one in &mut changes {
                one.old_value = one.value_in(&then).cloned();
            }
        }
        let warnings = unchanged_warnings(&changes, &observed);
        if warnings.is_empty() || warnings.len() < changes.len() {
            return UnchangedFields { no_effect: false, warnings };
        }
        // Unless it was done and another write has put the old values back: the version that this one made is proof that nobody has.
        let now = self.system.tag(id, &stored.version()).to_header();
        if pending.etag_after.as_ref().is_some_and(|after| *after != now) {
            return UnchangedFields { warnings, no_effect: false };
        }
        let others = self.gateway.find_concurrent_writes(self.system, pending).await;
        let nothing_done = others.is_some_and(|others| !others.another_unresolved && !others.later_writer);
        UnchangedFields { warnings, no_effect: nothing_done }
    }

    /// Whether the version stands where it stood before the write.
    fn version_unchanged(&self, pending: &InFlightWrite, id: &RecordId, stored: &VendorRecord) -> bool {
        Some(self.system.tag(id, &stored.version()).to_header()) == pending.etag_before
    }
}
