//! Reads a record again after the vendor has reported success: for the response, and to find
//! changes that did not take effect.

use tokio::time::Instant;

use super::concurrent_writes::find_concurrent_writes;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::outcome::RecordView;
use super::reconcile::OutcomeProbe;
use super::resolve::{ObservedRecord, Resolution, unapplied_warnings, unchanged_warnings};
use super::system::System;
use crate::record::{FieldError, RecordId, VendorRecord, Warning, all_applied};

/// The changes that a read after the write shows not to be applied.
#[derive(Default)]
struct UnchangedFields {
    /// A warning for each.
    warnings: Vec<Warning>,
    /// Whether the write changed nothing at all.
    no_effect: bool,
}

/// Reads the record where the response needs it: for `return=representation`, a create, or a write
/// that has losses to report.
pub(super) async fn verify_applied(
    probe: &OutcomeProbe<'_>,
    write: &InFlightWrite,
    mut observed: ObservedRecord,
    deadline: Instant,
) -> (Resolution, Option<RecordView>) {
    let OutcomeProbe { system, session, .. } = *probe;
    let id = observed.created_id.clone().or_else(|| write.id().cloned());
    let is_create = observed.created_id.is_some();
    let is_needed = is_create || write.prefer.return_representation || !write.losses.is_empty();
    let Some(id) = id.filter(|_| is_needed && !matches!(write.expected, ExpectedState::Deleted)) else {
        return (Resolution::Applied(observed), None);
    };
    if observed.record.is_none() {
        observed.record = session.read_optional(system, &id, deadline).await.ok().flatten();
    }
    let is_stale = |stored: &VendorRecord| {
        version_unchanged(system, write, &id, stored) && !all_applied(&write.field_changes(), &stored.fields.to_map())
    };
    if observed.record.as_ref().is_some_and(is_stale) {
        // The vendor reported success: its reads may lag behind.
        let soon = Instant::now() + system.policy.completion_poll;
        tokio::time::sleep_until(soon.min(deadline)).await;
        observed.record = session.read_optional(system, &id, deadline).await.ok().flatten();
    }
    let Some(stored) = &observed.record else {
        let view = is_create.then(|| system.view_from_request(&id, &write.expected));
        return (Resolution::Applied(observed), view);
    };
    let unchanged = unchanged_fields(probe, write, &id, stored).await;
    if unchanged.no_effect {
        let to_error = |warning: Warning| FieldError::new(warning.pointer, warning.detail);
        let errors = unchanged.warnings.into_iter().map(to_error).collect();
        return (Resolution::NotApplied(Box::new(system.rejected_problem(errors))), None);
    }
    let view = system.to_view(&id, stored, None);
    if observed.warnings.is_empty() {
        observed.warnings = unchanged.warnings;
    }
    (Resolution::Applied(observed), Some(view))
}

async fn unchanged_fields(
    probe: &OutcomeProbe<'_>,
    write: &InFlightWrite,
    id: &RecordId,
    stored: &VendorRecord,
) -> UnchangedFields {
    let OutcomeProbe { gateway, system, .. } = *probe;
    let observed = stored.fields.to_map();
    let mut changes = write.field_changes();
    if all_applied(&changes, &observed) {
        return UnchangedFields::default();
    }
    if version_unchanged(system, write, id, stored) {
        // With the version unchanged no value has changed, even where the old values are not known.
        let warnings = unapplied_warnings(&changes, &observed);
        return UnchangedFields { no_effect: !warnings.is_empty(), warnings };
    }
    let Some(etag_before) = &write.etag_before else { return UnchangedFields::default() };
    if let ExpectedState::Members(_) = &write.expected {
        // The gateway did not read before this write, but its caller may have got the state before
        // it.
        let Some(before) = gateway.recent_states.state(etag_before).await else { return UnchangedFields::default() };
        changes.retain(|change| !change.is_applied_in(&before));
        for change in &mut changes {
            change.old_value = change.value_in(&before).cloned();
        }
    }
    let warnings = unchanged_warnings(&changes, &observed);
    if warnings.is_empty() || warnings.len() < changes.len() {
        return UnchangedFields { no_effect: false, warnings };
    }
    // The write may have been applied and another one may have restored the old values. Only the
    // very version that this write makes excludes that.
    if write.etag_after.as_ref().is_some_and(|after| *after != system.etag_header(id, stored)) {
        return UnchangedFields { warnings, no_effect: false };
    }
    let others = find_concurrent_writes(&gateway.store, system, write).await;
    let no_effect = others.is_some_and(|others| !others.another_unresolved && !others.later_writer);
    UnchangedFields { warnings, no_effect }
}

/// Whether the record still has the version that it had before the write.
fn version_unchanged(system: &System, write: &InFlightWrite, id: &RecordId, stored: &VendorRecord) -> bool {
    Some(system.etag_header(id, stored)) == write.etag_before
}
