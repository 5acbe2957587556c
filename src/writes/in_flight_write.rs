//! A write that was begun and has no recorded outcome yet: its intent, and what was learned since.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::active_probes::ProbeControl;
use super::intent::{WriteIntent, time_since};
use super::outcome::SuccessBody;
use crate::journal::{InterimResponse, Lease};
use crate::record::{RecordId, VendorError, VendorRequestLog};
use crate::system::{Guarantee, SystemPolicy};

/// The minimum time for resolving an adopted write, unless its timeout is shorter. It was not
/// polled while no process owned it, and the vendor may still be recovering.
const MIN_ADOPTED_TIME: Duration = Duration::from_mins(1);

/// A write that was begun.
#[derive(Clone, Debug)]
pub(super) struct InFlightWrite {
    /// The stored intent.
    pub intent: Arc<WriteIntent>,
    /// The record that a create has made, once it is found.
    pub created_id: Option<RecordId>,
    /// The vendor's refusal whose meaning no read has shown yet. The write is then not sent again.
    pub ambiguous_error: Option<Box<VendorError>>,
    /// The vendor requests made for it.
    pub calls: Vec<VendorRequestLog>,
    /// The lease it holds.
    pub lease: Option<Lease>,
    /// What its caller got so far. With `outcome-unknown` it is counted as a write with an unknown
    /// outcome until it is resolved.
    pub response: Option<InterimResponse>,
    /// Whether the store keeps other writers from the record until it ends, because its response
    /// was lost or because it was adopted. An asynchronous write (`is_async`) keeps them away
    /// without it.
    pub blocks_record: bool,
    /// When the vendor's response was lost; `None` if another process, or a task that is gone, sent
    /// the request.
    pub lost_at: Option<Instant>,
    /// Whether its outcome was given to the store, which persists it even if the task ends.
    pub recorded: bool,
    /// Whether its operation has ended in the store without this process: it is not sent again, and
    /// no longer counted.
    pub has_ended_elsewhere: bool,
    /// Wakes its probe at an operator's request.
    pub probe_control: Option<Arc<ProbeControl>>,
    /// When a process adopted it from another one for the first time, in milliseconds since 1970:
    /// the extra time is granted once, however often processes die.
    pub first_adopted_ms: Option<i64>,
}

impl From<WriteIntent> for InFlightWrite {
    fn from(intent: WriteIntent) -> Self {
        Self {
            intent: Arc::new(intent),
            created_id: None,
            ambiguous_error: None,
            calls: Vec::new(),
            lease: None,
            response: None,
            blocks_record: false,
            lost_at: None,
            recorded: false,
            has_ended_elsewhere: false,
            probe_control: None,
            first_adopted_ms: None,
        }
    }
}

impl Deref for InFlightWrite {
    type Target = WriteIntent;

    fn deref(&self) -> &WriteIntent {
        &self.intent
    }
}

impl InFlightWrite {
    /// The record's id, where it is known.
    pub(super) fn id(&self) -> Option<&RecordId> {
        self.created_id.as_ref().or(self.record.as_ref())
    }

    /// Whether the gateway keeps all its other writers from the record, as it does until a guarded
    /// write ends: what a read then shows is no other write's effect.
    pub(super) fn is_exclusive(&self) -> bool {
        self.guarantee == Guarantee::Guarded && !self.has_ended_elsewhere
    }

    /// How much longer its outcome is probed.
    pub(super) fn time_left(&self, policy: &SystemPolicy) -> Duration {
        let timeout = if self.is_queued { policy.completion_timeout } else { policy.settle_timeout };
        let elapsed = self.lost_at.filter(|_| !self.is_queued).map_or_else(|| self.age(), |at| at.elapsed());
        let min_adopted = MIN_ADOPTED_TIME.min(timeout);
        let adopted_left =
            self.first_adopted_ms.map_or(Duration::ZERO, |at| min_adopted.saturating_sub(time_since(at)));
        timeout.saturating_sub(elapsed).max(adopted_left)
    }

    /// The value of `Preference-Applied` for a response with this body.
    pub(super) fn preference_applied(&self, body: &SuccessBody) -> Option<String> {
        let handling = self.prefer.handling.map(|handling| handling.as_preference().to_owned());
        if *body == SuccessBody::Accepted {
            let is_async = self.prefer.respond_async.then(|| "respond-async".to_owned());
            return join_preferences(is_async.into_iter().chain(handling));
        }
        let is_representation = self.prefer.return_representation && matches!(body, SuccessBody::Record(_));
        let representation = is_representation.then(|| "return=representation".to_owned());
        // A caller that already has a response did not wait for the end of the write.
        let has_waited = self.is_async && self.response.is_none();
        let wait = self.prefer.wait.filter(|_| has_waited).map(|wait| format!("wait={}", wait.as_secs()));
        let rebase = self.rebased.is_some().then(|| "rebase=disjoint".to_owned());
        join_preferences(representation.into_iter().chain(wait).chain(handling).chain(rebase))
    }
}

/// The value of `Preference-Applied`, if there is any.
pub(super) fn join_preferences(applied: impl Iterator<Item = String>) -> Option<String> {
    let applied: Vec<String> = applied.collect();
    (!applied.is_empty()).then(|| applied.join(", "))
}
