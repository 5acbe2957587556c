//! What is asked of the writer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Acquired, Begun, Intent, Lease, Outcome, StoreError, Told, Unsettled};
use crate::record::OperationId;

/// What to do.
#[derive(Debug)]
pub(super) enum Task {
    Acquire {
        system: String,
        record: String,
        ttl: i64,
    },
    Renew {
        lease: Lease,
        ttl: i64,
    },
    Release {
        lease: Lease,
    },
    Begin(Arc<Intent>),
    Interim {
        operation: OperationId,
        told: Told,
        verdict: String,
    },
    Finish(Arc<Outcome>),
    /// The intent may be on disk, and nobody was told that it is: the vendor was not called.
    Abandon(OperationId),
    Adopt {
        limit: i64,
    },
    /// This instance lives.
    Seen,
    /// Whether one can write: only a write shows it.
    Probe,
    /// Everything before this is written.
    Flush,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Acquired(Acquired),
    Renewed(bool),
    Begun(Begun, Option<AbandonGuard>),
    Adopted(Vec<Unsettled>),
    /// Whether this outcome is the one that stands.
    Finished(bool),
    Done,
}

pub(super) type Reply = oneshot::Sender<Result<Answer, StoreError>>;

/// One thing to do, and whom to tell.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) task: Task,
    pub(super) reply: Option<Reply>,
    /// The caller was told that it is done: it has to be done, whatever is found.
    pub(super) promised: bool,
    /// It was tried before and may be in the database.
    pub(super) again: bool,
    /// Whether it may have begun an operation without anybody's knowing.
    pub(super) begun: Doubt,
}

/// Whether an operation was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It was, and its caller knows; or it was not.
    None,
    /// It is if this try is committed.
    IfCommitted,
    /// A commit was sent, and whether it was done is not known.
    Open,
}

impl Doubt {
    /// What is decided is to be committed.
    pub(super) fn decided(&mut self, starts: bool) {
        if *self != Self::Open {
            *self = if starts { Self::IfCommitted } else { Self::None };
        }
    }

    /// The try has failed.
    pub(super) fn failed(&mut self, committing: bool) {
        if *self == Self::IfCommitted {
            *self = if committing { Self::Open } else { Self::None };
        }
    }
}

impl Command {
    pub(super) fn new(task: Task, reply: Option<Reply>) -> Self {
        Self { task, reply, promised: false, again: false, begun: Doubt::None }
    }

    /// Whether it has to be kept and done later when the store fails.
    pub(super) fn is_owed(&self) -> bool {
        self.promised || matches!(self.task, Task::Interim { .. } | Task::Finish(_) | Task::Abandon(_))
    }

    /// The operation that it goes on with, or ends.
    pub(super) fn follows(&self) -> Option<&OperationId> {
        match &self.task {
            Task::Interim { operation, .. } | Task::Abandon(operation) => Some(operation),
            Task::Finish(outcome) => Some(&outcome.operation),
            _ => None,
        }
    }

    /// Whether its caller has been answered and nothing is left to do: a refusal must not be decided again for nobody.
    pub(super) fn is_over(&self) -> bool {
        self.reply.is_none() && !self.is_owed()
    }

    /// Whether its caller may be answered before the commit when durability is relaxed.
    pub(super) fn may_be_early(&self) -> bool {
        matches!(self.task, Task::Begin(_) | Task::Interim { .. } | Task::Finish(_))
    }

    /// Whether somebody has heard it. A `Started` that nobody hears gives itself up (`AbandonGuard`).
    pub(super) fn answer(&mut self, answer: Result<Answer, StoreError>) -> bool {
        self.reply.take().is_some_and(|reply| reply.send(answer).is_ok())
    }
}

/// Goes with every `Started` that is told. If nobody takes the answer, the operation is given up: else it would run for ever.
#[derive(Debug)]
pub(super) struct AbandonGuard {
    begun: Option<(OperationId, mpsc::UnboundedSender<Command>)>,
}

impl AbandonGuard {
    pub(super) fn new(operation: OperationId, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { begun: Some((operation, commands)) }
    }

    /// The answer has been taken.
    pub(super) fn disarm(mut self) {
        self.begun = None;
    }
}

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        if let Some((operation, commands)) = self.begun.take() {
            // The writer has ended: the next start settles the operation.
            let _ = commands.send(Command::new(Task::Abandon(operation), None));
        }
    }
}
