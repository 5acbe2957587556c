//! What must not be forgotten: operations, idempotency keys, leases and the ledger (contract 4.3 to 4.5, 4.9, 5).
//!
//! One [`Store`], two engines: SQLite, embedded, one file, nothing to install; and PostgreSQL, shared by several replicas.
//! Both go through sqlx's `Any` driver, so there is one code path and one dialect (`$1`, TEXT, BIGINT, bytes); what differs
//! stands in `engine.rs`. sqlx because it speaks to both from one crate, asynchronously, with prepared statements that it
//! keeps, and numbers the steps of the schema; a crate per engine would mean two of everything here.
//!
//! The store lives on a thread with a runtime of its own: database connections belong to one reactor, and callers come from
//! many. One writer takes all commands that wait, decides them against the board of what runs, writes them in one
//! transaction, commits once and answers all (group commit). Where it may answer before the commit, callers decide for themselves
//! what they can (see `inline_path`). Reads run beside it. On PostgreSQL the writers of all replicas
//! take turns on the `head` row, which is also what keeps the ledger one chain.
//!
//! When the database fails, writes are refused at once and nothing that was promised is lost: it is kept in memory and
//! written when the database is back.

mod async_write_index;
mod backend;
mod block_reader;
mod command;
mod error;
mod inline_path;
mod ledger;
mod ledger_block;
mod ledger_only_operations;
mod ledger_query;
mod model;
mod preload;
mod queries;
mod retention;
mod schema;
mod sql;
mod store_thread;
mod verify;
mod write_set;
mod writer;
mod writer_state;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use memchr::memchr;
use sqlx::AnyPool;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

pub use error::StoreError;
pub use ledger::{LedgerEntry, LedgerEvent};
pub use model::{
    BeginResult, ChangedPaths, Durability, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Lease,
    LeaseResult, LedgerQuery, OperationQuery, OrphanedOperation, Outcome, Page, RecoveryPayload, StoreMetrics,
    StoreSettings,
};
pub use verify::{ChainError, VerifyReport, verify_ledger};

use crate::record::{ObservedState, Operation, OperationId};
use async_write_index::AsyncWriteIndex;
use backend::Backend;
use command::{CommandResult, QueuedCommand, StoreCommand};
use inline_path::SharedState;
use store_thread::{StoreShared, run};

/// The most commands that wait for the writer.
const MAX_QUEUED: usize = 4096;
/// The most reads at once, most of them waiting for a connection.
const MAX_READS: usize = 512;
/// The longest a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

struct StoreInner {
    shared: Arc<StoreShared>,
    commands: mpsc::UnboundedSender<QueuedCommand>,
    runtime: tokio::runtime::Handle,
    readers: AnyPool,
    read_permits: Arc<Semaphore>,
    ended: watch::Receiver<bool>,
}

/// The store. Cheap to clone; usable from any thread. When the last clone is dropped, what waits is still written.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
}

impl Store {
    /// Opens the store, brings its schema up to date and starts its thread.
    ///
    /// # Errors
    /// [`StoreError::Open`], with what is wrong in a sentence.
    pub async fn open(settings: StoreSettings, metrics: Arc<dyn StoreMetrics>) -> Result<Self, StoreError> {
        let engine = Backend::parse(&settings.url)?;
        let shared = Arc::new(StoreShared {
            backend: engine,
            durability: settings.durability,
            instance: uuid::Uuid::now_v7().to_string(),
            idempotency_ttl_ms: to_millis(settings.idempotency_ttl),
            retention_ms: to_millis(settings.retention),
            metrics,
            queued: AtomicUsize::new(0),
            unpersisted: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            async_writes: AsyncWriteIndex::default(),
            open_batch: SharedState::default(),
            skew: AtomicI64::new(0),
            stop: Notify::new(),
        });
        let (commands, received) = mpsc::unbounded_channel();
        let (ready, opened) = oneshot::channel();
        let (end, ended) = watch::channel(false);
        let (sender, of_thread) = (commands.downgrade(), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                run(&of_thread, received, sender, ready);
                of_thread.backend.remove_temp_files();
                // Nobody may be interested.
                let _ = end.send(true);
            })
            .map_err(|error| StoreError::Open(error.to_string()))?;
        let (runtime, readers) = opened.await.map_err(|_| StoreError::Open("its thread ended".into()))??;
        let reading = Arc::new(Semaphore::new(MAX_READS));
        Ok(Self { inner: Arc::new(StoreInner { shared, commands, runtime, readers, read_permits: reading, ended }) })
    }

    /// Asks for the lease of a record, for a guarded write.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn acquire(&self, system: &str, record: &str, ttl: Duration) -> Result<LeaseResult, StoreError> {
        match self
            .submit(StoreCommand::Acquire {
                system: replace_nul(system),
                record: replace_nul(record),
                ttl: to_millis(ttl),
            })
            .await?
        {
            CommandResult::Acquired(acquired) => Ok(acquired),
            _ => Err(StoreError::Unavailable),
        }
    }

    /// Extends a lease from now. `false` = it has expired or was taken over.
    ///
    /// # Errors
    /// `Unavailable`: the lease may expire.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        let answer = self.submit(StoreCommand::Renew { lease: lease.clone(), ttl: to_millis(ttl) }).await?;
        Ok(matches!(answer, CommandResult::Renewed(true)))
    }

    /// Gives a lease back. One that is somebody else's by now is left alone.
    ///
    /// # Errors
    /// `Unavailable`: it will expire by itself.
    pub async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.submit(StoreCommand::Release { lease: lease.clone() }).await.map(|_| ())
    }

    /// One call before a write is sent: looks at the idempotency key, the queued writes and the lease of the record, claims
    /// the key, remembers the operation and appends the intent to the ledger: all of it or, unless `Started`, nothing.
    ///
    /// The key is looked at first: a repeat is answered truthfully whatever else goes on.
    ///
    /// # Errors
    /// `Unavailable`: nothing was begun. `InDoubt`: perhaps it was. Either way nothing may be sent.
    pub async fn begin(&self, mut intent: Intent) -> Result<BeginResult, StoreError> {
        intent.caller = replace_nul_owned(intent.caller);
        intent.record = intent.record.map(replace_nul_owned);
        if let Some(claim) = &mut intent.idempotency {
            claim.key = replace_nul(&claim.key);
        }
        let intent = Arc::new(intent);
        if let Some(begun) = self.inner.shared.try_begin_inline(&intent) {
            return Ok(begun);
        }
        match self.submit(StoreCommand::Begin(intent)).await? {
            CommandResult::Begun(begun, guard) => {
                if let Some(guard) = guard {
                    guard.disarm();
                }
                Ok(begun)
            }
            _ => Err(StoreError::Unavailable),
        }
    }

    /// The caller was told something while the write goes on: its key replays this (JSON) until the operation is finished.
    ///
    /// # Errors
    /// `Unavailable`: it is kept and written later.
    pub async fn save_interim_outcome(
        &self,
        operation: &OperationId,
        told: InterimResponse,
        verdict: String,
    ) -> Result<(), StoreError> {
        self.submit_persistent(StoreCommand::SaveInterim {
            operation: operation.clone(),
            response: told,
            replay_json: verdict,
        })
        .await
        .map(|_| ())
    }

    /// One call after a write: settles the operation, appends the outcome to the ledger, stores the key's verdict (or
    /// forgets the key), gives the lease back and drops the settling material. The first outcome of an operation stands:
    /// `false` = this one does not, because somebody else has settled the operation or has taken it over to do so. (One that the
    /// store took only at a second try is told to stand.)
    ///
    /// With the call the outcome is the store's to keep, whatever becomes of the future.
    ///
    /// # Errors
    /// `Unavailable`: it is not written yet; it is kept in memory and will be.
    pub fn finish<O: Into<Arc<Outcome>>>(&self, outcome: O) -> impl Future<Output = Result<bool, StoreError>> + use<O> {
        let outcome = outcome.into();
        let here = self
            .inner
            .shared
            .try_finish_inline(&outcome)
            .ok_or_else(|| self.submit_persistent(StoreCommand::Finish(outcome)));
        async move {
            match here {
                Ok(stands) => Ok(stands),
                Err(owed) => Ok(!matches!(owed.await?, CommandResult::Finished(false))),
            }
        }
    }

    /// Takes over running operations whose instance is dead, oldest first, at most `limit`; of several replicas one wins.
    /// Each has to be settled and finished. Ask again until none is left; on PostgreSQL ask now and then.
    ///
    /// # Errors
    /// `Unavailable`: none was taken over.
    pub async fn adopt(&self, limit: usize) -> Result<Vec<OrphanedOperation>, StoreError> {
        match self.submit(StoreCommand::Adopt { limit: limit.try_into().unwrap_or(i64::MAX) }).await? {
            CommandResult::Adopted(unsettled) => Ok(unsettled),
            _ => Err(StoreError::Unavailable),
        }
    }

    /// What is known of an idempotency key, without claiming it; `None` = free.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`.
    pub async fn lookup_idempotency_key(
        &self,
        claim: &IdempotencyClaim,
    ) -> Result<Option<IdempotencyState>, StoreError> {
        let (claim, now) = (claim.clone(), self.inner.shared.now_ms());
        let claim =
            IdempotencyClaim { caller: replace_nul_owned(claim.caller), key: replace_nul_owned(claim.key), ..claim };
        self.read(move |pool| async move { queries::lookup_idempotency_key(&pool, &claim, now).await }).await
    }

    /// One operation.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`.
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, StoreError> {
        let (id, since) = (id.clone(), self.inner.shared.retention_cutoff());
        self.read(move |pool| async move { queries::operation(&pool, &id, since).await }).await
    }

    /// A page of operations, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Damaged`.
    pub async fn operations(&self, query: OperationQuery) -> Result<Page<Operation, OperationId>, StoreError> {
        let since = self.inner.shared.retention_cutoff();
        self.read(move |pool| async move { queries::operations(&pool, &query, since).await }).await
    }

    /// The queued write that runs on a record. Asked on every read: from memory where this process is the only writer.
    ///
    /// # Errors
    /// `Unavailable` (PostgreSQL only).
    pub async fn async_write_on(&self, system: &str, record: &str) -> Result<Option<OperationId>, StoreError> {
        if !self.inner.shared.backend.is_shared() {
            return Ok(self.inner.shared.async_writes.get(system, record));
        }
        let (system, record) = (replace_nul(system), replace_nul(record));
        self.read(move |pool| async move { queries::async_write_on(&pool, system, record).await }).await
    }

    /// Those of these records on which a queued write runs, each with it.
    ///
    /// # Errors
    /// `Unavailable` (PostgreSQL only).
    pub async fn async_writes_on(
        &self,
        system: &str,
        records: Vec<String>,
    ) -> Result<HashMap<String, OperationId>, StoreError> {
        if !self.inner.shared.backend.is_shared() {
            let pending = &self.inner.shared.async_writes;
            let running = |record: String| pending.get(system, &record).map(|operation| (record, operation));
            return Ok(records.into_iter().filter_map(running).collect());
        }
        let system = replace_nul(system);
        let running =
            self.read(move |pool| async move { queries::async_writes_of_system(&pool, system).await }).await?;
        Ok(running.into_iter().filter(|(record, _)| records.contains(record)).collect())
    }

    /// A page of the ledger, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, also where what was answered early cannot be written yet: whoever reads must not miss it. `Damaged`.
    pub async fn ledger(&self, query: LedgerQuery) -> Result<Page<LedgerEntry, i64>, StoreError> {
        self.flush().await?;
        self.read(move |pool| async move { ledger_query::list(&pool, &query).await }).await
    }

    /// Computes the whole chain again. `head` = a hash that was printed earlier and must still be in the chain.
    ///
    /// # Errors
    /// `Unavailable`. A broken chain is not an error but a finding.
    pub async fn verify(&self, head: Option<&str>) -> Result<VerifyReport, StoreError> {
        // What is written is sound or not, whatever is to come.
        let _ = self.flush().await;
        let (pool, head) = (self.inner.readers.clone(), head.map(str::to_owned));
        let task = self.inner.runtime.spawn(async move { verify::run(&pool, head.as_deref()).await });
        Ok(task.await.map_err(|_| StoreError::Unavailable)??)
    }

    /// How many running operations end with this process unsettled: all where it is the only writer, else its own.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_running(&self) -> Result<i64, StoreError> {
        let shared = &self.inner.shared;
        let owner = if shared.backend.is_shared() { shared.instance.clone() } else { String::new() };
        self.read(|pool| async move { queries::count_running(&pool, owner).await }).await
    }

    /// Whether the last try to write succeeded. A look, at least every 5 seconds, is taken without being asked.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.shared.healthy.load(Ordering::Acquire) && !*self.inner.ended.borrow()
    }

    /// Whether the store can be read and written just now: both are tried.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|pool| async move { queries::ping(&pool).await }).await?;
        self.submit(StoreCommand::Probe).await.map(|_| ())
    }

    /// Writes what waits, for at most `within`, and ends the store's thread; later calls are `Unavailable`.
    /// `false` = something is left unwritten.
    pub async fn close(&self, within: Duration) -> bool {
        let store = self.clone();
        // On the store's own clock: it works whatever the caller's runtime does with time.
        let task = self.inner.runtime.spawn(async move {
            let emptied = async {
                loop {
                    let flushed = store.submit(StoreCommand::Flush).await.is_ok();
                    if flushed && store.inner.shared.unpersisted.load(Ordering::Acquire) == 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(within, emptied).await.is_ok()
        });
        let written = task.await.unwrap_or(false);
        self.stop().await;
        written
    }

    /// Ends the thread where it stands.
    async fn stop(&self) {
        self.inner.shared.stop.notify_one();
        let mut ended = self.inner.ended.clone();
        // An error means that the thread is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    async fn submit(&self, task: StoreCommand) -> Result<CommandResult, StoreError> {
        let waiting = &self.inner.shared.queued;
        if waiting.fetch_add(1, Ordering::AcqRel) >= MAX_QUEUED {
            waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(StoreError::Unavailable);
        }
        self.send(task).await
    }

    /// Like `ask`, and never refused because the queue is full: what is finished must not be lost.
    fn submit_persistent(&self, task: StoreCommand) -> impl Future<Output = Result<CommandResult, StoreError>> + use<> {
        self.inner.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.send(task)
    }

    /// Sends at once; the future is the answer.
    fn send(&self, task: StoreCommand) -> impl Future<Output = Result<CommandResult, StoreError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inner.commands.send(QueuedCommand::new(task, Some(reply)));
        async move {
            sent.map_err(|_| StoreError::Unavailable)?;
            answer.await.map_err(|_| StoreError::Unavailable)?
        }
    }

    /// What was answered early must be seen by the reads that follow.
    async fn flush(&self) -> Result<(), StoreError> {
        if self.inner.shared.acks_before_commit() {
            self.submit(StoreCommand::Flush).await?;
            if self.inner.shared.unpersisted.load(Ordering::Acquire) > 0 {
                return Err(StoreError::Unavailable);
            }
        }
        Ok(())
    }

    async fn read<T, Q, F>(&self, query: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(AnyPool) -> F + Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        // Reads go on without the writer.
        let _ = self.flush().await;
        let Ok(permit) = Arc::clone(&self.inner.read_permits).try_acquire_owned() else {
            return Err(StoreError::Unavailable);
        };
        let pool = self.inner.readers.clone();
        let task = self.inner.runtime.spawn(async move {
            let _permit = permit;
            tokio::time::timeout(READ_TIMEOUT, query(pool)).await
        });
        Ok(task.await.map_err(|_| StoreError::Unavailable)?.map_err(|_| StoreError::Unavailable)??)
    }
}

fn to_millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

/// Names are compared with what the database gives back, and PostgreSQL takes no NUL.
fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn replace_nul_owned<T: AsRef<str> + From<String>>(text: T) -> T {
    if memchr(0, text.as_ref().as_bytes()).is_some() { replace_nul(text.as_ref()).into() } else { text }
}
