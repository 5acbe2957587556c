//! Finds out what became of a write (contract 5.3), with the same steps while the caller waits, in
//! the background, and after a crash.
//!
//! A read that shows the old state does not prove that a write with a lost response will not still
//! arrive. A write whose version the vendor compares is therefore sent again, since at most one of
//! its requests can succeed. Every other write is only probed for.

use std::time::Duration;

use tokio::time::Instant;

use super::concurrent_writes::exclude_others_creates;
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::resolve::{
    ObservedRecord, Resolution, is_in_expected_state, rejection_problem, resolve_by_state, resolve_by_version,
    resolve_refusal, unchanged_warnings,
};
use super::state::GatewayState;
use super::system::System;
use super::vendor_session::VendorSession;
use crate::metrics::RetryReason;
use crate::record::{
    ObservedState, RecordId, SideEffect, VendorError, VendorErrorKind, VendorRecord, Version, all_applied,
};
use crate::transport::{Transport as _, VendorRequest};

/// The longest pause between two polls.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How long a record must stay unchanged before a partial effect counts as the whole effect.
const STABLE_FOR: Duration = Duration::from_secs(15);

/// Reads a system's records to resolve writes.
#[derive(Clone, Copy)]
pub(super) struct OutcomeProbe<'p> {
    pub gateway: &'p GatewayState,
    pub system: &'p System,
    pub session: &'p VendorSession<'p>,
}

impl OutcomeProbe<'_> {
    /// Polls with growing pauses until the write is resolved or `until` has come. The last poll
    /// starts at `until` and may take `min_probe_time` longer.
    pub(super) async fn poll_until_resolved(
        &self,
        write: &InFlightWrite,
        until: Instant,
        min_probe_time: Duration,
    ) -> Option<Resolution> {
        let mut pause = self.system.policy.completion_poll;
        let mut partial_since = None;
        if write.resendable_request.is_none() && write.is_async {
            // The vendor has only just queued it.
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        }
        loop {
            // One poll may be many calls: a vendor's list is read page by page.
            let deadline = until.max(Instant::now() + min_probe_time);
            let resolution = match (&write.ambiguous_fault, &write.resendable_request) {
                (Some(fault), _) => self.disambiguate_refusal(write, fault, deadline).await,
                (None, Some(request)) => self.resend(write, request.restore(), deadline).await,
                (None, None) => self.probe_effect(write, deadline, &mut partial_since).await,
            };
            if resolution.is_some() {
                return resolution;
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
            pause = (pause * 2).min(MAX_POLL_INTERVAL);
            if let Some(lease) = &write.lease {
                // A lost lease does not change what was sent; it only lets others write.
                let _ = self.gateway.store.renew(lease, self.system.lease_ttl()).await;
            }
        }
    }

    /// One poll for the effect of a write that must not be sent again.
    async fn probe_effect(
        &self,
        write: &InFlightWrite,
        deadline: Instant,
        partial_since: &mut Option<(Version, Instant)>,
    ) -> Option<Resolution> {
        if let ExpectedState::Created { .. } = &write.expected {
            return match self.find_created(write, deadline).await?.as_slice() {
                [created] => Some(Resolution::Applied(ObservedRecord::created(created.clone()))),
                _ => None,
            };
        }
        let stored = self.session.read_confirming_absence(self.system, write.id()?, deadline).await.ok()?;
        if is_in_expected_state(write, stored.as_ref()) {
            return Some(Resolution::Applied(ObservedRecord { record: stored, ..ObservedRecord::default() }));
        }
        self.resolve_stable_partial_effect(write, stored?, partial_since)
    }

    /// A partial effect may be another writer's while this write still waits in the vendor's queue.
    /// If the record stays unchanged for long enough, the rest will not be applied.
    fn resolve_stable_partial_effect(
        &self,
        write: &InFlightWrite,
        stored: VendorRecord,
        partial_since: &mut Option<(Version, Instant)>,
    ) -> Option<Resolution> {
        let version = stored.version();
        let changes = write.field_changes();
        let observed = stored.fields.to_map();
        let is_partial =
            changes.iter().any(|change| change.is_applied_in(&observed) && !change.is_unchanged_in(&observed))
                && changes.iter().all(|change| change.is_applied_in(&observed) || change.is_unchanged_in(&observed));
        let since =
            partial_since.as_ref().filter(|(then, _)| *then == version).map_or_else(Instant::now, |(_, at)| *at);
        if is_partial && since.elapsed() >= STABLE_FOR.min(self.system.policy.completion_timeout / 4) {
            let warnings = unchanged_warnings(&changes, &observed);
            return Some(Resolution::Applied(ObservedRecord { warnings, ..ObservedRecord::read(stored) }));
        }
        *partial_since = is_partial.then_some((version, since));
        None
    }

    /// The new records that have all the values of a create; the one it made is known only if there
    /// is exactly one. `None`: the search failed, or new records cannot be distinguished from old
    /// ones.
    async fn find_created(&self, write: &InFlightWrite, deadline: Instant) -> Option<Vec<RecordId>> {
        let ExpectedState::Created { collection, fields, preexisting_ids } = &write.expected else {
            return None;
        };
        let adapter = &self.system.adapter;
        self.session.set_deadline(deadline);
        let matching = adapter.find_matching(self.session, collection, fields).await.ok().flatten()?;
        let is_new = |id: &RecordId| match preexisting_ids {
            Some(preexisting) => !preexisting.iter().any(|old| old == id.as_str()),
            None => adapter.created_at(id).is_some_and(|created| created.as_millisecond() >= write.begun_ms),
        };
        if preexisting_ids.is_none() && !adapter.capabilities().ids_are_timestamped {
            return None;
        }
        let new = matching.into_iter().filter(is_new).collect();
        exclude_others_creates(&self.gateway.store, &self.gateway.in_flight_creates, self.system, write, new).await
    }

    /// Sends a write again whose version the vendor compares, and reads whose effect the record
    /// shows: the first request's, this one's or another write's.
    async fn resend(&self, write: &InFlightWrite, request: VendorRequest, deadline: Instant) -> Option<Resolution> {
        self.session.set_deadline(deadline);
        self.gateway.metrics.vendor_retry(self.system.index, RetryReason::ConnectionLost);
        let Err(fault) = self.session.send(request).await else {
            return Some(Resolution::Applied(ObservedRecord::default()));
        };
        let is_refused = matches!(
            fault.kind,
            VendorErrorKind::Conflict
                | VendorErrorKind::Ambiguous
                | VendorErrorKind::NotFound
                | VendorErrorKind::Rejected
        );
        if !is_refused && fault.effect == SideEffect::None {
            return None;
        }
        // Once the version has moved, a request of this write that is still under way will be
        // refused.
        let stored = self.session.read_confirming_absence(self.system, write.id()?, deadline).await.ok()?;
        if stored.is_none() && !is_refused {
            return None;
        }
        resolve_by_version(self.gateway, self.system, write, stored).await
    }

    /// Reads what a vendor's ambiguous refusal means (Pretectum's 400, Matrix42's 500). `None`: the
    /// read failed, or does not show it.
    pub(super) async fn disambiguate_refusal(
        &self,
        write: &InFlightWrite,
        fault: &VendorError,
        deadline: Instant,
    ) -> Option<Resolution> {
        if let ExpectedState::Created { .. } = write.expected {
            return match self.find_created(write, deadline).await?.as_slice() {
                [] => Some(Resolution::NotApplied(Box::new(rejection_problem(self.system, fault)))),
                [created] => Some(Resolution::Applied(ObservedRecord::created(created.clone()))),
                _ => None,
            };
        }
        let stored = self.session.read_confirming_absence(self.system, write.id()?, deadline).await.ok()?;
        resolve_refusal(self.gateway, self.system, write, fault, stored).await
    }

    /// The outcome once the time to find it is over. Even then one read may prove that the write
    /// was applied, which no earlier poll could.
    pub(super) async fn final_probe(&self, write: &InFlightWrite, deadline: Instant) -> Resolution {
        let Some(id) = write.id() else { return Resolution::Unknown(None) };
        let Ok(stored) = self.session.read_confirming_absence(self.system, id, deadline).await else {
            return Resolution::Unknown(None);
        };
        let observed = self.observe(write, id, stored.as_ref());
        let resolution = match (&write.ambiguous_fault, &write.resendable_request) {
            (Some(fault), _) => resolve_refusal(self.gateway, self.system, write, fault, stored).await,
            (None, Some(_)) => resolve_by_version(self.gateway, self.system, write, stored).await,
            (None, None) => resolve_by_state(write, stored),
        };
        resolution.unwrap_or(Resolution::Unknown(Some(observed)))
    }

    fn observe(&self, write: &InFlightWrite, id: &RecordId, stored: Option<&VendorRecord>) -> ObservedState {
        let etag_now = stored.map(|stored| self.system.etag_header(id, stored));
        let is_update = matches!(write.expected, ExpectedState::Values(_) | ExpectedState::Members(_));
        if etag_now == write.etag_before {
            ObservedState::Unchanged
        } else if is_update && stored.is_some_and(|stored| all_applied(&write.field_changes(), &stored.fields.to_map()))
        {
            ObservedState::Expected
        } else {
            ObservedState::Other
        }
    }
}
