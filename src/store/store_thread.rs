//! The store's own thread, and what it shares with the handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use sqlx::AnyPool;
use tokio::sync::{Notify, mpsc, oneshot};

use super::async_write_index::AsyncWriteIndex;
use super::backend::Backend;
use super::command::QueuedCommand;
use super::inline_path::SharedState;
use super::writer::Writer;
use super::{Durability, StoreError, StoreMetrics};

/// What the handle and the writer share.
pub(super) struct StoreShared {
    pub(super) backend: Backend,
    pub(super) durability: Durability,
    pub(super) instance: String,
    pub(super) idempotency_ttl_ms: i64,
    pub(super) retention_ms: i64,
    pub(super) metrics: Arc<dyn StoreMetrics>,
    /// Commands in the queue.
    pub(super) queued: AtomicUsize,
    /// Commands that were promised and are not written.
    pub(super) unpersisted: AtomicUsize,
    pub(super) healthy: AtomicBool,
    pub(super) async_writes: AsyncWriteIndex,
    pub(super) open_batch: SharedState,
    /// Added to the clock, in milliseconds: tests do not wait.
    pub(super) skew: AtomicI64,
    pub(super) stop: Notify,
}

impl StoreShared {
    /// Whether `begin` and `finish` are answered before the commit. Only where no other process could decide differently
    /// meanwhile; PostgreSQL is relaxed by not waiting for its disk instead.
    pub(super) fn acks_before_commit(&self) -> bool {
        self.durability == Durability::Relaxed && !self.backend.is_shared()
    }

    /// From when on settled operations are kept, in milliseconds since 1970.
    pub(super) fn retention_cutoff(&self) -> i64 {
        self.now_ms().saturating_sub(self.retention_ms)
    }

    /// The process's own time in milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond().saturating_add(self.skew.load(Ordering::Relaxed))
    }
}

pub(super) type StartupResult = Result<(tokio::runtime::Handle, AnyPool), StoreError>;

/// The life of the store's thread.
pub(super) fn run(
    shared: &Arc<StoreShared>,
    received: mpsc::UnboundedReceiver<QueuedCommand>,
    sender: mpsc::WeakUnboundedSender<QueuedCommand>,
    ready: oneshot::Sender<StartupResult>,
) {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match made {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(StoreError::Open(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        let opened = async {
            let lock = shared.backend.lock()?;
            let writer = Writer::open(Arc::clone(shared), received, sender).await?;
            let writable = Arc::clone(shared);
            let readers = shared.backend.build_reader_pool(move || writable.healthy.load(Ordering::Acquire))?;
            Ok((lock, writer, readers))
        };
        match opened.await {
            Err(error) => {
                let _ = ready.send(Err(error));
            }
            Ok((_lock, writer, readers)) => {
                if ready.send(Ok((runtime.handle().clone(), readers.clone()))).is_err() {
                    return;
                }
                tokio::select! {
                    () = writer.run() => {}
                    () = shared.stop.notified() => {}
                }
                // Not waited for: a read that hangs must not keep the process.
                drop(readers.close());
            }
        }
    });
    runtime.shutdown_background();
}
