//! A record as a vendor holds it.

use super::etag::Version;
use super::raw_json::RawObject;

/// A record as an adapter reads it.
#[derive(Clone, Debug)]
pub struct VendorRecord {
    /// The record's `fields` as callers see them, without the members that carry its id and version
    /// (`_version`, `ID`, `TimeStamp`, …).
    pub fields: RawObject,
    /// The vendor's own version; `None` if the vendor has none.
    pub version: Option<Version>,
    /// What the vendor reports to be wrong with the record.
    pub warnings: Vec<Warning>,
}

impl VendorRecord {
    /// The vendor's version or, if it has none, a digest of `fields`.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version.clone().unwrap_or_else(|| Version::from_fields(&self.fields.to_map()))
    }
}

/// Why a caller should check a record again; the closed set of contract 3 (records;
/// documents of models also have `unmapped-value`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarningCode {
    /// The vendor stored the value and marks it as breaking a rule.
    InvalidField,
    /// The vendor reported success, and the value is still the old one.
    NotApplied,
    /// Data that the caller did not touch was destroyed.
    Loss,
    /// The change was made for an earlier state, and was applied to the current one.
    Rebased,
    /// A person has recorded an outcome of the write, and the gateway found another one later.
    ResolvedOtherwise,
    /// The value breaks the vendor's schema, and was sent all the same.
    Schema,
}

/// What a successful response would otherwise not show.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Warning {
    /// The kind of warning.
    pub code: WarningCode,
    /// JSON Pointer into the record, such as `/fields/Email`.
    pub pointer: String,
    /// What happened, in a sentence.
    pub detail: String,
    /// `rebased`: the tag of the state that the change was applied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub onto: Option<String>,
    /// `rebased`: JSON Pointers of what other clients had changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub moved: Vec<String>,
}

impl Warning {
    /// A warning about a place; `pointer` is empty if it is about the whole record.
    #[must_use]
    pub fn new(code: WarningCode, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, pointer: pointer.into(), detail: detail.into(), onto: None, moved: Vec::new() }
    }
}
