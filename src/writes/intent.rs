//! A write that was begun, as data: everything that a crash must leave behind to find its outcome.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::applied_rebase::AppliedRebase;
use super::command::Prefer;
use super::stored_request::StoredRequest;
use crate::record::{
    Action, FieldChange, OperationId, RawJson, RawObject, RecordId, Warning, WarningCode, fields_pointer, json_pointer,
};
use crate::system::Guarantee;
use crate::transport::VendorRequestKind;
use crate::vendors::{Completion, PlannedRequest};

/// What a write is to do, and what reconciling it needs. It never changes once the operation has
/// begun.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that a later process needs")]
pub(super) struct WriteIntent {
    /// The operation that records it.
    pub operation: OperationId,
    /// The `X-Request-Id` of the request that began it.
    pub request_id: Arc<str>,
    /// The configured system.
    pub system: Arc<str>,
    /// The system's [`tenant_fingerprint`](crate::system::tenant_fingerprint).
    pub tenant_fingerprint: Arc<str>,
    /// The record; `None` for a create.
    pub record: Option<RecordId>,
    /// The action.
    pub action: Action,
    /// How concurrent writers are excluded.
    pub guarantee: Guarantee,
    /// What the record looks like once the write is applied.
    pub expected: ExpectedState,
    /// The ETag before the write.
    pub etag_before: Option<String>,
    /// The ETag after the write, where it can be predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag_after: Option<String>,
    /// The vendor request, if it is safe to send again: the vendor compares `etag_before`, or it
    /// deletes an id that is never used again.
    pub resendable_request: Option<StoredRequest>,
    /// The rebase that made it a write on `etag_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebased: Option<AppliedRebase>,
    /// Whether it was compared with a plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[serde(rename = "has_plan")]
    pub has_if_plan: bool,
    /// The names of the accepted losses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<String>,
    /// Whether it blocks its record from the start: it is queued, or its caller sent
    /// `respond-async`. Reads name its operation, and other writes get 409.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_async: bool,
    /// Whether the vendor queues it, so that its effect may come long after the response.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_queued: bool,
    /// Whether the caller accepts any state (`If-Match: *`), so that a conflict is no final
    /// outcome.
    #[serde(default, skip_serializing_if = "is_false")]
    pub if_match_any: bool,
    /// Whether an `Idempotency-Key` is to replay the outcome.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_idempotency_key: bool,
    /// Whether the store remembers its plan, which is then made at most once: neither a version nor
    /// a key shows that it was.
    #[serde(default, skip_serializing_if = "is_false")]
    pub claims_plan: bool,
    /// `Prefer`: part of the response that a key replays.
    #[serde(default, skip_serializing_if = "Prefer::is_default")]
    pub prefer: Prefer,
    /// When it was begun, in milliseconds since 1970: the start of `completion_timeout`.
    pub begun_ms: i64,
    /// The caller's deadline, in milliseconds since 1970: what the store takes later is never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// How it breaks the vendor's schema, where it is sent all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_warnings: Vec<Warning>,
    /// Whether only a read shows what the vendor made of its values.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_read_back: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What the record looks like once the write is applied.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ExpectedState {
    /// It has these values, and the old ones are known.
    Values(Vec<StoredFieldChange>),
    /// Its members have these values; the old ones are not known.
    Members(RawObject),
    /// It does not exist.
    Deleted,
    /// The collection has a record with all these values.
    Created {
        /// The canonical collection.
        collection: String,
        /// The values.
        fields: Map<String, Value>,
        /// The ids of the records that had these values before; `None` if they were not searched
        /// for.
        preexisting_ids: Option<Vec<String>>,
    },
}

impl ExpectedState {
    /// The new values of members whose old ones are not known.
    pub(super) fn members(&self) -> Option<&RawObject> {
        match self {
            Self::Members(members) => Some(members),
            Self::Values(_) | Self::Deleted | Self::Created { .. } => None,
        }
    }

    /// Whether the record is to be gone.
    pub(super) fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted)
    }
}

/// A [`FieldChange`] in a form that can be stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredFieldChange {
    path: Vec<String>,
    old_value: Option<RawJson>,
    new_value: RawJson,
}

impl From<FieldChange> for StoredFieldChange {
    fn from(change: FieldChange) -> Self {
        Self {
            old_value: change.old_value.as_ref().map(RawJson::from),
            new_value: RawJson::from(&change.new_value.unwrap_or_default()),
            path: change.path,
        }
    }
}

impl StoredFieldChange {
    fn restore(&self) -> FieldChange {
        FieldChange {
            pointer: fields_pointer(&self.path),
            member: self.path.first().cloned().unwrap_or_default(),
            path: self.path.clone(),
            old_value: self.old_value.as_ref().and_then(RawJson::value),
            new_value: self.new_value.value(),
        }
    }
}

impl WriteIntent {
    /// The intent as it is stored; `None` if it has no JSON form.
    pub(super) fn to_json(&self) -> Option<String> {
        // Room for the values of a usual record.
        let mut json = Vec::with_capacity(4096);
        serde_json::to_writer(&mut json, self).ok()?;
        String::from_utf8(json).ok()
    }

    /// The JSON Pointers of what it changes.
    pub(super) fn paths(&self) -> Vec<String> {
        let member = |name: &str| json_pointer("/fields", &[name]);
        match &self.expected {
            ExpectedState::Values(changes) => changes.iter().map(|change| fields_pointer(&change.path)).collect(),
            ExpectedState::Members(members) => members.names().map(member).collect(),
            ExpectedState::Deleted => Vec::new(),
            ExpectedState::Created { fields, .. } => fields.keys().map(|name| member(name)).collect(),
        }
    }

    /// Whether the store has a key for it from its beginning on, that of its caller or its plan.
    pub(super) fn claims_key(&self) -> bool {
        self.has_idempotency_key || self.claims_plan
    }

    /// Reads a stored write; `None` if it cannot be read.
    pub(super) fn from_json(json: &str) -> Option<Self> {
        let mut intent: Self = serde_json::from_str(json).ok()?;
        if let Some(request) = &mut intent.resendable_request {
            request.complete_body(intent.expected.members())?;
        }
        Some(intent)
    }

    /// The path of the caller's request.
    pub(super) fn path(&self) -> String {
        match &self.record {
            Some(id) => ["/records/", &self.system, "/", id.as_str()].concat(),
            None => ["/records/", &self.system].concat(),
        }
    }

    /// The ETag of the version that the vendor compares before it applies the write.
    pub(super) fn compared_etag(&self) -> Option<&str> {
        self.etag_before.as_deref().filter(|_| self.guarantee == Guarantee::Native)
    }

    /// The changes of an update; empty for any other write.
    pub(super) fn field_changes(&self) -> Vec<FieldChange> {
        match &self.expected {
            ExpectedState::Values(changes) => changes.iter().map(StoredFieldChange::restore).collect(),
            ExpectedState::Members(members) => {
                members.iter().map(|(name, value)| FieldChange::for_member(name, value.value())).collect()
            }
            ExpectedState::Deleted | ExpectedState::Created { .. } => Vec::new(),
        }
    }

    /// What is known before the vendor responds: a warning for each accepted loss, for a rebase,
    /// and for each place that breaks the schema.
    pub(super) fn known_warnings(&self) -> Vec<Warning> {
        let warning = |name: &String| {
            let detail = format!("{name}: the vendor is documented to destroy these with such a write");
            Warning::new(WarningCode::Loss, "", detail)
        };
        let rebased = self.rebased.iter().map(AppliedRebase::warning);
        self.losses.iter().map(warning).chain(rebased).chain(self.schema_warnings.iter().cloned()).collect()
    }

    /// Whether it changes values of a record.
    pub(super) fn is_update(&self) -> bool {
        matches!(self.expected, ExpectedState::Values(_) | ExpectedState::Members(_))
    }

    /// Whether it may be sent again because the vendor compares the version: at most one of its
    /// requests can succeed.
    pub(super) fn is_bound_to_version(&self) -> bool {
        self.guarantee == Guarantee::Native && self.is_update() && self.resendable_request.is_some()
    }

    /// How long ago it was begun.
    pub(super) fn age(&self) -> Duration {
        time_since(self.begun_ms)
    }

    /// The planned request, if it is safe to send again.
    pub(super) fn build_resendable_request(planned: &PlannedRequest, guarantee: Guarantee) -> Option<StoredRequest> {
        let is_safe = guarantee == Guarantee::Native || planned.request.kind == VendorRequestKind::Delete;
        let is_direct = planned.completion == Completion::Now;
        (planned.idempotent && is_safe && is_direct).then(|| StoredRequest::new(planned.request.clone()))
    }
}

/// How long ago a time in milliseconds since 1970 was; zero if it is in the future.
pub(super) fn time_since(at_ms: i64) -> Duration {
    let now = jiff::Timestamp::now().as_millisecond();
    Duration::from_millis(now.saturating_sub(at_ms).try_into().unwrap_or(0))
}
