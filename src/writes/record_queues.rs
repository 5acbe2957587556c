//! A queue for each record with several writes of this process that read before they write
//! (`If-Match: *`, rebase): each would otherwise make the others' reads stale.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use crate::record::{RecordId, SystemName};

type Queues = HashMap<String, Arc<tokio::sync::Mutex<()>>>;

/// The queues of the records that are being written.
#[derive(Clone, Default)]
pub(super) struct RecordQueues(Arc<Mutex<Queues>>);

/// Held by the write that runs. The next one begins when it is dropped.
pub(super) struct RecordQueueGuard {
    queues: RecordQueues,
    record: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl RecordQueues {
    /// Waits until no other write of the queue runs; `None` if that is not before `until`.
    pub(super) async fn enter(&self, system: &SystemName, id: &RecordId, until: Instant) -> Option<RecordQueueGuard> {
        let record = [system.as_str(), "/", id.as_str()].concat();
        let queues = Arc::clone(self.lock().entry(record.clone()).or_default());
        let guard = timeout_at(until, queues.lock_owned()).await.ok();
        let has_entered = guard.is_some();
        // Without the lock the value is dropped here, which removes an empty queue.
        let queue_guard = RecordQueueGuard { queues: self.clone(), record, guard };
        has_entered.then_some(queue_guard)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Poisoning is harmless: each critical section is one operation on the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RecordQueueGuard {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        self.guard = None;
        // A write that waits or runs holds another reference, and no new one is made meanwhile.
        if queues.get(&self.record).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_of_one_record_run_one_by_one_and_leave_no_queue() {
        let queues = RecordQueues::default();
        let system = SystemName::parse("crm").expect("a name");
        let soon = || Instant::now() + Duration::from_secs(1);
        let (one, other) = (RecordId::new("c", "1"), RecordId::new("c", "2"));
        let first = queues.enter(&system, &one, soon()).await;
        assert!(first.is_some() && queues.enter(&system, &other, soon()).await.is_some());
        assert!(queues.enter(&system, &one, soon()).await.is_none());
        let (second, ()) = tokio::join!(queues.enter(&system, &one, soon()), async { drop(first) });
        assert!(second.is_some());
        drop(second);
        assert!(queues.lock().is_empty());
    }
}
