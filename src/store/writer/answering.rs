//! Whom the writer tells what: after the commit, or where it may, before.

use std::time::Duration;

use sqlx::AnyConnection;

use super::Writer;
use crate::store::Begun;
use crate::store::board::Board;
use crate::store::changes::Changes;
use crate::store::command::{AbandonGuard, Answer, Command, Task};
use crate::store::desk::{BATCH, Laid};

/// How long answered commands wait for company before they are written, when durability is relaxed: what a crash may lose.
/// One disk write a second is what other stores mean by it, too.
const COMPANY: Duration = Duration::from_secs(1);

impl Writer {
    /// Relaxed durability, only writer: what is decided is answered at once and waits a moment for company, so that many
    /// writes share one transaction. Anything that has to be answered after the commit ends the waiting. Who comes meanwhile finds
    /// the board on the desk.
    pub(super) async fn answer_early(
        &mut self,
        connection: &mut AnyConnection,
        batch: &mut Vec<Command>,
        answers: &mut Vec<Answer>,
        changes: &mut Changes,
    ) -> Result<(), sqlx::Error> {
        let company_until = tokio::time::Instant::now() + COMPANY;
        let mut decided = 0;
        loop {
            for (command, answer) in batch.iter_mut().zip(answers.iter_mut()).skip(decided) {
                if !command.may_be_early() || command.reply.is_none() {
                    continue;
                }
                let refused = matches!(answer, Answer::Begun(begun, _) if *begun != Begun::Started);
                command.promised = !refused;
                self.tell(command, std::mem::replace(answer, Answer::Done));
            }
            decided = batch.len();
            let wait = !changes.is_empty()
                && self.owed.is_empty()
                && decided < BATCH
                && batch.iter().all(|command| command.may_be_early() && !command.again);
            if !wait {
                return Ok(());
            }
            // Room for all that may come, at once.
            let room = BATCH.saturating_sub(decided);
            batch.reserve(room);
            answers.reserve(room);
            changes.entries.reserve(room);
            self.shared.desk.lay_out(Laid {
                board: std::mem::replace(&mut self.board, Board::new(self.shared.instance.clone())),
                changes: std::mem::take(changes),
                batch: std::mem::take(batch),
            });
            let mut more = Vec::new();
            // Were this cut off by the clock, nothing has been taken from the queue.
            let came = tokio::time::timeout_at(company_until, self.commands.recv_many(&mut more, BATCH)).await;
            *changes = self.clear_desk(batch);
            decided = batch.len();
            answers.resize_with(decided, || Answer::Done);
            if !matches!(came, Ok(taken) if taken > 0) {
                return Ok(());
            }
            self.took(more.len());
            // The batch stays whole: were this cut off by the clock, nothing taken from the queue may be lost.
            batch.append(&mut more);
            let new = batch.get(decided..).unwrap_or_default();
            let decisions = self.decide(connection, new, changes).await?;
            answers.extend(decisions);
        }
    }

    /// Takes the board back from the desk, if it lies there, with all that was decided.
    pub(super) fn clear_desk(&mut self, batch: &mut Vec<Command>) -> Changes {
        let Some(laid) = self.shared.desk.take_back() else { return Changes::default() };
        self.board = laid.board;
        *batch = laid.batch;
        laid.changes
    }

    /// Tells whoever asked. Only a `Started` that is told can be left lying there: the answers of a try that failed are nobody's.
    pub(super) fn tell(&mut self, command: &mut Command, mut answer: Answer) {
        self.publish(command, &answer);
        if let (Task::Begin(intent), Answer::Begun(Begun::Started, guard), Some(_)) =
            (&command.task, &mut answer, &command.reply)
        {
            let sender = self.sender.upgrade();
            *guard = sender.map(|sender| AbandonGuard::new(intent.operation.clone(), sender));
        }
        let adopted = matches!(answer, Answer::Adopted(_));
        if command.answer(Ok(answer)) && adopted {
            self.unheard.clear();
        }
    }

    /// Tells the reads of this process what they answer from memory.
    fn publish(&self, command: &Command, answer: &Answer) {
        if self.shared.engine.is_shared() {
            return;
        }
        let pending = &self.shared.pending;
        match (&command.task, answer) {
            (Task::Begin(intent), Answer::Begun(Begun::Started, _)) => pending.note_begun(intent),
            (Task::Finish(outcome), _) => pending.ended(&outcome.operation),
            (Task::Abandon(operation), _) => pending.ended(operation),
            _ => {}
        }
    }
}
