//! What the records of a system look like: its collections, the fields of their records as JSON
//! Schema, and the check of a write against them (contract 4.13).
//!
//! Schemas are read when they are needed first, kept for `schema_ttl` and read again before that
//! time is over. However many requests need one, one of them reads it.

mod cache_slot;
mod check;
mod compiled;
mod formats;
mod quick_check;
mod reader;
mod schema_purpose;
mod strict_form;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use cache_slot::{CacheSlot, CachedValue};
pub use compiled::{CollectionSchema, Fit, SchemaDocument};
pub use reader::Requester;
use reader::SchemaReader;
pub use schema_purpose::SchemaPurpose;

use crate::record::{VendorError, VendorErrorKind};
use crate::transport::trace::TraceContext;
use crate::transport::{Priority, TransportStack};
use crate::vendors::{Adapter, CollectionInfo, CollectionList, MAX_DESCRIPTION_WAIT, SchemaSource};

/// The most collections whose schemas are kept.
const MAX_COLLECTIONS: u64 = 1000;
/// How long a schema that could not be read is not requested again.
const FAILURE_TTL: Duration = Duration::from_secs(10);
/// A write is refused only by a schema that is younger than this.
const MAX_REFUSAL_AGE: Duration = Duration::from_secs(1);
/// How long the list of collections is kept.
const LIST_TTL: Duration = Duration::from_secs(30);

/// The collections and schemas of one system.
pub struct Catalog {
    reader: SchemaReader,
    /// `/systems/{system}/collections`.
    path: String,
    source: SchemaSource,
    ttl: Duration,
    schemas: Cache<String, Arc<CacheSlot<CollectionSchema>>>,
    listing: CacheSlot<CollectionList>,
}

/// How many schemas are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogHealth {
    /// Schemas that were read.
    pub known: usize,
    /// When the oldest of them was read.
    pub oldest: Option<SystemTime>,
    /// Collections whose last attempt failed.
    pub unavailable: usize,
}

impl Catalog {
    /// The catalog of a system whose paths begin with `path`, such as `/systems/crm`.
    #[must_use]
    pub fn new(path: &str, adapter: Arc<dyn Adapter>, transport: Arc<TransportStack>, ttl: Duration) -> Arc<Self> {
        let source = adapter.capabilities().schema_source;
        let reader = SchemaReader::new(adapter, transport);
        let schemas = Cache::new(MAX_COLLECTIONS);
        Arc::new(Self {
            reader,
            path: format!("{path}/collections"),
            source,
            ttl,
            schemas,
            listing: CacheSlot::default(),
        })
    }

    /// Where schemas come from.
    #[must_use]
    pub fn source(&self) -> SchemaSource {
        self.source
    }

    /// The path of a collection's schema; `None` where there are no schemas.
    #[must_use]
    pub fn schema_path(&self, collection: &str) -> Option<String> {
        (self.source != SchemaSource::None).then(|| compiled::schema_path(&self.path, collection))
    }

    /// The schema of a collection, read at most `schema_ttl` ago.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, `Timeout` after the deadline, and every error of the
    /// calls.
    pub async fn schema(
        self: &Arc<Self>,
        collection: &str,
        requester: Requester<'_>,
    ) -> Result<Arc<CollectionSchema>, VendorError> {
        let slot = self.slot(collection).await;
        if let Some(loaded) = slot.current().filter(|loaded| loaded.at.elapsed() < self.ttl) {
            self.refresh_ahead(collection, &slot, &loaded, requester.priority);
            return Ok(Arc::clone(&loaded.value));
        }
        self.load(collection, &slot, (self.ttl, FAILURE_TTL), requester).await
    }

    /// The schema that a write is checked against; it waits as long as such a check may take.
    ///
    /// # Errors
    /// The schema is not available in time.
    pub async fn schema_for_check(
        self: &Arc<Self>,
        collection: &str,
        requester: Requester<'_>,
    ) -> Result<Arc<CollectionSchema>, VendorError> {
        self.schema(collection, for_check(requester)).await
    }

    /// The schema that a write is refused by: read a moment ago.
    ///
    /// # Errors
    /// As [`schema_for_check`](Self::schema_for_check).
    pub async fn schema_for_refusal(
        self: &Arc<Self>,
        collection: &str,
        requester: Requester<'_>,
    ) -> Result<Arc<CollectionSchema>, VendorError> {
        let slot = self.slot(collection).await;
        self.load(collection, &slot, (MAX_REFUSAL_AGE, MAX_REFUSAL_AGE), for_check(requester)).await
    }

    /// The collections: those that the vendor names, then the configured ones that it does not.
    ///
    /// # Errors
    /// Every error of the calls.
    pub async fn collections(
        &self,
        configured: &[&str],
        requester: Requester<'_>,
    ) -> Result<CollectionList, VendorError> {
        let reading = self.listing.load((LIST_TTL, Duration::ZERO), || self.reader.read_collections(requester));
        let loaded = timeout_at(requester.deadline, reading).await.map_err(|_| timeout_fault())??;
        let mut list = CollectionList::clone(&loaded.value);
        for name in configured {
            if list.items.iter().all(|known| known.collection != *name) {
                let (collection, title) = ((*name).to_owned(), (*name).to_owned());
                list.items.push(CollectionInfo { collection, title, records: None });
            }
        }
        Ok(list)
    }

    /// Whether the vendor's list, if it names every collection, does not name this one. A list that
    /// cannot be read in time shows nothing.
    pub async fn lacks(&self, collection: &str, requester: Requester<'_>) -> bool {
        let requester = for_check(requester);
        for max_age in [LIST_TTL, MAX_REFUSAL_AGE] {
            let reading = self.listing.load((max_age, FAILURE_TTL), || self.reader.read_collections(requester));
            let Ok(list) = timeout_at(requester.deadline, reading).await else {
                self.listing.record_failure(timeout_fault());
                return false;
            };
            let Ok(list) = list else { return false };
            let list = &list.value;
            if !list.complete || list.items.iter().any(|known| known.collection == collection) {
                return false;
            }
        }
        true
    }

    /// How many schemas are kept, and how old they are.
    #[must_use]
    pub fn health(&self) -> CatalogHealth {
        let mut health = CatalogHealth::default();
        for (_, slot) in &self.schemas {
            if let Some(loaded) = slot.current() {
                health.known += 1;
                let read_at = SystemTime::now().checked_sub(loaded.at.elapsed());
                health.oldest = health.oldest.into_iter().chain(read_at).min();
            }
            health.unavailable += usize::from(slot.has_failed());
        }
        health
    }

    async fn slot(&self, collection: &str) -> Arc<CacheSlot<CollectionSchema>> {
        match self.schemas.get(collection).await {
            Some(slot) => slot,
            None => self.schemas.get_with_by_ref(collection, async { Arc::default() }).await,
        }
    }

    async fn load(
        &self,
        collection: &str,
        slot: &CacheSlot<CollectionSchema>,
        max_ages: (Duration, Duration),
        requester: Requester<'_>,
    ) -> Result<Arc<CollectionSchema>, VendorError> {
        let reading = slot.load(max_ages, || self.reader.read_schema(&self.path, collection, requester));
        if let Ok(loaded) = timeout_at(requester.deadline, reading).await {
            loaded.map(|loaded| Arc::clone(&loaded.value))
        } else {
            slot.record_failure(timeout_fault());
            Err(timeout_fault())
        }
    }

    /// Reads a schema again that will soon be too old, while this one is still used.
    fn refresh_ahead(
        self: &Arc<Self>,
        collection: &str,
        slot: &Arc<CacheSlot<CollectionSchema>>,
        loaded: &CachedValue<CollectionSchema>,
        priority: Priority,
    ) {
        let is_due = loaded.at.elapsed() >= self.ttl.mul_f64(0.8);
        if !is_due || self.source != SchemaSource::Vendor {
            return;
        }
        let Some(refresh) = slot.begin_refresh() else { return };
        let (catalog, slot, collection) = (Arc::clone(self), Arc::clone(slot), collection.to_owned());
        actix_web::rt::spawn(async move {
            let max_age = catalog.ttl.mul_f64(0.8);
            let trace = TraceContext::new_root();
            let deadline = Instant::now() + MAX_DESCRIPTION_WAIT;
            let requester = Requester { trace: &trace, priority, deadline };
            // The next request reads the schema itself if this fails.
            let _ = catalog.load(&collection, &slot, (max_age, FAILURE_TTL), requester).await;
            drop(refresh);
        });
    }
}

/// The requester as it waits for a check: at most a quarter of the time that its request has left.
#[must_use]
pub fn for_check(requester: Requester<'_>) -> Requester<'_> {
    let now = Instant::now();
    let deadline = now + (requester.deadline.saturating_duration_since(now) / 4).min(MAX_DESCRIPTION_WAIT);
    Requester { deadline, ..requester }
}

fn timeout_fault() -> VendorError {
    VendorError::new(VendorErrorKind::Timeout)
        .message("the vendor did not describe its records in time")
        .without_effect()
}
