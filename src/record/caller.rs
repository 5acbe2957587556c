//! The caller of a request, and the action that it requests.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::sha256;

/// An action on records: what `[access]` permits, and the `action` of ledger entries and metrics.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read one record or a list of them.
    Read,
    /// Create a record.
    Create,
    /// Change a record.
    Update,
    /// Delete a record.
    Delete,
}

impl Action {
    /// Those that write.
    pub const WRITES: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    /// The word in configuration, ledger and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The name of a caller: from the configuration or the token, or `anonymous` where access is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerName(pub Arc<str>);

impl fmt::Display for CallerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The share of a congested vendor that a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerShare {
    /// Stands for the caller where its name must not go.
    pub caller: u64,
    /// Its share beside those of the others (`weight`).
    pub weight: NonZeroU16,
}

impl CallerShare {
    /// The share of a caller. The same name has the same number after a reload.
    #[must_use]
    pub fn new(name: &CallerName, weight: NonZeroU16) -> Self {
        let hash = sha256([name.0.as_bytes()]);
        Self { caller: hash.first_chunk().copied().map_or(0, u64::from_le_bytes), weight }
    }
}

impl Default for CallerShare {
    fn default() -> Self {
        Self { caller: 0, weight: NonZeroU16::MIN }
    }
}

/// `X-Request-Id`: 1 to 128 visible ASCII characters, from the caller or generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// A new id, for a request without one.
    #[must_use]
    pub fn generate() -> Self {
        Self(super::uuid_v7::generate())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
