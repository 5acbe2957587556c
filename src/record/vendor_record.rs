//! A record as a vendor holds it.

use super::etag::Version;
use super::json_pointer::json_pointer;
use super::raw_json::{RawJson, RawObject};
use super::vendor_error::VendorError;

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

    /// A warning for each member that holds half of a surrogate pair.
    pub fn unreadable_members(&self) -> impl Iterator<Item = Warning> {
        self.fields.iter().filter(|(_, value)| value.is_unreadable()).map(|(name, _)| {
            let detail = "the vendor sent half of a surrogate pair, which is no text; U+FFFD stands in its place";
            Warning::new(WarningCode::Unreadable, json_pointer("/fields", &[name]), detail)
        })
    }

    /// The texts and names in which U+FFFD stands for half of a surrogate pair, with where they
    /// are. A write cannot send them back as the vendor has them.
    #[must_use]
    pub fn unreadable_texts(&self) -> Vec<UnreadableText> {
        let mut found = Vec::new();
        for (name, value) in self.fields.iter().filter(|(_, value)| value.is_unreadable()) {
            collect_unreadable(json_pointer("/fields", &[name]), value, &mut found);
        }
        found
    }
}

/// A text or name that the vendor's response held and that is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableText {
    /// JSON Pointer into the record.
    pub pointer: String,
    /// The text, with U+FFFD in it.
    pub text: String,
}

fn collect_unreadable(pointer: String, value: &RawJson, found: &mut Vec<UnreadableText>) {
    if !value.is_unreadable() {
        return;
    }
    if let Some(text) = value.to_text() {
        found.push(UnreadableText { pointer, text });
    } else if let Ok(members) = value.to_object() {
        for (name, member) in members.iter() {
            let pointer = json_pointer(&pointer, &[name]);
            if name.contains(char::REPLACEMENT_CHARACTER) {
                found.push(UnreadableText { pointer: pointer.clone(), text: name.to_owned() });
            }
            collect_unreadable(pointer, member, found);
        }
    } else {
        for (index, element) in value.elements().unwrap_or_default().iter().enumerate() {
            collect_unreadable(format!("{pointer}/{index}"), element, found);
        }
    }
}

/// Why a caller should check a record again; the closed set of contract 3 (records;
/// documents of models also have `unmapped-value`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WarningCode {
    /// The vendor stored the value and marks it as breaking a rule.
    InvalidField,
    /// The vendor reported success, and the value is the old one, or another than was sent.
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

impl WarningCode {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::InvalidField,
        Self::NotApplied,
        Self::Loss,
        Self::Rebased,
        Self::ResolvedOtherwise,
        Self::Schema,
        Self::Unreadable,
    ];
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
