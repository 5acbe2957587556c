//! The one writer: it takes all waiting commands, applies them, writes them in one transaction,
//! commits, and sends the responses (group commit).

mod outage;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::change_set::ChangeSet;
use super::command::{CancelUnclaimedGuard, Command, CommandResult, QueuedCommand};
use super::database::{Database, Session, retry_until};
use super::error::{DbError, JournalError};
use super::group_needs::GroupNeeds;
use super::model::{BeginResult, InterimResponse, Outcome};
use super::ownership::DEAD_AFTER;
use super::shared::Shared;
use super::verdict::VerdictResult;
use super::writer_rows::StoredOperation;
use super::writer_state::WriterState;
use crate::record::{OperationId, OperationState};

/// How long a transaction or a connection attempt may take before the database counts as gone.
const TX_TIMEOUT: Duration = Duration::from_secs(5);
/// The logged failure of a timeout.
const TIMED_OUT: &str = "no response in time";
/// How often this instance records that it is alive and deletes expired rows.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The most commands in one transaction.
const MAX_GROUP: usize = 512;

/// The writer and the commands that it still has to write.
pub(super) struct Writer {
    shared: Arc<Shared>,
    database: Database,
    command_rx: UnboundedReceiver<QueuedCommand>,
    command_tx: WeakUnboundedSender<QueuedCommand>,
    session: Option<Session>,
    state: WriterState,
    /// Commands that must persist although the database failed, in order.
    retry_queue: VecDeque<QueuedCommand>,
    /// Adopted operations whose adoption no caller has received yet.
    unclaimed: Vec<OperationId>,
    /// Whether a commit was sent whose result is unknown.
    committing: bool,
    /// Whether expired rows may be left.
    has_expired: bool,
    /// From when on this replica may judge that others are dead. One that was cut off itself sees
    /// heartbeats that are as old as its own.
    adopts_from: Instant,
    last_heartbeat: Instant,
    /// Why the last reconnect failed; empty if it succeeded.
    last_error: String,
}

impl Writer {
    /// Connects and loads what runs. While the server restarts, that is tried again for
    /// `retry_for`.
    pub(super) async fn open(
        shared: Arc<Shared>,
        database: Database,
        command_rx: UnboundedReceiver<QueuedCommand>,
        command_tx: WeakUnboundedSender<QueuedCommand>,
        retry_for: Duration,
    ) -> Result<Self, JournalError> {
        let mut state = WriterState::new(shared.instance.clone());
        let end = tokio::time::Instant::now() + retry_for;
        let (start, session) = retry_until(end, async || {
            let start = Instant::now();
            database.connect(&shared, &mut state).await.map(|session| (start, session))
        })
        .await?;
        if database.is_shared() {
            shared.lock_ownership().renew(start, Instant::now());
        }
        shared.advance_head(state.head.seq);
        Ok(Self {
            shared,
            database,
            command_rx,
            command_tx,
            session: Some(session),
            state,
            retry_queue: VecDeque::new(),
            unclaimed: Vec::new(),
            committing: false,
            has_expired: false,
            adopts_from: Instant::now(),
            last_heartbeat: Instant::now(),
            last_error: String::new(),
        })
    }

    /// Works until every [`Journal`](super::Journal) is dropped, unless its thread stops it before.
    pub(super) async fn run(&mut self) {
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.tick().await;
        let mut is_idle = false;
        loop {
            let mut group = Vec::new();
            tokio::select! {
                biased;
                _ = heartbeat.tick() => {
                    if std::mem::replace(&mut is_idle, true) && let Some(session) = &mut self.session {
                        session.idle();
                    }
                    group.push(QueuedCommand::new(Command::Heartbeat, None));
                }
                received = self.command_rx.recv_many(&mut group, MAX_GROUP) => {
                    if received == 0 {
                        break;
                    }
                    is_idle = false;
                    self.count_dequeued(received);
                }
                () = std::future::ready(()), if self.has_expired => {}
            }
            self.process(group).await;
            self.delete_expired().await;
        }
        self.drain_retry_queue().await;
    }

    async fn process(&mut self, mut group: Vec<QueuedCommand>) {
        let is_heartbeat = group.iter().any(|queued| matches!(queued.command, Command::Heartbeat));
        if !self.retry_queue.is_empty() {
            group = self.requeue_dependents(group);
        }
        if group.is_empty() {
            return;
        }
        if !self.try_group(&mut group).await {
            self.retry_individually(group).await;
        } else if is_heartbeat && !self.retry_queue.is_empty() {
            self.drain_retry_queue().await;
        }
    }

    /// Ends the session, so that nothing of what was deleted stays beside the file.
    pub(super) fn close(mut self) {
        if let Some(session) = &mut self.session {
            session.idle();
        }
    }

    fn count_dequeued(&self, commands: usize) {
        // The writer's own commands were never counted; the count only bounds the queue.
        let _ = self
            .shared
            .queued
            .try_update(Ordering::AcqRel, Ordering::Acquire, |queued| Some(queued.saturating_sub(commands)));
    }

    async fn connect(&mut self) -> Result<(), DbError> {
        self.session = None;
        let start = Instant::now();
        let session = self.database.connect(&self.shared, &mut self.state).await?;
        // Operations whose ids are known outside run although the database does not hold them yet.
        for queued in &self.retry_queue {
            if let Command::Begin(intent) = &queued.command {
                self.state.mark_busy(intent, intent.is_async);
            }
        }
        self.session = Some(session);
        self.shared.advance_head(self.state.head.seq);
        self.last_heartbeat = Instant::now();
        if self.database.is_shared() {
            self.shared.lock_ownership().renew(start, Instant::now());
            self.adopts_from = Instant::now() + DEAD_AFTER;
        }
        Ok(())
    }

    /// Executes a group. `false` = it failed, the connection is gone, and its commit may be
    /// unknown.
    async fn try_group(&mut self, group: &mut [QueuedCommand]) -> bool {
        self.committing = false;
        let failure = match timeout(TX_TIMEOUT, self.execute_group(group)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => TIMED_OUT.to_owned(),
        };
        tracing::warn!(failure, "a group of commands could not be committed");
        self.session = None;
        self.state.restore_leases();
        for queued in group.iter_mut() {
            queued.is_retry = true;
            queued.commit_state.on_failed(self.committing);
        }
        false
    }

    async fn execute_group(&mut self, group: &mut [QueuedCommand]) -> Result<(), DbError> {
        self.state.start_group();
        let mut session = self.session.take().ok_or_else(|| DbError::Other("not connected".into()))?;
        // The stored heartbeat is the time at which the transaction began. Counted from before it,
        // ownership ends early rather than late.
        let heartbeat_at = Instant::now();
        let mut needs = GroupNeeds::new(group, &self.state, &self.unclaimed);
        needs.orphan_limit = needs.orphan_limit.filter(|_| Instant::now() >= self.adopts_from);
        let mut orphans = session.begin(&self.shared, &needs, &mut self.state).await?;
        let mut changes = ChangeSet::default();
        let mut results = Vec::with_capacity(group.len());
        for queued in group.iter() {
            results.push(self.apply(queued, &mut orphans, &mut changes));
        }
        for (queued, result) in group.iter_mut().zip(&results) {
            queued.commit_state.on_applied(result.changes_state());
        }
        // Also while a long queue is written: another replica would adopt what is still in it.
        changes.heartbeat |= self.database.is_shared() && self.last_heartbeat.elapsed() >= HEARTBEAT_INTERVAL;
        let commit_start = Instant::now();
        session.commit(&changes, &self.state, &mut self.committing).await?;
        if changes.heartbeat {
            self.last_heartbeat = heartbeat_at;
            if self.database.is_shared() {
                self.shared.lock_ownership().renew(heartbeat_at, Instant::now());
            }
        }
        self.report(&changes, commit_start);
        self.has_expired |= group.iter().any(|queued| matches!(queued.command, Command::Heartbeat));
        for (queued, result) in group.iter_mut().zip(results) {
            self.respond(queued, result);
        }
        self.session = Some(session);
        Ok(())
    }

    fn report(&self, changes: &ChangeSet, start: Instant) {
        if !changes.entries.is_empty() {
            self.shared.metrics.on_commit(start.elapsed().as_secs_f64());
            changes.entries.iter().for_each(|_| self.shared.metrics.on_ledger_entry());
            changes.feed.iter().for_each(|(system, change)| self.shared.metrics.on_change(system, *change));
            self.shared.advance_head(self.state.head.seq);
        }
        if let Some((seq, _)) = changes.clock_step {
            tracing::warn!(seq, "the clock went back; the ledger's entries from this one on have the new time");
        }
    }

    /// Deletes one chunk of expired rows, so that waiting commands are served between two chunks.
    async fn delete_expired(&mut self) {
        if !std::mem::take(&mut self.has_expired) {
            return;
        }
        let now_ms = self.state.now_ms();
        self.state.leases.retain(|_, lease| lease.expires_ms > now_ms);
        let Some(mut session) = self.session.take() else { return };
        match timeout(TX_TIMEOUT, session.delete_expired(&self.shared, &self.state)).await {
            Ok(Ok(has_more)) => {
                self.has_expired = has_more;
                self.session = Some(session);
            }
            // The next group finds no connection and makes one.
            Ok(Err(error)) => tracing::warn!(failure = error.to_string(), "store retention failed"),
            Err(_) => tracing::warn!(failure = TIMED_OUT, "store retention failed"),
        }
    }

    fn apply(
        &mut self,
        queued: &QueuedCommand,
        orphans: &mut Vec<StoredOperation>,
        changes: &mut ChangeSet,
    ) -> CommandResult {
        let (state, key_ttl, is_retry) = (&mut self.state, self.shared.key_ttl(), queued.is_retry);
        match &queued.command {
            Command::Acquire { system, record, ttl_ms } => {
                return CommandResult::Acquired(state.acquire(system, record, *ttl_ms, changes));
            }
            Command::Renew { lease, ttl_ms } => return CommandResult::Renewed(state.renew(lease, *ttl_ms, changes)),
            Command::Release { lease } => state.release(lease, changes),
            Command::Begin(intent) if !queued.must_begin && state.is_taken(&intent.operation) => {
                return CommandResult::OwnedElsewhere;
            }
            Command::Begin(intent) => {
                return CommandResult::Begun(state.begin(intent, queued.must_begin, changes), None);
            }
            Command::SaveInterim { operation, response, replay_json } => {
                state.save_interim_outcome(operation, *response, replay_json.as_deref(), changes);
            }
            // The outcome of a retry may be in the database already; another replica's is not it.
            Command::Finish(outcome) => {
                let is_stored = is_retry && state.ended.get(&outcome.operation) == Some(&outcome.state);
                return CommandResult::Finished(state.finish(outcome, key_ttl, changes) || is_stored);
            }
            Command::CancelUnclaimed(operation) => {
                state.finish(&Arc::new(Outcome::not_sent(operation)), key_ttl, changes);
            }
            Command::Adopt { .. } => {
                let adopted = state.adopt(std::mem::take(orphans), changes);
                self.unclaimed = adopted.iter().map(|orphan| orphan.operation.clone()).collect();
                return CommandResult::Adopted(adopted);
            }
            Command::Cut { seq, hash } => {
                state.cut(*seq, *hash, changes);
                self.has_expired = true;
            }
            Command::RecordVerdict(verdict) => {
                return CommandResult::Verdict(state.record_verdict(verdict, key_ttl, changes));
            }
            Command::WarnContradictedVerdict { operation, found } => {
                state.warn_contradicted_verdict(operation, *found, changes);
            }
            Command::SaveToken { system, sealed } => {
                changes.tokens.insert(Arc::clone(system), Arc::clone(sealed));
            }
            Command::SaveShown { etag, fields } => {
                let expires_ms = state.now_ms().saturating_add(self.shared.remember_shown_ms);
                changes.shown.insert(Arc::clone(etag), (Arc::clone(fields), expires_ms));
            }
            Command::StoreReplay { claim, replay_json } => {
                return CommandResult::ReplayStored(state.store_replay(claim, replay_json, is_retry, key_ttl, changes));
            }
            Command::StoreBatch { rows, key } => {
                return CommandResult::BatchStored(state.store_batch(rows, key.as_ref(), key_ttl, changes));
            }
            Command::SaveBatchRows { rows, lease } => {
                return CommandResult::BatchRowsSaved(state.save_batch_rows(rows, lease.as_ref(), changes));
            }
            // No other process checks whether the only writer of a file is alive.
            command @ (Command::Heartbeat | Command::CheckWritable) => {
                changes.heartbeat |= self.database.is_shared() || matches!(command, Command::CheckWritable);
            }
            Command::Flush => {}
        }
        CommandResult::Done
    }

    /// Sends the response of a command. Only here does a `Started` get its guard: the results of a
    /// failed attempt reach nobody.
    fn respond(&mut self, queued: &mut QueuedCommand, mut result: CommandResult) {
        self.update_blocking_index(queued, &result);
        if let (Command::Begin(intent), CommandResult::Begun(BeginResult::Started, guard), Some(_)) =
            (&queued.command, &mut result, &queued.response_tx)
        {
            let command_tx = self.command_tx.upgrade();
            *guard = command_tx.map(|command_tx| CancelUnclaimedGuard::new(intent.operation.clone(), command_tx));
        }
        if matches!(result, CommandResult::OwnedElsewhere) {
            queued.send_response(Err(JournalError::CommitUnknown));
            return;
        }
        if let (Command::Finish(outcome), CommandResult::Finished(false)) = (&queued.command, &result) {
            self.compare_with_verdict(outcome);
        }
        let adopted = matches!(result, CommandResult::Adopted(_));
        if queued.send_response(Ok(result)) && adopted {
            self.unclaimed.clear();
        }
    }

    /// Another outcome is the final one. If it is a wrong verdict, the operation gets a warning.
    fn compare_with_verdict(&self, outcome: &Outcome) {
        let found = outcome.state;
        if found != OperationState::Unknown
            && let Some(command_tx) = self.command_tx.upgrade()
        {
            let command = Command::WarnContradictedVerdict { operation: outcome.operation.clone(), found };
            // If the writer ends before, nothing but the warning is lost.
            let _ = command_tx.send(QueuedCommand::new(command, None));
        }
    }

    /// Updates what the reads of this process see of queued and unresolved writes.
    fn update_blocking_index(&self, queued: &QueuedCommand, result: &CommandResult) {
        let (index, running) = (&self.shared.blocking, &self.state.running);
        let insert = |operation: &OperationId| {
            if let Some(running) = running.get(operation).filter(|running| running.blocks()) {
                index.insert(&running.intent);
            }
        };
        match (&queued.command, result) {
            (Command::Begin(intent), CommandResult::Begun(BeginResult::Started, _)) => insert(&intent.operation),
            (Command::SaveInterim { operation, response: InterimResponse::Unknown, .. }, _) => insert(operation),
            (_, CommandResult::Adopted(orphans)) => orphans.iter().for_each(|orphan| insert(&orphan.operation)),
            (Command::Finish(outcome), _) => index.remove(&outcome.operation),
            (Command::CancelUnclaimed(operation), _) => index.remove(operation),
            (Command::RecordVerdict(verdict), CommandResult::Verdict(VerdictResult::Recorded)) => {
                index.remove(&verdict.operation);
            }
            _ => {}
        }
    }
}
