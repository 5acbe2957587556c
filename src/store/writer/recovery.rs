//! What the writer does when the database fails: nothing that was promised is lost, and everything else is refused at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};

use super::{TIMED_OUT, TX_TIMEOUT, Writer, error_text};
use crate::store::command::{CommitState, QueuedCommand, StoreCommand};
use crate::store::{Intent, StoreError};

/// The first and the longest pause between two tries to reach a failing store.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After so many rounds in which the store took writes, but not those that are owed, these alone must not stop all others.
const MAX_STALLED_ROUNDS: usize = 6;

impl Writer {
    /// After a failure: one command that the database cannot take must not fail the others, so each is tried alone.
    pub(super) async fn retry_individually(&mut self, batch: Vec<QueuedCommand>) {
        let mut batch = batch.into_iter();
        while let Some(command) = batch.next() {
            if command.is_done() {
                continue;
            }
            if self.depends_on_requeued(&command) {
                self.requeue_or_reject(command);
                continue;
            }
            if self.connection.is_none() && !self.reconnect().await {
                self.set_healthy(false);
                self.requeue_or_reject(command);
                batch.for_each(|command| self.requeue_or_reject(command));
                break;
            }
            let mut alone = vec![command];
            if !self.try_batch(&mut alone).await {
                for command in alone {
                    self.requeue_or_reject(command);
                }
            }
        }
        if self.connection.is_none() || !self.retry_queue.is_empty() {
            self.reconnect_loop().await;
        }
    }

    /// Whether there is a connection again. Why not is logged when it is another reason than the last time.
    async fn reconnect(&mut self) -> bool {
        let failure = match timeout(TX_TIMEOUT, self.connect()).await {
            Ok(Ok(())) => {
                self.last_error.clear();
                return true;
            }
            Ok(Err(error)) => error_text(&error),
            Err(_) => TIMED_OUT.to_owned(),
        };
        self.connection = None;
        if failure != self.last_error {
            tracing::warn!(failure, "the store cannot be reached");
            self.last_error = failure;
        }
        false
    }

    /// Whether the beginning of its operation is still to be written: decided before that, it would find nothing to end.
    fn depends_on_requeued(&self, command: &QueuedCommand) -> bool {
        command.depends_on().is_some_and(|operation| {
            let begins = |owed: &QueuedCommand| matches!(&owed.task, StoreCommand::Begin(intent) if intent.operation == *operation);
            self.retry_queue.iter().any(begins)
        })
    }

    /// Keeps what has to wait until something that is owed is written.
    pub(super) fn requeue_dependents(&mut self, batch: Vec<QueuedCommand>) -> Vec<QueuedCommand> {
        let mut left = Vec::with_capacity(batch.len());
        for command in batch {
            if self.depends_on_requeued(&command) {
                self.requeue_or_reject(command);
            } else {
                left.push(command);
            }
        }
        self.shared.unpersisted.store(self.retry_queue.len(), Ordering::Release);
        left
    }

    fn requeue_or_reject(&mut self, mut command: QueuedCommand) {
        if command.is_done() {
            return;
        }
        if let StoreCommand::Begin(intent) = &command.task
            && !command.acknowledged
            && command.is_retry
        {
            let abandon = QueuedCommand::new(StoreCommand::CancelUnclaimed(intent.operation.clone()), None);
            if command.commit_state == CommitState::Unknown {
                // Its caller is told of the operation, which shall be there then, and never be sent. Its key may be another one's.
                let intent = Intent { idempotency: None, recovery: None, ..(**intent).clone() };
                let kept = QueuedCommand {
                    acknowledged: true,
                    is_retry: true,
                    ..QueuedCommand::new(StoreCommand::Begin(Arc::new(intent)), None)
                };
                command.send_response(Err(StoreError::CommitUnknown));
                self.retry_queue.extend([kept, abandon]);
                return;
            }
            self.retry_queue.push_back(abandon);
        }
        command.send_response(Err(StoreError::Unavailable));
        if command.must_persist() {
            command.is_retry = true;
            self.retry_queue.push_back(command);
        }
    }

    /// Tries until the store is back; meanwhile every command is answered at once.
    async fn reconnect_loop(&mut self) {
        let (first, longest) = BACKOFF;
        let pauses = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).without_max_times();
        for (round, pause) in pauses.build().enumerate() {
            if self.connection.is_some() || self.reconnect().await {
                self.drain_retry_queue().await;
                let stuck = self.retry_queue.len();
                if self.connection.is_some() && (stuck == 0 || round >= MAX_STALLED_ROUNDS) {
                    if stuck > 0 {
                        tracing::error!(
                            stuck,
                            "the store takes writes, but not some that are owed; they are tried again"
                        );
                    }
                    self.set_healthy(true);
                    return;
                }
            }
            self.set_healthy(false);
            let mut over = std::pin::pin!(sleep(pause));
            loop {
                tokio::select! {
                    () = &mut over => break,
                    command = self.commands.recv() => match command {
                        Some(command) => {
                            self.dequeue(1);
                            self.requeue_or_reject(command);
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// Writes what is owed, one by one. What the database does not take stays owed and is tried again later.
    pub(super) async fn drain_retry_queue(&mut self) {
        for _ in 0..self.retry_queue.len() {
            let Some(command) = self.retry_queue.pop_front() else { break };
            if self.depends_on_requeued(&command) {
                self.retry_queue.push_back(command);
                continue;
            }
            let mut alone = vec![command];
            let written = self.connection.is_some() && self.try_batch(&mut alone).await;
            if !written {
                self.retry_queue.extend(alone);
                if self.connection.is_none() {
                    // A value that is refused breaks the transaction, not the database.
                    self.reconnect().await;
                }
            }
        }
        self.shared.unpersisted.store(self.retry_queue.len(), Ordering::Release);
    }

    fn set_healthy(&self, healthy: bool) {
        self.shared.unpersisted.store(self.retry_queue.len(), Ordering::Release);
        if self.shared.healthy.swap(healthy, Ordering::AcqRel) != healthy {
            if healthy {
                tracing::info!("the store is back");
            } else {
                tracing::error!("the store cannot be written; writes are refused until it can");
            }
        }
    }
}
