//! What the handles and the journal's thread share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::blocking_index::BlockingIndex;
use super::model::{Durability, Intent, JournalMetrics};
use super::ownership::Ownership;

/// The settings, counters and flags that handles and the writer share.
pub(super) struct Shared {
    pub(super) durability: Durability,
    /// The id of this instance, new at each start.
    pub(super) instance: String,
    pub(super) idempotency_ttl_ms: i64,
    pub(super) retention_ms: i64,
    /// How long states that callers got are kept; 0 = they are not.
    pub(super) remember_shown_ms: i64,
    pub(super) metrics: Arc<dyn JournalMetrics>,
    /// How many commands wait in the queue.
    pub(super) queued: AtomicUsize,
    /// How many commands must persist and are not written yet.
    pub(super) unpersisted: AtomicUsize,
    pub(super) healthy: AtomicBool,
    pub(super) blocking: BlockingIndex,
    /// Milliseconds added to the clock, so that tests need not wait.
    pub(super) skew_ms: AtomicI64,
    pub(super) stop: Notify,
    /// The number of the newest entry that this instance has seen.
    pub(super) head: watch::Sender<i64>,
    pub(super) floor: Mutex<Option<FeedFloor>>,
    pub(super) ownership: Mutex<Ownership>,
}

/// How long a key replays an outcome, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyTtl {
    pub(super) single_ms: i64,
    /// As long as a stored batch is kept: it can resume late, and must then find what it has begun.
    pub(super) stored_batch_ms: i64,
}

impl KeyTtl {
    /// Of an intent that was read from the store it is not known whether its batch is stored: the
    /// key of any item is then kept for the longer time.
    pub(super) fn of(self, intent: &Intent) -> i64 {
        let claim = intent.idempotency.as_ref();
        self.of_item(claim.map_or(intent.batch_item.is_some(), |claim| claim.is_of_stored_batch))
    }

    /// Of a write that is an item of a stored batch, or not.
    pub(super) fn of_item(self, is_of_stored_batch: bool) -> i64 {
        if is_of_stored_batch { self.stored_batch_ms } else { self.single_ms }
    }
}

/// Where the kept events of the feed begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedFloor {
    /// The position before the oldest event that is kept.
    pub(super) position: i64,
    /// For how long events are kept, in milliseconds.
    pub(super) retention_ms: i64,
    /// When this was found, in milliseconds since 1970.
    pub(super) found_ms: i64,
}

impl Shared {
    pub(super) fn lock_floor(&self) -> MutexGuard<'_, Option<FeedFloor>> {
        // Poisoning is harmless: each critical section is one assignment.
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_ownership(&self) -> MutexGuard<'_, Ownership> {
        // Poisoning is harmless: each critical section is one assignment.
        self.ownership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest entry that this instance has seen has this number, or a later one.
    pub(super) fn advance_head(&self, seq: i64) {
        self.head.send_if_modified(|head| {
            let is_new = seq > *head;
            *head = seq.max(*head);
            is_new
        });
    }

    pub(super) fn key_ttl(&self) -> KeyTtl {
        let single_ms = self.idempotency_ttl_ms;
        KeyTtl { single_ms, stored_batch_ms: single_ms.max(self.retention_ms) }
    }

    /// Operations that finished before this time (milliseconds since 1970) are not kept.
    pub(super) fn retention_cutoff_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.retention_ms)
    }

    /// The process's clock in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond().saturating_add(self.skew_ms())
    }

    pub(super) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }
}
