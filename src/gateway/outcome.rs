//! What the gateway answers, before it is put into HTTP. It can be stored and told again, word for word (4.5).

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::record::{FieldsJson, OperationId, Warning};

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
    /// The strong tag with its quotes, the value of `ETag`; null in a list whose vendor cannot carry it.
    #[schema(required = true, example = "\"d3q2-7w.b1nd\"")]
    pub etag: Option<String>,
    /// The vendor's own names and values.
    #[schema(value_type = Object)]
    pub fields: FieldsJson,
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
