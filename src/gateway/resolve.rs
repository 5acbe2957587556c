//! What the state of a record proves about a write whose outcome is unknown (contract 5.3).

use serde_json::{Map, Value};

use super::concurrent_writes::{ConcurrentWrites, find_concurrent_writes};
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::state::GatewayState;
use super::system::System;
use super::write_problems::precondition_failed;
use crate::metrics::DetectedBy;
use crate::problem::Problem;
use crate::record::{
    FieldChange, ObservedState, RecordId, SideEffect, VendorError, VendorErrorKind, VendorRecord, Warning, WarningCode,
    all_applied,
};

/// The final outcome of a write.
#[derive(Debug)]
pub(super) enum Resolution {
    /// It was applied.
    Applied(ObservedRecord),
    /// It was not applied and never will be.
    NotApplied(Box<Problem>),
    /// It cannot be found out any more: the time for it is over, or another write followed.
    Unknown(Option<ObservedState>),
}

impl Resolution {
    /// The state as the log names it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::NotApplied(_) => "not-applied",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The record at the time when the write was found applied.
#[derive(Debug, Default)]
pub(super) struct ObservedRecord {
    /// The record as read; `None` when the vendor's response sufficed, or the record is deleted.
    pub record: Option<VendorRecord>,
    /// The record that a create made.
    pub created_id: Option<RecordId>,
    /// What did not take effect.
    pub warnings: Vec<Warning>,
}

impl ObservedRecord {
    pub(super) fn read(record: VendorRecord) -> Self {
        Self { record: Some(record), ..Self::default() }
    }

    pub(super) fn created(id: RecordId) -> Self {
        Self { created_id: Some(id), ..Self::default() }
    }
}

/// Whether the record as read (`None`: it does not exist) is in the expected state. Never for a
/// create.
pub(super) fn is_in_expected_state(write: &InFlightWrite, stored: Option<&VendorRecord>) -> bool {
    match (&write.expected, stored) {
        (ExpectedState::Deleted, None) => true,
        (ExpectedState::Values(_) | ExpectedState::Members(_), Some(stored)) => {
            all_applied(&write.field_changes(), &stored.fields.to_map())
        }
        _ => false,
    }
}

/// Resolves a write that must not be sent again by the record's state alone.
pub(super) fn resolve_by_state(write: &InFlightWrite, stored: Option<VendorRecord>) -> Option<Resolution> {
    is_in_expected_state(write, stored.as_ref())
        .then(|| Resolution::Applied(ObservedRecord { record: stored, ..ObservedRecord::default() }))
}

/// Resolves a write whose version the vendor compares, and all its repetitions, by the record as
/// read.
pub(super) async fn resolve_by_version(
    gateway: &GatewayState,
    system: &System,
    write: &InFlightWrite,
    stored: Option<VendorRecord>,
) -> Option<Resolution> {
    // A deleted record does not show whether the write was applied before.
    let Some(stored) = stored else { return Some(Resolution::Unknown(Some(ObservedState::Other))) };
    let etag_now = system.etag_header(write.id()?, &stored);
    if Some(&etag_now) == write.etag_before.as_ref() {
        // The first request may still arrive.
        return None;
    }
    let observed = stored.fields.to_map();
    let changes = write.field_changes();
    let is_shown = all_applied(&changes, &observed);
    let others = find_concurrent_writes(&gateway.store, system, write).await?;
    if others.another_applied {
        return Some(Resolution::NotApplied(Box::new(conflict_problem(gateway, system, write, &stored).await)));
    }
    if others.another_unresolved && is_shown {
        // The values may be another write's.
        return None;
    }
    if system.adapter.capabilities().version_is_sequence {
        // Exactly one write makes the version after `etag_before`. It is this one if its values are
        // there, and another one if all its paths still show the old values. Anything else may be
        // this write's effect in part, or in the vendor's own form.
        let is_next_version = Some(&etag_now) == write.etag_after.as_ref();
        let old_values_known = matches!(write.expected, ExpectedState::Values(_));
        let is_untouched = old_values_known && changes.iter().all(|change| change.is_unchanged_in(&observed));
        let is_partly_applied = changes.iter().any(|change| change.is_applied_in(&observed));
        return Some(match (is_next_version, is_shown) {
            (true, true) => Resolution::Applied(ObservedRecord::read(stored)),
            (true, false) if is_untouched => {
                Resolution::NotApplied(Box::new(conflict_problem(gateway, system, write, &stored).await))
            }
            _ if is_partly_applied => Resolution::Unknown(Some(ObservedState::Expected)),
            _ => Resolution::Unknown(Some(ObservedState::Other)),
        });
    }
    Some(if is_shown {
        Resolution::Applied(ObservedRecord::read(stored))
    } else {
        Resolution::Unknown(Some(ObservedState::Other))
    })
}

/// Resolves a write that the vendor refused with an ambiguous fault, by the record as read.
pub(super) async fn resolve_refusal(
    gateway: &GatewayState,
    system: &System,
    write: &InFlightWrite,
    fault: &VendorError,
    stored: Option<VendorRecord>,
) -> Option<Resolution> {
    let id = write.id()?;
    let Some(stored) = stored else {
        return Some(match write.expected {
            ExpectedState::Deleted if fault.effect == SideEffect::Unknown => {
                Resolution::Applied(ObservedRecord::default())
            }
            _ => {
                let not_found = VendorError::new(VendorErrorKind::NotFound);
                Resolution::NotApplied(Box::new(system.record_fault_to_problem(id, &not_found)))
            }
        });
    };
    let is_same_version = Some(&system.etag_header(id, &stored)) == write.etag_before.as_ref();
    if fault.kind == VendorErrorKind::Conflict && is_same_version {
        // The vendor reports a conflict with a change that its reads do not show yet.
        let problem = precondition_failed(gateway, system, DetectedBy::Vendor);
        return Some(Resolution::NotApplied(Box::new(with_vendor_info(problem, system, fault))));
    }
    if matches!(write.expected, ExpectedState::Deleted) || is_same_version {
        return Some(Resolution::NotApplied(Box::new(rejection_problem(system, fault))));
    }
    let changes = write.field_changes();
    let observed = stored.fields.to_map();
    let none_shown = changes.iter().all(|change| !change.is_applied_in(&observed));
    let has_no_effect = fault.effect == SideEffect::None || fault.kind == VendorErrorKind::Conflict;
    let others = if has_no_effect {
        ConcurrentWrites::default()
    } else {
        find_concurrent_writes(&gateway.store, system, write).await?
    };
    // A write that was applied and then overwritten by a later one does not show either. For a
    // caller that accepts any state, `precondition-failed` would send the write once more.
    if has_no_effect || others.another_applied || (none_shown && !others.later_writer && !write.if_match_any) {
        let problem = conflict_problem(gateway, system, write, &stored).await;
        return Some(Resolution::NotApplied(Box::new(with_vendor_info(problem, system, fault))));
    }
    // The vendor may have committed and failed afterwards, or another writer wrote the same values.
    let is_shown = all_applied(&changes, &observed);
    Some(Resolution::Unknown(Some(if is_shown { ObservedState::Expected } else { ObservedState::Other })))
}

/// `precondition-failed` that the vendor detected, with what is known of the record now.
async fn conflict_problem(
    gateway: &GatewayState,
    system: &System,
    write: &InFlightWrite,
    stored: &VendorRecord,
) -> Problem {
    let mut problem = precondition_failed(gateway, system, DetectedBy::Vendor);
    if let Some(id) = write.id() {
        problem.current_etag = Some(system.etag_header(id, stored));
    }
    if let Some(before) = &write.etag_before {
        problem.changed = gateway.recent_states.diff_since(before, &stored.fields.to_map()).await;
    }
    problem
}

/// The problem with the vendor's status, code and text.
pub(super) fn with_vendor_info(mut problem: Problem, system: &System, fault: &VendorError) -> Problem {
    problem.vendor = system.fault_to_problem(fault).vendor;
    problem
}

/// The vendor refused the write although nobody changed the record: the values are invalid, or the
/// vendor failed.
pub(super) fn rejection_problem(system: &System, fault: &VendorError) -> Problem {
    let is_client_error = fault.status.is_some_and(|status| (400..500).contains(&status));
    let kind = if is_client_error { VendorErrorKind::Rejected } else { VendorErrorKind::ServerError };
    system.fault_to_problem(&VendorError { kind, ..fault.clone() })
}

/// A warning for each change whose path still shows the old value.
pub(super) fn unchanged_warnings(changes: &[FieldChange], observed: &Map<String, Value>) -> Vec<Warning> {
    changes
        .iter()
        .filter(|change| !change.is_applied_in(observed) && change.is_unchanged_in(observed))
        .map(not_applied_warning)
        .collect()
}

/// A warning for each change that the record does not show.
pub(super) fn unapplied_warnings(changes: &[FieldChange], observed: &Map<String, Value>) -> Vec<Warning> {
    changes.iter().filter(|change| !change.is_applied_in(observed)).map(not_applied_warning).collect()
}

fn not_applied_warning(change: &FieldChange) -> Warning {
    Warning {
        code: WarningCode::NotApplied,
        pointer: change.pointer.clone(),
        detail: "the vendor reported success and still shows the old value".to_owned(),
    }
}
