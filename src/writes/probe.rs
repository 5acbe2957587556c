//! Determines the outcome of a write (contract 5.3), with the same steps while the caller waits, in
//! the background, and after a crash: it gathers the evidence, and `resolve` decides.
//!
//! A read that shows the old state does not prove that a write with a lost response will not still
//! arrive. A write whose version the vendor compares is therefore sent again, since at most one of
//! its requests can succeed; so is a delete of an id that is never used again, while the record
//! still has the version that was compared. Every other write is only probed for.

mod created;

use std::time::Duration;

use tokio::time::Instant;

use super::concurrent_writes::{ConcurrentWrites, find_concurrent_writes};
use super::in_flight_write::InFlightWrite;
use super::intent::ExpectedState;
use super::interim_outcome::block_record;
use super::resend::{repeatable_delete, resend};
use super::resolve::{Evidence, ObservedRecord, Resolution, SendResult, needs_ledger, resolve, resolve_finally};
use super::stored_request::StoredRequest;
use super::write_services::{MIN_AGE_TO_CHECK, WriteServices};
use crate::metrics::RetryReason;
use crate::record::{FieldChange, RecordId, VendorError, VendorRecord, Version, Warning};
use crate::system::{System, VendorSession};
use crate::transport::SendPermission;

/// The time that a poll, a final probe and a read may take each, where no caller waits.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause between two polls.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How long a record must stay unchanged before a partial effect counts as the whole effect.
const STABLE_FOR: Duration = Duration::from_secs(15);

/// A resolution, and what was learned with it.
#[derive(Debug)]
pub(super) struct Finding {
    pub resolution: Resolution,
    /// The record as read; `None` if it was not needed, or does not exist.
    pub record: Option<VendorRecord>,
    /// The version that the vendor's response names as the write's own.
    pub version: Option<Version>,
    /// The vendor reported success, and its response shows the record, or the version from before
    /// the write: the write counts as applied only if that or a read confirms it.
    pub needs_verification: bool,
    /// The record that a create made.
    pub created_id: Option<RecordId>,
    /// The vendor's fault that the resolution explains.
    pub fault: Option<Box<VendorError>>,
    /// What did not take effect.
    pub warnings: Vec<Warning>,
}

impl From<Resolution> for Finding {
    fn from(resolution: Resolution) -> Self {
        let (record, version, created_id, fault) = (None, None, None, None);
        Self { resolution, record, version, needs_verification: false, created_id, fault, warnings: Vec::new() }
    }
}

/// What a read and the ledger show.
struct Observation {
    seen: ObservedRecord,
    record: Option<VendorRecord>,
    concurrent: ConcurrentWrites,
}

/// Since when a record has its version.
#[derive(Default)]
struct Stability(Option<(String, Instant)>);

impl Stability {
    /// Whether the record has kept its version for `duration`.
    fn has_lasted(&mut self, seen: &ObservedRecord, duration: Duration) -> bool {
        let ObservedRecord::Record(etag, _) = seen else { return false };
        match &self.0 {
            Some((known, since)) if known == etag => since.elapsed() >= duration,
            _ => {
                self.0 = Some((etag.clone(), Instant::now()));
                false
            }
        }
    }
}

/// Reads a system's records to resolve writes.
#[derive(Clone, Copy)]
pub(super) struct OutcomeProbe<'p> {
    pub services: &'p WriteServices,
    pub system: &'p System,
    pub session: &'p VendorSession<'p>,
}

impl OutcomeProbe<'_> {
    /// Polls with growing pauses until the write is resolved or `until` has come. The last poll
    /// starts at `until` and may take `grace` longer.
    pub(super) async fn poll_until_resolved(
        &self,
        write: &mut InFlightWrite,
        until: Instant,
        grace: Duration,
    ) -> Finding {
        let mut pause = self.system.policy.completion_poll;
        let mut stability = Stability::default();
        if write.resendable_request.is_none() && write.is_async {
            // The vendor has only just queued it.
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        }
        loop {
            // One poll may be many requests: a vendor's list is read page by page.
            let deadline = until.max(Instant::now() + grace);
            self.check_ended_elsewhere(write).await;
            let control = write.probe_control.clone();
            if let Some(control) = &control {
                control.set_polling(true);
            }
            let finding = self.poll(write, deadline, &mut stability).await;
            if let Some(control) = &control {
                control.set_polling(false);
            }
            if finding.resolution != Resolution::Open || Instant::now() >= until {
                return finding;
            }
            block_record(&self.services.journal, write).await;
            let pause_end = (Instant::now() + pause).min(until);
            match &control {
                Some(control) => control.pause(pause_end).await,
                None => tokio::time::sleep_until(pause_end).await,
            }
            pause = (pause * 2).min(MAX_POLL_INTERVAL);
            if let Some(lease) = &write.lease {
                // A lost lease does not change what was sent; it only lets others write.
                let _ = self.services.journal.renew(lease, self.system.lease_ttl()).await;
            }
        }
    }

    /// A person may have ended the operation. The probes continue, to warn if the vendor shows
    /// another outcome; but the record is free, so the write is not sent again.
    async fn check_ended_elsewhere(&self, write: &mut InFlightWrite) {
        if write.has_ended_elsewhere || write.age() < MIN_AGE_TO_CHECK {
            return;
        }
        write.has_ended_elsewhere = !self.services.journal.is_running(&write.operation).await.unwrap_or(true);
        if write.has_ended_elsewhere {
            self.services.count_finished(self.system, write, false);
            self.services.journal.forget_blocking(&write.operation);
        }
    }

    async fn poll(&self, write: &InFlightWrite, deadline: Instant, stability: &mut Stability) -> Finding {
        if let Some(fault) = &write.ambiguous_error {
            return self.explain_refusal(write, fault, deadline).await;
        }
        let send_result = match &write.resendable_request {
            Some(request) if write.is_bound_to_version() && !write.has_ended_elsewhere => {
                match self.resend(write, request, self.services.permission_to_resend(&write.operation), deadline).await
                {
                    Some(SendResult::Success) => return Resolution::Applied.into(),
                    Some(send_result) => send_result,
                    None => return Resolution::Open.into(),
                }
            }
            _ => SendResult::Lost,
        };
        let Some(observation) = self.observe(write, send_result, deadline).await else {
            return Resolution::Open.into();
        };
        let stable_for = STABLE_FOR.min(self.system.policy.completion_timeout / 4);
        let is_stable = stability.has_lasted(&observation.seen, stable_for);
        let finding = self.decide(write, send_result, observation, is_stable, resolve).await;
        match finding.resolution {
            Resolution::Open => self.repeat_delete(write, finding, deadline).await,
            _ => finding,
        }
    }

    /// Sends a delete again, if that is allowed ([`repeatable_delete`]). The reasons to do so
    /// differ: a poll that proves nothing, and a first response that is no verdict.
    pub(super) async fn repeat_delete(&self, write: &InFlightWrite, finding: Finding, deadline: Instant) -> Finding {
        let record = finding.record.as_ref();
        // Before the comparison: another replica may take the write over during it.
        let permission = self.services.permission_to_resend(&write.operation);
        let Some(request) = repeatable_delete(self.services, self.system, write, record).await else { return finding };
        // What was compared is soon old: a delete that waits for longer is compared again.
        let deadline = deadline.min(Instant::now() + PROBE_TIMEOUT);
        match (self.resend(write, request, permission, deadline).await, &finding.fault) {
            (Some(SendResult::Success), _) => Resolution::Applied.into(),
            (Some(SendResult::Lost), _) => Resolution::Open.into(),
            (Some(_), Some(fault)) => self.explain_refusal(write, fault, deadline).await,
            _ => finding,
        }
    }

    async fn resend(
        &self,
        write: &InFlightWrite,
        request: &StoredRequest,
        permission: SendPermission,
        deadline: Instant,
    ) -> Option<SendResult> {
        self.session.set_deadline(deadline);
        self.services.metrics.vendor_retry(self.system.index, RetryReason::ConnectionLost);
        resend(self.session, write, request, permission).await
    }

    /// Reads what a vendor's refusal of several meanings means (Pretectum's 400, Matrix42's 500).
    pub(super) async fn explain_refusal(
        &self,
        write: &InFlightWrite,
        fault: &VendorError,
        deadline: Instant,
    ) -> Finding {
        let send_result = SendResult::of_refusal(fault).unwrap_or(SendResult::Lost);
        let fault = Some(Box::new(fault.clone()));
        let Some(observation) = self.observe(write, send_result, deadline).await else {
            return Finding { fault, ..Resolution::Open.into() };
        };
        Finding { fault, ..self.decide(write, send_result, observation, false, resolve).await }
    }

    /// What a read shows after the vendor has reported success.
    pub(super) async fn explain_success(&self, write: &InFlightWrite, record: VendorRecord) -> Finding {
        let (Some(id), send_result) = (write.id(), SendResult::Success) else { return Resolution::Applied.into() };
        let seen = ObservedRecord::Record(self.system.etag_header(id, &record), record.fields.to_map());
        let concurrent = match self.concurrent_writes(write, send_result, &seen).await {
            Some(concurrent) => concurrent,
            None => ConcurrentWrites { another_unresolved: true, ..ConcurrentWrites::default() },
        };
        let observation = Observation { seen, record: Some(record), concurrent };
        self.decide(write, send_result, observation, false, resolve).await
    }

    /// The outcome once the time to find it is over. Even then one read may prove that the write
    /// was applied, which no earlier poll could.
    pub(super) async fn final_probe(&self, write: &InFlightWrite, deadline: Instant) -> Finding {
        let fault = write.ambiguous_error.clone();
        let send_result = match &fault {
            Some(fault) => SendResult::of_refusal(fault).unwrap_or(SendResult::Lost),
            None if write.is_bound_to_version() => SendResult::LostThenRefused,
            None => SendResult::Lost,
        };
        match self.observe(write, send_result, deadline).await {
            Some(observation) if write.id().is_some() => {
                Finding { fault, ..self.decide(write, send_result, observation, false, resolve_finally).await }
            }
            _ => Resolution::Unknown(None).into(),
        }
    }

    /// Reads the record, and the ledger where it makes a difference. `None`: one of them cannot be
    /// read.
    async fn observe(&self, write: &InFlightWrite, send_result: SendResult, deadline: Instant) -> Option<Observation> {
        let (seen, record) = if let ExpectedState::Created { .. } = &write.expected {
            (ObservedRecord::NewMatches(self.find_created(write, deadline).await?), None)
        } else {
            let id = write.id()?;
            match self.session.read_confirming_absence(self.system, id, deadline).await.ok()? {
                Some(record) => {
                    (ObservedRecord::Record(self.system.etag_header(id, &record), record.fields.to_map()), Some(record))
                }
                None => (ObservedRecord::Absent, None),
            }
        };
        let concurrent = self.concurrent_writes(write, send_result, &seen).await?;
        Some(Observation { seen, record, concurrent })
    }

    async fn concurrent_writes(
        &self,
        write: &InFlightWrite,
        send_result: SendResult,
        seen: &ObservedRecord,
    ) -> Option<ConcurrentWrites> {
        if needs_ledger(write, &self.changes(write, seen), write.is_exclusive(), send_result, seen) {
            let shown = match seen {
                ObservedRecord::Record(etag, _) => Some(etag.as_str()),
                ObservedRecord::NewMatches(_) | ObservedRecord::Absent => None,
            };
            find_concurrent_writes(&self.services.journal, self.system, write, shown).await
        } else {
            Some(ConcurrentWrites::default())
        }
    }

    async fn decide(
        &self,
        write: &InFlightWrite,
        send_result: SendResult,
        observation: Observation,
        is_stable: bool,
        resolve_with: fn(&Evidence<'_>) -> Resolution,
    ) -> Finding {
        let Observation { seen, record, concurrent } = observation;
        let (changes, old_values_known) = self.known_changes(write, send_result, &seen).await;
        let evidence = Evidence {
            intent: &write.intent,
            changes: &changes,
            old_values_known,
            send_result,
            seen: &seen,
            concurrent,
            version_is_sequence: self.system.adapter.capabilities().version_is_sequence,
            is_stable,
        };
        let resolution = resolve_with(&evidence);
        let warnings = match resolution {
            Resolution::Applied | Resolution::NotApplied(_) => evidence.warnings(),
            Resolution::Unknown(_) | Resolution::Open => Vec::new(),
        };
        let created_id = match seen {
            ObservedRecord::NewMatches(ids) if resolution == Resolution::Applied => ids.into_iter().next(),
            _ => None,
        };
        Finding { record, created_id, warnings, ..resolution.into() }
    }

    /// The changes of an update, in the record's spelling at a vendor that reads names in any case.
    fn changes(&self, write: &InFlightWrite, seen: &ObservedRecord) -> Vec<FieldChange> {
        let mut changes = write.field_changes();
        if self.system.adapter.capabilities().ignores_case
            && let ObservedRecord::Record(_, fields) = seen
        {
            for change in &mut changes {
                change.respell(fields);
            }
        }
        changes
    }

    /// The changes of an update, and whether their old values are known. The gateway does not read
    /// before a write that is bound to the caller's version; but the caller may have got the state
    /// before it from this process.
    async fn known_changes(
        &self,
        write: &InFlightWrite,
        send_result: SendResult,
        seen: &ObservedRecord,
    ) -> (Vec<FieldChange>, bool) {
        let mut changes = self.changes(write, seen);
        if !matches!(write.expected, ExpectedState::Members(_)) {
            return (changes, true);
        }
        let etag = write.etag_before.as_deref().filter(|_| send_result == SendResult::Success);
        let before = match etag {
            Some(etag) => self.services.recent_states.state(etag).await,
            None => None,
        };
        let Some(before) = before else { return (changes, false) };
        changes.retain(|change| !change.is_applied_in(&before));
        for change in &mut changes {
            change.old_value = change.value_in(&before).cloned();
        }
        (changes, true)
    }
}
