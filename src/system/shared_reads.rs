//! Reads that the items of one batch share: where a vendor has no read of one record, one scan of
//! its list answers many (contract 4.10).
//!
//! A scan begins after every read that it answers. An item that holds a lease therefore compares a
//! state from within its lease, as a request alone does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::System;
use crate::record::{RecordId, VendorError, VendorErrorKind, VendorRecord};
use crate::transport::Transport;

/// A scan begins when no read has joined it for so long, and at most so long after the first.
const GATHER_PAUSE: Duration = Duration::from_millis(10);
const MAX_GATHER: Duration = Duration::from_millis(100);

type ReadResult = Result<VendorRecord, VendorError>;

/// The reads that wait for the next scan of one collection.
#[derive(Default)]
struct Group {
    waiting: Vec<(RecordId, oneshot::Sender<ReadResult>)>,
    has_leader: bool,
}

/// What the items of one batch share.
pub struct SharedReads {
    groups: RefCell<HashMap<(String, String), Group>>,
    /// How many items run at once. One that waits for a scan does not count.
    slots: Arc<Semaphore>,
}

/// An item's part in the reads of its batch.
#[derive(Clone)]
pub struct ReadShare {
    reads: Rc<SharedReads>,
    slot: Rc<RefCell<Option<OwnedSemaphorePermit>>>,
}

impl fmt::Debug for ReadShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReadShare")
    }
}

impl SharedReads {
    /// For a batch of which `concurrency` items run at once.
    #[must_use]
    pub fn new(concurrency: usize) -> Rc<Self> {
        Rc::new(Self { groups: RefCell::default(), slots: Arc::new(Semaphore::new(concurrency)) })
    }

    /// Waits until one more item may run.
    pub async fn enter(self: &Rc<Self>) -> ReadShare {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        ReadShare { reads: Rc::clone(self), slot: Rc::new(RefCell::new(slot)) }
    }
}

/// Removes a group when its leading item ends, also by being dropped.
struct GroupGuard<'r> {
    reads: &'r SharedReads,
    key: &'r (String, String),
}

impl Drop for GroupGuard<'_> {
    fn drop(&mut self) {
        // Those that still wait read by themselves.
        self.reads.groups.borrow_mut().remove(self.key);
    }
}

impl ReadShare {
    /// Gives the slot of this item to another one.
    pub fn release_slot(&self) {
        drop(self.slot.take());
    }

    /// Reads one record, together with the other items that read the same collection now.
    pub(super) async fn read(
        &self,
        (system, transport): (&System, &dyn Transport),
        id: &RecordId,
        deadline: Instant,
    ) -> ReadResult {
        let key = (system.name.as_str().to_owned(), id.collection().to_owned());
        let (result_tx, result) = oneshot::channel();
        let is_leader = {
            let mut groups = self.reads.groups.borrow_mut();
            let group = groups.entry(key.clone()).or_default();
            group.waiting.push((id.clone(), result_tx));
            !std::mem::replace(&mut group.has_leader, true)
        };
        self.release_slot();
        if is_leader {
            let group = GroupGuard { reads: &self.reads, key: &key };
            group.scan_for_all(system, transport).await;
        }
        let late = |_| VendorError::new(VendorErrorKind::Timeout).message("the scan of the collection took too long");
        let shared = timeout_at(deadline, result).await.map_err(late)?;
        let slot = Arc::clone(&self.reads.slots).acquire_owned().await.ok();
        self.slot.replace(slot);
        match shared {
            Ok(result) => result,
            // The leading item was dropped before it scanned.
            Err(_) => system.adapter.read(transport, id).await,
        }
    }
}

impl GroupGuard<'_> {
    /// Scans until no item waits.
    async fn scan_for_all(&self, system: &System, transport: &dyn Transport) {
        loop {
            self.gather().await;
            let waiting = match self.reads.groups.borrow_mut().get_mut(self.key) {
                Some(group) => std::mem::take(&mut group.waiting),
                None => Vec::new(),
            };
            if waiting.is_empty() {
                return;
            }
            let (ids, senders): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let results = system.adapter.read_many(transport, &ids).await;
            for (sender, result) in senders.into_iter().zip(results) {
                // An item that is gone needs no result.
                let _ = sender.send(result);
            }
        }
    }

    /// Waits for the reads that are about to join.
    async fn gather(&self) {
        let until = Instant::now() + MAX_GATHER;
        let count = || self.reads.groups.borrow().get(self.key).map_or(0, |group| group.waiting.len());
        let mut before = count();
        while before > 0 && Instant::now() < until {
            sleep(GATHER_PAUSE).await;
            let now = count();
            if now == before {
                return;
            }
            before = now;
        }
    }
}
