//! The ETags that a run has seen.

use std::collections::HashMap;
use std::sync::Mutex;

/// Which value an ETag stands for.
pub(crate) struct EtagMap {
    tags: Mutex<HashMap<(usize, usize), HashMap<String, u32>>>,
    /// Whether nothing but the value changes.
    has_one_tag_per_value: bool,
}

impl EtagMap {
    pub(super) fn new(has_one_tag_per_value: bool) -> Self {
        Self { tags: Mutex::default(), has_one_tag_per_value }
    }

    /// Notes one; an ETag stands for one value, and where nothing else changes a value has one.
    pub(crate) fn record(&self, system: usize, record: usize, tag: &str, value: u32) {
        let mut all = self.tags.lock().unwrap();
        let tags = all.entry((system, record)).or_default();
        let before = tags.insert(tag.to_owned(), value);
        assert!(before.is_none_or(|before| before == value), "{tag} stands for {before:?} and {value}");
        if before.is_none() && self.has_one_tag_per_value {
            let with_it = tags.values().filter(|other| **other == value).count();
            assert_eq!(with_it, 1, "the state {value} of {system}/{record} has more than one tag");
        }
    }

    /// An ETag of an older value than this.
    pub(crate) fn find_older(&self, system: usize, record: usize, value: u32) -> Option<(String, u32)> {
        let all = self.tags.lock().unwrap();
        let mut others = all.get(&(system, record))?.iter().filter(|(_, other)| **other < value);
        others.next().map(|(tag, value)| (tag.clone(), *value))
    }
}
