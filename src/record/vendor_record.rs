//! A record as a vendor holds it.

use memchr::memchr;

use super::etag::Version;
use super::json_pointer::json_pointer;
use super::raw_json::{RawJson, RawObject};
use super::vendor_error::VendorError;

/// What stands in a vendor's JSON for half of a surrogate pair: the replacement character, in a
/// spelling that no writer of JSON uses.
pub const UNREADABLE_TEXT: &str = "\\uFFfd";

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

    /// A record of which a list shows no more than that it is there.
    #[must_use]
    pub fn unreadable(fault: &VendorError) -> Self {
        let reason = fault.message.as_deref().unwrap_or_default();
        let warnings = vec![Warning::new(WarningCode::Unreadable, "/fields", reason)];
        Self { fields: RawObject::default(), version: None, warnings }
    }

    /// A warning for each member that holds [`UNREADABLE_TEXT`].
    pub fn unreadable_members(&self) -> impl Iterator<Item = Warning> {
        // Most values have no escape at all.
        let has_escape = |value: &RawJson| memchr(b'\\', value.as_str().as_bytes()).is_some();
        let members = self.fields.iter();
        let members = members.filter(move |(_, value)| has_escape(value) && value.as_str().contains(UNREADABLE_TEXT));
        members.map(|(name, _)| {
            let detail = "the vendor sent half of a surrogate pair, which is no text; U+FFFD stands in its place";
            Warning::new(WarningCode::Unreadable, json_pointer("/fields", &[name]), detail)
        })
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
    /// The vendor sent something that cannot be read.
    Unreadable,
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
