//! The batch that stays open for more commands before it is written (relaxed mode, SQLite only).

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::command::{QueuedCommand, StoreCommand};
use super::write_set::WriteSet;
use super::writer_state::WriterState;

/// The most commands in one transaction.
pub(super) const MAX_BATCH: usize = 512;

/// The writer's state, and what the batch has acknowledged and changed so far.
pub(super) struct OpenBatch {
    pub(super) state: WriterState,
    pub(super) write_set: WriteSet,
    pub(super) batch: Vec<QueuedCommand>,
}

impl OpenBatch {
    pub(super) fn has_capacity(&self) -> bool {
        self.batch.len() < MAX_BATCH
    }

    /// Adds a command that has been applied and is being acknowledged.
    pub(super) fn push_acknowledged(&mut self, command: StoreCommand) {
        self.batch.push(QueuedCommand { acknowledged: true, ..QueuedCommand::new(command, None) });
    }
}

/// Where the writer publishes the open batch to callers; empty while the writer has it.
#[derive(Default)]
pub(super) struct OpenBatchSlot(Mutex<Option<OpenBatch>>);

impl OpenBatchSlot {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<OpenBatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, open_batch: OpenBatch) {
        *self.lock() = Some(open_batch);
    }

    /// Takes the batch back. From now on callers use the queue.
    pub(super) fn reclaim(&self) -> Option<OpenBatch> {
        self.lock().take()
    }
}
