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

/// A scan begins when no item runs that could still join it, which is seen after so long, or so
/// long after the first read.
const GATHER_PAUSE: Duration = Duration::from_millis(10);
const MAX_GATHER: Duration = Duration::from_secs(1);

type ReadResult = Result<VendorRecord, VendorError>;

/// What comes to a read that waits.
enum Signal {
    Read(ReadResult),
    /// The reads that wait need a scan, and this one is to make it.
    Lead(Lead),
}

/// A read that waits for a scan.
struct Waiting {
    id: RecordId,
    signal: oneshot::Sender<Signal>,
}

/// The reads of one collection.
#[derive(Default)]
struct Group {
    /// They wait for the next scan.
    waiting: Vec<Waiting>,
    /// The scan that runs is for them.
    scanning: Vec<Waiting>,
    has_leader: bool,
}

/// What the items of one batch share.
pub struct SharedReads {
    groups: RefCell<HashMap<(String, String), Group>>,
    /// How many items run at once. One that waits for a scan does not count.
    concurrency: usize,
    /// The slots that no item has.
    slots: Arc<Semaphore>,
}

/// An item's part in the reads of its batch.
#[derive(Clone)]
pub struct SharedReadTicket {
    reads: Rc<SharedReads>,
    slot: Rc<RefCell<Option<OwnedSemaphorePermit>>>,
}

impl fmt::Debug for SharedReadTicket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedReadTicket")
    }
}

impl SharedReads {
    /// For a batch of which `concurrency` items run at once.
    #[must_use]
    pub fn new(concurrency: usize) -> Rc<Self> {
        Rc::new(Self { groups: RefCell::default(), concurrency, slots: Arc::new(Semaphore::new(concurrency)) })
    }

    /// Waits until one more item may run.
    pub async fn enter(self: &Rc<Self>) -> SharedReadTicket {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        SharedReadTicket { reads: Rc::clone(self), slot: Rc::new(RefCell::new(slot)) }
    }
}

/// The right and the duty to make the next scan of a collection. When it is dropped, after its scan
/// or before, it goes to another read: no item scans for others beyond its own deadline.
struct Lead {
    reads: Rc<SharedReads>,
    key: (String, String),
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(next) = self.reads.take_first_waiting(&self.key) else { return };
        let lead = Self { reads: Rc::clone(&self.reads), key: self.key.clone() };
        // A read that is gone drops it, and so it goes to the one after.
        drop(next.signal.send(Signal::Lead(lead)));
    }
}

impl SharedReadTicket {
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
        self.release_slot();
        let shared = timeout_at(deadline, self.read_shared((system, transport), &key, id)).await;
        let late = |_| VendorError::new(VendorErrorKind::Timeout).message("the scan of the collection took too long");
        let shared = shared.map_err(late)?;
        let slot = Arc::clone(&self.reads.slots).acquire_owned().await.ok();
        self.slot.replace(slot);
        match shared {
            Some(result) => result,
            None => system.adapter.read(transport, id).await,
        }
    }

    /// `None` where nobody scans.
    async fn read_shared(
        &self,
        (system, transport): (&System, &dyn Transport),
        key: &(String, String),
        id: &RecordId,
    ) -> Option<ReadResult> {
        let mut given = None;
        loop {
            let (sender, signal) = oneshot::channel();
            let first = self.reads.join(key, Waiting { id: id.clone(), signal: sender });
            if let Some(lead) = given.take().or(first) {
                lead.scan(system, transport).await;
            }
            match signal.await.ok()? {
                Signal::Read(result) => return Some(result),
                Signal::Lead(lead) => given = Some(lead),
            }
        }
    }
}

impl SharedReads {
    /// Adds a read to those that wait. The first one leads.
    fn join(self: &Rc<Self>, key: &(String, String), waiting: Waiting) -> Option<Lead> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.entry(key.clone()).or_default();
        group.waiting.push(waiting);
        let is_first = !std::mem::replace(&mut group.has_leader, true);
        is_first.then(|| Lead { reads: Rc::clone(self), key: key.clone() })
    }

    /// The read that leads next. It joins again with its lead. Without one the group is over.
    fn take_first_waiting(&self, key: &(String, String)) -> Option<Waiting> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.get_mut(key)?;
        // A scan that did not end has a result for nobody.
        let mut waiting = std::mem::take(&mut group.scanning);
        waiting.append(&mut group.waiting);
        group.waiting = waiting;
        if group.waiting.is_empty() {
            groups.remove(key);
            return None;
        }
        Some(group.waiting.remove(0))
    }
}

impl Lead {
    /// One scan, for all reads that wait when it begins.
    async fn scan(self, system: &System, transport: &dyn Transport) {
        self.gather().await;
        let ids: Vec<RecordId> = match self.reads.groups.borrow_mut().get_mut(&self.key) {
            Some(group) => {
                group.scanning = std::mem::take(&mut group.waiting);
                group.scanning.iter().map(|waiting| waiting.id.clone()).collect()
            }
            None => return,
        };
        let results = system.adapter.read_many(transport, &ids).await;
        let scanned =
            self.reads.groups.borrow_mut().get_mut(&self.key).map(|group| std::mem::take(&mut group.scanning));
        for (waiting, result) in scanned.into_iter().flatten().zip(results) {
            // An item that is gone needs no result.
            let _ = waiting.signal.send(Signal::Read(result));
        }
    }

    /// Waits for the reads that may be about to join.
    async fn gather(&self) {
        let until = Instant::now() + MAX_GATHER;
        loop {
            sleep(GATHER_PAUSE).await;
            let has_running = self.reads.slots.available_permits() < self.reads.concurrency;
            if !has_running || Instant::now() >= until {
                return;
            }
        }
    }
}
