//! What an item of a stored batch does after an attempt, as a pure decision.

use std::time::Duration;

use super::pending_cause::PendingCause;
use crate::record::OperationId;

/// How long an item tries again while the gateway refuses it without sending.
const MAX_OVERLOADED: Duration = Duration::from_mins(1);

/// Whose response an attempt has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResponseOrigin {
    /// Its own.
    #[default]
    Own,
    /// That of an earlier request with its key.
    EarlierRequest,
    /// Nobody's: it was to begin nothing, and its key is not claimed.
    FreeKey,
}

/// What an attempt has shown, and what was known before.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptFacts {
    /// What keeps the item from a response of its own; `None` if this is one.
    pub(super) cause: Option<PendingCause>,
    /// How long its caller's limits refuse it.
    pub(super) quota_wait: Option<Duration>,
    /// How long the gateway has refused it with 503, this time included.
    pub(super) overloaded_for: Option<Duration>,
    pub(super) origin: ResponseOrigin,
    /// It was attempted only to replay what its key has.
    pub(super) replays_only: bool,
    /// Its key may be claimed by a beginning whose intent is not stored yet.
    pub(super) may_have_begun: bool,
    /// Nothing more of its batch begins.
    pub(super) is_stopped: bool,
}

/// What the item does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Its write has this operation, which is followed to its end.
    Follow(OperationId),
    /// It tries again when its caller's limits may allow it: nobody waits for it.
    WaitForQuota(Duration),
    /// It tries again when what has its key may have ended.
    WaitForKey,
    /// It tries again later, because the gateway refused it with 503. Nothing was sent.
    RetryOverloaded,
    /// It only looks its key up from now on, which shows how it ends.
    ReplayOnly,
    /// It ends without a response: nothing of it has begun, and nothing will.
    NotBegun,
    /// Its key is free: it begins as if it had not begun, or not at all.
    KeyFree,
    /// It ends with the response.
    Respond,
}

pub(super) fn next_step(facts: &AttemptFacts) -> NextStep {
    let AttemptFacts { replays_only, may_have_begun, .. } = *facts;
    match (&facts.cause, facts.quota_wait, facts.overloaded_for) {
        (Some(PendingCause::OwnWrite(operation)), ..) => NextStep::Follow(operation.clone()),
        (_, Some(wait), _) => NextStep::WaitForQuota(wait),
        (Some(PendingCause::Transient), ..) => NextStep::WaitForKey,
        (.., Some(elapsed)) if elapsed < MAX_OVERLOADED || (may_have_begun && replays_only) => {
            NextStep::RetryOverloaded
        }
        (.., Some(_)) if may_have_begun => NextStep::ReplayOnly,
        _ if replays_only && facts.is_stopped && facts.origin != ResponseOrigin::EarlierRequest => NextStep::NotBegun,
        _ if replays_only && facts.origin == ResponseOrigin::FreeKey => NextStep::KeyFree,
        _ => NextStep::Respond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_followed_by_the_step_of_the_truth_table() {
        let own = OperationId::new();
        let response = AttemptFacts::default;
        let overloaded = |elapsed| AttemptFacts { overloaded_for: Some(elapsed), ..response() };
        let replayed = AttemptFacts { replays_only: true, may_have_begun: true, ..response() };
        let with = |cause| AttemptFacts { cause: Some(cause), ..response() };
        let quota = Duration::from_millis(30);
        for (facts, expected) in [
            (response(), NextStep::Respond),
            (with(PendingCause::OwnWrite(own.clone())), NextStep::Follow(own)),
            (with(PendingCause::Transient), NextStep::WaitForKey),
            (with(PendingCause::OtherWriter), NextStep::Respond),
            (AttemptFacts { quota_wait: Some(quota), ..response() }, NextStep::WaitForQuota(quota)),
            (overloaded(Duration::ZERO), NextStep::RetryOverloaded),
            (overloaded(MAX_OVERLOADED), NextStep::Respond),
            (AttemptFacts { may_have_begun: true, ..overloaded(Duration::ZERO) }, NextStep::RetryOverloaded),
            (AttemptFacts { may_have_begun: true, ..overloaded(MAX_OVERLOADED) }, NextStep::ReplayOnly),
            (AttemptFacts { overloaded_for: Some(MAX_OVERLOADED), ..replayed.clone() }, NextStep::RetryOverloaded),
            (AttemptFacts { origin: ResponseOrigin::EarlierRequest, ..replayed.clone() }, NextStep::Respond),
            (
                AttemptFacts { origin: ResponseOrigin::EarlierRequest, is_stopped: true, ..replayed.clone() },
                NextStep::Respond,
            ),
            (AttemptFacts { origin: ResponseOrigin::FreeKey, ..replayed.clone() }, NextStep::KeyFree),
            (
                AttemptFacts { origin: ResponseOrigin::FreeKey, is_stopped: true, ..replayed.clone() },
                NextStep::NotBegun,
            ),
            (AttemptFacts { is_stopped: true, ..replayed }, NextStep::NotBegun),
        ] {
            assert_eq!(next_step(&facts), expected, "{facts:?}");
        }
    }
}
