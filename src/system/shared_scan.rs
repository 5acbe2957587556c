//! Reads that the items of one batch share: where a vendor has no read of one record, one scan of
//! its list answers many (contract 4.10).
//!
//! A scan begins after every read that it answers. An item that holds a lease therefore compares a
//! state from within its lease, as a request alone does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::System;
use crate::record::{RecordId, VendorError, VendorRecord};
use crate::transport::Transport;

/// How often the first read of a scan checks whether an item of its system runs that has not read
/// yet and could still join. The scan begins when there is none.
const GATHER_PAUSE: Duration = Duration::from_millis(10);
/// How long a scan waits at most for such items.
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

/// The scans that the items of one batch share.
#[derive(Default)]
pub(super) struct SharedScans {
    /// By system and collection.
    groups: RefCell<HashMap<(String, String), Group>>,
    /// How many items run and have not read yet, by their systems.
    before_read: RefCell<HashMap<String, usize>>,
}

/// An item that runs and has not read yet.
pub(super) struct BeforeRead {
    scans: Rc<SharedScans>,
    system: String,
}

impl Drop for BeforeRead {
    fn drop(&mut self) {
        let mut before_read = self.scans.before_read.borrow_mut();
        if let Some(items) = before_read.get_mut(&self.system) {
            *items = items.saturating_sub(1);
        }
    }
}

/// The right and the duty to make the next scan of a collection. When it is dropped, after its scan
/// or before, it goes to another read: no item scans for others beyond its own deadline.
struct Lead {
    scans: Rc<SharedScans>,
    key: (String, String),
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(next) = self.scans.take_first_waiting(&self.key) else { return };
        let lead = Self { scans: Rc::clone(&self.scans), key: self.key.clone() };
        // A read that is gone drops it, and so it goes to the one after.
        drop(next.signal.send(Signal::Lead(lead)));
    }
}

impl SharedScans {
    /// Counts an item that runs and may read a record of a system.
    pub(super) fn enter(self: &Rc<Self>, system: &str) -> BeforeRead {
        *self.before_read.borrow_mut().entry(system.to_owned()).or_default() += 1;
        BeforeRead { scans: Rc::clone(self), system: system.to_owned() }
    }

    /// How many items of a system run and have not read yet.
    pub(super) fn items_before_read(&self, system: &str) -> usize {
        self.before_read.borrow().get(system).copied().unwrap_or_default()
    }

    /// Reads a record with a scan that other items share. `None` where nobody scans.
    pub(super) async fn read(
        self: &Rc<Self>,
        (system, transport): (&System, &dyn Transport),
        id: &RecordId,
    ) -> Option<ReadResult> {
        let key = (system.name.as_str().to_owned(), id.collection().to_owned());
        let mut given = None;
        loop {
            let (sender, signal) = oneshot::channel();
            let first = self.join(&key, Waiting { id: id.clone(), signal: sender });
            if let Some(lead) = given.take().or(first) {
                lead.scan(system, transport).await;
            }
            match signal.await.ok()? {
                Signal::Read(result) => return Some(result),
                Signal::Lead(lead) => given = Some(lead),
            }
        }
    }

    /// Adds a read to those that wait. The first one leads.
    fn join(self: &Rc<Self>, key: &(String, String), waiting: Waiting) -> Option<Lead> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.entry(key.clone()).or_default();
        group.waiting.push(waiting);
        let is_first = !std::mem::replace(&mut group.has_leader, true);
        is_first.then(|| Lead { scans: Rc::clone(self), key: key.clone() })
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
        let ids: Vec<RecordId> = match self.scans.groups.borrow_mut().get_mut(&self.key) {
            Some(group) => {
                group.scanning = std::mem::take(&mut group.waiting);
                group.scanning.iter().map(|waiting| waiting.id.clone()).collect()
            }
            None => return,
        };
        let results = system.adapter.read_many(transport, &ids).await;
        let scanned =
            self.scans.groups.borrow_mut().get_mut(&self.key).map(|group| std::mem::take(&mut group.scanning));
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
            if self.scans.items_before_read(&self.key.0) == 0 || Instant::now() >= until {
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
        let scans = Rc::new(SharedScans::default());
        let gather = async || {
            let begun = Instant::now();
            Lead { scans: Rc::clone(&scans), key: ("crm".to_owned(), "customers".to_owned()) }.gather().await;
            begun.elapsed()
        };
        let of_another_system = scans.enter("itsm");
        assert_eq!(gather().await, GATHER_PAUSE);
        let may_join = scans.enter("crm");
        assert_eq!(gather().await, MAX_GATHER);
        drop(may_join);
        assert_eq!(gather().await, GATHER_PAUSE);
        drop(of_another_system);
        assert!(scans.before_read.borrow().values().all(|items| *items == 0));
    }
}
