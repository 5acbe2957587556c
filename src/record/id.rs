//! Names: of a configured system and of one record in it.

use std::fmt;
use std::sync::Arc;

/// The name of a configured system: `[a-z][a-z0-9-]*`, the first segment after `/records/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SystemName(Arc<str>);

impl SystemName {
    /// Takes a name of the form `[a-z][a-z0-9-]*`; anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let goes_on_well = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (starts_well && goes_on_well).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that can be kept.
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

/// The last part of an id, as the vendor spells it.
pub type Key = str;

/// A record's full id, `collection:key`, in its one canonical spelling.
///
/// Only an adapter makes one (after checking the vendor's form), so two spellings of one id are one value here: the same
/// tag, the same lease, the same operation.
///
/// As JSON it is its two parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct RecordId {
    text: Arc<str>,
    collection_length: usize,
}

impl RecordId {
    /// Joins a collection and a key that are both in canonical form. The key holds no colon.
    #[must_use]
    pub fn new(collection: &str, key: &str) -> Self {
        Self { text: [collection, ":", key].concat().into(), collection_length: collection.len() }
    }

    /// The full id, `collection:key`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The full id as text that can be kept.
    #[must_use]
    pub fn to_shared_str(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// What the vendor calls the set the record is in.
    #[must_use]
    pub fn collection(&self) -> &str {
        self.text.get(..self.collection_length).unwrap_or_default()
    }

    /// The vendor's own id of the record within its collection.
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
