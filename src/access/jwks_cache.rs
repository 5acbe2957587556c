//! The keys that tokens are verified with: fetched, cached and refreshed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::jwks::KeySet;

/// The source of the key set document.
#[async_trait(?Send)]
pub trait JwksSource: Send + Sync {
    /// The current document (RFC 7517 §5).
    ///
    /// # Errors
    /// Why it is not available, for the log.
    async fn fetch(&self) -> Result<Bytes, String>;
}

/// The shortest interval between fetches that tokens with unknown keys cause: anybody can send such
/// tokens.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(30);

/// A key set with its number. A cached token counts only with the number of the set that verified
/// it.
pub(super) struct JwksGeneration {
    pub(super) number: u64,
    pub(super) keys: KeySet,
}

/// Shared by all workers.
pub(super) struct JwksCache {
    source: Arc<dyn JwksSource>,
    current: ArcSwapOption<JwksGeneration>,
    last_attempt: Mutex<Option<Instant>>,
    last_failed: AtomicBool,
    fetch_count: AtomicU64,
    fetch_lock: Arc<tokio::sync::Mutex<()>>,
}

impl JwksCache {
    pub(super) fn new(source: Arc<dyn JwksSource>) -> Arc<Self> {
        Arc::new(Self {
            source,
            current: ArcSwapOption::empty(),
            last_attempt: Mutex::new(None),
            last_failed: AtomicBool::new(false),
            fetch_count: AtomicU64::new(0),
            fetch_lock: Arc::default(),
        })
    }

    /// The keys of the last successful fetch.
    pub(super) fn current(&self) -> Option<Arc<JwksGeneration>> {
        self.current.load_full()
    }

    /// Whether the last fetch failed: then an unknown key may still exist at the issuer.
    pub(super) fn last_fetch_failed(&self) -> bool {
        self.last_failed.load(Ordering::Acquire)
    }

    /// Fetches because of a token with an unknown key; waits for a fetch that is in progress.
    pub(super) async fn refresh_for_unknown_kid(self: &Arc<Self>) {
        self.fetch_if_older_than(MIN_FETCH_INTERVAL).await;
    }

    /// Fetches unless the last attempt is younger than `max_age`; one fetch at a time in the
    /// process.
    pub(super) async fn fetch_if_older_than(self: &Arc<Self>, max_age: Duration) {
        let guard = Arc::clone(&self.fetch_lock).lock_owned().await;
        {
            let mut last = self.last_attempt.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < max_age) {
                return;
            }
            *last = Some(Instant::now());
        }
        let store = Arc::clone(self);
        // A caller that disconnects must not cancel the fetch that others wait for.
        let fetch = tokio::task::spawn_local(async move {
            store.fetch().await;
            drop(guard);
        });
        let _ = fetch.await;
    }

    async fn fetch(&self) {
        let read = self.source.fetch().await.and_then(|document| KeySet::parse(&document));
        self.last_failed.store(read.is_err(), Ordering::Release);
        match read {
            Ok(keys) => {
                let number = self.fetch_count.fetch_add(1, Ordering::AcqRel) + 1;
                if keys.len() == 0 {
                    tracing::warn!(ignored = keys.ignored, "the JWKS has no usable key: no token is accepted");
                } else {
                    tracing::debug!(keys = keys.len(), ignored = keys.ignored, "the JWKS was read");
                }
                self.current.store(Some(Arc::new(JwksGeneration { number, keys })));
            }
            Err(reason) => {
                tracing::warn!(reason, "the JWKS cannot be read; the previous keys stay in use");
            }
        }
    }
}
