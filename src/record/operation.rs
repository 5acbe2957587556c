//! One write, from its intent to its outcome (contract 4.4).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::caller::Action;
use super::uuid_v7;
use super::vendor_record::Warning;

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The id of an operation: a UUID of version 7, so that ids sort by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Deserialize, utoipa::ToSchema)]
#[schema(value_type = String, example = "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")]
#[serde(from = "String")]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid_v7::generate())
    }

    /// The id that stands for no operation: the nil UUID (RFC 9562 §5.9).
    #[must_use]
    pub fn nil() -> Self {
        Self(NIL.into())
    }

    /// Whether it stands for no operation.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        &*self.0 == NIL
    }

    /// Parses an id; `None` if the text is not a UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid_v7::parse(text).map(Self)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the operation's document: `/operations/{id}`.
    #[must_use]
    pub fn path(&self) -> String {
        ["/operations/", &self.0].concat()
    }
}

impl From<String> for OperationId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl serde::Serialize for OperationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Default for OperationId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The state of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Begun, without an outcome yet.
    #[default]
    Running,
    /// The vendor confirmed the write, or a read shows its effect.
    Applied,
    /// The vendor rejected the write, or it certainly had no effect.
    NotApplied,
    /// The outcome cannot be determined; see `observed`.
    Unknown,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Applied, Self::NotApplied, Self::Unknown];

    /// The word in documents, in the store and in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Applied => "applied",
            Self::NotApplied => "not-applied",
            Self::Unknown => "unknown",
        }
    }

    /// The state that [`Self::as_str`] names so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What the last read showed when reconciliation ended without a definite outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedState {
    /// The state from before the write.
    Unchanged,
    /// A third state, which another client wrote.
    Other,
    /// The state that the write intended; another client may have written it. Documents show it as
    /// `other`.
    Expected,
}

impl ObservedState {
    /// The word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Other => "other",
            Self::Expected => "wanted",
        }
    }

    /// The value that [`Self::as_str`] names so.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Unchanged, Self::Other, Self::Expected].into_iter().find(|observed| observed.as_str() == word)
    }

    /// The word in documents.
    fn public_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Other | Self::Expected => "other",
        }
    }
}

impl serde::Serialize for ObservedState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.public_str())
    }
}

impl utoipa::PartialSchema for ObservedState {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What the last read showed: the state from before the write (`unchanged`), or another, which may be the write's own (`other`)."))
            .enum_values(Some([Self::Unchanged.public_str(), Self::Other.public_str()]))
            .into()
    }
}

impl utoipa::ToSchema for ObservedState {}

/// One vendor call of an operation, as the ledger records it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = CallMade)]
pub struct VendorRequestLog {
    /// The kind of the call: `read list create update delete schema`.
    pub call: String,
    /// The vendor's HTTP status; null if it did not respond.
    pub status: Option<u16>,
    /// The duration in milliseconds.
    pub ms: u64,
}

/// The document of an operation (contract 4.4).
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Operation {
    /// The operation's id.
    pub id: OperationId,
    /// The operation's state.
    pub state: OperationState,
    /// The kind of write.
    pub action: Action,
    /// The name of the system.
    #[schema(example = "architecture")]
    pub system: String,
    /// The id of the record; null until the vendor has responded to a create.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    pub record: Option<String>,
    /// The batch and the item that the write is, `{request id}/{item id}`; absent in others.
    #[serde(rename = "batch", skip_serializing_if = "Option::is_none")]
    pub batch_item: Option<String>,
    /// The model that the caller used, `{name}@{fingerprint}`; absent in others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The name of the caller.
    #[schema(example = "billing")]
    pub caller: String,
    /// When the operation began (RFC 3339, UTC).
    #[schema(example = "2026-11-21T10:15:30.123Z")]
    pub started_at: String,
    /// When the operation finished; null while it runs.
    pub finished_at: Option<String>,
    /// The record's tag after the write, if that state is proven to be the result of this write.
    pub etag: Option<String>,
    /// What the state alone does not show.
    pub warnings: Vec<Warning>,
    /// For `not-applied` and `unknown`: the problem document of the response to a synchronous
    /// write.
    #[schema(value_type = Option<Object>)]
    pub problem: Option<Value>,
    /// For `unknown`: what the last read showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedState>,
    /// The caller that resolved the operation (`POST /operations/{id}/resolve`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// The note of that person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
