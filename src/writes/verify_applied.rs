//! Reads a record again after the write was applied: for the response, and to find changes that did
//! not take effect.

use tokio::time::Instant;

use super::in_flight_write::InFlightWrite;
use super::probe::{Finding, OutcomeProbe};
use super::resolve::Resolution;
use crate::record::{VendorRecord, all_applied};

/// Reads the record where the response needs it: for `return=representation`, a create, or an
/// update that has warnings to report or whose values nobody has checked. What the vendor's own
/// response shows is always compared with the update.
pub(super) async fn verify_applied(
    probe: &OutcomeProbe<'_>,
    write: &InFlightWrite,
    mut finding: Finding,
    deadline: Instant,
) -> Finding {
    let is_create = finding.created_id.is_some();
    let has_warnings = !write.losses.is_empty() || write.rebased.is_some();
    let must_read =
        write.prefer.return_representation || has_warnings || write.needs_read_back || finding.needs_verification;
    let is_needed = write.is_update() && must_read;
    let Some(id) = finding.created_id.as_ref().or(write.id()).cloned() else { return finding };
    if finding.resolution != Resolution::Applied || !(is_create || is_needed) {
        return finding;
    }
    let read = async |deadline| probe.session.read_optional(probe.system, &id, deadline).await.ok().flatten();
    if finding.record.is_none() {
        finding.record = read(deadline).await;
    }
    let is_stale = |record: &VendorRecord| {
        probe.system.is_current(write.etag_before.as_deref(), &id, record)
            && !all_applied(&write.field_changes(), &record.fields.to_map())
    };
    if finding.record.as_ref().is_some_and(is_stale) {
        // The vendor reported success: its reads may lag behind.
        let soon = Instant::now() + probe.system.policy.completion_poll;
        tokio::time::sleep_until(soon.min(deadline)).await;
        finding.record = read(deadline).await;
    }
    if finding.record.is_none() && finding.needs_verification {
        // The vendor's own response contradicts its success, and no read has decided.
        return Resolution::Open.into();
    }
    match finding.record.take() {
        Some(record) if write.is_update() => {
            let explained = probe.explain_success(write, record).await;
            // The warnings of a partial effect are kept.
            let warnings = if finding.warnings.is_empty() { explained.warnings } else { finding.warnings };
            Finding { warnings, version: finding.version, ..explained }
        }
        record => Finding { record, ..finding },
    }
}
