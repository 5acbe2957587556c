//! A write whose outcome is not known yet, in this process: what was intended, and what has been learned since.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SuccessBody;
use super::intent::WriteIntent;
use crate::record::{RecordId, VendorCallLog, VendorError};
use crate::store::Lease;

/// What a process that takes a write over has at least to find its outcome, as long as `completion_timeout` is not shorter: nobody
/// was looking meanwhile, and the vendor may be just coming back, too.
const MIN_ADOPTED_TIME: Duration = Duration::from_mins(1);

/// A write that was begun.
#[derive(Clone, Debug)]
pub(super) struct InFlightWrite {
    /// What was intended.
    pub intent: Arc<WriteIntent>,
    /// The record that a create was found to have made.
    pub created_id: Option<RecordId>,
    /// The vendor's finished but ambiguous refusal, where reading has not told yet what it means. Nothing is sent again then.
    pub ambiguous_fault: Option<Box<VendorError>>,
    /// The calls made for it.
    pub calls: Vec<VendorCallLog>,
    /// The lease it holds.
    pub lease: Option<Lease>,
    /// What its caller knows.
    pub response: ResponseState,
    /// Whether its outcome is with the store.
    pub recorded: bool,
    /// When this process took it over from another one.
    pub adopted_at: Option<Instant>,
}

/// What the caller of a write that goes on has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResponseState {
    /// Nothing yet.
    #[default]
    None,
    /// 202: that answer is what its key replays.
    Accepted,
    /// `outcome-unknown`; counted in `writes_unknown` until it is settled.
    Unknown,
}

impl From<WriteIntent> for InFlightWrite {
    fn from(intended: WriteIntent) -> Self {
        Self {
            intent: Arc::new(intended),
            created_id: None,
            ambiguous_fault: None,
            calls: Vec::new(),
            lease: None,
            response: ResponseState::None,
            recorded: false,
            adopted_at: None,
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

    /// How much longer its outcome is looked for.
    pub(super) fn time_left(&self, completion_timeout: Duration) -> Duration {
        let granted = MIN_ADOPTED_TIME.min(completion_timeout);
        let granted = self.adopted_at.map_or(Duration::ZERO, |at| granted.saturating_sub(at.elapsed()));
        completion_timeout.saturating_sub(self.age()).max(granted)
    }

    /// The value of `Preference-Applied` of an answer with this body.
    pub(super) fn preference_applied(&self, done: &SuccessBody) -> Option<String> {
        if *done == SuccessBody::Accepted {
            return self.prefer.respond_async.then(|| "respond-async".to_owned());
        }
        let representation = self.prefer.return_representation && matches!(done, SuccessBody::Record(_));
        let shown = representation.then(|| "return=representation".to_owned());
        // A write that went on was answered before it ended: nobody has waited for its end.
        let in_time = self.is_async && self.response == ResponseState::None;
        let waited = self.prefer.wait.filter(|_| in_time).map(|wait| format!("wait={}", wait.as_secs()));
        let applied: Vec<String> = shown.into_iter().chain(waited).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}
