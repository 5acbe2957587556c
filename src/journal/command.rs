//! The commands of the writer, their results, and their state while they wait.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::batches::{BatchKey, BatchRow};
use super::error::JournalError;
use super::ledger::Hash;
use super::model::{
    BeginResult, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation,
    Outcome,
};
use super::verdict::{Verdict, VerdictResult};
use crate::record::{OperationId, OperationState};

/// A command of the writer.
#[derive(Debug)]
pub(super) enum Command {
    Acquire {
        system: Arc<str>,
        record: Arc<str>,
        ttl_ms: i64,
    },
    Renew {
        lease: Lease,
        ttl_ms: i64,
    },
    Release {
        lease: Lease,
    },
    Begin(Arc<Intent>),
    SaveInterim {
        operation: OperationId,
        response: InterimResponse,
        /// What the key replays; `None` = its first request still runs.
        replay_json: Option<String>,
    },
    Finish(Arc<Outcome>),
    /// Stores what a key replays whose write changed nothing and has no operation.
    StoreReplay {
        claim: IdempotencyClaim,
        replay_json: Arc<str>,
    },
    /// Ends an operation whose caller never received `Started`: the vendor was not called.
    CancelUnclaimed(OperationId),
    Adopt {
        limit: usize,
    },
    /// Records the outcome of an operation that has ended `unknown` or does not end.
    RecordVerdict(Arc<Verdict>),
    /// Compares what was found out with the verdict on the operation.
    WarnContradictedVerdict {
        operation: OperationId,
        found: OperationState,
    },
    /// Ends the keeping of all entries up to this one.
    Cut {
        seq: i64,
        hash: Hash,
    },
    /// Saves a vendor's token for the other replicas.
    SaveToken {
        system: Arc<str>,
        sealed: Arc<[u8]>,
    },
    /// Saves the state of a record that a caller got, by its ETag.
    SaveShown {
        etag: Arc<str>,
        fields: Arc<str>,
    },
    /// Stores a new asynchronous batch, unless another one has its key.
    StoreBatch {
        rows: Arc<[BatchRow]>,
        key: Option<BatchKey>,
    },
    /// Saves rows of an asynchronous batch, if the lease is still held under which it runs.
    SaveBatchRows {
        rows: Arc<[BatchRow]>,
        lease: Option<Lease>,
    },
    /// Records that this instance is alive.
    Heartbeat,
    /// Checks that the database can be written, which only a write shows.
    CheckWritable,
    /// Has its response when everything before it is written.
    Flush,
}

/// The result of a command.
#[derive(Debug)]
pub(super) enum CommandResult {
    Acquired(LeaseResult),
    Renewed(bool),
    /// Whether the lease was held.
    BatchRowsSaved(bool),
    /// The state of the key if another request has it.
    ReplayStored(Option<IdempotencyState>),
    /// The state of the batch's key if it is not stored.
    BatchStored(Option<IdempotencyState>),
    Begun(BeginResult, Option<CancelUnclaimedGuard>),
    /// The operation has begun, and another replica has it now.
    OwnedElsewhere,
    Adopted(Vec<OrphanedOperation>),
    /// Whether this outcome is the operation's final one.
    Finished(bool),
    Verdict(VerdictResult),
    Done,
}

impl CommandResult {
    /// Whether a `Begin`, or rows of a batch, are in the database once this is committed.
    pub(super) fn changes_state(&self) -> bool {
        matches!(
            self,
            Self::Begun(BeginResult::Started, _)
                | Self::ReplayStored(None)
                | Self::BatchRowsSaved(true)
                | Self::BatchStored(None)
        )
    }
}

pub(super) type ResponseTx = oneshot::Sender<Result<CommandResult, JournalError>>;

/// A command in the queue, with the channel for its result.
#[derive(Debug)]
pub(super) struct QueuedCommand {
    pub(super) command: Command,
    pub(super) response_tx: Option<ResponseTx>,
    /// For a `Begin`: whether its id is known outside, so that it must be carried out.
    pub(super) must_begin: bool,
    /// Whether an earlier attempt may be in the database.
    pub(super) is_retry: bool,
    /// For a `Begin`: whether an operation exists that its caller does not know of. For rows of a
    /// batch: whether they are there.
    pub(super) commit_state: CommitState,
}

/// Whether what a `Begin` or rows of a batch change is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitState {
    /// The state is known to the caller.
    Known,
    /// It is, if this attempt commits.
    Pending,
    /// A commit was sent, and its result is unknown.
    Unknown,
}

impl CommitState {
    /// The command has been applied and is about to be committed.
    pub(super) fn on_applied(&mut self, changes_state: bool) {
        if *self != Self::Unknown {
            *self = if changes_state { Self::Pending } else { Self::Known };
        }
    }

    /// The attempt has failed.
    pub(super) fn on_failed(&mut self, committing: bool) {
        if *self == Self::Pending {
            *self = if committing { Self::Unknown } else { Self::Known };
        }
    }
}

impl QueuedCommand {
    pub(super) fn new(command: Command, response_tx: Option<ResponseTx>) -> Self {
        Self { command, response_tx, must_begin: false, is_retry: false, commit_state: CommitState::Known }
    }

    /// Whether it is kept and carried out later when the database fails.
    pub(super) fn must_persist(&self) -> bool {
        self.must_begin
            || matches!(self.command, Command::SaveInterim { .. } | Command::Finish(_) | Command::CancelUnclaimed(_))
    }

    /// The operation whose intent must be persisted before.
    pub(super) fn depends_on(&self) -> Option<&OperationId> {
        match &self.command {
            Command::SaveInterim { operation, .. } | Command::CancelUnclaimed(operation) => Some(operation),
            Command::Finish(outcome) => Some(&outcome.operation),
            _ => None,
        }
    }

    /// Whether its caller has a response and nothing is left to persist.
    pub(super) fn is_done(&self) -> bool {
        self.response_tx.is_none() && !self.must_persist()
    }

    /// Sends the response and returns whether a caller waits for it. A `Started` that no caller
    /// receives is cancelled by its [`CancelUnclaimedGuard`].
    pub(super) fn send_response(&mut self, response: Result<CommandResult, JournalError>) -> bool {
        self.response_tx.take().is_some_and(|response_tx| response_tx.send(response).is_ok())
    }
}

/// Travels with every `Started`. If the caller is gone, dropping it cancels the operation, which
/// would otherwise run for ever.
#[derive(Debug)]
pub(super) struct CancelUnclaimedGuard {
    armed: Option<(OperationId, mpsc::UnboundedSender<QueuedCommand>)>,
}

impl CancelUnclaimedGuard {
    pub(super) fn new(operation: OperationId, commands: mpsc::UnboundedSender<QueuedCommand>) -> Self {
        Self { armed: Some((operation, commands)) }
    }

    /// The caller has received the response.
    pub(super) fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for CancelUnclaimedGuard {
    fn drop(&mut self) {
        if let Some((operation, commands)) = self.armed.take() {
            // If the writer has ended, the next start reconciles the operation.
            let _ = commands.send(QueuedCommand::new(Command::CancelUnclaimed(operation), None));
        }
    }
}
