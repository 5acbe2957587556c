//! Finding out what became of a write (contract 5.3): the same steps while the caller waits, later in the background, and
//! after a crash.
//!
//! A read that shows the old state does not prove that a write whose answer was lost will not still land. So a write bound
//! to a version is sent again (at most one of the two can win), and every other write is only looked for.

use std::time::Duration;

use tokio::time::Instant;

use super::concurrent_writes::ConcurrentWrites;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::read::read_confirming_absence;
use super::vendor_session::VendorSession;
use super::{Gateway, System};
use crate::metrics::{DetectedBy, RetryReason};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    FieldChange, ObservedState, RecordId, SideEffect, VendorError, VendorErrorKind, VendorRecord, Version, Warning,
    WarningCode, all_applied,
};
use crate::transport::Transport as _;

/// The longest pause between two looks.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How long a record must stay as it is before a part of what was wanted counts as all that will come.
const STABLE_FOR: Duration = Duration::from_secs(15);

/// What is known for good about a write.
#[derive(Debug)]
pub(super) enum Resolution {
    /// It was done.
    Applied(ObservedRecord),
    /// It was certainly not done, and will not be.
    NotApplied(Box<Problem>),
    /// Nobody will ever know: the watching is over, or somebody wrote after it.
    Unknown(Option<ObservedState>),
}

impl Resolution {
    /// The word for a log line.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::NotApplied(_) => "not-applied",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The record as it was seen when the write was found done.
#[derive(Debug, Default)]
pub(super) struct ObservedRecord {
    /// As read; `None` when the vendor's answer was enough, or the record is gone.
    pub record: Option<VendorRecord>,
    /// The record a create made.
    pub created_id: Option<RecordId>,
    /// What did not take effect.
    pub warnings: Vec<Warning>,
}

impl Gateway {
    /// Looks again and again, with growing pauses, until the outcome is known or `until` has come. The last look is made
    /// then and not before, and may take `least` longer.
    pub(super) async fn poll_until_resolved(
        &self,
        system: &System,
        session: &VendorSession<'_>,
        pending: &InFlightWrite,
        until: Instant,
        least: Duration,
    ) -> Option<Resolution> {
        let mut pause = system.policy.completion_poll;
        let mut partly_before = None;
        if pending.resendable_request.is_none() && pending.is_async {
            // The vendor has only just taken it on.
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        }
        loop {
            // One look may be many calls, each of which has its own time: a vendor's list is read page by page.
            let patience = until.max(Instant::now() + least);
            let settled = match (&pending.ambiguous_fault, &pending.resendable_request) {
                (Some(refused), _) => self.disambiguate_refusal(system, session, pending, refused, patience).await,
                (None, Some(saved)) => self.resend(system, session, pending, saved.restore(), patience).await,
                (None, None) => self.probe_effect(system, session, pending, patience, &mut partly_before).await,
            };
            if settled.is_some() {
                return settled;
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
            pause = (pause * 2).min(MAX_POLL_INTERVAL);
            if let Some(lease) = &pending.lease {
                // Losing the lease changes nothing about what was sent; it only lets others write.
                let _ = self.store.renew(lease, lease_ttl(system)).await;
            }
        }
    }

    /// One look for the effect of a write that must not be sent again.
    async fn probe_effect(
        &self,
        system: &System,
        session: &VendorSession<'_>,
        pending: &InFlightWrite,
        patience: Instant,
        partly_before: &mut Option<(Version, Instant)>,
    ) -> Option<Resolution> {
        if let ExpectedState::Created { .. } = &pending.expected {
            return match self.find_created(system, session, pending, patience).await?.as_slice() {
                [made] => Some(Resolution::Applied(ObservedRecord {
                    created_id: Some(made.clone()),
                    ..ObservedRecord::default()
                })),
                _ => None,
            };
        }
        let seen = read_confirming_absence(system, session, pending.id()?, patience).await.ok()?;
        match (&pending.expected, seen) {
            (ExpectedState::Deleted, None) => Some(Resolution::Applied(ObservedRecord::default())),
            (ExpectedState::Values(_) | ExpectedState::Members(_), Some(stored)) => {
                let wanted = pending.field_changes();
                let observed = stored.fields.to_map();
                if all_applied(&wanted, &observed) {
                    return Some(Resolution::Applied(ObservedRecord {
                        record: Some(stored),
                        ..ObservedRecord::default()
                    }));
                }
                // Part of it is there: perhaps somebody else's work, while this write still waits for its turn at the vendor.
                // Where nothing moves for long enough, the rest will not come.
                let version = stored.version();
                let warnings = unchanged_warnings(&wanted, &observed);
                let came = wanted.iter().any(|one| one.is_applied_in(&observed) && !one.is_unchanged_in(&observed));
                let partly = came && warnings.len() == count_unapplied(&wanted, &observed);
                let since = partly_before
                    .as_ref()
                    .filter(|(then, _)| *then == version)
                    .map_or_else(Instant::now, |(_, at)| *at);
                if partly && since.elapsed() >= STABLE_FOR.min(system.policy.completion_timeout / 4) {
                    return Some(Resolution::Applied(ObservedRecord {
                        record: Some(stored),
                        warnings,
                        ..ObservedRecord::default()
                    }));
                }
                *partly_before = partly.then_some((version, since));
                None
            }
            _ => None,
        }
    }

    /// The records that hold all the values of a create and were not there before: exactly one must be the one it made. `None` =
    /// the look failed, or which are new cannot be told.
    async fn find_created(
        &self,
        system: &System,
        session: &VendorSession<'_>,
        pending: &InFlightWrite,
        patience: Instant,
    ) -> Option<Vec<RecordId>> {
        let ExpectedState::Created { collection, fields, preexisting_ids: known } = &pending.expected else {
            return None;
        };
        session.set_deadline(patience);
        let matching = system.adapter.find_matching(session, collection, fields).await.ok().flatten()?;
        let is_new = |id: &RecordId| match known {
            Some(known) => !known.iter().any(|old| old == id.as_str()),
            None => system.adapter.created_at(id).is_some_and(|made| made.as_millisecond() >= pending.begun_ms),
        };
        if known.is_none() && !system.adapter.capabilities().ids_are_timestamped {
            return None;
        }
        self.exclude_others_creates(system, pending, matching.into_iter().filter(is_new).collect()).await
    }

    /// Sends a version-bound write again and reads what the vendor has made of it: of the first one, this one, or another's.
    async fn resend(
        &self,
        system: &System,
        session: &VendorSession<'_>,
        pending: &InFlightWrite,
        call: crate::transport::VendorRequest,
        patience: Instant,
    ) -> Option<Resolution> {
        session.set_deadline(patience);
        self.metrics.vendor_retry(system.index, RetryReason::Broken);
        let Err(fault) = session.send(call).await else { return Some(Resolution::Applied(ObservedRecord::default())) };
        let refused = matches!(
            fault.kind,
            VendorErrorKind::Conflict
                | VendorErrorKind::Ambiguous
                | VendorErrorKind::NotFound
                | VendorErrorKind::Rejected
        );
        if !refused && fault.effect == SideEffect::None {
            return None;
        }
        // Once the version has moved, what is still on its way of this write comes too late.
        let stored = read_confirming_absence(system, session, pending.id()?, patience).await.ok()?;
        if stored.is_none() && !refused {
            return None;
        }
        self.resolve_by_version(system, pending, stored).await
    }

    /// What became of a write bound to a version, and of its repeats, given what the record shows now.
    pub(super) async fn resolve_by_version(
        &self,
        system: &System,
        pending: &InFlightWrite,
        stored: Option<VendorRecord>,
    ) -> Option<Resolution> {
        // Whether it was changed first and then deleted, nobody can tell.
        let Some(stored) = stored else { return Some(Resolution::Unknown(Some(ObservedState::Other))) };
        let now = system.tag(pending.id()?, &stored.version()).to_header();
        if Some(&now) == pending.etag_before.as_ref() {
            // Nothing has changed yet: the first one may still be under way.
            return None;
        }
        let shown = all_applied(&pending.field_changes(), &stored.fields.to_map());
        let others = self.find_concurrent_writes(system, pending).await?;
        if others.another_applied {
            return Some(Resolution::NotApplied(Box::new(self.conflict_problem(system, pending, &stored).await)));
        }
        if others.another_unresolved && shown {
            // The values may be their work.
            return None;
        }
        if system.adapter.capabilities().version_is_sequence {
            // Exactly one write makes the version after `before`: ours if its values are there, somebody else's if all of the
            // places still show the old values. Anything else may be ours, in part or in the vendor's own form.
            let next = Some(&now) == pending.etag_after.as_ref();
            let observed = stored.fields.to_map();
            let differences = pending.field_changes();
            let known = matches!(pending.expected, ExpectedState::Values(_));
            let untouched = known && differences.iter().all(|one| one.is_unchanged_in(&observed));
            let in_part = differences.iter().any(|one| one.is_applied_in(&observed));
            return Some(match (next, shown) {
                (true, true) => {
                    Resolution::Applied(ObservedRecord { record: Some(stored), ..ObservedRecord::default() })
                }
                (true, false) if untouched => {
                    Resolution::NotApplied(Box::new(self.conflict_problem(system, pending, &stored).await))
                }
                // In part, or in the vendor's own form, it may be this one's work.
                _ => Resolution::Unknown(Some(if in_part { ObservedState::Expected } else { ObservedState::Other })),
            });
        }
        Some(if shown {
            Resolution::Applied(ObservedRecord { record: Some(stored), ..ObservedRecord::default() })
        } else {
            Resolution::Unknown(Some(ObservedState::Other))
        })
    }

    /// `precondition-failed` that the vendor has detected, with what is known of the record now.
    async fn conflict_problem(&self, system: &System, pending: &InFlightWrite, now: &VendorRecord) -> Problem {
        let mut problem = self.precondition_failed(system, DetectedBy::Vendor);
        if let Some(id) = pending.id() {
            problem.current_etag = Some(system.tag(id, &now.version()).to_header());
        }
        if let Some(before) = &pending.etag_before {
            problem.changed = self.recent_states.diff_since(before, &now.fields.to_map()).await;
        }
        problem
    }

    /// `precondition-failed`, counted.
    pub fn precondition_failed(&self, system: &System, detected_by: DetectedBy) -> Problem {
        self.metrics.precondition_failure(system.index, detected_by);
        let detail = "the record's tag is another one than the request asks for: it was changed meanwhile; \
                      read it again and decide anew";
        ProblemKind::PreconditionFailed.with_detail(detail).system(system.name.as_str())
    }

    /// What a vendor's finished but ambiguous refusal of a write means (Pretectum's 400, Matrix42's 500): only reading again
    /// tells. `None` = the reading failed.
    pub(super) async fn disambiguate_refusal(
        &self,
        system: &System,
        session: &VendorSession<'_>,
        pending: &InFlightWrite,
        fault: &VendorError,
        patience: Instant,
    ) -> Option<Resolution> {
        if let ExpectedState::Created { .. } = pending.expected {
            return match self.find_created(system, session, pending, patience).await?.as_slice() {
                [] => Some(Resolution::NotApplied(Box::new(rejection_problem(system, fault)))),
                [made] => Some(Resolution::Applied(ObservedRecord {
                    created_id: Some(made.clone()),
                    ..ObservedRecord::default()
                })),
                _ => None,
            };
        }
        let stored = read_confirming_absence(system, session, pending.id()?, patience).await.ok()?;
        self.resolve_refusal(system, pending, fault, stored).await
    }

    /// The same, given what the record shows now.
    pub(super) async fn resolve_refusal(
        &self,
        system: &System,
        pending: &InFlightWrite,
        fault: &VendorError,
        stored: Option<VendorRecord>,
    ) -> Option<Resolution> {
        let id = pending.id()?;
        let Some(stored) = stored else {
            return Some(match pending.expected {
                ExpectedState::Deleted if fault.effect == SideEffect::Unknown => {
                    Resolution::Applied(ObservedRecord::default())
                }
                _ => Resolution::NotApplied(Box::new(super::read::record_fault_to_problem(
                    system,
                    id,
                    &VendorError::new(VendorErrorKind::NotFound),
                ))),
            });
        };
        let now = system.tag(id, &stored.version()).to_header();
        if fault.kind == VendorErrorKind::Conflict && Some(&now) == pending.etag_before.as_ref() {
            // In so many words: it knows of a change that a read does not show (yet).
            let mut stale = self.precondition_failed(system, DetectedBy::Vendor);
            stale.vendor = system.fault_to_problem(fault).vendor;
            return Some(Resolution::NotApplied(Box::new(stale)));
        }
        if matches!(pending.expected, ExpectedState::Deleted) || Some(&now) == pending.etag_before.as_ref() {
            return Some(Resolution::NotApplied(Box::new(rejection_problem(system, fault))));
        }
        let wanted = pending.field_changes();
        let observed = stored.fields.to_map();
        let none_shown = wanted.iter().all(|one| !one.is_applied_in(&observed));
        let surely_not = fault.effect == SideEffect::None || fault.kind == VendorErrorKind::Conflict;
        let others =
            if surely_not { ConcurrentWrites::default() } else { self.find_concurrent_writes(system, pending).await? };
        // Done first and written over by a later write of this gateway, it would not show either. Who asked for any state has no
        // precondition that could have failed, and on this answer the write would be sent once more.
        if surely_not || others.another_applied || (none_shown && !others.later_writer && !pending.if_match_any) {
            let mut stale = self.conflict_problem(system, pending, &stored).await;
            stale.vendor = system.fault_to_problem(fault).vendor;
            return Some(Resolution::NotApplied(Box::new(stale)));
        }
        // The vendor may have committed and failed afterwards, or another writer wanted the same.
        let shown = all_applied(&wanted, &observed);
        Some(Resolution::Unknown(Some(if shown { ObservedState::Expected } else { ObservedState::Other })))
    }
}

/// Whether the record as read is what a write that must not be sent again wanted.
pub(super) fn resolve_by_state(pending: &InFlightWrite, stored: Option<VendorRecord>) -> Option<Resolution> {
    match (&pending.expected, stored) {
        (ExpectedState::Deleted, None) => Some(Resolution::Applied(ObservedRecord::default())),
        (ExpectedState::Values(_) | ExpectedState::Members(_), Some(stored)) => {
            let done = all_applied(&pending.field_changes(), &stored.fields.to_map());
            done.then(|| Resolution::Applied(ObservedRecord { record: Some(stored), ..ObservedRecord::default() }))
        }
        _ => None,
    }
}

/// The vendor refused a write although the record is as the caller knows it: its values were wrong, or the vendor failed.
fn rejection_problem(system: &System, fault: &VendorError) -> Problem {
    let client_error = fault.status.is_some_and(|status| (400..500).contains(&status));
    let kind = if client_error { VendorErrorKind::Rejected } else { VendorErrorKind::ServerError };
    system.fault_to_problem(&VendorError { kind, ..fault.clone() })
}

/// A warning for each wanted value that still shows the old one.
pub(super) fn unchanged_warnings(
    wanted: &[FieldChange],
    observed: &serde_json::Map<String, serde_json::Value>,
) -> Vec<Warning> {
    wanted
        .iter()
        .filter(|one| !one.is_applied_in(observed) && one.is_unchanged_in(observed))
        .map(not_applied_warning)
        .collect()
}

/// A warning for each wanted value that is not shown.
pub(super) fn unapplied_warnings(
    wanted: &[FieldChange],
    observed: &serde_json::Map<String, serde_json::Value>,
) -> Vec<Warning> {
    wanted.iter().filter(|one| !one.is_applied_in(observed)).map(not_applied_warning).collect()
}

fn not_applied_warning(one: &FieldChange) -> Warning {
    Warning {
        code: WarningCode::NotApplied,
        pointer: one.pointer.clone(),
        detail: "the vendor answered success and still shows the old value".to_owned(),
    }
}

fn count_unapplied(wanted: &[FieldChange], observed: &serde_json::Map<String, serde_json::Value>) -> usize {
    wanted.iter().filter(|one| !one.is_applied_in(observed)).count()
}

/// How long a lease lasts without being renewed: longer than one vendor call and its verification.
pub(super) fn lease_ttl(system: &System) -> Duration {
    (system.policy.timeout * 2 + Duration::from_secs(5)).max(Duration::from_secs(30))
}
