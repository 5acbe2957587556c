//! What is asked of the writer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{BeginResult, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation, Outcome, StoreError};
use crate::record::OperationId;

/// What to do.
#[derive(Debug)]
pub(super) enum StoreCommand {
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
    SaveInterim {
        operation: OperationId,
        response: InterimResponse,
        replay_json: String,
    },
    Finish(Arc<Outcome>),
    /// The intent may be on disk, and nobody was told that it is: the vendor was not called.
    CancelUnclaimed(OperationId),
    Adopt {
        limit: i64,
    },
    /// This instance lives.
    Heartbeat,
    /// Whether one can write: only a write shows it.
    Probe,
    /// Everything before this is written.
    Flush,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum CommandResult {
    Acquired(LeaseResult),
    Renewed(bool),
    Begun(BeginResult, Option<CancelUnclaimedGuard>),
    Adopted(Vec<OrphanedOperation>),
    /// Whether this outcome is the one that stands.
    Finished(bool),
    Done,
}

pub(super) type ResponseTx = oneshot::Sender<Result<CommandResult, StoreError>>;

/// One thing to do, and whom to tell.
#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) task: StoreCommand,
    pub(super) response_tx: Option<ResponseTx>,
    /// The caller was told that it is done: it has to be done, whatever is found.
    pub(super) acknowledged: bool,
    /// It was tried before and may be in the database.
    pub(super) is_retry: bool,
    /// Whether it may have begun an operation without anybody's knowing.
    pub(super) commit_state: CommitState,
}

/// Whether an operation was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitState {
    /// It was, and its caller knows; or it was not.
    Known,
    /// It is if this try is committed.
    Pending,
    /// A commit was sent, and whether it was done is not known.
    Unknown,
}

impl CommitState {
    /// What is decided is to be committed.
    pub(super) fn on_applied(&mut self, starts: bool) {
        if *self != Self::Unknown {
            *self = if starts { Self::Pending } else { Self::Known };
        }
    }

    /// The try has failed.
    pub(super) fn on_failed(&mut self, committing: bool) {
        if *self == Self::Pending {
            *self = if committing { Self::Unknown } else { Self::Known };
        }
    }
}

impl QueuedCommand {
    pub(super) fn new(task: StoreCommand, reply: Option<ResponseTx>) -> Self {
        Self { task, response_tx: reply, acknowledged: false, is_retry: false, commit_state: CommitState::Known }
    }

    /// Whether it has to be kept and done later when the store fails.
    pub(super) fn must_persist(&self) -> bool {
        self.acknowledged
            || matches!(
                self.task,
                StoreCommand::SaveInterim { .. } | StoreCommand::Finish(_) | StoreCommand::CancelUnclaimed(_)
            )
    }

    /// The operation that it goes on with, or ends.
    pub(super) fn depends_on(&self) -> Option<&OperationId> {
        match &self.task {
            StoreCommand::SaveInterim { operation, .. } | StoreCommand::CancelUnclaimed(operation) => Some(operation),
            StoreCommand::Finish(outcome) => Some(&outcome.operation),
            _ => None,
        }
    }

    /// Whether its caller has been answered and nothing is left to do: a refusal must not be decided again for nobody.
    pub(super) fn is_done(&self) -> bool {
        self.response_tx.is_none() && !self.must_persist()
    }

    /// Whether its caller may be answered before the commit when durability is relaxed.
    pub(super) fn can_ack_before_commit(&self) -> bool {
        matches!(self.task, StoreCommand::Begin(_) | StoreCommand::SaveInterim { .. } | StoreCommand::Finish(_))
    }

    /// Whether somebody has heard it. A `Started` that nobody hears gives itself up (`CancelUnclaimedGuard`).
    pub(super) fn send_response(&mut self, answer: Result<CommandResult, StoreError>) -> bool {
        self.response_tx.take().is_some_and(|reply| reply.send(answer).is_ok())
    }
}

/// Goes with every `Started` that is told. If nobody takes the answer, the operation is given up: else it would run for ever.
#[derive(Debug)]
pub(super) struct CancelUnclaimedGuard {
    armed: Option<(OperationId, mpsc::UnboundedSender<QueuedCommand>)>,
}

impl CancelUnclaimedGuard {
    pub(super) fn new(operation: OperationId, commands: mpsc::UnboundedSender<QueuedCommand>) -> Self {
        Self { armed: Some((operation, commands)) }
    }

    /// The answer has been taken.
    pub(super) fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for CancelUnclaimedGuard {
    fn drop(&mut self) {
        if let Some((operation, commands)) = self.armed.take() {
            // The writer has ended: the next start settles the operation.
            let _ = commands.send(QueuedCommand::new(StoreCommand::CancelUnclaimed(operation), None));
        }
    }
}
