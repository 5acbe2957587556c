//! What callers get, before HTTP encodes it. A [`WriteOutcome`] is stored as JSON, so that its
//! `Idempotency-Key` replays it unchanged (contract 4.5).

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::record::{Operation, OperationId, RawJson, Warning, embedded_json};

/// A record. `fields` holds the vendor's own names and values; no number loses precision or form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Record)]
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
    #[serde(with = "embedded_json")]
    #[schema(value_type = Object)]
    pub fields: RawJson,
    /// JSON Pointers of what cannot be patched.
    pub read_only: Vec<String>,
    /// What the caller would otherwise not learn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<Warning>,
    /// `/operations/{id}` of a queued write that runs on the record.
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

/// The body of a successful write's response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuccessBody {
    /// 204.
    #[serde(rename = "Silent")]
    NoContent,
    /// 200 with the record, its `ETag` and `Content-Location`.
    #[serde(rename = "Shown")]
    Record(Box<RecordView>),
    /// 201 with the record, its `ETag` and `Location`.
    Created(Box<RecordView>),
    /// 202 with the operation, which is read from the store when the response is built.
    Accepted,
}

/// A write that was applied, accepted, or had nothing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSuccess {
    /// The response's body.
    #[serde(rename = "done")]
    pub body: SuccessBody,
    /// The operation; `None` when nothing had to be sent.
    pub operation: Option<OperationId>,
    /// How concurrent writers were excluded; `None` for a create.
    pub guarantee: Option<Guarantee>,
    /// The ETag of the state that this very write made, where that is proven (http-rules 74, 75).
    pub etag: Option<String>,
    /// The value of `Preference-Applied`.
    pub preference_applied: Option<String>,
}

/// The result of a write; an `Idempotency-Key` replays it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// The write was applied or accepted.
    #[serde(rename = "Written")]
    Success(WriteSuccess),
    /// The write was not applied, or its outcome is unknown.
    Problem(Box<Problem>),
}

/// A write's outcome with what its response needs besides.
#[derive(Clone, Debug)]
pub struct WriteResponse {
    /// The outcome.
    pub outcome: WriteOutcome,
    /// Whether it is the stored outcome of an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
    /// The operation's document, for [`SuccessBody::Accepted`].
    pub operation: Option<Operation>,
}
