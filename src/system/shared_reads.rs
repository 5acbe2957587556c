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

/// A scan begins when no item of its system runs that has not read yet and could still join it,
/// which is seen after so long, or so long after the first read.
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
    /// The items that run and have not read yet, by their systems.
    before_read: RefCell<HashMap<String, usize>>,
    /// The slots that no item has: how many more may run at once. One that waits for a scan does
    /// not count.
    slots: Arc<Semaphore>,
}

/// An item that runs and has not read yet.
struct BeforeRead {
    reads: Rc<SharedReads>,
    system: String,
}

impl Drop for BeforeRead {
    fn drop(&mut self) {
        let mut before_read = self.reads.before_read.borrow_mut();
        if let Some(items) = before_read.get_mut(&self.system) {
            *items = items.saturating_sub(1);
        }
    }
}

/// An item's part in the reads of its batch.
#[derive(Clone)]
pub struct SharedReadTicket {
    reads: Rc<SharedReads>,
    slot: Rc<RefCell<Option<OwnedSemaphorePermit>>>,
    before_read: Rc<RefCell<Option<BeforeRead>>>,
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
        let slots = Arc::new(Semaphore::new(concurrency));
        Rc::new(Self { groups: RefCell::default(), before_read: RefCell::default(), slots })
    }

    /// Waits until one more item of a system may run.
    pub async fn enter(self: &Rc<Self>, system: &str) -> SharedReadTicket {
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        *self.before_read.borrow_mut().entry(system.to_owned()).or_default() += 1;
        let before_read = BeforeRead { reads: Rc::clone(self), system: system.to_owned() };
        SharedReadTicket {
            reads: Rc::clone(self),
            slot: Rc::new(RefCell::new(slot)),
            before_read: Rc::new(RefCell::new(Some(before_read))),
        }
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
    /// Waits for a slot, if the item has none, at most until its deadline: what it has begun must
    /// end then, with or without one.
    pub async fn take_slot(&self, deadline: Instant) {
        if self.slot.borrow().is_none() {
            let slot = timeout_at(deadline, Arc::clone(&self.reads.slots).acquire_owned()).await;
            self.slot.replace(slot.ok().and_then(Result::ok));
        }
    }

    /// Gives the slot of this item to another one; no scan waits for it any more.
    pub fn release_slot(&self) {
        drop(self.before_read.take());
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
        self.take_slot(deadline).await;
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
            let may_join = self.reads.before_read.borrow().get(&self.key.0).is_some_and(|items| *items > 0);
            if !may_join || Instant::now() >= until {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scan_waits_only_for_items_of_its_system_that_have_not_read() {
        let reads = SharedReads::new(8);
        let gather = async || {
            let begun = Instant::now();
            Lead { reads: Rc::clone(&reads), key: ("crm".to_owned(), "customers".to_owned()) }.gather().await;
            begun.elapsed()
        };
        let of_another_system = reads.enter("itsm").await;
        let has_read = reads.enter("crm").await;
        drop(has_read.before_read.take());
        assert_eq!(gather().await, GATHER_PAUSE);
        let may_join = reads.enter("crm").await;
        assert_eq!(gather().await, MAX_GATHER);
        may_join.release_slot();
        assert_eq!(gather().await, GATHER_PAUSE);
        drop((of_another_system, has_read, may_join));
        assert_eq!(reads.slots.available_permits(), 8);
        assert!(reads.before_read.borrow().values().all(|items| *items == 0));
    }
}
