//! A value that is read from the vendor: by one reader at a time, for everybody who waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::record::VendorError;

/// A value, and when its reading began.
pub(super) struct CachedValue<T> {
    pub(super) value: Arc<T>,
    pub(super) at: Instant,
}

/// The value, or why it could not be read.
pub(super) struct CacheSlot<T> {
    current: ArcSwapOption<CachedValue<T>>,
    failure: StdMutex<Option<(Instant, VendorError)>>,
    load_lock: Mutex<()>,
    is_refreshing: AtomicBool,
}

impl<T> Default for CacheSlot<T> {
    fn default() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            failure: StdMutex::default(),
            load_lock: Mutex::default(),
            is_refreshing: AtomicBool::new(false),
        }
    }
}

impl<T> CacheSlot<T> {
    /// The value, however old.
    pub(super) fn current(&self) -> Option<Arc<CachedValue<T>>> {
        self.current.load_full()
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The value if it is younger than the first age, a failure that is younger than the second, or
    /// else what `read` gives. Those who wait for a reader get its result.
    pub(super) async fn load(
        &self,
        (max_age, max_failure_age): (Duration, Duration),
        read: impl AsyncFnOnce() -> Result<T, VendorError>,
    ) -> Result<Arc<CachedValue<T>>, VendorError> {
        let began = Instant::now();
        let fresh = || self.current().filter(|loaded| loaded.at >= began || loaded.at.elapsed() < max_age);
        if let Some(loaded) = fresh() {
            return Ok(loaded);
        }
        let _lock = self.load_lock.lock().await;
        if let Some(loaded) = fresh() {
            return Ok(loaded);
        }
        if let Some(fault) = self.recent_failure(began, max_failure_age) {
            return Err(fault);
        }
        let at = Instant::now();
        match read().await {
            Ok(value) => {
                let loaded = Arc::new(CachedValue { value: Arc::new(value), at });
                self.current.store(Some(Arc::clone(&loaded)));
                self.set_failure(None);
                Ok(loaded)
            }
            Err(fault) => {
                self.record_failure(fault.clone());
                Err(fault)
            }
        }
    }

    /// Remembers that the value cannot be read at the moment.
    pub(super) fn record_failure(&self, fault: VendorError) {
        self.set_failure(Some((Instant::now(), fault)));
    }

    fn set_failure(&self, failure: Option<(Instant, VendorError)>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn recent_failure(&self, began: Instant, max_age: Duration) -> Option<VendorError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = failure.as_ref().filter(|(at, _)| *at > began || at.elapsed() < max_age);
        recent.map(|(_, fault)| fault.clone())
    }

    /// Claims the refresh of the value; `None` while another refresh runs.
    pub(super) fn begin_refresh(self: &Arc<Self>) -> Option<RefreshGuard<T>> {
        let is_refreshing = self.is_refreshing.swap(true, Ordering::AcqRel);
        (!is_refreshing).then(|| RefreshGuard(Arc::clone(self)))
    }
}

/// A refresh, which ends however its task ends.
pub(super) struct RefreshGuard<T>(Arc<CacheSlot<T>>);

impl<T> Drop for RefreshGuard<T> {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;
    use crate::record::VendorErrorKind;

    const SECOND: Duration = Duration::from_secs(1);

    #[actix_web::test]
    async fn a_thousand_who_wait_get_what_one_of_them_reads() {
        tokio::time::pause();
        let (slot, reads) = (CacheSlot::default(), Cell::new(0));
        let read = async || {
            reads.set(reads.get() + 1);
            tokio::time::sleep(SECOND).await;
            Ok("schema")
        };
        let all = join_all((0..1000).map(|_| slot.load((10 * SECOND, SECOND), read))).await;
        assert!(all.iter().all(|loaded| loaded.as_ref().is_ok_and(|loaded| *loaded.value == "schema")));
        assert_eq!(reads.get(), 1);
    }

    #[actix_web::test]
    async fn a_failure_is_shared_and_then_tried_again() {
        tokio::time::pause();
        let (slot, reads) = (CacheSlot::<()>::default(), Cell::new(0));
        let read = async || {
            reads.set(reads.get() + 1);
            tokio::time::sleep(SECOND).await;
            Err(VendorError::new(VendorErrorKind::ServerError))
        };
        let all = join_all((0..100).map(|_| slot.load((10 * SECOND, 5 * SECOND), read))).await;
        assert_eq!((all.iter().filter(|loaded| loaded.is_err()).count(), reads.get()), (100, 1));
        assert!(slot.load((10 * SECOND, 5 * SECOND), read).await.is_err() && slot.has_failed());
        assert_eq!(reads.get(), 1);
        tokio::time::sleep(6 * SECOND).await;
        assert!(slot.load((10 * SECOND, 5 * SECOND), read).await.is_err());
        assert_eq!(reads.get(), 2);
    }

    #[actix_web::test]
    async fn a_refresh_ends_when_its_task_is_cancelled() {
        let slot = Arc::new(CacheSlot::<()>::default());
        let guard = slot.begin_refresh().expect("the first");
        assert!(slot.begin_refresh().is_none());
        let refresh = actix_web::rt::spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        refresh.abort();
        assert!(refresh.await.is_err() && slot.begin_refresh().is_some());
    }
}
