//! A write as its caller sent it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::{Action, CallerName, FieldError, Patch, PlanTag, Precondition, RecordId, RequestId};

/// The preferences of `Prefer` (RFC 7240) that the gateway supports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefer {
    /// `return=representation`, without `return=minimal` beside it.
    pub return_representation: bool,
    /// `respond-async`.
    pub respond_async: bool,
    /// `wait=N`, in seconds.
    pub wait: Option<Duration>,
    /// `rebase=disjoint`: a change for a state that is no longer current is applied to the current
    /// one if the two change different places.
    #[serde(default)]
    pub rebase: bool,
    /// `handling=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handling: Option<Handling>,
}

impl Prefer {
    /// Whether there are no preferences.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a caller prefers to happen to a write that breaks the vendor's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// It is sent, with warnings.
    Lenient,
    /// It is refused.
    Strict,
}

impl Handling {
    /// The preference as `Preference-Applied` repeats it.
    #[must_use]
    pub fn as_preference(self) -> &'static str {
        match self {
            Self::Lenient => "handling=lenient",
            Self::Strict => "handling=strict",
        }
    }
}

/// An `Idempotency-Key` and the request that it identifies.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// The key, unquoted: 1 to 255 visible ASCII characters.
    pub key: String,
    /// What the key is bound to: BLAKE3 over method, path, `If-Match`, body and `If-Plan`.
    pub fingerprint: [u8; 32],
    /// Whether the write is an item of an asynchronous batch.
    pub is_of_stored_batch: bool,
}

/// What the keys of plans begin with. No key of a caller holds a space.
const PLAN_PREFIX: &str = "plan: ";

impl IdempotencyKey {
    /// The key of a create that is made as it was planned: a plan makes it at most once.
    #[must_use]
    pub fn of_plan(plan: &PlanTag) -> String {
        [PLAN_PREFIX, plan.as_str()].concat()
    }

    /// Whether it is the key of a plan.
    pub(super) fn is_plan(&self) -> bool {
        self.key.starts_with(PLAN_PREFIX)
    }
}

/// What a write does, with its input.
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// PATCH.
    Update {
        /// The record to change.
        id: RecordId,
        /// The change.
        patch: Patch,
    },
    /// DELETE.
    Delete {
        /// The record to delete.
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
    /// The action, as permissions, ledger and metrics name it.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Update { .. } => Action::Update,
            Self::Delete { .. } => Action::Delete,
            Self::Create { .. } => Action::Create,
        }
    }

    /// The record it changes; `None` for a create.
    #[must_use]
    pub fn record(&self) -> Option<&RecordId> {
        match self {
            Self::Update { id, .. } | Self::Delete { id } => Some(id),
            Self::Create { .. } => None,
        }
    }
}

/// A write with the headers that govern it.
#[derive(Clone, Debug)]
pub struct WriteCommand {
    /// What it does.
    pub op: WriteOp,
    /// `If-Match`. `None` on POST, and where the system does not require it (it then counts as
    /// `*`).
    pub precondition: Option<Precondition>,
    /// `If-None-Match`: the write fails if it matches (`Exists` is `*`).
    pub if_none_match: Option<Precondition>,
    /// `Prefer`.
    pub prefer: Prefer,
    /// The names in `Accept-Loss`.
    pub accept_loss: Vec<String>,
    /// `Require-Guarantee: native`.
    pub require_native: bool,
    /// Values that cannot be written in the record's form. The write is refused with these, and
    /// with what the schema finds besides.
    pub rejected_values: Vec<FieldError>,
    /// The model that the caller sees the record in, with the fingerprint of its map.
    pub mapping: Option<Arc<str>>,
    /// `If-Plan`.
    pub if_plan: Option<PlanTag>,
    /// `Idempotency-Key`.
    pub idempotency: Option<IdempotencyKey>,
    /// Nothing is begun: only what the key replays is a response (an item of a stored batch that
    /// had begun).
    pub replays_only: bool,
}

impl WriteCommand {
    /// `If-Plan` of a write without a key.
    pub(super) fn plan_without_key(&self) -> Option<&PlanTag> {
        self.if_plan.as_ref().filter(|_| self.idempotency.is_none())
    }
}

/// The caller of an operator action.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The caller's name.
    pub caller: CallerName,
    /// The request's id.
    pub request_id: RequestId,
}
