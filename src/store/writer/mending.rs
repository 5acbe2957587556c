//! What the writer does when the database fails: nothing that was promised is lost, and everything else is refused at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{sleep, timeout};

use super::{NO_ANSWER, PATIENCE, Writer, plain};
use crate::store::command::{Command, Doubt, Task};
use crate::store::{Intent, StoreError};

/// The first and the longest pause between two tries to reach a failing store.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// After so many rounds in which the store took writes, but not those that are owed, these alone must not stop all others.
const STUBBORN_ROUNDS: usize = 6;

impl Writer {
    /// After a failure: one command that the database cannot take must not fail the others, so each is tried alone.
    pub(super) async fn recover(&mut self, batch: Vec<Command>) {
        let mut batch = batch.into_iter();
        while let Some(command) = batch.next() {
            if command.is_over() {
                continue;
            }
            if self.follows_what_is_owed(&command) {
                self.keep_or_refuse(command);
                continue;
            }
            if self.connection.is_none() && !self.reconnect().await {
                self.set_healthy(false);
                self.keep_or_refuse(command);
                batch.for_each(|command| self.keep_or_refuse(command));
                break;
            }
            let mut alone = vec![command];
            if !self.attempt(&mut alone).await {
                for command in alone {
                    self.keep_or_refuse(command);
                }
            }
        }
        if self.connection.is_none() || !self.owed.is_empty() {
            self.mend().await;
        }
    }

    /// Whether there is a connection again. Why not is logged when it is another reason than the last time.
    async fn reconnect(&mut self) -> bool {
        let failure = match timeout(PATIENCE, self.connect()).await {
            Ok(Ok(())) => {
                self.away_because.clear();
                return true;
            }
            Ok(Err(error)) => plain(&error),
            Err(_) => NO_ANSWER.to_owned(),
        };
        self.connection = None;
        if failure != self.away_because {
            tracing::warn!(failure, "the store cannot be reached");
            self.away_because = failure;
        }
        false
    }

    /// Whether the beginning of its operation is still to be written: decided before that, it would find nothing to end.
    fn follows_what_is_owed(&self, command: &Command) -> bool {
        command.follows().is_some_and(|operation| {
            let begins = |owed: &Command| matches!(&owed.task, Task::Begin(intent) if intent.operation == *operation);
            self.owed.iter().any(begins)
        })
    }

    /// Keeps what has to wait until something that is owed is written.
    pub(super) fn keep_followers(&mut self, batch: Vec<Command>) -> Vec<Command> {
        let mut left = Vec::with_capacity(batch.len());
        for command in batch {
            if self.follows_what_is_owed(&command) {
                self.keep_or_refuse(command);
            } else {
                left.push(command);
            }
        }
        self.shared.owed.store(self.owed.len(), Ordering::Release);
        left
    }

    fn keep_or_refuse(&mut self, mut command: Command) {
        if command.is_over() {
            return;
        }
        if let Task::Begin(intent) = &command.task
            && !command.promised
            && command.again
        {
            let abandon = Command::new(Task::Abandon(intent.operation.clone()), None);
            if command.begun == Doubt::Open {
                // Its caller is told of the operation, which shall be there then, and never be sent. Its key may be another one's.
                let intent = Intent { claim: None, material: None, ..(**intent).clone() };
                let kept = Command { promised: true, again: true, ..Command::new(Task::Begin(Arc::new(intent)), None) };
                command.answer(Err(StoreError::InDoubt));
                self.owed.extend([kept, abandon]);
                return;
            }
            self.owed.push_back(abandon);
        }
        command.answer(Err(StoreError::Unavailable));
        if command.is_owed() {
            command.again = true;
            self.owed.push_back(command);
        }
    }

    /// Tries until the store is back; meanwhile every command is answered at once.
    async fn mend(&mut self) {
        let (first, longest) = PAUSES;
        let pauses = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest).without_max_times();
        for (round, pause) in pauses.build().enumerate() {
            if self.connection.is_some() || self.reconnect().await {
                self.replay().await;
                let stuck = self.owed.len();
                if self.connection.is_some() && (stuck == 0 || round >= STUBBORN_ROUNDS) {
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
                            self.took(1);
                            self.keep_or_refuse(command);
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// Writes what is owed, one by one. What the database does not take stays owed and is tried again later.
    pub(super) async fn replay(&mut self) {
        for _ in 0..self.owed.len() {
            let Some(command) = self.owed.pop_front() else { break };
            if self.follows_what_is_owed(&command) {
                self.owed.push_back(command);
                continue;
            }
            let mut alone = vec![command];
            let written = self.connection.is_some() && self.attempt(&mut alone).await;
            if !written {
                self.owed.extend(alone);
                if self.connection.is_none() {
                    // A value that is refused breaks the transaction, not the database.
                    self.reconnect().await;
                }
            }
        }
        self.shared.owed.store(self.owed.len(), Ordering::Release);
    }

    fn set_healthy(&self, healthy: bool) {
        self.shared.owed.store(self.owed.len(), Ordering::Release);
        if self.shared.healthy.swap(healthy, Ordering::AcqRel) != healthy {
            if healthy {
                tracing::info!("the store is back");
            } else {
                tracing::error!("the store cannot be written; writes are refused until it can");
            }
        }
    }
}
