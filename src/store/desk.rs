//! Where callers serve themselves while a batch waits for company: relaxed durability, only writer.
//!
//! What has been decided then is in memory anyway, and to decide needs no database. So the writer lays the board out, whoever begins or
//! finishes a write decides it there by itself, without waking the writer and waiting for it, and the writer takes the board back with
//! everything that was promised meanwhile, to write it. Whoever comes when nothing lies there, or with what needs the database (a
//! key), asks the writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::Board;
use super::changes::Changes;
use super::command::{Command, Task};
use super::thread::Shared;
use super::{Begun, Intent, Outcome};

/// The most commands in one transaction.
pub(super) const BATCH: usize = 512;

/// What lies there.
pub(super) struct Laid {
    pub(super) board: Board,
    pub(super) changes: Changes,
    /// What was decided, to be written.
    pub(super) batch: Vec<Command>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<Laid>>);

impl Desk {
    fn look(&self) -> MutexGuard<'_, Option<Laid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lay_out(&self, laid: Laid) {
        *self.look() = Some(laid);
    }

    /// From now on everybody asks the writer.
    pub(super) fn take_back(&self) -> Option<Laid> {
        self.look().take()
    }
}

impl Laid {
    fn has_room(&self) -> bool {
        self.batch.len() < BATCH
    }

    fn promise(&mut self, task: Task) {
        self.batch.push(Command { promised: true, ..Command::new(task, None) });
    }
}

impl Shared {
    /// Begins a write at the desk; `None` = the writer has to be asked.
    pub(super) fn begin_here(&self, intent: &Arc<Intent>) -> Option<Begun> {
        if intent.claim.is_some() {
            return None;
        }
        let mut desk = self.desk.look();
        let laid = desk.as_mut().filter(|laid| laid.has_room())?;
        laid.board.tick(self.clock());
        let begun = laid.board.begin(intent, false, &mut laid.changes);
        if begun == Begun::Started {
            self.pending.note_begun(intent);
            laid.promise(Task::Begin(Arc::clone(intent)));
        }
        Some(begun)
    }

    /// Finishes a write at the desk; `None` = the writer has to be asked.
    pub(super) fn finish_here(&self, outcome: &Arc<Outcome>) -> Option<bool> {
        let mut desk = self.desk.look();
        let laid = desk.as_mut().filter(|laid| laid.has_room())?;
        if laid.board.running.get(&outcome.operation)?.key.is_some() {
            return None;
        }
        laid.board.tick(self.clock());
        let stands = laid.board.finish(outcome, self.idempotency_ttl_ms, &mut laid.changes);
        self.pending.ended(&outcome.operation);
        laid.promise(Task::Finish(Arc::clone(outcome)));
        Some(stands)
    }
}
