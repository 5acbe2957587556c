//! A write whose outcome is not known yet, in this process: what was intended, and what has been learned since.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Done;
use super::intended::Intended;
use crate::record::{CallMade, Fault, RecordId};
use crate::store::Lease;

/// What a process that takes a write over has at least to find its outcome, as long as `completion_timeout` is not shorter: nobody
/// was looking meanwhile, and the vendor may be just coming back, too.
const TAKEN_OVER_LEAST: Duration = Duration::from_mins(1);

/// A write that was begun.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// What was intended.
    pub intended: Arc<Intended>,
    /// The record that a create was found to have made.
    pub made: Option<RecordId>,
    /// The vendor's finished but ambiguous refusal, where reading has not told yet what it means. Nothing is sent again then.
    pub refused: Option<Box<Fault>>,
    /// The calls made for it.
    pub calls: Vec<CallMade>,
    /// The lease it holds.
    pub lease: Option<Lease>,
    /// What its caller knows.
    pub told: CallerTold,
    /// Whether its outcome is with the store.
    pub concluded: bool,
    /// When this process took it over from another one.
    pub taken_over: Option<Instant>,
}

/// What the caller of a write that goes on has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CallerTold {
    /// Nothing yet.
    #[default]
    Nothing,
    /// 202: that answer is what its key replays.
    Accepted,
    /// `outcome-unknown`; counted in `writes_unknown` until it is settled.
    Unknown,
}

impl From<Intended> for Pending {
    fn from(intended: Intended) -> Self {
        Self {
            intended: Arc::new(intended),
            made: None,
            refused: None,
            calls: Vec::new(),
            lease: None,
            told: CallerTold::Nothing,
            concluded: false,
            taken_over: None,
        }
    }
}

impl Deref for Pending {
    type Target = Intended;

    fn deref(&self) -> &Intended {
        &self.intended
    }
}

impl Pending {
    /// The record's id, where it is known.
    pub(super) fn id(&self) -> Option<&RecordId> {
        self.made.as_ref().or(self.record.as_ref())
    }

    /// How much longer its outcome is looked for.
    pub(super) fn time_left(&self, completion_timeout: Duration) -> Duration {
        let granted = TAKEN_OVER_LEAST.min(completion_timeout);
        let granted = self.taken_over.map_or(Duration::ZERO, |at| granted.saturating_sub(at.elapsed()));
        completion_timeout.saturating_sub(self.age()).max(granted)
    }

    /// The value of `Preference-Applied` of an answer with this body.
    pub(super) fn preference_applied(&self, done: &Done) -> Option<String> {
        if *done == Done::Accepted {
            return self.prefer.respond_async.then(|| "respond-async".to_owned());
        }
        let representation = self.prefer.representation && matches!(done, Done::Shown(_));
        let shown = representation.then(|| "return=representation".to_owned());
        // A write that went on was answered before it ended: nobody has waited for its end.
        let in_time = self.queued && self.told == CallerTold::Nothing;
        let waited = self.prefer.wait.filter(|_| in_time).map(|wait| format!("wait={}", wait.as_secs()));
        let applied: Vec<String> = shown.into_iter().chain(waited).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}
