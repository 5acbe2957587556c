//! The one writer: takes everything that waits, decides it, writes it in one transaction, commits once, answers all.

mod answering;
mod mending;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::AnyConnection;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::board::{Board, Running};
use super::changes::Changes;
use super::command::{Answer, Command, Task};
use super::desk::BATCH;
use super::sql::Statements;
use super::{Begun, Outcome, Shared, StoreError, Unsettled, load, schema, sweep};
use crate::problem::ProblemName;
use crate::record::{OperationId, OperationState};

/// How long one transaction, or one connecting, may take; a store that is slower than this counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// A failure without words of its own.
const NO_ANSWER: &str = "no answer in time";
/// How often this instance says that it lives, and old things are swept.
const SEEN_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: UnboundedReceiver<Command>,
    sender: WeakUnboundedSender<Command>,
    connection: Option<AnyConnection>,
    /// The file that the connection writes.
    file: Option<(u64, u64)>,
    board: Board,
    statements: Statements,
    /// What has to be written although the store failed, in order.
    owed: VecDeque<Command>,
    /// Operations that were made this instance's, of which nobody has heard yet.
    unheard: Vec<OperationId>,
    /// Whether a commit was sent and not answered.
    committing: bool,
    /// Why the store could not be reached the last time; empty when it could.
    away_because: String,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However it ended, nobody is left who would write what is promised at the desk.
        drop(self.shared.desk.take_back());
    }
}

impl Writer {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(
        shared: Arc<Shared>,
        commands: UnboundedReceiver<Command>,
        sender: WeakUnboundedSender<Command>,
    ) -> Result<Self, StoreError> {
        let board = Board::new(shared.instance.clone());
        let statements = Statements::new(shared.engine.parameters());
        let mut writer = Self {
            shared,
            commands,
            sender,
            connection: None,
            file: None,
            board,
            statements,
            owed: VecDeque::new(),
            unheard: Vec::new(),
            committing: false,
            away_because: String::new(),
        };
        let (engine, durability) = (&writer.shared.engine, writer.shared.durability);
        let failed = |error: sqlx::Error| StoreError::Open(plain(&error));
        let mut connection = engine.writer(durability, true).await.map_err(failed)?;
        schema::migrate(engine, &mut connection).await?;
        if !engine.is_shared() {
            // Nobody else is alive who could hold a lease.
            for statement in ["DELETE FROM lease", "DELETE FROM instance"] {
                sqlx::query(statement).execute(&mut connection).await.map_err(failed)?;
            }
        }
        drop(connection);
        writer.connect().await.map_err(failed)?;
        Ok(writer)
    }

    /// Works until every [`Store`](super::Store) is gone.
    pub(super) async fn work(mut self) {
        let mut seen = interval(SEEN_EVERY);
        seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        seen.tick().await;
        loop {
            let mut batch = Vec::new();
            let mut due = false;
            tokio::select! {
                taken = self.commands.recv_many(&mut batch, BATCH) => if taken == 0 { break },
                _ = seen.tick() => {
                    batch.push(Command::new(Task::Seen, None));
                    due = true;
                }
            }
            self.took(batch.len());
            if !self.owed.is_empty() {
                batch = self.keep_followers(batch);
            }
            if !self.attempt(&mut batch).await {
                self.recover(batch).await;
            } else if due && !self.owed.is_empty() {
                self.replay().await;
            }
        }
        self.replay().await;
    }

    fn took(&self, commands: usize) {
        // The writer's own commands were not counted; the count only bounds the queue.
        let _ = self
            .shared
            .waiting
            .try_update(Ordering::AcqRel, Ordering::Acquire, |waiting| Some(waiting.saturating_sub(commands)));
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.connection = None;
        let shared = Arc::clone(&self.shared);
        let mut connection = shared.engine.writer(shared.durability, false).await?;
        self.file = shared.engine.file()?;
        let then = std::mem::replace(&mut self.board, Board::new(shared.instance.clone())).now;
        self.board.tick(then);
        // What an earlier connection was doing when it was given up may still be done. It is over once this one has the lock, and
        // what is read before that may be of yesterday.
        self.begin(&mut connection).await?;
        load::everything(&mut connection, &shared.engine, &mut self.board).await?;
        for running in self.board.running.values() {
            shared.pending.note_begun(&running.intent);
        }
        // What was promised runs, although the database does not know it yet.
        for command in &self.owed {
            if let Task::Begin(intent) = &command.task {
                self.board.occupy(intent);
            }
        }
        // Only a write shows that one can write.
        let mut changes = Changes::default();
        changes.seen = true;
        self.commit(&mut connection, changes).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Runs a batch; `false` = nothing of it is certain, and the connection is gone.
    async fn attempt(&mut self, batch: &mut Vec<Command>) -> bool {
        self.committing = false;
        let failure = match timeout(PATIENCE, self.run(batch)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => plain(&error),
            Err(_) => NO_ANSWER.to_owned(),
        };
        tracing::warn!(failure, "the store failed");
        self.connection = None;
        self.clear_desk(batch);
        for command in batch.iter_mut() {
            command.again = true;
            command.begun.failed(self.committing);
        }
        false
    }

    async fn run(&mut self, batch: &mut Vec<Command>) -> Result<(), sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        let mut connection = self.connection.take().ok_or(sqlx::Error::PoolClosed)?;
        // A file that was removed or replaced would take every write, and no restart would find one of them.
        if shared.engine.file()? != self.file {
            return Err(sqlx::Error::Io(std::io::Error::other("another file is in its place")));
        }
        let mut changes = Changes::default();
        self.board.keys.clear();
        if shared.engine.is_shared() {
            self.begin(&mut connection).await?;
        }
        let mut answers = self.decide(&mut connection, batch, &mut changes).await?;
        if shared.is_early() {
            self.answer_early(&mut connection, batch, &mut answers, &mut changes).await?;
        }
        let sweeps = batch.iter().any(|command| matches!(command.task, Task::Seen));
        if !changes.is_empty() && !shared.engine.is_shared() {
            self.begin(&mut connection).await?;
        }
        for (command, answer) in batch.iter_mut().zip(&answers) {
            command.begun.decided(matches!(answer, Answer::Begun(Begun::Started, _)));
        }
        if !changes.is_empty() || shared.engine.is_shared() {
            self.commit(&mut connection, changes).await?;
        }
        for (command, answer) in batch.iter_mut().zip(answers) {
            command.promised |= matches!(answer, Answer::Begun(Begun::Started, _));
            self.tell(command, answer);
        }
        if sweeps {
            let now = self.board.now;
            self.board.leases.retain(|_, lease| lease.expires > now);
            let swept = async {
                if shared.engine.is_shared() {
                    sweep::free_leases(&mut connection, now, &shared.instance).await?;
                }
                sweep::bite(&mut connection, now, shared.retention_ms).await
            };
            if let Err(error) = swept.await {
                // The batch is written all the same; the next one finds no connection and makes one.
                tracing::warn!(failure = plain(&error), "sweeping the store failed");
                return Ok(());
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Begins a transaction. Where the database is shared, only one replica at a time gets past this.
    async fn begin(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let engine = &self.shared.engine;
        sqlx::raw_sql(engine.begin_statement()).execute(&mut *connection).await?;
        if engine.is_shared() {
            let now = load::head(connection, engine, &mut self.board).await?;
            self.board.tick(now.saturating_add(self.shared.skew.load(Ordering::Relaxed)));
        } else {
            self.board.tick(self.shared.clock());
        }
        Ok(())
    }

    async fn commit(&mut self, connection: &mut AnyConnection, changes: Changes) -> Result<(), sqlx::Error> {
        let entries = changes.entries.len();
        if !changes.is_empty() {
            changes.write(connection, &mut self.statements, &mut self.board).await?;
        }
        let since = Instant::now();
        self.committing = true;
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await;
        self.committing = committed.as_ref().is_err_and(|error| !was_refused(error));
        committed?;
        if entries > 0 {
            self.shared.metrics.commit(since.elapsed().as_secs_f64());
            (0..entries).for_each(|_| self.shared.metrics.ledger_entry());
        }
        Ok(())
    }

    /// Decides commands in their order.
    async fn decide(
        &mut self,
        connection: &mut AnyConnection,
        batch: &[Command],
        changes: &mut Changes,
    ) -> Result<Vec<Answer>, sqlx::Error> {
        if !self.shared.engine.is_shared() {
            self.board.tick(self.shared.clock());
        }
        let orphans = load::prepare(connection, &self.shared.engine, &mut self.board, batch, &self.unheard).await?;
        Ok(batch.iter().map(|command| self.decide_one(command, &orphans, changes)).collect())
    }

    fn decide_one(&mut self, command: &Command, orphans: &[(Unsettled, Running)], changes: &mut Changes) -> Answer {
        let (board, ttl) = (&mut self.board, self.shared.idempotency_ttl_ms);
        match &command.task {
            Task::Acquire { system, record, ttl } => Answer::Acquired(board.acquire(system, record, *ttl, changes)),
            Task::Renew { lease, ttl } => Answer::Renewed(board.renew(lease, *ttl, changes)),
            Task::Release { lease } => {
                board.release(lease, changes);
                Answer::Done
            }
            Task::Begin(intent) => Answer::Begun(board.begin(intent, command.promised, changes), None),
            Task::Interim { operation, told, verdict } => {
                board.interim(operation, *told, verdict, changes);
                Answer::Done
            }
            // What is tried again may be in the database already.
            Task::Finish(outcome) => Answer::Finished(board.finish(outcome, ttl, changes) || command.again),
            Task::Abandon(operation) => {
                board.finish(&Arc::new(never_sent(operation)), ttl, changes);
                Answer::Done
            }
            Task::Adopt { .. } => {
                let adopted = board.adopt(orphans, changes);
                self.unheard = adopted.iter().map(|unsettled| unsettled.operation.clone()).collect();
                Answer::Adopted(adopted)
            }
            Task::Seen | Task::Probe => {
                changes.seen = true;
                Answer::Done
            }
            Task::Flush => Answer::Done,
        }
    }
}

/// The outcome of an operation whose `Started` nobody took.
fn never_sent(operation: &OperationId) -> Outcome {
    Outcome {
        operation: operation.clone(),
        state: OperationState::NotApplied,
        record: None,
        etag: None,
        warnings: Vec::new(),
        problem: None,
        problem_name: Some(ProblemName::Overloaded.as_str().to_owned()),
        observed: None,
        calls: Vec::new(),
        losses: Vec::new(),
        verdict: None,
        lease: None,
    }
}

/// What SQLite says when all is written and the disk does not confirm it: `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`.
const NOT_CONFIRMED: [&str; 2] = ["1034", "1290"];

/// Whether the database says that it has not done what it was asked to: not where its disk does not confirm it, or its server
/// goes away (PostgreSQL's classes 08 and 57P) in the middle of it.
fn was_refused(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let is_open = |code: &str| NOT_CONFIRMED.contains(&code) || code.starts_with("08") || code.starts_with("57P");
    error.code().is_some_and(|code| !is_open(&code))
}

/// The error's own words, without statements or addresses.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Configuration(_) => "its address cannot be understood".to_owned(),
        other => other.to_string(),
    }
}
