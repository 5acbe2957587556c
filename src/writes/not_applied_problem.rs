//! The problem of a write that was not applied.

use super::in_flight_write::InFlightWrite;
use super::probe::Finding;
use super::problems::{plan_changed, precondition_failed};
use super::resolve::NotAppliedReason;
use super::write_services::WriteServices;
use crate::metrics::{DetectedBy, PlanOutcome};
use crate::problem::Problem;
use crate::record::{FieldError, PlanPart, VendorError, VendorErrorKind};
use crate::system::System;
use crate::vendors::reports_other_writer;

/// The problem of a write that was not applied.
pub(super) async fn not_applied_problem(
    services: &WriteServices,
    system: &System,
    write: &InFlightWrite,
    reason: NotAppliedReason,
    finding: Finding,
) -> Problem {
    let fault = finding.fault.as_deref();
    match reason {
        NotAppliedReason::Conflict => conflict_problem(services, system, write, &finding).await,
        NotAppliedReason::NotFound => fault_problem(system, write, &VendorError::new(VendorErrorKind::NotFound)),
        NotAppliedReason::AsReported => {
            fault_problem(system, write, fault.unwrap_or(&VendorError::new(VendorErrorKind::ServerError)))
        }
        NotAppliedReason::Rejected => rejection_problem(system, fault),
        NotAppliedReason::Busy => busy_problem(system, fault),
        NotAppliedReason::NoEffect => {
            let errors = finding.warnings.into_iter().map(|warning| FieldError::new(warning.pointer, warning.detail));
            system.rejected_problem(errors.collect())
        }
    }
}

fn fault_problem(system: &System, write: &InFlightWrite, fault: &VendorError) -> Problem {
    match write.id() {
        Some(id) => system.record_error_to_problem(id, fault),
        None => system.collection_error_to_problem(fault),
    }
}

/// `precondition-failed` that the vendor detected, with what is known of the record now.
async fn conflict_problem(
    services: &WriteServices,
    system: &System,
    write: &InFlightWrite,
    finding: &Finding,
) -> Problem {
    // The precondition was the plan's state.
    if write.has_if_plan && write.if_match_any {
        services.metrics.plan(system.index, PlanOutcome::Changed);
        return plan_changed(system, vec![PlanPart::BasedOn]);
    }
    let mut problem = precondition_failed(&services.metrics, system, DetectedBy::Vendor);
    if let Some(fault) = &finding.fault {
        problem.vendor = system.vendor_error_to_problem(fault).vendor;
    }
    let (Some(record), Some(id)) = (&finding.record, write.id()) else { return problem };
    // An unchanged tag does not help the caller: the vendor has a change that no read shows yet.
    if !system.is_current(write.etag_before.as_deref(), id, record) {
        problem.current_etag = Some(system.etag_header(id, record));
        let rebased_from = write.rebased.as_ref().map(|rebased| rebased.from.as_str());
        let before = rebased_from.or(write.etag_before.as_deref()).unwrap_or_default();
        problem.changed = system.changed_since(&services.recent_states, before, id, record).await;
    }
    problem
}

/// The vendor refused the write although nobody changed the record: the values are invalid, or the
/// vendor failed.
fn rejection_problem(system: &System, fault: Option<&VendorError>) -> Problem {
    let Some(fault) = fault else { return system.rejected_problem(Vec::new()) };
    let is_client_error = fault.status.is_some_and(|status| (400..500).contains(&status));
    let kind = if is_client_error { VendorErrorKind::Rejected } else { VendorErrorKind::ServerError };
    system.vendor_error_to_problem(&VendorError { kind, ..fault.clone() })
}

/// The vendor reports a conflict, but no read shows a change. Its text decides between busy and
/// rejected.
fn busy_problem(system: &System, fault: Option<&VendorError>) -> Problem {
    let Some(fault) = fault else { return rejection_problem(system, None) };
    let text = fault.message.as_deref().unwrap_or_default();
    let is_busy = fault.invalid.is_empty() && (text.is_empty() || reports_other_writer(text));
    let kind = if is_busy { VendorErrorKind::Busy } else { VendorErrorKind::Rejected };
    system.vendor_error_to_problem(&VendorError { kind, ..fault.clone() })
}
