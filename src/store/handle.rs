//! The handle through which callers use the store. `reads` and `writes` have its methods.

mod reads;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::AnyPool;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use super::async_write_index::AsyncWriteIndex;
use super::backend::Backend;
use super::command::{CommandResult, QueuedCommand, StoreCommand};
use super::error::StoreError;
use super::model::{StoreMetrics, StoreSettings};
use super::open_batch::OpenBatchSlot;
use super::shared::StoreShared;
use super::{queries, store_thread};

/// The most commands in the writer's queue.
pub(super) const MAX_QUEUED: usize = 4096;
/// The most concurrent reads, most of which wait for a connection.
const MAX_READS: usize = 512;
/// The longest a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct StoreInner {
    pub(super) shared: Arc<StoreShared>,
    command_tx: mpsc::UnboundedSender<QueuedCommand>,
    runtime: tokio::runtime::Handle,
    readers: AnyPool,
    read_permits: Arc<Semaphore>,
    /// Whether the store's thread has ended.
    ended: watch::Receiver<bool>,
}

/// The store. It is cheap to clone and usable from any thread. When the last clone is dropped, the
/// writer still writes the commands in its queue.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<StoreInner>,
}

impl Store {
    /// Opens the store, brings its schema up to date and starts its thread.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the reason.
    pub async fn open(settings: StoreSettings, metrics: Arc<dyn StoreMetrics>) -> Result<Self, StoreError> {
        let shared = Arc::new(StoreShared {
            backend: Backend::parse(&settings.url)?,
            durability: settings.durability,
            instance: uuid::Uuid::now_v7().to_string(),
            idempotency_ttl_ms: to_millis(settings.idempotency_ttl),
            retention_ms: to_millis(settings.retention),
            metrics,
            queued: AtomicUsize::new(0),
            unpersisted: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            async_writes: AsyncWriteIndex::default(),
            open_batch: OpenBatchSlot::default(),
            skew_ms: AtomicI64::new(0),
            stop: Notify::new(),
        });
        let (command_tx, command_rx) = mpsc::unbounded_channel();
        let (startup_tx, startup) = oneshot::channel();
        let (ended_tx, ended) = watch::channel(false);
        let (weak_tx, thread_shared) = (command_tx.downgrade(), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                store_thread::run(&thread_shared, command_rx, weak_tx, startup_tx);
                thread_shared.backend.remove_temp_files();
                // All handles may be gone.
                let _ = ended_tx.send(true);
            })
            .map_err(|error| StoreError::Open(error.to_string()))?;
        let (runtime, readers) = startup.await.map_err(|_| StoreError::Open("its thread ended".into()))??;
        let read_permits = Arc::new(Semaphore::new(MAX_READS));
        Ok(Self { inner: Arc::new(StoreInner { shared, command_tx, runtime, readers, read_permits, ended }) })
    }

    /// Whether the last attempt to write succeeded. The writer writes at least every 5 seconds.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.inner.shared.healthy.load(Ordering::Acquire) && !*self.inner.ended.borrow()
    }

    /// Checks that the store can be read and written now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|pool| async move { queries::ping(&pool).await }).await?;
        self.submit(StoreCommand::Probe).await.map(|_| ())
    }

    /// Writes what waits, for at most `timeout`, and ends the store's thread. Later calls are
    /// `Unavailable`. `false` = something is left unwritten.
    pub async fn close(&self, timeout: Duration) -> bool {
        let store = self.clone();
        // On the store's runtime: it works whatever the caller's runtime does with time.
        let task = self.inner.runtime.spawn(async move {
            let flush_all = async {
                loop {
                    let flushed = store.submit(StoreCommand::Flush).await.is_ok();
                    if flushed && store.inner.shared.unpersisted.load(Ordering::Acquire) == 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(timeout, flush_all).await.is_ok()
        });
        let written = task.await.unwrap_or(false);
        self.stop().await;
        written
    }

    /// Ends the thread without writing what waits.
    pub(super) async fn stop(&self) {
        self.inner.shared.stop.notify_one();
        let mut ended = self.inner.ended.clone();
        // An error means that the thread is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Queues a command unless the queue is full, and waits for its result.
    pub(super) async fn submit(&self, command: StoreCommand) -> Result<CommandResult, StoreError> {
        let queued = &self.inner.shared.queued;
        if queued.fetch_add(1, Ordering::AcqRel) >= MAX_QUEUED {
            queued.fetch_sub(1, Ordering::AcqRel);
            return Err(StoreError::Unavailable);
        }
        self.enqueue(command).await
    }

    /// Queues a command even if the queue is full: an outcome must not be lost.
    fn submit_persistent(
        &self,
        command: StoreCommand,
    ) -> impl Future<Output = Result<CommandResult, StoreError>> + use<> {
        self.inner.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.enqueue(command)
    }

    /// Queues a command at once. The future waits for its result.
    fn enqueue(&self, command: StoreCommand) -> impl Future<Output = Result<CommandResult, StoreError>> + use<> {
        let (response_tx, response) = oneshot::channel();
        let sent = self.inner.command_tx.send(QueuedCommand::new(command, Some(response_tx)));
        async move {
            sent.map_err(|_| StoreError::Unavailable)?;
            response.await.map_err(|_| StoreError::Unavailable)?
        }
    }

    /// In relaxed mode, waits until everything acknowledged is written, so that a read sees it.
    async fn flush(&self) -> Result<(), StoreError> {
        if self.inner.shared.acks_before_commit() {
            self.submit(StoreCommand::Flush).await?;
            if self.inner.shared.unpersisted.load(Ordering::Acquire) > 0 {
                return Err(StoreError::Unavailable);
            }
        }
        Ok(())
    }

    /// Runs a query on the store's runtime.
    async fn read<T, Q, F>(&self, query: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(AnyPool) -> F + Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        // Reads continue while the writer cannot write.
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

pub(super) fn to_millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}
