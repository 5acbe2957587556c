//! Whom the writer tells what: after the commit, or where it may, before.

use std::time::Duration;

use sqlx::AnyConnection;

use super::Writer;
use crate::store::BeginResult;
use crate::store::command::{CancelUnclaimedGuard, CommandResult, QueuedCommand, StoreCommand};
use crate::store::inline_path::{MAX_BATCH, OpenBatch};
use crate::store::write_set::WriteSet;
use crate::store::writer_state::WriterState;

/// How long answered commands wait for company before they are written, when durability is relaxed: what a crash may lose.
/// One disk write a second is what other stores mean by it, too.
const BATCH_WINDOW: Duration = Duration::from_secs(1);

impl Writer {
    /// Relaxed durability, only writer: what is decided is answered at once and waits a moment for company, so that many
    /// writes share one transaction. Anything that has to be answered after the commit ends the waiting. Who comes meanwhile finds
    /// the board on the desk.
    pub(super) async fn ack_before_commit(
        &mut self,
        connection: &mut AnyConnection,
        batch: &mut Vec<QueuedCommand>,
        answers: &mut Vec<CommandResult>,
        changes: &mut WriteSet,
    ) -> Result<(), sqlx::Error> {
        let company_until = tokio::time::Instant::now() + BATCH_WINDOW;
        let mut decided = 0;
        loop {
            for (command, answer) in batch.iter_mut().zip(answers.iter_mut()).skip(decided) {
                if !command.can_ack_before_commit() || command.response_tx.is_none() {
                    continue;
                }
                let refused = matches!(answer, CommandResult::Begun(begun, _) if *begun != BeginResult::Started);
                command.acknowledged = !refused;
                self.respond(command, std::mem::replace(answer, CommandResult::Done));
            }
            decided = batch.len();
            let wait = !changes.is_empty()
                && self.retry_queue.is_empty()
                && decided < MAX_BATCH
                && batch.iter().all(|command| command.can_ack_before_commit() && !command.is_retry);
            if !wait {
                return Ok(());
            }
            // Room for all that may come, at once.
            let room = MAX_BATCH.saturating_sub(decided);
            batch.reserve(room);
            answers.reserve(room);
            changes.entries.reserve(room);
            self.shared.open_batch.publish(OpenBatch {
                state: std::mem::replace(&mut self.state, WriterState::new(self.shared.instance.clone())),
                write_set: std::mem::take(changes),
                batch: std::mem::take(batch),
            });
            let mut more = Vec::new();
            // Were this cut off by the clock, nothing has been taken from the queue.
            let came = tokio::time::timeout_at(company_until, self.commands.recv_many(&mut more, MAX_BATCH)).await;
            *changes = self.reclaim_state(batch);
            decided = batch.len();
            answers.resize_with(decided, || CommandResult::Done);
            if !matches!(came, Ok(taken) if taken > 0) {
                return Ok(());
            }
            self.dequeue(more.len());
            // The batch stays whole: were this cut off by the clock, nothing taken from the queue may be lost.
            batch.append(&mut more);
            let new = batch.get(decided..).unwrap_or_default();
            let decisions = self.apply(connection, new, changes).await?;
            answers.extend(decisions);
        }
    }

    /// Takes the board back from the desk, if it lies there, with all that was decided.
    pub(super) fn reclaim_state(&mut self, batch: &mut Vec<QueuedCommand>) -> WriteSet {
        let Some(laid) = self.shared.open_batch.reclaim() else { return WriteSet::default() };
        self.state = laid.state;
        *batch = laid.batch;
        laid.write_set
    }

    /// Tells whoever asked. Only a `Started` that is told can be left lying there: the answers of a try that failed are nobody's.
    pub(super) fn respond(&mut self, command: &mut QueuedCommand, mut answer: CommandResult) {
        self.update_read_index(command, &answer);
        if let (StoreCommand::Begin(intent), CommandResult::Begun(BeginResult::Started, guard), Some(_)) =
            (&command.task, &mut answer, &command.response_tx)
        {
            let sender = self.sender.upgrade();
            *guard = sender.map(|sender| CancelUnclaimedGuard::new(intent.operation.clone(), sender));
        }
        let adopted = matches!(answer, CommandResult::Adopted(_));
        if command.send_response(Ok(answer)) && adopted {
            self.unclaimed.clear();
        }
    }

    /// Tells the reads of this process what they answer from memory.
    fn update_read_index(&self, command: &QueuedCommand, answer: &CommandResult) {
        if self.shared.backend.is_shared() {
            return;
        }
        let pending = &self.shared.async_writes;
        match (&command.task, answer) {
            (StoreCommand::Begin(intent), CommandResult::Begun(BeginResult::Started, _)) => pending.insert(intent),
            (StoreCommand::Finish(outcome), _) => pending.remove(&outcome.operation),
            (StoreCommand::CancelUnclaimed(operation), _) => pending.remove(operation),
            _ => {}
        }
    }
}
