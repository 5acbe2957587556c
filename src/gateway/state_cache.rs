//! What callers were shown lately: who comes with a stale tag is told what differs from the state it knows (contract 4.2,
//! `changed`).

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::{Map, Value};

use super::RecordView;
use crate::record::{diff, parse_preserving_numbers};

/// How much text is kept, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// How long after it was shown last. Who decides about a change has read the record a while ago, not yesterday.
const TTL: Duration = Duration::from_mins(15);
/// What an entry takes besides its text.
const ENTRY_OVERHEAD: usize = 256;

/// The members of records by their tags: a tag belongs to one state of one record.
pub(super) struct RecentStates(Cache<String, Arc<str>>);

impl Default for RecentStates {
    fn default() -> Self {
        let weigh = |tag: &String, fields: &Arc<str>| {
            u32::try_from(tag.len() + fields.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().weigher(weigh).max_capacity(MAX_BYTES).time_to_idle(TTL);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }
}

impl RecentStates {
    /// A caller sees this record.
    pub(super) async fn insert(&self, record: &RecordView) {
        let Some(tag) = &record.etag else { return };
        // To ask is to use: what is shown again is kept.
        if self.0.get(tag).await.is_none() {
            self.0.insert(tag.clone(), record.fields.as_str().into()).await;
        }
    }

    /// The members of the state of this tag, if it is known.
    pub(super) async fn state(&self, tag: &str) -> Option<Map<String, Value>> {
        let shown = self.0.get(tag).await?;
        match parse_preserving_numbers(&shown) {
            Ok(Value::Object(then)) => Some(then),
            // It was written by this gateway.
            _ => None,
        }
    }

    /// JSON Pointers of what differs between the state of this tag and the present one; none if that state is not known.
    pub(super) async fn diff_since(&self, tag: &str, now: &Map<String, Value>) -> Vec<String> {
        let Some(then) = self.state(tag).await else { return Vec::new() };
        diff(&then, now).into_iter().map(|one| one.pointer).collect()
    }
}
