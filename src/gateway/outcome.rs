//! What the gateway answers, before it is put into HTTP. It can be stored and told again, word for word (4.5).

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::record::{OperationId, Warning};

/// A record as callers see it (contract 3). `fields` is JSON text, so that numbers keep their form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordView {
    /// The configured system's name.
    pub system: String,
    /// The full canonical id.
    pub id: String,
    /// The strong tag with its quotes; `None` in a list whose vendor cannot carry it.
    pub etag: Option<String>,
    /// The members of `fields`, a JSON object's text.
    pub fields: String,
    /// JSON Pointers of what cannot be patched.
    pub read_only: Vec<String>,
    /// What the caller would otherwise not learn.
    pub warnings: Vec<Warning>,
    /// `/operations/{id}` of a queued write that runs on the record.
    pub pending_operation: Option<String>,
    /// Whether the vendor's list could not carry the whole record.
    pub partial: bool,
}

/// How a write excluded others (contract 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// The vendor compared and swapped.
    Native,
    /// The gateway compared under a lease.
    Guarded,
}

impl Guarantee {
    /// The word in `Concurrency-Guarantee`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Guarded => "guarded",
        }
    }
}

/// The body of a successful write.
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
    /// 202: the operation, to be read from the store when the answer is written.
    Accepted,
}

/// A successful write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSuccess {
    /// What the body holds.
    #[serde(rename = "done")]
    pub body: SuccessBody,
    /// The operation; `None` when nothing had to be sent.
    pub operation: Option<OperationId>,
    /// How others were excluded; `None` for a create.
    pub guarantee: Option<Guarantee>,
    /// The tag of the state this very write made, when that is proven (http-rules 74, 75).
    pub etag: Option<String>,
    /// The value of `Preference-Applied`.
    pub preference_applied: Option<String>,
}

/// What a write came to: the thing an `Idempotency-Key` replays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// It was done (or taken on).
    #[serde(rename = "Written")]
    Success(WriteSuccess),
    /// It was not, or nobody knows.
    Problem(Box<Problem>),
}
