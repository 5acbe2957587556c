//! A write that was begun, as data: what a crash leaves behind is exactly what the settler needs.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Guarantee, Prefer};
use crate::record::{
    Action, FieldChange, OperationId, RawJson, RawObject, RecordId, Warning, WarningCode, fields_pointer as pointer,
    write_fields_pointer,
};
use crate::store::{ChangedPaths, RecoveryPayload};
use crate::transport::{VendorCallKind, VendorRequest};
use crate::vendors::{Completion, PlannedRequest};

/// All that is needed to find out what became of a write. It never changes: the store shares it, and writes it down only if it has to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WriteIntent {
    /// The operation that remembers it.
    pub operation: OperationId,
    /// The `X-Request-Id` of the request that began it; empty if an earlier version did.
    #[serde(default)]
    pub request_id: Arc<str>,
    /// The configured system.
    pub system: Arc<str>,
    /// The system's [`installation`](super::system::installation); empty if an earlier version began it.
    #[serde(rename = "installation", default)]
    pub tenant_fingerprint: Arc<str>,
    /// The record; a create has none.
    pub record: Option<RecordId>,
    /// What it does.
    pub action: Action,
    /// How others are excluded.
    pub guarantee: Guarantee,
    /// What the record looks like if it was done.
    #[serde(rename = "wanted")]
    pub expected: ExpectedState,
    /// The tag before.
    #[serde(rename = "before")]
    pub etag_before: Option<String>,
    /// The tag afterwards, where it can be foretold.
    #[serde(rename = "after")]
    pub etag_after: Option<String>,
    /// The very call, if sending it again is harmless because it is bound to `before`.
    #[serde(rename = "resend")]
    pub resendable_request: Option<StoredRequest>,
    /// The losses that were accepted.
    pub losses: Vec<String>,
    /// Whether callers see it as running: reads name it, other writes are 409.
    #[serde(rename = "queued")]
    pub is_async: bool,
    /// Whether the caller asked for any state (`If-Match: *`): a conflict is then no verdict on the request.
    #[serde(rename = "any_state")]
    pub if_match_any: bool,
    /// Whether an `Idempotency-Key` waits for its verdict.
    #[serde(rename = "keyed")]
    pub has_idempotency_key: bool,
    /// What its caller preferred: part of the answer that a key replays.
    pub prefer: Prefer,
    /// When it was begun, in milliseconds since 1970: the start of `completion_timeout`.
    pub begun_ms: i64,
}

/// What the record looks like if the write was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ExpectedState {
    /// It shows these values.
    Values(Vec<StoredFieldChange>),
    /// Its members have these values; what they were is not known.
    Members(RawObject),
    /// It is gone.
    #[serde(rename = "Gone")]
    Deleted,
    /// A record with all these values is in the collection.
    #[serde(rename = "Made")]
    Created {
        /// The canonical collection.
        collection: String,
        /// The values.
        fields: Map<String, Value>,
        /// The records that held them before, where that was looked up; `None` = nobody looked.
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
    fn from(difference: FieldChange) -> Self {
        let FieldChange { path, old_value: before, new_value: wanted, .. } = difference;
        let wanted = RawJson::from(&wanted.unwrap_or_default());
        Self { path, old_value: before.as_ref().map(RawJson::from), new_value: wanted }
    }
}

impl StoredFieldChange {
    fn restore(&self) -> FieldChange {
        FieldChange {
            pointer: pointer(&self.path),
            member: self.path.first().cloned().unwrap_or_default(),
            path: self.path.clone(),
            old_value: self.old_value.as_ref().and_then(RawJson::value),
            new_value: self.new_value.value(),
        }
    }
}

/// A call to be sent again. It holds no secret: signing comes later.
#[derive(Debug)]
pub(super) struct StoredRequest(VendorRequest);

/// A [`StoredRequest`] as it is stored: text throughout.
#[derive(Serialize, Deserialize)]
struct StoredRequestJson {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl StoredRequest {
    /// The call again.
    pub(super) fn restore(&self) -> VendorRequest {
        self.0.clone()
    }

    fn to_json(&self) -> Option<StoredRequestJson> {
        let VendorRequest { method, path, headers, body, .. } = &self.0;
        let headers = headers.iter().map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let body = match body {
            Some(bytes) => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
            None => None,
        };
        Some(StoredRequestJson {
            method: method.to_string(),
            path: path.clone(),
            headers: headers.collect::<Option<_>>()?,
            body,
        })
    }

    fn from_json(text: StoredRequestJson) -> Option<Self> {
        let mut call =
            VendorRequest::new(VendorCallKind::Update, Method::from_bytes(text.method.as_bytes()).ok()?, text.path);
        for (name, value) in &text.headers {
            call.headers.push((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?));
        }
        call.body = text.body.map(Bytes::from);
        Some(Self(call))
    }
}

impl Serialize for StoredRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().ok_or_else(|| S::Error::custom("a call that is not text"))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(StoredRequestJson::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a call"))
    }
}

impl RecoveryPayload for WriteIntent {
    fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl ChangedPaths for WriteIntent {
    fn for_each(&self, tell: &mut dyn FnMut(&str)) {
        let mut text = String::with_capacity(64);
        let mut below = |names: &mut dyn Iterator<Item = &str>| {
            text.clear();
            write_fields_pointer(&mut text, names);
            tell(&text);
        };
        match &self.expected {
            ExpectedState::Values(saved) => {
                saved.iter().for_each(|one| below(&mut one.path.iter().map(String::as_str)))
            }
            ExpectedState::Members(members) => members.names().for_each(|name| below(&mut std::iter::once(name))),
            ExpectedState::Deleted => {}
            ExpectedState::Created { fields, .. } => {
                fields.keys().for_each(|name| below(&mut std::iter::once(name.as_str())))
            }
        }
    }
}

impl WriteIntent {
    /// The path that the write was sent to.
    pub(super) fn path(&self) -> String {
        match &self.record {
            Some(id) => ["/records/", &self.system, "/", id.as_str()].concat(),
            _ => ["/records/", &self.system].concat(),
        }
    }

    /// The `X-Request-Id` of the request that began it, if it is known.
    pub(super) fn request_id(&self) -> Option<&str> {
        Some(&*self.request_id).filter(|id| !id.is_empty())
    }

    /// The tag of the version that the vendor compares before it does this.
    pub(super) fn compared_etag(&self) -> Option<&str> {
        self.etag_before.as_deref().filter(|_| self.guarantee == Guarantee::Native)
    }

    /// The wanted values, for an update.
    pub(super) fn field_changes(&self) -> Vec<FieldChange> {
        match &self.expected {
            ExpectedState::Values(saved) => saved.iter().map(StoredFieldChange::restore).collect(),
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
            detail: format!("{name}: the vendor is documented to destroy these with such a write"),
        };
        self.losses.iter().map(warning).collect()
    }

    /// How long it has been going on.
    pub(super) fn age(&self) -> Duration {
        let now = jiff::Timestamp::now().as_millisecond();
        Duration::from_millis(now.saturating_sub(self.begun_ms).try_into().unwrap_or(0))
    }

    /// Keeps the planned call where sending it again is harmless by its binding to a version.
    pub(super) fn build_resendable_request(planned: &PlannedRequest, guarantee: Guarantee) -> Option<StoredRequest> {
        let bound = planned.idempotent && guarantee == Guarantee::Native && planned.completion == Completion::Now;
        bound.then(|| StoredRequest(planned.request.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As builds before this test wrote it, without the members that came later.
    const EARLIER_BUILD_JSON: &str = r#"{"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","system":"itsm","record":["A","1"],"action":"update","guarantee":"native","wanted":{"Members":[["Costs","1.10"],["Name","\"é\""]]},"before":"\"r1.x\"","after":null,"resend":{"method":"PUT","path":"/p?q=1","headers":[["explicit-language","en"]],"body":"{\"Costs\":1.10}"},"refused":null,"losses":["l"],"queued":false,"any_state":true,"keyed":false,"prefer":{"representation":false,"respond_async":false,"wait":null},"begun_ms":7}"#;

    #[test]
    fn an_intent_stored_by_an_earlier_build_can_be_read() {
        let intended: WriteIntent = serde_json::from_str(EARLIER_BUILD_JSON).expect("it can be read");
        assert_eq!(intended.paths(), ["/fields/Costs", "/fields/Name"]);
        let call = intended.resendable_request.as_ref().expect("a call").restore();
        assert_eq!((call.path.as_str(), call.body.as_deref()), ("/p?q=1", Some(br#"{"Costs":1.10}"#.as_slice())));
        let written = intended.to_json().expect("it can be written");
        let again: WriteIntent = serde_json::from_str(&written).expect("it can be read again");
        assert_eq!(again.to_json(), Some(written));
    }
}
