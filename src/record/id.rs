//! The name of a configured system and the id of a record in it.

use std::fmt;
use std::sync::Arc;

/// The name of a configured system: `[a-z][a-z0-9-]*`, the path segment after `/records/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemName(Arc<str>);

impl SystemName {
    /// Parses a name; `None` if it does not match `[a-z][a-z0-9-]*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let has_valid_start = text.starts_with(|first: char| first.is_ascii_lowercase());
        let has_valid_bytes =
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (has_valid_start && has_valid_bytes).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    #[must_use]
    pub fn to_shared_str(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for SystemName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The vendor's own id of a record within its collection.
pub type Key = str;

/// The full id of a record, `collection:key`, in its canonical spelling.
///
/// Only an adapter creates one, after it has checked the vendor's form. Two spellings of one id are
/// therefore one value, with the same tag, the same lease and the same operations.
///
/// Serialized as an array of its two parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct RecordId {
    text: Arc<str>,
    collection_length: usize,
}

impl RecordId {
    /// Joins a collection and a key, both in canonical form. The key holds no colon.
    #[must_use]
    pub fn new(collection: &str, key: &str) -> Self {
        Self { text: [collection, ":", key].concat().into(), collection_length: collection.len() }
    }

    /// The full id, `collection:key`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The full id as shared text.
    #[must_use]
    pub fn to_shared_str(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The collection, in the vendor's terms.
    #[must_use]
    pub fn collection(&self) -> &str {
        self.text.get(..self.collection_length).unwrap_or_default()
    }

    /// The key within the collection.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.text.get(self.collection_length + 1..).unwrap_or_default()
    }
}

impl From<(String, String)> for RecordId {
    fn from((collection, key): (String, String)) -> Self {
        Self::new(&collection, &key)
    }
}

impl From<RecordId> for (String, String) {
    fn from(id: RecordId) -> Self {
        (id.collection().to_owned(), id.key().to_owned())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
