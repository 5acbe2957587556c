//! How many items of one batch run at once (contract 4.10).

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::System;
use super::shared_scan::{BeforeRead, SharedScans};
use crate::record::{RecordId, VendorError, VendorErrorKind, VendorRecord};
use crate::transport::Transport;

/// The slots of one batch: an item needs one to run, unless it waits for a scan of a list. The
/// items also share these scans.
pub struct BatchSlots {
    /// The slots that no item has: how many more may run at once.
    free: Arc<Semaphore>,
    scans: Rc<SharedScans>,
}

/// The slot of one item, which it can release and acquire again, and its part in the scans of its
/// batch.
#[derive(Clone)]
pub struct ItemSlot {
    batch: Rc<BatchSlots>,
    permit: Rc<RefCell<Option<OwnedSemaphorePermit>>>,
    before_read: Rc<RefCell<Option<BeforeRead>>>,
}

impl fmt::Debug for ItemSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ItemSlot")
    }
}

impl BatchSlots {
    /// For a batch of which `concurrency` items run at once.
    #[must_use]
    pub fn new(concurrency: usize) -> Rc<Self> {
        Rc::new(Self { free: Arc::new(Semaphore::new(concurrency)), scans: Rc::default() })
    }

    /// Waits until one more item of a system may run.
    pub async fn enter(self: &Rc<Self>, system: &str) -> ItemSlot {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        ItemSlot {
            batch: Rc::clone(self),
            permit: Rc::new(RefCell::new(permit)),
            before_read: Rc::new(RefCell::new(Some(self.scans.enter(system)))),
        }
    }
}

impl ItemSlot {
    /// Waits for a slot, if the item has none, at most until its deadline: what it has begun must
    /// end then, with or without one.
    pub async fn acquire(&self, deadline: Instant) {
        if self.permit.borrow().is_none() {
            let permit = timeout_at(deadline, Arc::clone(&self.batch.free).acquire_owned()).await;
            self.permit.replace(permit.ok().and_then(Result::ok));
        }
    }

    /// Gives the slot of this item to another one; no scan waits for it any more.
    pub fn release(&self) {
        drop(self.before_read.take());
        drop(self.permit.take());
    }

    /// Reads one record, together with the other items that read the same collection now.
    pub(super) async fn read(
        &self,
        (system, transport): (&System, &dyn Transport),
        id: &RecordId,
        deadline: Instant,
    ) -> Result<VendorRecord, VendorError> {
        self.release();
        let shared = timeout_at(deadline, self.batch.scans.read((system, transport), id)).await;
        let late = |_| VendorError::new(VendorErrorKind::Timeout).message("the scan of the collection took too long");
        let shared = shared.map_err(late)?;
        self.acquire(deadline).await;
        match shared {
            Some(result) => result,
            None => system.adapter.read(transport, id).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_item_that_has_left_gives_back_its_slot_and_delays_no_scan() {
        let batch = BatchSlots::new(8);
        let (item, released) = (batch.enter("crm").await, batch.enter("crm").await);
        assert_eq!((batch.free.available_permits(), batch.scans.items_before_read("crm")), (6, 2));
        released.release();
        assert_eq!((batch.free.available_permits(), batch.scans.items_before_read("crm")), (7, 1));
        drop((item, released));
        assert_eq!((batch.free.available_permits(), batch.scans.items_before_read("crm")), (8, 0));
    }
}
