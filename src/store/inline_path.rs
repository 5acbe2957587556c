//! Where callers serve themselves while a batch waits for company: relaxed durability, only writer.
//!
//! What has been decided then is in memory anyway, and to decide needs no database. So the writer lays the board out, whoever begins or
//! finishes a write decides it there by itself, without waking the writer and waiting for it, and the writer takes the board back with
//! everything that was promised meanwhile, to write it. Whoever comes when nothing lies there, or with what needs the database (a
//! key), asks the writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::command::{QueuedCommand, StoreCommand};
use super::store_thread::StoreShared;
use super::write_set::WriteSet;
use super::writer_state::WriterState;
use super::{BeginResult, Intent, Outcome};

/// The most commands in one transaction.
pub(super) const MAX_BATCH: usize = 512;

/// What lies there.
pub(super) struct OpenBatch {
    pub(super) state: WriterState,
    pub(super) write_set: WriteSet,
    /// What was decided, to be written.
    pub(super) batch: Vec<QueuedCommand>,
}

/// See the module.
#[derive(Default)]
pub(super) struct SharedState(Mutex<Option<OpenBatch>>);

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, Option<OpenBatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, laid: OpenBatch) {
        *self.lock() = Some(laid);
    }

    /// From now on everybody asks the writer.
    pub(super) fn reclaim(&self) -> Option<OpenBatch> {
        self.lock().take()
    }
}

impl OpenBatch {
    fn has_capacity(&self) -> bool {
        self.batch.len() < MAX_BATCH
    }

    fn push_acknowledged(&mut self, task: StoreCommand) {
        self.batch.push(QueuedCommand { acknowledged: true, ..QueuedCommand::new(task, None) });
    }
}

impl StoreShared {
    /// Begins a write at the desk; `None` = the writer has to be asked.
    pub(super) fn try_begin_inline(&self, intent: &Arc<Intent>) -> Option<BeginResult> {
        if intent.idempotency.is_some() {
            return None;
        }
        let mut desk = self.open_batch.lock();
        let laid = desk.as_mut().filter(|laid| laid.has_capacity())?;
        laid.state.advance_clock(self.now_ms());
        let begun = laid.state.begin(intent, false, &mut laid.write_set);
        if begun == BeginResult::Started {
            self.async_writes.insert(intent);
            laid.push_acknowledged(StoreCommand::Begin(Arc::clone(intent)));
        }
        Some(begun)
    }

    /// Finishes a write at the desk; `None` = the writer has to be asked.
    pub(super) fn try_finish_inline(&self, outcome: &Arc<Outcome>) -> Option<bool> {
        let mut desk = self.open_batch.lock();
        let laid = desk.as_mut().filter(|laid| laid.has_capacity())?;
        if laid.state.running.get(&outcome.operation)?.key.is_some() {
            return None;
        }
        laid.state.advance_clock(self.now_ms());
        let stands = laid.state.finish(outcome, self.idempotency_ttl_ms, &mut laid.write_set);
        self.async_writes.remove(&outcome.operation);
        laid.push_acknowledged(StoreCommand::Finish(Arc::clone(outcome)));
        Some(stands)
    }
}
