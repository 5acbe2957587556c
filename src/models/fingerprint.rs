//! The fingerprint of a map, by which maps are distinguished.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use blake3::Hash;

/// How many bytes of the fingerprint a tag carries.
const TAG_BYTES: usize = 9;

/// The fingerprint of a map: BLAKE3, shown in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFingerprint {
    hash: Hash,
    tag_part: String,
}

impl MapFingerprint {
    /// The fingerprint of what describes a map.
    #[must_use]
    pub fn of(description: &str) -> Self {
        let hash = blake3::hash(description.as_bytes());
        let tag_part = BASE64.encode(hash.as_bytes().get(..TAG_BYTES).unwrap_or_default());
        Self { hash, tag_part }
    }

    /// The part that tags carry.
    #[must_use]
    pub fn tag_part(&self) -> &str {
        &self.tag_part
    }
}

impl fmt::Display for MapFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hash.to_hex())
    }
}
