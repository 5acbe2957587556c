//! The memory of one write: from the intent to its outcome (contract 4.4).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::json_write::{new_uuid, uuid_text};
use super::{Action, Warning};

/// The id of an operation: a UUID version 7, so that ids sort by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Deserialize, utoipa::ToSchema)]
#[schema(value_type = String, example = "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")]
#[serde(from = "String")]
pub struct OperationId(Arc<str>);

impl OperationId {
    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(new_uuid())
    }

    /// Takes the text of an id; anything that is not a UUID is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(uuid_text(id)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where callers find the operation: `/operations/{id}`.
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

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Begun and not settled.
    Running,
    /// The vendor said so at once, or a read shows the wanted state.
    Applied,
    /// The vendor refused, or certainly did nothing.
    NotApplied,
    /// Nobody can tell; see `observed`.
    Unknown,
}

impl OperationState {
    /// The word used in documents, in the store and in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Applied => "applied",
            Self::NotApplied => "not-applied",
            Self::Unknown => "unknown",
        }
    }

    /// The other way round.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Applied, Self::NotApplied, Self::Unknown].into_iter().find(|state| state.as_str() == text)
    }
}

/// What the last read showed when the watching ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedState {
    /// Still the old state.
    Unchanged,
    /// A third state: somebody else's.
    Other,
    /// What was wanted, and it may be another's work. The gateway tells them apart, documents do not.
    Expected,
}

impl ObservedState {
    /// The word used in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Other => "other",
            Self::Expected => "wanted",
        }
    }

    /// The value of the store's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Unchanged, Self::Other, Self::Expected].into_iter().find(|observed| observed.as_str() == word)
    }

    /// The word used in documents.
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

/// One vendor call that was made for an operation, as the ledger tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = CallMade)]
pub struct VendorCallLog {
    /// The name of the call: `sign_in read list create update delete schema`.
    pub call: String,
    /// The vendor's HTTP status, or null when it did not answer.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// An operation as callers see it (contract 4.4).
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// How far it is.
    pub state: OperationState,
    /// What it does.
    pub action: Action,
    /// In which system.
    #[schema(example = "architecture")]
    pub system: String,
    /// To which record; null while a create has not been answered.
    #[schema(example = "object-definitions:640b3d7d4a28b925fcf8b9a2")]
    pub record: Option<String>,
    /// For whom.
    #[schema(example = "billing")]
    pub caller: String,
    /// Since when (RFC 3339, UTC).
    #[schema(example = "2026-11-21T10:15:30.123Z")]
    pub started_at: String,
    /// Until when; null while it runs.
    pub finished_at: Option<String>,
    /// The record's tag after the write, when it is proven to be the state this write made.
    pub etag: Option<String>,
    /// What the caller would otherwise not learn.
    pub warnings: Vec<Warning>,
    /// For `not-applied` and `unknown`: the problem document a direct write would have answered.
    #[schema(value_type = Option<Object>)]
    pub problem: Option<Value>,
    /// For `unknown`: what the last read showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedState>,
}
