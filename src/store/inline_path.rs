//! Relaxed mode's inline path: callers apply their own commands to the open batch.
//!
//! In relaxed mode a result needs no commit, and without an idempotency key it needs no database
//! either. So while a batch is open, a caller locks it, applies its `begin` or `finish`, and
//! returns without waking the writer. When the batch window ends, the writer reclaims the batch and
//! writes it. A caller that finds no open batch, or that has an idempotency key, uses the queue.

use std::sync::Arc;

use super::command::StoreCommand;
use super::model::{BeginResult, Intent, Outcome};
use super::shared::StoreShared;

impl StoreShared {
    /// Begins an operation in the open batch; `None` = use the queue.
    pub(super) fn try_begin_inline(&self, intent: &Arc<Intent>) -> Option<BeginResult> {
        if intent.idempotency.is_some() {
            return None;
        }
        let mut slot = self.open_batch.lock();
        let open_batch = slot.as_mut().filter(|open_batch| open_batch.has_capacity())?;
        open_batch.state.advance_clock(self.now_ms());
        let result = open_batch.state.begin(intent, false, &mut open_batch.write_set);
        if result == BeginResult::Started {
            self.async_writes.insert(intent);
            open_batch.push_acknowledged(StoreCommand::Begin(Arc::clone(intent)));
        }
        Some(result)
    }

    /// Finishes an operation in the open batch and returns whether this outcome is its final one;
    /// `None` = use the queue.
    pub(super) fn try_finish_inline(&self, outcome: &Arc<Outcome>) -> Option<bool> {
        let mut slot = self.open_batch.lock();
        let open_batch = slot.as_mut().filter(|open_batch| open_batch.has_capacity())?;
        if open_batch.state.running.get(&outcome.operation)?.key.is_some() {
            return None;
        }
        open_batch.state.advance_clock(self.now_ms());
        let is_final = open_batch.state.finish(outcome, self.idempotency_ttl_ms, &mut open_batch.write_set);
        self.async_writes.remove(&outcome.operation);
        open_batch.push_acknowledged(StoreCommand::Finish(Arc::clone(outcome)));
        Some(is_final)
    }
}
