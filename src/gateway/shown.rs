//! What callers were shown lately: who comes with a stale tag is told what differs from the state it knows (contract 4.2,
//! `changed`).

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::{Map, Value};

use super::Record;
use crate::record::{differences, exact_value};

/// How much text is kept, in bytes.
const MOST: u64 = 16 << 20;
/// How long after it was shown last. Who decides about a change has read the record a while ago, not yesterday.
const KEPT: Duration = Duration::from_mins(15);
/// What an entry takes besides its text.
const BESIDES: usize = 256;

/// The members of records by their tags: a tag belongs to one state of one record.
pub(super) struct Shown(Cache<String, Arc<str>>);

impl Default for Shown {
    fn default() -> Self {
        let weigh =
            |tag: &String, fields: &Arc<str>| u32::try_from(tag.len() + fields.len() + BESIDES).unwrap_or(u32::MAX);
        let cache = Cache::builder().weigher(weigh).max_capacity(MOST).time_to_idle(KEPT);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }
}

impl Shown {
    /// A caller sees this record.
    pub(super) async fn note(&self, record: &Record) {
        let Some(tag) = &record.etag else { return };
        // To ask is to use: what is shown again is kept.
        if self.0.get(tag).await.is_none() {
            self.0.insert(tag.clone(), record.fields.as_str().into()).await;
        }
    }

    /// The members of the state of this tag, if it is known.
    pub(super) async fn state(&self, tag: &str) -> Option<Map<String, Value>> {
        let shown = self.0.get(tag).await?;
        match exact_value(&shown) {
            Ok(Value::Object(then)) => Some(then),
            // It was written by this gateway.
            _ => None,
        }
    }

    /// JSON Pointers of what differs between the state of this tag and the present one; none if that state is not known.
    pub(super) async fn changed_since(&self, tag: &str, now: &Map<String, Value>) -> Vec<String> {
        let Some(then) = self.state(tag).await else { return Vec::new() };
        differences(&then, now).into_iter().map(|one| one.pointer).collect()
    }
}
