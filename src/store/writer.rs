//! The one writer: takes everything that waits, decides it, writes it in one transaction, commits once, answers all.

mod ack;
mod recovery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::AnyConnection;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::command::{CommandResult, QueuedCommand, StoreCommand};
use super::inline_path::MAX_BATCH;
use super::sql::StatementCache;
use super::write_set::WriteSet;
use super::writer_state::{RunningOperation, WriterState};
use super::{BeginResult, OrphanedOperation, Outcome, StoreError, StoreShared, preload, retention, schema};
use crate::problem::ProblemKind;
use crate::record::{OperationId, OperationState};

/// How long one transaction, or one connecting, may take; a store that is slower than this counts as gone.
const TX_TIMEOUT: Duration = Duration::from_secs(5);
/// A failure without words of its own.
const TIMED_OUT: &str = "no answer in time";
/// How often this instance says that it lives, and old things are swept.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Writer {
    shared: Arc<StoreShared>,
    commands: UnboundedReceiver<QueuedCommand>,
    sender: WeakUnboundedSender<QueuedCommand>,
    connection: Option<AnyConnection>,
    /// The file that the connection writes.
    file_identity: Option<(u64, u64)>,
    state: WriterState,
    statements: StatementCache,
    /// What has to be written although the store failed, in order.
    retry_queue: VecDeque<QueuedCommand>,
    /// Operations that were made this instance's, of which nobody has heard yet.
    unclaimed: Vec<OperationId>,
    /// Whether a commit was sent and not answered.
    committing: bool,
    /// Why the store could not be reached the last time; empty when it could.
    last_error: String,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However it ended, nobody is left who would write what is promised at the desk.
        drop(self.shared.open_batch.reclaim());
    }
}

impl Writer {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(
        shared: Arc<StoreShared>,
        commands: UnboundedReceiver<QueuedCommand>,
        sender: WeakUnboundedSender<QueuedCommand>,
    ) -> Result<Self, StoreError> {
        let board = WriterState::new(shared.instance.clone());
        let statements = StatementCache::new(shared.backend.placeholders());
        let mut writer = Self {
            shared,
            commands,
            sender,
            connection: None,
            file_identity: None,
            state: board,
            statements,
            retry_queue: VecDeque::new(),
            unclaimed: Vec::new(),
            committing: false,
            last_error: String::new(),
        };
        let (engine, durability) = (&writer.shared.backend, writer.shared.durability);
        let failed = |error: sqlx::Error| StoreError::Open(error_text(&error));
        let mut connection = engine.connect_writer(durability, true).await.map_err(failed)?;
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
    pub(super) async fn run(mut self) {
        let mut seen = interval(HEARTBEAT_INTERVAL);
        seen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        seen.tick().await;
        loop {
            let mut batch = Vec::new();
            let mut due = false;
            tokio::select! {
                taken = self.commands.recv_many(&mut batch, MAX_BATCH) => if taken == 0 { break },
                _ = seen.tick() => {
                    batch.push(QueuedCommand::new(StoreCommand::Heartbeat, None));
                    due = true;
                }
            }
            self.dequeue(batch.len());
            if !self.retry_queue.is_empty() {
                batch = self.requeue_dependents(batch);
            }
            if !self.try_batch(&mut batch).await {
                self.retry_individually(batch).await;
            } else if due && !self.retry_queue.is_empty() {
                self.drain_retry_queue().await;
            }
        }
        self.drain_retry_queue().await;
    }

    fn dequeue(&self, commands: usize) {
        // The writer's own commands were not counted; the count only bounds the queue.
        let _ = self
            .shared
            .queued
            .try_update(Ordering::AcqRel, Ordering::Acquire, |waiting| Some(waiting.saturating_sub(commands)));
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.connection = None;
        let shared = Arc::clone(&self.shared);
        let mut connection = shared.backend.connect_writer(shared.durability, false).await?;
        self.file_identity = shared.backend.file_identity()?;
        let then = std::mem::replace(&mut self.state, WriterState::new(shared.instance.clone())).now;
        self.state.advance_clock(then);
        // What an earlier connection was doing when it was given up may still be done. It is over once this one has the lock, and
        // what is read before that may be of yesterday.
        self.begin_transaction(&mut connection).await?;
        preload::load_state(&mut connection, &shared.backend, &mut self.state).await?;
        for running in self.state.running.values() {
            shared.async_writes.insert(&running.intent);
        }
        // What was promised runs, although the database does not know it yet.
        for command in &self.retry_queue {
            if let StoreCommand::Begin(intent) = &command.task {
                self.state.mark_busy(intent);
            }
        }
        // Only a write shows that one can write.
        let mut changes = WriteSet::default();
        changes.heartbeat = true;
        self.commit(&mut connection, changes).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Runs a batch; `false` = nothing of it is certain, and the connection is gone.
    async fn try_batch(&mut self, batch: &mut Vec<QueuedCommand>) -> bool {
        self.committing = false;
        let failure = match timeout(TX_TIMEOUT, self.execute_batch(batch)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error_text(&error),
            Err(_) => TIMED_OUT.to_owned(),
        };
        tracing::warn!(failure, "the store failed");
        self.connection = None;
        self.reclaim_state(batch);
        for command in batch.iter_mut() {
            command.is_retry = true;
            command.commit_state.on_failed(self.committing);
        }
        false
    }

    async fn execute_batch(&mut self, batch: &mut Vec<QueuedCommand>) -> Result<(), sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        let mut connection = self.connection.take().ok_or(sqlx::Error::PoolClosed)?;
        // A file that was removed or replaced would take every write, and no restart would find one of them.
        if shared.backend.file_identity()? != self.file_identity {
            return Err(sqlx::Error::Io(std::io::Error::other("another file is in its place")));
        }
        let mut changes = WriteSet::default();
        self.state.keys.clear();
        if shared.backend.is_shared() {
            self.begin_transaction(&mut connection).await?;
        }
        let mut answers = self.apply(&mut connection, batch, &mut changes).await?;
        if shared.acks_before_commit() {
            self.ack_before_commit(&mut connection, batch, &mut answers, &mut changes).await?;
        }
        let sweeps = batch.iter().any(|command| matches!(command.task, StoreCommand::Heartbeat));
        if !changes.is_empty() && !shared.backend.is_shared() {
            self.begin_transaction(&mut connection).await?;
        }
        for (command, answer) in batch.iter_mut().zip(&answers) {
            command.commit_state.on_applied(matches!(answer, CommandResult::Begun(BeginResult::Started, _)));
        }
        if !changes.is_empty() || shared.backend.is_shared() {
            self.commit(&mut connection, changes).await?;
        }
        for (command, answer) in batch.iter_mut().zip(answers) {
            command.acknowledged |= matches!(answer, CommandResult::Begun(BeginResult::Started, _));
            self.respond(command, answer);
        }
        if sweeps {
            let now = self.state.now;
            self.state.leases.retain(|_, lease| lease.expires > now);
            let swept = async {
                if shared.backend.is_shared() {
                    retention::free_leases(&mut connection, now, &shared.instance).await?;
                }
                retention::delete_expired_batch(&mut connection, now, shared.retention_ms).await
            };
            if let Err(error) = swept.await {
                // The batch is written all the same; the next one finds no connection and makes one.
                tracing::warn!(failure = error_text(&error), "sweeping the store failed");
                return Ok(());
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Begins a transaction. Where the database is shared, only one replica at a time gets past this.
    async fn begin_transaction(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let engine = &self.shared.backend;
        sqlx::raw_sql(engine.begin_statement()).execute(&mut *connection).await?;
        if engine.is_shared() {
            let now = preload::load_head(connection, engine, &mut self.state).await?;
            self.state.advance_clock(now.saturating_add(self.shared.skew.load(Ordering::Relaxed)));
        } else {
            self.state.advance_clock(self.shared.now_ms());
        }
        Ok(())
    }

    async fn commit(&mut self, connection: &mut AnyConnection, changes: WriteSet) -> Result<(), sqlx::Error> {
        let entries = changes.entries.len();
        if !changes.is_empty() {
            changes.write(connection, &mut self.statements, &mut self.state).await?;
        }
        let since = Instant::now();
        self.committing = true;
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await;
        self.committing = committed.as_ref().is_err_and(|error| !is_definite_failure(error));
        committed?;
        if entries > 0 {
            self.shared.metrics.on_commit(since.elapsed().as_secs_f64());
            (0..entries).for_each(|_| self.shared.metrics.on_ledger_entry());
        }
        Ok(())
    }

    /// Decides commands in their order.
    async fn apply(
        &mut self,
        connection: &mut AnyConnection,
        batch: &[QueuedCommand],
        changes: &mut WriteSet,
    ) -> Result<Vec<CommandResult>, sqlx::Error> {
        if !self.shared.backend.is_shared() {
            self.state.advance_clock(self.shared.now_ms());
        }
        let orphans =
            preload::preload_batch(connection, &self.shared.backend, &mut self.state, batch, &self.unclaimed).await?;
        Ok(batch.iter().map(|command| self.apply_one(command, &orphans, changes)).collect())
    }

    fn apply_one(
        &mut self,
        command: &QueuedCommand,
        orphans: &[(OrphanedOperation, RunningOperation)],
        changes: &mut WriteSet,
    ) -> CommandResult {
        let (board, ttl) = (&mut self.state, self.shared.idempotency_ttl_ms);
        match &command.task {
            StoreCommand::Acquire { system, record, ttl } => {
                CommandResult::Acquired(board.acquire(system, record, *ttl, changes))
            }
            StoreCommand::Renew { lease, ttl } => CommandResult::Renewed(board.renew(lease, *ttl, changes)),
            StoreCommand::Release { lease } => {
                board.release(lease, changes);
                CommandResult::Done
            }
            StoreCommand::Begin(intent) => {
                CommandResult::Begun(board.begin(intent, command.acknowledged, changes), None)
            }
            StoreCommand::SaveInterim { operation, response: told, replay_json: verdict } => {
                board.save_interim_outcome(operation, *told, verdict, changes);
                CommandResult::Done
            }
            // What is tried again may be in the database already.
            StoreCommand::Finish(outcome) => {
                CommandResult::Finished(board.finish(outcome, ttl, changes) || command.is_retry)
            }
            StoreCommand::CancelUnclaimed(operation) => {
                board.finish(&Arc::new(not_sent_outcome(operation)), ttl, changes);
                CommandResult::Done
            }
            StoreCommand::Adopt { .. } => {
                let adopted = board.adopt(orphans, changes);
                self.unclaimed = adopted.iter().map(|unsettled| unsettled.operation.clone()).collect();
                CommandResult::Adopted(adopted)
            }
            StoreCommand::Heartbeat | StoreCommand::Probe => {
                changes.heartbeat = true;
                CommandResult::Done
            }
            StoreCommand::Flush => CommandResult::Done,
        }
    }
}

/// The outcome of an operation whose `Started` nobody took.
fn not_sent_outcome(operation: &OperationId) -> Outcome {
    Outcome {
        operation: operation.clone(),
        state: OperationState::NotApplied,
        record: None,
        etag: None,
        warnings: Vec::new(),
        problem: None,
        problem_name: Some(ProblemKind::Overloaded.as_str().to_owned()),
        observed: None,
        calls: Vec::new(),
        losses: Vec::new(),
        replay_json: None,
        lease: None,
    }
}

/// What SQLite says when all is written and the disk does not confirm it: `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`.
const FSYNC_ERROR_CODES: [&str; 2] = ["1034", "1290"];

/// Whether the database says that it has not done what it was asked to: not where its disk does not confirm it, or its server
/// goes away (PostgreSQL's classes 08 and 57P) in the middle of it.
fn is_definite_failure(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let is_open = |code: &str| FSYNC_ERROR_CODES.contains(&code) || code.starts_with("08") || code.starts_with("57P");
    error.code().is_some_and(|code| !is_open(&code))
}

/// The error's own words, without statements or addresses.
fn error_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Configuration(_) => "its address cannot be understood".to_owned(),
        other => other.to_string(),
    }
}
