//! Records as callers see them.

use serde::{Deserialize, Serialize};

use crate::record::{RawObject, Warning, json_object};

/// A record. `fields` holds the vendor's own names and values; no number loses precision or form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = StoredRecord)]
pub struct RecordView {
    /// The configured system's name.
    #[schema(example = "architecture")]
    pub system: String,
    /// The full id.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    pub id: String,
    /// The strong ETag with its quotes; null in a list whose vendor cannot carry it.
    #[schema(required = true, example = "\"d3q2-7w.b1nd\"")]
    pub etag: Option<String>,
    /// The vendor's own names and values.
    #[serde(with = "json_object")]
    #[schema(value_type = Object)]
    pub fields: RawObject,
    /// JSON Pointers of what cannot be patched.
    pub read_only: Vec<String>,
    /// What the caller would otherwise not learn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<Warning>,
    /// `/operations/{id}` of the queued or unresolved write that runs on the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pending_operation: Option<String>,
    /// The vendor's list could not carry the whole record.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub partial: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A page of records.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RecordPage {
    /// The records.
    pub items: Vec<RecordView>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// How a write excludes concurrent writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// The vendor compared and swapped.
    Native,
    /// The gateway compared under a lease.
    Guarded,
}

impl Guarantee {
    /// The value of `Concurrency-Guarantee`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Guarded => "guarded",
        }
    }
}
