//! The one writer: it takes all waiting commands, applies them, writes them in one transaction,
//! commits, and sends the responses (group commit).

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
use super::error::{StoreError, error_text, is_definite_failure};
use super::model::{BeginResult, OrphanedOperation, Outcome};
use super::open_batch::MAX_BATCH;
use super::rows::RunningOperation;
use super::shared::StoreShared;
use super::sql::StatementCache;
use super::write_set::WriteSet;
use super::writer_state::WriterState;
use super::{preload, retention, schema};
use crate::problem::ProblemKind;
use crate::record::{OperationId, OperationState};

/// How long a transaction or a connection attempt may take before the database counts as gone.
const TX_TIMEOUT: Duration = Duration::from_secs(5);
/// The logged failure of a timeout.
const TIMED_OUT: &str = "no response in time";
/// How often this instance records that it is alive and deletes expired rows.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The writer and the commands that it still has to write.
pub(super) struct Writer {
    shared: Arc<StoreShared>,
    command_rx: UnboundedReceiver<QueuedCommand>,
    command_tx: WeakUnboundedSender<QueuedCommand>,
    connection: Option<AnyConnection>,
    /// Device and inode of the file that the connection writes.
    file_identity: Option<(u64, u64)>,
    state: WriterState,
    statements: StatementCache,
    /// Commands that must persist although the database failed, in order.
    retry_queue: VecDeque<QueuedCommand>,
    /// Adopted operations whose adoption no caller has received yet.
    unclaimed: Vec<OperationId>,
    /// Whether a commit was sent whose result is unknown.
    committing: bool,
    /// Why the last reconnect failed; empty if it succeeded.
    last_error: String,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However the writer ended, nobody would write what callers add to an open batch.
        drop(self.shared.open_batch.reclaim());
    }
}

impl Writer {
    /// Connects, brings the schema up to date and loads the state.
    pub(super) async fn open(
        shared: Arc<StoreShared>,
        command_rx: UnboundedReceiver<QueuedCommand>,
        command_tx: WeakUnboundedSender<QueuedCommand>,
    ) -> Result<Self, StoreError> {
        let state = WriterState::new(shared.instance.clone());
        let statements = StatementCache::new(shared.backend.placeholders());
        let mut writer = Self {
            shared,
            command_rx,
            command_tx,
            connection: None,
            file_identity: None,
            state,
            statements,
            retry_queue: VecDeque::new(),
            unclaimed: Vec::new(),
            committing: false,
            last_error: String::new(),
        };
        let (backend, durability) = (&writer.shared.backend, writer.shared.durability);
        let open_error = |error: sqlx::Error| StoreError::Open(error_text(&error));
        let mut connection = backend.connect_writer(durability, true).await.map_err(open_error)?;
        schema::migrate(backend, &mut connection).await?;
        if !backend.is_shared() {
            // No other process is alive that could hold a lease.
            for statement in ["DELETE FROM lease", "DELETE FROM instance"] {
                sqlx::query(statement).execute(&mut connection).await.map_err(open_error)?;
            }
        }
        drop(connection);
        writer.connect().await.map_err(open_error)?;
        Ok(writer)
    }

    /// Works until every [`Store`](super::Store) is dropped.
    pub(super) async fn run(mut self) {
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.tick().await;
        loop {
            let mut batch = Vec::new();
            let mut is_heartbeat = false;
            tokio::select! {
                received = self.command_rx.recv_many(&mut batch, MAX_BATCH) => if received == 0 { break },
                _ = heartbeat.tick() => {
                    batch.push(QueuedCommand::new(StoreCommand::Heartbeat, None));
                    is_heartbeat = true;
                }
            }
            self.dequeue(batch.len());
            if !self.retry_queue.is_empty() {
                batch = self.requeue_dependents(batch);
            }
            if !self.try_batch(&mut batch).await {
                self.retry_individually(batch).await;
            } else if is_heartbeat && !self.retry_queue.is_empty() {
                self.drain_retry_queue().await;
            }
        }
        self.drain_retry_queue().await;
    }

    fn dequeue(&self, commands: usize) {
        // The writer's own commands were never counted; the count only bounds the queue.
        let _ = self
            .shared
            .queued
            .try_update(Ordering::AcqRel, Ordering::Acquire, |queued| Some(queued.saturating_sub(commands)));
    }

    async fn connect(&mut self) -> Result<(), sqlx::Error> {
        self.connection = None;
        let shared = Arc::clone(&self.shared);
        let mut connection = shared.backend.connect_writer(shared.durability, false).await?;
        self.file_identity = shared.backend.file_identity()?;
        let now_ms = std::mem::replace(&mut self.state, WriterState::new(shared.instance.clone())).now_ms;
        self.state.advance_clock(now_ms);
        // An abandoned connection may still be committing. It has ended once this one holds the
        // lock; what is read before that may be outdated.
        self.begin_transaction(&mut connection).await?;
        preload::load_state(&mut connection, &shared.backend, &mut self.state).await?;
        for running in self.state.running.values() {
            shared.async_writes.insert(&running.intent);
        }
        // Acknowledged operations run although the database does not hold them yet.
        for queued in &self.retry_queue {
            if let StoreCommand::Begin(intent) = &queued.command {
                self.state.mark_busy(intent);
            }
        }
        // Only a write shows that the database can be written.
        let changes = WriteSet { heartbeat: true, ..WriteSet::default() };
        self.commit(&mut connection, changes).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Executes a batch. `false` = it failed, the connection is gone, and its commit may be
    /// unknown.
    async fn try_batch(&mut self, batch: &mut Vec<QueuedCommand>) -> bool {
        self.committing = false;
        let failure = match timeout(TX_TIMEOUT, self.execute_batch(batch)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error_text(&error),
            Err(_) => TIMED_OUT.to_owned(),
        };
        tracing::warn!(failure, "store batch failed");
        self.connection = None;
        self.reclaim_state(batch);
        for queued in batch.iter_mut() {
            queued.is_retry = true;
            queued.commit_state.on_failed(self.committing);
        }
        false
    }

    async fn execute_batch(&mut self, batch: &mut Vec<QueuedCommand>) -> Result<(), sqlx::Error> {
        let shared = Arc::clone(&self.shared);
        let mut connection = self.connection.take().ok_or(sqlx::Error::PoolClosed)?;
        // A file that was removed or replaced would take every write, and no restart would find
        // one.
        if shared.backend.file_identity()? != self.file_identity {
            return Err(sqlx::Error::Io(std::io::Error::other("the store's file was replaced")));
        }
        let mut changes = WriteSet::default();
        self.state.keys.clear();
        if shared.backend.is_shared() {
            self.begin_transaction(&mut connection).await?;
        }
        let mut results = self.apply(&mut connection, batch, &mut changes).await?;
        if shared.acks_before_commit() {
            self.ack_before_commit(&mut connection, batch, &mut results, &mut changes).await?;
        }
        let has_heartbeat = batch.iter().any(|queued| matches!(queued.command, StoreCommand::Heartbeat));
        if !changes.is_empty() && !shared.backend.is_shared() {
            self.begin_transaction(&mut connection).await?;
        }
        for (queued, result) in batch.iter_mut().zip(&results) {
            queued.commit_state.on_applied(matches!(result, CommandResult::Begun(BeginResult::Started, _)));
        }
        if !changes.is_empty() || shared.backend.is_shared() {
            self.commit(&mut connection, changes).await?;
        }
        for (queued, result) in batch.iter_mut().zip(results) {
            queued.acknowledged |= matches!(result, CommandResult::Begun(BeginResult::Started, _));
            self.respond(queued, result);
        }
        if has_heartbeat && let Err(error) = self.delete_expired(&mut connection).await {
            // The batch is committed all the same. The next one finds no connection and makes one.
            tracing::warn!(failure = error_text(&error), "store retention failed");
            return Ok(());
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn delete_expired(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let (shared, now_ms) = (&self.shared, self.state.now_ms);
        self.state.leases.retain(|_, lease| lease.expires_ms > now_ms);
        if shared.backend.is_shared() {
            retention::free_orphaned_leases(connection, now_ms, &shared.instance).await?;
        }
        retention::delete_expired_batch(connection, now_ms, shared.retention_ms).await
    }

    /// Begins a transaction. On PostgreSQL only one replica at a time gets past this.
    async fn begin_transaction(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let backend = &self.shared.backend;
        sqlx::raw_sql(backend.begin_statement()).execute(&mut *connection).await?;
        if backend.is_shared() {
            let now_ms = preload::load_head(connection, backend, &mut self.state).await?;
            self.state.advance_clock(now_ms.saturating_add(self.shared.skew_ms.load(Ordering::Relaxed)));
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
        let start = Instant::now();
        self.committing = true;
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await;
        self.committing = committed.as_ref().is_err_and(|error| !is_definite_failure(error));
        committed?;
        if entries > 0 {
            self.shared.metrics.on_commit(start.elapsed().as_secs_f64());
            (0..entries).for_each(|_| self.shared.metrics.on_ledger_entry());
        }
        Ok(())
    }

    /// Applies commands to the state, in their order.
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
        Ok(batch.iter().map(|queued| self.apply_one(queued, &orphans, changes)).collect())
    }

    fn apply_one(
        &mut self,
        queued: &QueuedCommand,
        orphans: &[(OrphanedOperation, RunningOperation)],
        changes: &mut WriteSet,
    ) -> CommandResult {
        let (state, key_ttl_ms) = (&mut self.state, self.shared.idempotency_ttl_ms);
        match &queued.command {
            StoreCommand::Acquire { system, record, ttl_ms } => {
                CommandResult::Acquired(state.acquire(system, record, *ttl_ms, changes))
            }
            StoreCommand::Renew { lease, ttl_ms } => CommandResult::Renewed(state.renew(lease, *ttl_ms, changes)),
            StoreCommand::Release { lease } => {
                state.release(lease, changes);
                CommandResult::Done
            }
            StoreCommand::Begin(intent) => {
                CommandResult::Begun(state.begin(intent, queued.acknowledged, changes), None)
            }
            StoreCommand::SaveInterim { operation, response, replay_json } => {
                state.save_interim_outcome(operation, *response, replay_json, changes);
                CommandResult::Done
            }
            // The outcome of a retry may be in the database already.
            StoreCommand::Finish(outcome) => {
                CommandResult::Finished(state.finish(outcome, key_ttl_ms, changes) || queued.is_retry)
            }
            StoreCommand::CancelUnclaimed(operation) => {
                state.finish(&Arc::new(not_sent_outcome(operation)), key_ttl_ms, changes);
                CommandResult::Done
            }
            StoreCommand::Adopt { .. } => {
                let adopted = state.adopt(orphans, changes);
                self.unclaimed = adopted.iter().map(|orphan| orphan.operation.clone()).collect();
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

/// The outcome of an operation whose caller never received `Started`.
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
