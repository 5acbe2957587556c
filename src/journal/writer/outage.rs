//! What the writer does while the database fails: it keeps what must persist and rejects all else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};

use super::{TIMED_OUT, TX_TIMEOUT, Writer};
use crate::journal::command::{Command, CommitState, QueuedCommand};
use crate::journal::error::JournalError;
use crate::journal::model::Intent;

/// The shortest and the longest pause between two attempts to reconnect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After this many rounds, commands that the database alone refuses no longer hold up all others.
const MAX_STALLED_ROUNDS: usize = 6;

impl Writer {
    /// Runs the commands of a failed group one by one: a command that the database cannot take must
    /// not fail the others.
    pub(super) async fn retry_individually(&mut self, group: Vec<QueuedCommand>) {
        let mut group = group.into_iter();
        while let Some(queued) = group.next() {
            if queued.is_done() {
                continue;
            }
            if self.depends_on_requeued(&queued) {
                self.requeue_or_reject(queued);
                continue;
            }
            if self.session.is_none() && !self.reconnect().await {
                self.set_healthy(false);
                self.requeue_or_reject(queued);
                group.for_each(|queued| self.requeue_or_reject(queued));
                break;
            }
            let mut single = vec![queued];
            if !self.try_group(&mut single).await {
                for queued in single {
                    self.requeue_or_reject(queued);
                }
            }
        }
        if self.session.is_none() || !self.retry_queue.is_empty() {
            self.reconnect_loop().await;
        }
    }

    /// Connects and returns whether that succeeded. A failure is logged if it differs from the last
    /// one.
    async fn reconnect(&mut self) -> bool {
        let failure = match timeout(TX_TIMEOUT, self.connect()).await {
            Ok(Ok(())) => {
                self.last_error.clear();
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => TIMED_OUT.to_owned(),
        };
        self.session = None;
        if failure != self.last_error {
            tracing::warn!(failure, "store connection failed");
            self.last_error = failure;
        }
        false
    }

    /// Whether the intent of the command's operation is still in the retry queue: applied before
    /// that, the command would find no operation.
    fn depends_on_requeued(&self, queued: &QueuedCommand) -> bool {
        let Some(operation) = queued.depends_on() else { return false };
        self.retry_queue
            .iter()
            .any(|other| matches!(&other.command, Command::Begin(intent) if intent.operation == *operation))
    }

    /// Moves commands that depend on the retry queue behind it and returns the others.
    pub(super) fn requeue_dependents(&mut self, group: Vec<QueuedCommand>) -> Vec<QueuedCommand> {
        let mut independent = Vec::with_capacity(group.len());
        for queued in group {
            if self.depends_on_requeued(&queued) {
                self.requeue_or_reject(queued);
            } else {
                independent.push(queued);
            }
        }
        self.shared.unpersisted.store(self.retry_queue.len(), Ordering::Release);
        independent
    }

    /// Responds to the caller that its command failed, and keeps what must be written later all the
    /// same. A `Begin` that was written once, perhaps without a confirmation, may be in the
    /// database: it is cancelled there, because its caller sends nothing now.
    fn requeue_or_reject(&mut self, mut queued: QueuedCommand) {
        if queued.is_done() {
            return;
        }
        if let Command::Begin(intent) = &queued.command
            && !queued.must_begin
            && queued.is_retry
        {
            let cancel = QueuedCommand::new(Command::CancelUnclaimed(intent.operation.clone()), None);
            if queued.commit_state == CommitState::Unknown {
                // The caller's response names the operation, so it must exist and end as not sent.
                // Its idempotency key may belong to another operation by then.
                let intent = Intent { idempotency: None, recovery: None, ..(**intent).clone() };
                let begin = QueuedCommand {
                    must_begin: true,
                    is_retry: true,
                    ..QueuedCommand::new(Command::Begin(Arc::new(intent)), None)
                };
                queued.send_response(Err(JournalError::CommitUnknown));
                self.retry_queue.extend([begin, cancel]);
                return;
            }
            self.retry_queue.push_back(cancel);
        }
        let is_unknown = queued.commit_state == CommitState::Unknown;
        let error = match &queued.command {
            Command::StoreBatch { .. } | Command::SaveBatchRows { .. } if is_unknown => JournalError::CommitUnknown,
            _ => JournalError::Unavailable,
        };
        queued.send_response(Err(error));
        if queued.must_persist() {
            queued.is_retry = true;
            self.retry_queue.push_back(queued);
        }
    }

    /// Reconnects until the database works again. Meanwhile every command gets its response at
    /// once.
    async fn reconnect_loop(&mut self) {
        let (min, max) = BACKOFF;
        let pauses = ExponentialBuilder::default().with_min_delay(min).with_max_delay(max).without_max_times();
        for (round, pause) in pauses.build().enumerate() {
            if self.session.is_some() || self.reconnect().await {
                self.drain_retry_queue().await;
                let stuck = self.retry_queue.len();
                if self.session.is_some() && (stuck == 0 || round >= MAX_STALLED_ROUNDS) {
                    if stuck > 0 {
                        tracing::error!(stuck, "store refuses some writes that callers rely on; they are retried");
                    }
                    self.set_healthy(true);
                    return;
                }
            }
            self.set_healthy(false);
            let mut pause_end = std::pin::pin!(sleep(pause));
            loop {
                tokio::select! {
                    () = &mut pause_end => break,
                    queued = self.command_rx.recv() => match queued {
                        Some(queued) => {
                            self.count_dequeued(1);
                            self.requeue_or_reject(queued);
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// Writes the retry queue, one command at a time. What the database refuses stays in it.
    pub(super) async fn drain_retry_queue(&mut self) {
        for _ in 0..self.retry_queue.len() {
            let Some(queued) = self.retry_queue.pop_front() else { break };
            if self.depends_on_requeued(&queued) {
                self.retry_queue.push_back(queued);
                continue;
            }
            let mut single = vec![queued];
            let written = self.session.is_some() && self.try_group(&mut single).await;
            if !written {
                self.retry_queue.extend(single);
                if self.session.is_none() {
                    // A refused value breaks the transaction, not the database.
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
                tracing::info!("store recovered");
            } else {
                tracing::error!("store is not writable; writes are rejected until it is");
            }
        }
    }
}
