//! A record as a vendor holds it.

use super::{RawFields, Version};

/// What an adapter reads: the record in the shape that callers see, and what only the adapter understands.
#[derive(Clone, Debug)]
pub struct VendorRecord {
    /// The members of `fields`, the gateway's own business (`_version`, `ID`, `TimeStamp`…) left out.
    pub fields: RawFields,
    /// The vendor's own version; `None` where the vendor has none (the gateway then hashes `fields`).
    pub version: Option<Version>,
    /// What the vendor says is wrong with the record.
    pub warnings: Vec<Warning>,
}

impl VendorRecord {
    /// The vendor's version or, if it has none, the digest of the canonical fields.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version.clone().unwrap_or_else(|| self.fields.content_version())
    }
}

/// Why a caller should look twice; the closed set of the contract, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarningCode {
    /// The vendor stored the value and marks it as breaking a rule.
    InvalidField,
    /// The vendor answered success, and the value is still the old one.
    NotApplied,
    /// Something the caller did not touch was destroyed.
    Loss,
}

/// What the caller would otherwise not learn.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Warning {
    /// Which kind.
    pub code: WarningCode,
    /// JSON Pointer into the record, such as `/fields/Email`.
    pub pointer: String,
    /// What happened, in a sentence.
    pub detail: String,
}
