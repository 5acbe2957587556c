//! Who asks, and for what.

use std::fmt;
use std::sync::Arc;

/// What a caller may be allowed to do with a system (`[access]`), and the `action` of a ledger entry and a metric.
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
    /// The word used in configuration, ledger and metrics.
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

/// The name of the caller as configured, as the token says, or `anonymous` where access is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerName(pub Arc<str>);

impl fmt::Display for CallerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// `X-Request-Id`: 1..128 visible ASCII characters, the caller's or made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// One for a request that came without.
    #[must_use]
    pub fn generate() -> Self {
        Self(super::json_write::new_uuid())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
