//! The handle through which callers use the journal. `reads` and `writes` have its methods.

mod batches;
mod changes;
mod ledger;
mod reads;
mod writes;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::blocking_index::BlockingIndex;
use super::command::{Command, CommandResult, QueuedCommand};
use super::error::JournalError;
use super::journal_thread::{self, OpenJournal};
use super::model::{Durability, JournalMetrics, JournalSettings};
use super::readers::Reader;
use super::shared::Shared;
use super::store_url::Location;

/// The most commands in the writer's queue.
pub(super) const MAX_QUEUED: usize = 4096;
/// How often `close` checks whether everything is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct JournalInner {
    pub(super) shared: Arc<Shared>,
    pub(super) location: Location,
    command_tx: mpsc::UnboundedSender<QueuedCommand>,
    pub(super) reader: Reader,
    /// Whether the journal's thread has ended.
    pub(super) ended: watch::Receiver<bool>,
}

/// The journal. It is cheap to clone and usable from any thread. When the last clone is dropped,
/// the writer still writes the commands in its queue.
#[derive(Clone)]
pub struct Journal {
    pub(super) inner: Arc<JournalInner>,
}

impl Journal {
    /// Opens the journal, creates its tables if there are none and starts its thread.
    ///
    /// # Errors
    /// [`JournalError::Open`] with the reason.
    pub async fn open(settings: JournalSettings, metrics: Arc<dyn JournalMetrics>) -> Result<Self, JournalError> {
        Self::open_within(settings, metrics, Duration::ZERO).await
    }

    /// The same; while the server restarts or drops the connection, that is tried again for
    /// `retry_for`.
    ///
    /// # Errors
    /// [`JournalError::Open`] with the reason.
    pub async fn open_within(
        settings: JournalSettings,
        metrics: Arc<dyn JournalMetrics>,
        retry_for: Duration,
    ) -> Result<Self, JournalError> {
        let location = Location::parse(&settings.url)?;
        let shared = Arc::new(Shared {
            durability: settings.durability,
            instance: uuid::Uuid::now_v7().to_string(),
            idempotency_ttl_ms: to_millis(settings.idempotency_ttl),
            retention_ms: to_millis(settings.retention),
            remember_shown_ms: to_millis(settings.remember_shown),
            metrics,
            queued: AtomicUsize::new(0),
            unpersisted: AtomicUsize::new(0),
            healthy: AtomicBool::new(true),
            blocking: BlockingIndex::default(),
            skew_ms: AtomicI64::new(0),
            stop: Notify::new(),
            head: watch::Sender::new(0),
            floor: Mutex::new(None),
            ownership: Mutex::default(),
        });
        let (command_tx, command_rx) = mpsc::unbounded_channel();
        let (started_tx, started) = oneshot::channel();
        let (ended_tx, ended) = watch::channel(false);
        let thread = journal_thread::ThreadArgs {
            shared: Arc::clone(&shared),
            location: location.clone(),
            command_rx,
            command_tx: command_tx.downgrade(),
            retry_for,
        };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                journal_thread::run(thread, started_tx);
                // All handles may be gone.
                let _ = ended_tx.send(true);
            })
            .map_err(|error| JournalError::Open(error.to_string()))?;
        let OpenJournal { reader } = started.await.map_err(|_| JournalError::Open("its thread ended".into()))??;
        let inner = JournalInner { shared, location, command_tx, reader, ended };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether other replicas may use the same database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.location.is_shared()
    }

    /// A check for a write that begins now: whether it is still this process's own. Another replica
    /// takes over the writes of one that has not reached the database for 8 s; the check fails
    /// while the last heartbeat is 4 s old or older, and for good after a pause of 7 s.
    pub fn ownership_check(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let epoch = self.inner.shared.lock_ownership().epoch();
        let shared = Arc::clone(&self.inner.shared);
        move || shared.lock_ownership().is_unbroken(epoch, Instant::now())
    }

    /// How long an idempotency key replays its outcome.
    #[must_use]
    pub fn idempotency_ttl(&self) -> Duration {
        Duration::from_millis(self.inner.shared.idempotency_ttl_ms.try_into().unwrap_or_default())
    }

    /// How long ended operations and batches are kept.
    #[must_use]
    pub fn retention(&self) -> Duration {
        Duration::from_millis(self.inner.shared.retention_ms.try_into().unwrap_or_default())
    }

    /// What a commit waits for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.inner.shared.durability
    }

    /// Checks that the database can be read and written now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<(), JournalError> {
        self.inner.reader.select("SELECT max(version) FROM schema_version", &[]).await?;
        self.submit(Command::CheckWritable).await.map(|_| ())
    }

    /// Writes what waits, for at most `timeout`, and ends the journal's thread. Later calls are
    /// `Unavailable`. `false` = something is left unwritten.
    pub async fn close(&self, timeout: Duration) -> bool {
        let (journal, (written_tx, written)) = (self.clone(), oneshot::channel());
        // A thread of its own: it works whatever the caller's runtime does with time, and while the
        // journal's thread waits for the database.
        let waiting = std::thread::Builder::new().name("journal-close".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let is_written = runtime.is_ok_and(|runtime| {
                runtime.block_on(async { tokio::time::timeout(timeout, journal.flush()).await.is_ok() })
            });
            let _ = written_tx.send(is_written);
        });
        let is_written = waiting.is_ok() && written.await.unwrap_or(false);
        self.stop().await;
        is_written
    }

    /// Waits until everything that must persist is written.
    async fn flush(&self) {
        loop {
            let flushed = self.submit(Command::Flush).await.is_ok();
            if flushed && self.inner.shared.unpersisted.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::time::sleep(FLUSH_INTERVAL).await;
        }
    }

    /// Ends the thread without writing what waits.
    pub(super) async fn stop(&self) {
        self.inner.shared.stop.notify_one();
        let mut ended = self.inner.ended.clone();
        // An error means that the thread is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Queues a command unless the queue is full, and waits for its result.
    pub(super) async fn submit(&self, command: Command) -> Result<CommandResult, JournalError> {
        let queued = &self.inner.shared.queued;
        if queued.fetch_add(1, Ordering::AcqRel) >= MAX_QUEUED {
            queued.fetch_sub(1, Ordering::AcqRel);
            return Err(JournalError::Unavailable);
        }
        self.enqueue(command).await
    }

    /// Queues a command even if the queue is full: an outcome must not be lost.
    fn submit_persistent(&self, command: Command) -> impl Future<Output = Result<CommandResult, JournalError>> + use<> {
        self.inner.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.enqueue(command)
    }

    /// Queues a command at once. The future waits for its result.
    fn enqueue(&self, command: Command) -> impl Future<Output = Result<CommandResult, JournalError>> + use<> {
        let (response_tx, response) = oneshot::channel();
        let sent = self.inner.command_tx.send(QueuedCommand::new(command, Some(response_tx)));
        async move {
            sent.map_err(|_| JournalError::Unavailable)?;
            response.await.map_err(|_| JournalError::Unavailable)?
        }
    }

    /// Queues a command without waiting for its result, unless the queue is full.
    pub(super) fn submit_without_result(&self, command: Command) {
        let queued = &self.inner.shared.queued;
        if queued.fetch_add(1, Ordering::AcqRel) >= MAX_QUEUED {
            queued.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        // Without a writer nothing is remembered any more.
        let _ = self.inner.command_tx.send(QueuedCommand::new(command, None));
    }
}

pub(super) fn to_millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}
