//! What the evidence proves about a write (contract 5.3): one pure function for the request, the
//! background reconciler and the start after a crash. Reading is done before, in `probe`.

use serde_json::{Map, Value};

use super::concurrent_writes::ConcurrentWrites;
use super::intent::WriteIntent;
use crate::record::{
    FieldChange, ObservedState, RecordId, SideEffect, VendorError, VendorErrorKind, Warning, WarningCode, all_applied,
};

/// How the vendor responded to the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendResult {
    /// The vendor reports success.
    Success,
    /// The response's text reports that the record has another version.
    Conflict,
    /// The status reports it, without a text that would prove it.
    ConflictStatus,
    /// The vendor has finished the request, with a response of several meanings.
    Ambiguous(SideEffect),
    /// No response arrived, or none that shows what happened.
    Lost,
    /// The same, and the vendor has refused a repetition of the write.
    LostThenRefused,
}

impl SendResult {
    /// The response to a request that the vendor refused; `None`: the error needs no explanation,
    /// or there was no response.
    pub(super) fn of_refusal(fault: &VendorError) -> Option<Self> {
        match fault.kind {
            VendorErrorKind::Conflict if matches!(fault.status, Some(409 | 412)) && fault.code.is_none() => {
                Some(Self::ConflictStatus)
            }
            VendorErrorKind::Conflict => Some(Self::Conflict),
            VendorErrorKind::Rejected if fault.status == Some(412) => Some(Self::ConflictStatus),
            VendorErrorKind::Ambiguous => Some(Self::Ambiguous(fault.effect)),
            _ => None,
        }
    }
}

/// What a read after the write shows.
#[derive(Clone, Debug)]
pub(super) enum ObservedRecord {
    /// The record does not exist.
    Absent,
    /// The record, with its ETag and its `fields`.
    Record(String, Map<String, Value>),
    /// The new records that have all values of a create.
    NewMatches(Vec<RecordId>),
}

/// Everything that a resolution depends on.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'e> {
    pub intent: &'e WriteIntent,
    /// The changes of an update, with their old values where they are known.
    pub changes: &'e [FieldChange],
    /// Whether the old values of all changes are known.
    pub old_values_known: bool,
    pub send_result: SendResult,
    pub seen: &'e ObservedRecord,
    /// The other writes of the record in the ledger.
    pub concurrent: ConcurrentWrites,
    /// Whether each change increments the version by one.
    pub version_is_sequence: bool,
    /// Whether the record has been unchanged long enough that no further effect is expected.
    pub is_stable: bool,
}

/// The outcome of a write, as far as it is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// It was applied.
    Applied,
    /// It was not applied and never will be.
    NotApplied(NotAppliedReason),
    /// It cannot be determined any more.
    Unknown(Option<ObservedState>),
    /// Nothing is proven yet.
    Open,
}

/// Why a write was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAppliedReason {
    /// The record has another version than the one that the write was bound to.
    Conflict,
    /// The record does not exist.
    NotFound,
    /// The vendor refused it although nobody changed the record.
    Rejected,
    /// The vendor reports a conflict, and its reads do not show that anybody changed the record.
    Busy,
    /// The reason is the vendor's error.
    AsReported,
    /// The vendor reported success and changed nothing.
    NoEffect,
}

impl Resolution {
    /// The state as the log names it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NotApplied(_) => "not-applied",
            Self::Unknown(_) => "unknown",
            Self::Open => "running",
        }
    }
}

/// What the evidence proves.
pub(super) fn resolve(evidence: &Evidence<'_>) -> Resolution {
    match evidence.seen {
        ObservedRecord::NewMatches(ids) => resolve_create(evidence.send_result, ids),
        ObservedRecord::Absent => resolve_absent(evidence),
        ObservedRecord::Record(etag, _) if evidence.intent.expected.is_deleted() => resolve_undeleted(evidence, etag),
        ObservedRecord::Record(etag, fields) => match evidence.send_result {
            SendResult::Success => resolve_success(evidence, etag, fields),
            SendResult::Conflict | SendResult::ConflictStatus | SendResult::Ambiguous(_) => {
                resolve_refusal(evidence, etag, fields)
            }
            SendResult::Lost | SendResult::LostThenRefused if evidence.intent.is_bound_to_version() => {
                resolve_by_version(evidence, etag, fields)
            }
            SendResult::Lost | SendResult::LostThenRefused => resolve_by_values(evidence, fields),
        },
    }
}

/// The resolution when the time to find one is over: what is open ends as unknown.
pub(super) fn resolve_finally(evidence: &Evidence<'_>) -> Resolution {
    match resolve(evidence) {
        Resolution::Open => Resolution::Unknown(observed_state(evidence)),
        resolution => resolution,
    }
}

/// Whether the ledger's other writes can make a difference. While a write `is_exclusive` there are
/// none; where the vendor compares the version itself, and once the write has ended, there may be.
pub(super) fn needs_ledger(
    intent: &WriteIntent,
    changes: &[FieldChange],
    is_exclusive: bool,
    send_result: SendResult,
    seen: &ObservedRecord,
) -> bool {
    let (etag, fields) = match seen {
        ObservedRecord::Record(etag, fields) => (etag, fields),
        ObservedRecord::Absent => {
            let is_lost = matches!(
                send_result,
                SendResult::Lost | SendResult::LostThenRefused | SendResult::Ambiguous(SideEffect::Unknown)
            );
            return is_lost && intent.expected.is_deleted() && !is_exclusive;
        }
        ObservedRecord::NewMatches(_) => return false,
    };
    let is_possible = match send_result {
        // Where the record shows the values, the vendor's report is confirmed.
        SendResult::Success => changes.iter().any(|change| change.is_contradicted_in(fields)),
        SendResult::Ambiguous(SideEffect::Unknown) => true,
        SendResult::Conflict | SendResult::ConflictStatus | SendResult::Ambiguous(SideEffect::None) => false,
        SendResult::Lost | SendResult::LostThenRefused => intent.is_bound_to_version() || !is_exclusive,
    };
    is_possible && intent.is_update() && intent.etag_before.as_ref() != Some(etag)
}

fn resolve_create(send_result: SendResult, ids: &[RecordId]) -> Resolution {
    match (send_result, ids) {
        // A conflict is the vendor's refusal, even if others have created records meanwhile.
        (SendResult::Conflict | SendResult::ConflictStatus, _) | (SendResult::Ambiguous(_), []) => {
            Resolution::NotApplied(NotAppliedReason::Rejected)
        }
        (_, [_]) => Resolution::Applied,
        _ => Resolution::Open,
    }
}

fn resolve_absent(evidence: &Evidence<'_>) -> Resolution {
    match (evidence.send_result, evidence.intent.expected.is_deleted()) {
        (SendResult::Success, _) => Resolution::Applied,
        // A record is deleted once. In the order of the arms: another write deleted it, another
        // write may have deleted it, or this one did.
        (SendResult::Lost | SendResult::LostThenRefused | SendResult::Ambiguous(SideEffect::Unknown), true) => {
            match evidence.concurrent {
                ConcurrentWrites { another_applied: true, .. } => Resolution::NotApplied(NotAppliedReason::NotFound),
                ConcurrentWrites { another_unresolved: true, .. } => Resolution::Open,
                _ => Resolution::Applied,
            }
        }
        (SendResult::Conflict | SendResult::ConflictStatus | SendResult::Ambiguous(_), _) => {
            Resolution::NotApplied(NotAppliedReason::NotFound)
        }
        // A deleted record does not show whether the write was applied before.
        (SendResult::LostThenRefused, false) => Resolution::Unknown(Some(ObservedState::Other)),
        (SendResult::Lost, false) => Resolution::Open,
    }
}

/// The record of a delete still exists.
fn resolve_undeleted(evidence: &Evidence<'_>, etag: &str) -> Resolution {
    match evidence.send_result {
        SendResult::Success => Resolution::Applied,
        SendResult::Ambiguous(_) => Resolution::NotApplied(NotAppliedReason::Rejected),
        SendResult::ConflictStatus if evidence.is_etag_before(etag) => Resolution::NotApplied(NotAppliedReason::Busy),
        SendResult::Conflict | SendResult::ConflictStatus => Resolution::NotApplied(NotAppliedReason::Conflict),
        // The vendor compares the version, so a request that is still under way will be refused.
        SendResult::Lost | SendResult::LostThenRefused
            if evidence.intent.compared_etag().is_some() && !evidence.is_etag_before(etag) =>
        {
            Resolution::NotApplied(NotAppliedReason::Conflict)
        }
        SendResult::Lost | SendResult::LostThenRefused => Resolution::Open,
    }
}

/// The vendor reported success, which a read may disprove: some vendors ignore values silently.
fn resolve_success(evidence: &Evidence<'_>, etag: &str, fields: &Map<String, Value>) -> Resolution {
    let no_effect = Resolution::NotApplied(NotAppliedReason::NoEffect);
    let is_contradicted = |change: &FieldChange| change.is_contradicted_in(fields);
    if !evidence.changes.iter().any(is_contradicted) {
        return Resolution::Applied;
    }
    if evidence.is_etag_before(etag) {
        return no_effect;
    }
    let all_unchanged = evidence.old_values_known
        && evidence.changes.iter().all(|change| change.is_unchanged_in(fields) && is_contradicted(change));
    // The write may have been applied and another one may have restored the old values.
    if all_unchanged && !evidence.may_show_another_write(etag) { no_effect } else { Resolution::Applied }
}

/// The vendor has finished the write with a response other than success.
fn resolve_refusal(evidence: &Evidence<'_>, etag: &str, fields: &Map<String, Value>) -> Resolution {
    if evidence.is_etag_before(etag) {
        return Resolution::NotApplied(match evidence.send_result {
            // The vendor may have a change that a read does not show yet.
            SendResult::Conflict => NotAppliedReason::Conflict,
            SendResult::ConflictStatus => NotAppliedReason::Busy,
            _ => NotAppliedReason::Rejected,
        });
    }
    let had_no_effect = evidence.send_result != SendResult::Ambiguous(SideEffect::Unknown);
    if had_no_effect || evidence.concurrent.another_applied {
        return Resolution::NotApplied(NotAppliedReason::Conflict);
    }
    // The vendor may have committed and failed afterwards, and another write may have followed or
    // have written the same values.
    Resolution::Unknown(Some(expected_or_other(evidence, fields)))
}

/// The response is lost, and the vendor applies at most one request that is bound to this version.
fn resolve_by_version(evidence: &Evidence<'_>, etag: &str, fields: &Map<String, Value>) -> Resolution {
    if evidence.is_etag_before(etag) {
        // The first request may still arrive.
        return Resolution::Open;
    }
    if evidence.concurrent.another_applied {
        return Resolution::NotApplied(NotAppliedReason::Conflict);
    }
    let is_shown = all_applied(evidence.changes, fields);
    if is_shown && evidence.concurrent.another_unresolved {
        // The values may be another write's.
        return Resolution::Open;
    }
    if !evidence.version_is_sequence {
        return if is_shown { Resolution::Applied } else { Resolution::Unknown(Some(ObservedState::Other)) };
    }
    // Exactly one write makes the version after `etag_before`. It is this one if its values are
    // there, and another one if all its paths still show the old values. Anything else may be this
    // write's effect in part, or in the vendor's own form.
    let is_next_version = evidence.intent.etag_after.as_deref() == Some(etag);
    let is_untouched =
        evidence.old_values_known && evidence.changes.iter().all(|change| change.is_unchanged_in(fields));
    match (is_next_version, is_shown) {
        (true, true) => Resolution::Applied,
        (true, false) if is_untouched => Resolution::NotApplied(NotAppliedReason::Conflict),
        _ if evidence.changes.iter().any(|change| change.is_applied_in(fields)) => {
            Resolution::Unknown(Some(ObservedState::Expected))
        }
        _ => Resolution::Unknown(Some(ObservedState::Other)),
    }
}

/// The response is lost, or the vendor has queued the write: only the values show the effect.
fn resolve_by_values(evidence: &Evidence<'_>, fields: &Map<String, Value>) -> Resolution {
    let is_done = |change: &FieldChange| change.is_applied_in(fields);
    // A partial effect may be another writer's while this write still waits in the vendor's queue.
    // If the record stays unchanged for long enough, the rest will not be applied.
    let is_partial = evidence.changes.iter().any(|change| is_done(change) && !change.is_unchanged_in(fields))
        && evidence.changes.iter().all(|change| is_done(change) || change.is_unchanged_in(fields));
    let is_shown = all_applied(evidence.changes, fields) || (is_partial && evidence.is_stable);
    // The values of another write cannot be distinguished from those of this one.
    if is_shown && !evidence.concurrent.is_any() { Resolution::Applied } else { Resolution::Open }
}

fn observed_state(evidence: &Evidence<'_>) -> Option<ObservedState> {
    match evidence.seen {
        ObservedRecord::NewMatches(_) => None,
        ObservedRecord::Absent => Some(ObservedState::Other),
        ObservedRecord::Record(etag, _) if evidence.is_etag_before(etag) => Some(ObservedState::Unchanged),
        ObservedRecord::Record(_, fields) => Some(expected_or_other(evidence, fields)),
    }
}

fn expected_or_other(evidence: &Evidence<'_>, fields: &Map<String, Value>) -> ObservedState {
    let is_shown = evidence.intent.is_update() && all_applied(evidence.changes, fields);
    if is_shown { ObservedState::Expected } else { ObservedState::Other }
}

impl Evidence<'_> {
    /// Whether this is the ETag from before the write.
    fn is_etag_before(&self, etag: &str) -> bool {
        self.intent.etag_before.as_deref() == Some(etag)
    }

    /// Whether the record may show what a later write made. Only the very version that this write
    /// makes excludes that.
    fn may_show_another_write(&self, etag: &str) -> bool {
        let is_another_version = self.intent.etag_after.as_deref().is_some_and(|after| after != etag);
        is_another_version || self.concurrent.another_unresolved || self.concurrent.later_writer
    }

    /// A warning for each change of an applied write that the record does not show.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let ObservedRecord::Record(etag, fields) = self.seen else { return Vec::new() };
        // With the version unchanged no value has changed, even where the old values are not known.
        let is_old = |change: &FieldChange| {
            self.is_etag_before(etag) || (self.old_values_known && change.is_unchanged_in(fields))
        };
        let is_altered = self.send_result == SendResult::Success && !self.may_show_another_write(etag);
        let warning = |change: &FieldChange| {
            let detail = match is_old(change) {
                true => "the vendor reported success and still shows the old value",
                false if is_altered => "the vendor reported success and shows another value than the one sent",
                false => return None,
            };
            Some(Warning::new(WarningCode::NotApplied, change.pointer.as_str(), detail))
        };
        self.changes.iter().filter(|change| change.is_contradicted_in(fields)).filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests;
