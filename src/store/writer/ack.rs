//! Responses to callers: after the commit or, in relaxed mode, before it.

use std::time::Duration;

use sqlx::AnyConnection;

use super::Writer;
use crate::store::command::{CancelUnclaimedGuard, CommandResult, QueuedCommand, StoreCommand};
use crate::store::model::BeginResult;
use crate::store::open_batch::{MAX_BATCH, OpenBatch};
use crate::store::write_set::WriteSet;
use crate::store::writer_state::WriterState;

/// How long a batch stays open in relaxed mode: what a crash may lose. One disk write a second is
/// what other stores do in such a mode, too.
const BATCH_WINDOW: Duration = Duration::from_secs(1);

impl Writer {
    /// In relaxed mode, sends the responses of a batch at once and keeps the batch open for more
    /// commands, so that many writes share one transaction. While the writer waits, callers find
    /// the batch in the slot (see `inline_path`). A command whose response needs the commit ends
    /// the wait.
    pub(super) async fn ack_before_commit(
        &mut self,
        connection: &mut AnyConnection,
        batch: &mut Vec<QueuedCommand>,
        results: &mut Vec<CommandResult>,
        changes: &mut WriteSet,
    ) -> Result<(), sqlx::Error> {
        let window_end = tokio::time::Instant::now() + BATCH_WINDOW;
        let mut applied = 0;
        loop {
            self.ack_applied(batch, results, applied);
            applied = batch.len();
            let stays_open = !changes.is_empty()
                && self.retry_queue.is_empty()
                && applied < MAX_BATCH
                && batch.iter().all(|queued| queued.can_ack_before_commit() && !queued.is_retry);
            if !stays_open {
                return Ok(());
            }
            // Allocates once for all commands that may join.
            let capacity = MAX_BATCH.saturating_sub(applied);
            batch.reserve(capacity);
            results.reserve(capacity);
            changes.entries.reserve(capacity);
            self.shared.open_batch.publish(OpenBatch {
                state: std::mem::replace(&mut self.state, WriterState::new(self.shared.instance.clone())),
                write_set: std::mem::take(changes),
                batch: std::mem::take(batch),
            });
            let mut joining = Vec::new();
            // If this future is dropped here, no command has left the queue.
            let received =
                tokio::time::timeout_at(window_end, self.command_rx.recv_many(&mut joining, MAX_BATCH)).await;
            *changes = self.reclaim_state(batch);
            applied = batch.len();
            results.resize_with(applied, || CommandResult::Done);
            if !matches!(received, Ok(count) if count > 0) {
                return Ok(());
            }
            self.dequeue(joining.len());
            // The batch stays whole: if this future is dropped below, no dequeued command is lost.
            batch.append(&mut joining);
            let new = batch.get(applied..).unwrap_or_default();
            let new_results = self.apply(connection, new, changes).await?;
            results.extend(new_results);
        }
    }

    /// Sends the responses that need no commit, from the command at `start` on.
    fn ack_applied(&mut self, batch: &mut [QueuedCommand], results: &mut [CommandResult], start: usize) {
        for (queued, result) in batch.iter_mut().zip(results).skip(start) {
            if !queued.can_ack_before_commit() || queued.response_tx.is_none() {
                continue;
            }
            let rejected = matches!(result, CommandResult::Begun(begun, _) if *begun != BeginResult::Started);
            queued.acknowledged = !rejected;
            self.respond(queued, std::mem::replace(result, CommandResult::Done));
        }
    }

    /// Takes the open batch back, if it is published, with all that callers have added.
    pub(super) fn reclaim_state(&mut self, batch: &mut Vec<QueuedCommand>) -> WriteSet {
        let Some(open_batch) = self.shared.open_batch.reclaim() else { return WriteSet::default() };
        self.state = open_batch.state;
        *batch = open_batch.batch;
        open_batch.write_set
    }

    /// Sends the response of a command. Only here does a `Started` get its guard: the results of a
    /// failed attempt reach nobody.
    pub(super) fn respond(&mut self, queued: &mut QueuedCommand, mut result: CommandResult) {
        self.update_read_index(queued, &result);
        if let (StoreCommand::Begin(intent), CommandResult::Begun(BeginResult::Started, guard), Some(_)) =
            (&queued.command, &mut result, &queued.response_tx)
        {
            let command_tx = self.command_tx.upgrade();
            *guard = command_tx.map(|command_tx| CancelUnclaimedGuard::new(intent.operation.clone(), command_tx));
        }
        let adopted = matches!(result, CommandResult::Adopted(_));
        if queued.send_response(Ok(result)) && adopted {
            self.unclaimed.clear();
        }
    }

    /// Updates the index of queued writes for the reads of this process.
    fn update_read_index(&self, queued: &QueuedCommand, result: &CommandResult) {
        if self.shared.backend.is_shared() {
            return;
        }
        let index = &self.shared.async_writes;
        match (&queued.command, result) {
            (StoreCommand::Begin(intent), CommandResult::Begun(BeginResult::Started, _)) => index.insert(intent),
            (StoreCommand::Finish(outcome), _) => index.remove(&outcome.operation),
            (StoreCommand::CancelUnclaimed(operation), _) => index.remove(operation),
            _ => {}
        }
    }
}
