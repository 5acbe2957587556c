//! What the store's handles and its thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::async_write_index::AsyncWriteIndex;
use super::backend::Backend;
use super::model::{Durability, StoreMetrics};
use super::open_batch::OpenBatchSlot;

/// The settings, counters and flags that handles and the writer share.
pub(super) struct StoreShared {
    pub(super) backend: Backend,
    pub(super) durability: Durability,
    /// The id of this instance, new at each start.
    pub(super) instance: String,
    pub(super) idempotency_ttl_ms: i64,
    pub(super) retention_ms: i64,
    pub(super) metrics: Arc<dyn StoreMetrics>,
    /// How many commands wait in the queue.
    pub(super) queued: AtomicUsize,
    /// How many commands must persist and are not written yet.
    pub(super) unpersisted: AtomicUsize,
    pub(super) healthy: AtomicBool,
    pub(super) async_writes: AsyncWriteIndex,
    pub(super) open_batch: OpenBatchSlot,
    /// Milliseconds added to the clock, so that tests need not wait.
    pub(super) skew_ms: AtomicI64,
    pub(super) stop: Notify,
}

impl StoreShared {
    /// Whether `begin` and `finish` return before the commit. No other process may decide
    /// differently meanwhile, so this is for SQLite; on PostgreSQL relaxed mode only skips the wait
    /// for the disk.
    pub(super) fn acks_before_commit(&self) -> bool {
        self.durability == Durability::Relaxed && !self.backend.is_shared()
    }

    /// Operations that finished before this time (milliseconds since 1970) are not kept.
    pub(super) fn retention_cutoff_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.retention_ms)
    }

    /// The process's clock in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond().saturating_add(self.skew_ms.load(Ordering::Relaxed))
    }
}
