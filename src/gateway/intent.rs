//! A write that was begun, as data: everything that a crash must leave behind to find its outcome.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::Prefer;
use super::outcome::Guarantee;
use super::stored_request::StoredRequest;
use crate::record::{
    Action, FieldChange, OperationId, RawJson, RawObject, RecordId, Warning, WarningCode, fields_pointer,
    write_fields_pointer,
};
use crate::store::{ChangedPaths, RecoveryPayload};
use crate::vendors::{Completion, PlannedRequest};

/// What a write is to do, and what reconciling it needs. It never changes once the operation has
/// begun: the store shares it and serializes it only when it persists a running operation.
///
/// The names in `serde(rename)` are those of earlier builds, whose stored intents must stay
/// readable.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WriteIntent {
    /// The operation that records it.
    pub operation: OperationId,
    /// The `X-Request-Id` of the request that began it; empty if an earlier build did.
    #[serde(default)]
    pub request_id: Arc<str>,
    /// The configured system.
    pub system: Arc<str>,
    /// The system's [`tenant_fingerprint`](super::system::tenant_fingerprint); empty if an earlier
    /// build began the write.
    #[serde(rename = "installation", default)]
    pub tenant_fingerprint: Arc<str>,
    /// The record; `None` for a create.
    pub record: Option<RecordId>,
    /// The action.
    pub action: Action,
    /// How concurrent writers are excluded.
    pub guarantee: Guarantee,
    /// What the record looks like once the write is applied.
    #[serde(rename = "wanted")]
    pub expected: ExpectedState,
    /// The ETag before the write.
    #[serde(rename = "before")]
    pub etag_before: Option<String>,
    /// The ETag after the write, where it can be predicted.
    #[serde(rename = "after")]
    pub etag_after: Option<String>,
    /// The vendor request, if it is safe to send again because the vendor compares `etag_before`.
    #[serde(rename = "resend")]
    pub resendable_request: Option<StoredRequest>,
    /// The names of the accepted losses.
    pub losses: Vec<String>,
    /// Whether callers see it running: reads name its operation, other writes get 409.
    #[serde(rename = "queued")]
    pub is_async: bool,
    /// Whether the caller accepts any state (`If-Match: *`), so that a conflict is no final
    /// outcome.
    #[serde(rename = "any_state")]
    pub if_match_any: bool,
    /// Whether an `Idempotency-Key` is to replay the outcome.
    #[serde(rename = "keyed")]
    pub has_idempotency_key: bool,
    /// `Prefer`: part of the response that a key replays.
    pub prefer: Prefer,
    /// When it was begun, in milliseconds since 1970: the start of `completion_timeout`.
    pub begun_ms: i64,
}

/// What the record looks like once the write is applied.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ExpectedState {
    /// It has these values, and the old ones are known.
    Values(Vec<StoredFieldChange>),
    /// Its members have these values; the old ones are not known.
    Members(RawObject),
    /// It does not exist.
    #[serde(rename = "Gone")]
    Deleted,
    /// The collection has a record with all these values.
    #[serde(rename = "Made")]
    Created {
        /// The canonical collection.
        collection: String,
        /// The values.
        fields: Map<String, Value>,
        /// The ids of the records that had these values before; `None` if they were not searched
        /// for.
        #[serde(rename = "known")]
        preexisting_ids: Option<Vec<String>>,
    },
}

/// A [`FieldChange`] in a form that can be stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredFieldChange {
    path: Vec<String>,
    #[serde(rename = "before")]
    old_value: Option<RawJson>,
    #[serde(rename = "wanted")]
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

impl RecoveryPayload for WriteIntent {
    fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl ChangedPaths for WriteIntent {
    fn for_each(&self, visit: &mut dyn FnMut(&str)) {
        let mut text = String::with_capacity(64);
        let mut visit_path = |names: &mut dyn Iterator<Item = &str>| {
            text.clear();
            write_fields_pointer(&mut text, names);
            visit(&text);
        };
        match &self.expected {
            ExpectedState::Values(changes) => {
                for change in changes {
                    visit_path(&mut change.path.iter().map(String::as_str));
                }
            }
            ExpectedState::Members(members) => members.names().for_each(|name| visit_path(&mut std::iter::once(name))),
            ExpectedState::Deleted => {}
            ExpectedState::Created { fields, .. } => {
                for name in fields.keys() {
                    visit_path(&mut std::iter::once(name.as_str()));
                }
            }
        }
    }
}

impl WriteIntent {
    /// The path of the caller's request.
    pub(super) fn path(&self) -> String {
        match &self.record {
            Some(id) => ["/records/", &self.system, "/", id.as_str()].concat(),
            None => ["/records/", &self.system].concat(),
        }
    }

    /// The `X-Request-Id` of the request that began it, if it is known.
    pub(super) fn request_id(&self) -> Option<&str> {
        Some(&*self.request_id).filter(|id| !id.is_empty())
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

    /// A warning for each accepted loss.
    pub(super) fn loss_warnings(&self) -> Vec<Warning> {
        let warning = |name: &String| Warning {
            code: WarningCode::Loss,
            pointer: String::new(),
            detail: format!("{name}: the vendor's documentation says that such a write destroys these"),
        };
        self.losses.iter().map(warning).collect()
    }

    /// How long ago it was begun.
    pub(super) fn age(&self) -> Duration {
        let now = jiff::Timestamp::now().as_millisecond();
        Duration::from_millis(now.saturating_sub(self.begun_ms).try_into().unwrap_or(0))
    }

    /// The planned request, if it is safe to send again because the vendor compares the version.
    pub(super) fn build_resendable_request(planned: &PlannedRequest, guarantee: Guarantee) -> Option<StoredRequest> {
        let is_safe = planned.idempotent && guarantee == Guarantee::Native && planned.completion == Completion::Now;
        is_safe.then(|| StoredRequest::new(planned.request.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an earlier build stored, without the members that were added since.
    const EARLIER_BUILD_JSON: &str = r#"{"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","system":"itsm","record":["A","1"],"action":"update","guarantee":"native","wanted":{"Members":[["Costs","1.10"],["Name","\"é\""]]},"before":"\"r1.x\"","after":null,"resend":{"method":"PUT","path":"/p?q=1","headers":[["explicit-language","en"]],"body":"{\"Costs\":1.10}"},"refused":null,"losses":["l"],"queued":false,"any_state":true,"keyed":false,"prefer":{"representation":false,"respond_async":false,"wait":null},"begun_ms":7}"#;

    #[test]
    fn an_intent_stored_by_an_earlier_build_can_be_read() {
        let intent: WriteIntent = serde_json::from_str(EARLIER_BUILD_JSON).expect("a readable intent");
        assert_eq!(intent.paths(), ["/fields/Costs", "/fields/Name"]);
        let request = intent.resendable_request.as_ref().expect("a request").restore();
        assert_eq!((request.path.as_str(), request.body.as_deref()), ("/p?q=1", Some(br#"{"Costs":1.10}"#.as_slice())));
        let json = intent.to_json().expect("JSON");
        let reread: WriteIntent = serde_json::from_str(&json).expect("a readable intent");
        assert_eq!(reread.to_json(), Some(json));
    }
}
