//! The record states that callers got lately. A caller with a stale ETag learns from them what has
//! changed since (contract 4.2, `changed`).

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::{Map, Value};

use super::view::RecordView;
use crate::record::{diff, parse_strict};

/// The capacity in bytes of text.
const MAX_BYTES: u64 = 16 << 20;
/// How long a state is kept after its last use: a user decides about a change within minutes.
const TTL: Duration = Duration::from_mins(15);
/// The bytes that an entry takes in addition to its text.
const ENTRY_OVERHEAD: usize = 256;

/// `fields` of records by ETag; an ETag belongs to one state of one record.
pub(crate) struct RecentStates(Cache<String, Arc<str>>);

impl Default for RecentStates {
    fn default() -> Self {
        let weigh = |etag: &String, fields: &Arc<str>| {
            u32::try_from(etag.len() + fields.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().weigher(weigh).max_capacity(MAX_BYTES).time_to_idle(TTL);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }
}

impl RecentStates {
    /// Remembers a record that a caller gets.
    pub(crate) async fn insert(&self, record: &RecordView) {
        let Some(etag) = &record.etag else { return };
        // `get` counts as a use and so prolongs the entry.
        if self.0.get(etag).await.is_none() {
            self.0.insert(etag.clone(), record.fields.to_json().into()).await;
        }
    }

    /// Remembers the state of an ETag that another process has shown.
    pub(crate) async fn insert_shown(&self, etag: &str, fields: String) {
        self.0.insert(etag.to_owned(), fields.into()).await;
    }

    /// `fields` in the state of this ETag, if it is known.
    pub(crate) async fn state(&self, etag: &str) -> Option<Map<String, Value>> {
        let fields = self.0.get(etag).await?;
        match parse_strict(fields.as_bytes()) {
            Ok(Value::Object(fields)) => Some(fields),
            _ => None,
        }
    }

    /// JSON Pointers of what differs between the state of this ETag and `now`; empty if that state
    /// is not known. Members of `fields` that `is_left_out` accepts are not compared.
    pub(super) async fn diff_since(
        &self,
        etag: &str,
        now: &Map<String, Value>,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let Some(then) = self.state(etag).await else { return Vec::new() };
        let changes = diff(&then, now).into_iter().filter(|change| !is_left_out(&change.member));
        changes.map(|change| change.pointer).collect()
    }
}
