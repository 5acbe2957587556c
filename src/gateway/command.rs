//! What a caller asks for, after HTTP has been read and before anything is done.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{RecordView, WriteOutcome};
use crate::record::{Action, CallerName, Operation, Patch, Precondition, RecordId, RequestId};
use crate::transport::trace::TraceContext;

/// Who asks, and how long they will wait.
#[derive(Clone, Debug)]
pub struct OpContext {
    /// The caller's name.
    pub caller: CallerName,
    /// `X-Request-Id`.
    pub request_id: RequestId,
    /// The trace this request belongs to.
    pub trace: Arc<TraceContext>,
    /// When the caller's patience ends (`deadline` in `[server]`).
    pub deadline: Instant,
}

/// RFC 7240, as far as the gateway knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Prefer {
    /// `return=representation` (and not also `return=minimal`).
    #[serde(rename = "representation")]
    pub return_representation: bool,
    /// `respond-async`.
    pub respond_async: bool,
    /// `wait=N`.
    pub wait: Option<Duration>,
}

/// `Idempotency-Key` with what it is bound to.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The key, unquoted: 1..255 visible ASCII characters.
    pub key: String,
    /// SHA-256 over method, path, `If-Match` and body.
    pub fingerprint: [u8; 32],
}

/// What is to be written.
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// PATCH.
    Update {
        /// The record.
        id: RecordId,
        /// The change.
        patch: Patch,
    },
    /// DELETE.
    Delete {
        /// The record.
        id: RecordId,
    },
    /// POST.
    Create {
        /// The canonical collection.
        collection: String,
        /// The new record's fields.
        fields: Map<String, Value>,
    },
}

impl WriteOp {
    /// The action, as rights, ledger and metrics call it.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Update { .. } => Action::Update,
            Self::Delete { .. } => Action::Delete,
            Self::Create { .. } => Action::Create,
        }
    }

    /// The record it changes; a create has none yet.
    #[must_use]
    pub fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Update { id, .. } | Self::Delete { id } => Some(id),
            Self::Create { .. } => None,
        }
    }
}

/// A write with everything the caller said about it.
#[derive(Clone, Debug)]
pub struct WriteCommand {
    /// What.
    pub kind: WriteOp,
    /// `If-Match`; `None` only where the system does not require one (it then counts as `*`) and on POST.
    pub precondition: Option<Precondition>,
    /// `If-None-Match` on a write: the write fails if this holds (`Exists` = `*`).
    pub if_none_match: Option<Precondition>,
    /// `Prefer`.
    pub prefer: Prefer,
    /// The names in `Accept-Loss`.
    pub accept_loss: Vec<String>,
    /// `Require-Guarantee: native`.
    pub require_native: bool,
    /// `Idempotency-Key`.
    pub idempotency: Option<IdempotencyKey>,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct WriteResponse {
    /// The verdict.
    pub outcome: WriteOutcome,
    /// Whether it is the stored verdict of an earlier request (`Idempotency-Replayed: true`).
    pub replayed: bool,
    /// The operation's document, where the verdict is [`Done::Accepted`](super::Done::Accepted).
    pub operation: Option<Operation>,
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
