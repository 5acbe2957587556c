//! The keys that tokens are checked with: fetched, kept, and fetched again when that is called for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::jwks::KeySet;

/// Where the document of keys comes from.
#[async_trait(?Send)]
pub trait JwksSource: Send + Sync {
    /// The document (RFC 7517 §5) as it is now.
    ///
    /// # Errors
    /// Why it cannot be had, for the log.
    async fn fetch(&self) -> Result<Bytes, String>;
}

/// A token with an unknown key causes a fetch no more often than this, or anybody could make the gateway fetch all day.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(30);

/// A set with its number, by which verdicts reached with a former set are told.
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

    /// The keys, if there have ever been any.
    pub(super) fn current(&self) -> Option<Arc<JwksGeneration>> {
        self.current.load_full()
    }

    /// Whether the last attempt failed: then what is not known may exist all the same.
    pub(super) fn last_fetch_failed(&self) -> bool {
        self.last_failed.load(Ordering::Acquire)
    }

    /// Fetches because of a token whose key is not known; waits for the fetch if one is under way.
    pub(super) async fn refresh_for_unknown_kid(self: &Arc<Self>) {
        self.fetch_if_older_than(MIN_FETCH_INTERVAL).await;
    }

    /// Fetches, unless that was tried within this time; one at a time in the whole process.
    pub(super) async fn fetch_if_older_than(self: &Arc<Self>, within: Duration) {
        let turn = Arc::clone(&self.fetch_lock).lock_owned().await;
        {
            let mut last = self.last_attempt.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < within) {
                return;
            }
            *last = Some(Instant::now());
        }
        let store = Arc::clone(self);
        // A caller who hangs up must not take the fetch along that others are waiting for.
        let fetch = tokio::task::spawn_local(async move {
            store.fetch().await;
            drop(turn);
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
                    tracing::warn!(
                        ignored = keys.ignored,
                        "the JWKS holds no key that can be used: no token is accepted"
                    );
                } else {
                    tracing::debug!(keys = keys.len(), ignored = keys.ignored, "the JWKS was read");
                }
                self.current.store(Some(Arc::new(JwksGeneration { number, keys })));
            }
            Err(reason) => {
                tracing::warn!(reason, "the JWKS cannot be read; the keys read before go on to be used");
            }
        }
    }
}
