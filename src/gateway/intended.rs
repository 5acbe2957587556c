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
use crate::adapters::{Completion, Planned};
use crate::record::{
    Action, Difference, JsonText, Members, OperationId, RecordId, Warning, WarningCode, fields_pointer as pointer,
    push_fields_pointer,
};
use crate::store::{Material, Paths};
use crate::transport::{Call, CallName};

/// All that is needed to find out what became of a write. It never changes: the store shares it, and writes it down only if it has to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Intended {
    /// The operation that remembers it.
    pub operation: OperationId,
    /// The `X-Request-Id` of the request that began it; empty if an earlier version did.
    #[serde(default)]
    pub request_id: Arc<str>,
    /// The configured system.
    pub system: Arc<str>,
    /// The system's [`installation`](super::system::installation); empty if an earlier version began it.
    #[serde(default)]
    pub installation: Arc<str>,
    /// The record; a create has none.
    pub record: Option<RecordId>,
    /// What it does.
    pub action: Action,
    /// How others are excluded.
    pub guarantee: Guarantee,
    /// What the record looks like if it was done.
    pub wanted: Wanted,
    /// The tag before.
    pub before: Option<String>,
    /// The tag afterwards, where it can be foretold.
    pub after: Option<String>,
    /// The very call, if sending it again is harmless because it is bound to `before`.
    pub resend: Option<SavedCall>,
    /// The losses that were accepted.
    pub losses: Vec<String>,
    /// Whether callers see it as running: reads name it, other writes are 409.
    pub queued: bool,
    /// Whether the caller asked for any state (`If-Match: *`): a conflict is then no verdict on the request.
    pub any_state: bool,
    /// Whether an `Idempotency-Key` waits for its verdict.
    pub keyed: bool,
    /// What its caller preferred: part of the answer that a key replays.
    pub prefer: Prefer,
    /// When it was begun, in milliseconds since 1970: the start of `completion_timeout`.
    pub begun_ms: i64,
}

/// What the record looks like if the write was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// It shows these values.
    Values(Vec<SavedDifference>),
    /// Its members have these values; what they were is not known.
    Members(Members),
    /// It is gone.
    Gone,
    /// A record with all these values is in the collection.
    Made {
        /// The canonical collection.
        collection: String,
        /// The values.
        fields: Map<String, Value>,
        /// The records that held them before, where that was looked up; `None` = nobody looked.
        known: Option<Vec<String>>,
    },
}

/// A [`Difference`] in a form that can be stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedDifference {
    path: Vec<String>,
    before: Option<JsonText>,
    wanted: JsonText,
}

impl From<Difference> for SavedDifference {
    fn from(difference: Difference) -> Self {
        let Difference { path, before, wanted, .. } = difference;
        let wanted = JsonText::from(&wanted.unwrap_or_default());
        Self { path, before: before.as_ref().map(JsonText::from), wanted }
    }
}

impl SavedDifference {
    fn restore(&self) -> Difference {
        Difference {
            pointer: pointer(&self.path),
            member: self.path.first().cloned().unwrap_or_default(),
            path: self.path.clone(),
            before: self.before.as_ref().and_then(JsonText::value),
            wanted: self.wanted.value(),
        }
    }
}

/// A call to be sent again. It holds no secret: signing comes later.
#[derive(Debug)]
pub(super) struct SavedCall(Call);

/// A [`SavedCall`] as it is stored: text throughout.
#[derive(Serialize, Deserialize)]
struct CallText {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl SavedCall {
    /// The call again.
    pub(super) fn restore(&self) -> Call {
        self.0.clone()
    }

    fn to_text(&self) -> Option<CallText> {
        let Call { method, path, headers, body, .. } = &self.0;
        let headers = headers.iter().map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let body = match body {
            Some(bytes) => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
            None => None,
        };
        Some(CallText {
            method: method.to_string(),
            path: path.clone(),
            headers: headers.collect::<Option<_>>()?,
            body,
        })
    }

    fn of_text(text: CallText) -> Option<Self> {
        let mut call = Call::new(CallName::Update, Method::from_bytes(text.method.as_bytes()).ok()?, text.path);
        for (name, value) in &text.headers {
            call.headers.push((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?));
        }
        call.body = text.body.map(Bytes::from);
        Some(Self(call))
    }
}

impl Serialize for SavedCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_text().ok_or_else(|| S::Error::custom("a call that is not text"))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SavedCall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of_text(CallText::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a call"))
    }
}

impl Material for Intended {
    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl Paths for Intended {
    fn each_path(&self, tell: &mut dyn FnMut(&str)) {
        let mut text = String::with_capacity(64);
        let mut below = |names: &mut dyn Iterator<Item = &str>| {
            text.clear();
            push_fields_pointer(&mut text, names);
            tell(&text);
        };
        match &self.wanted {
            Wanted::Values(saved) => saved.iter().for_each(|one| below(&mut one.path.iter().map(String::as_str))),
            Wanted::Members(members) => members.names().for_each(|name| below(&mut std::iter::once(name))),
            Wanted::Gone => {}
            Wanted::Made { fields, .. } => fields.keys().for_each(|name| below(&mut std::iter::once(name.as_str()))),
        }
    }
}

impl Intended {
    /// The path that the write was sent to.
    pub(super) fn path(&self) -> String {
        match &self.record {
            Some(id) => ["/records/", &self.system, "/", id.as_str()].concat(),
            _ => ["/records/", &self.system].concat(),
        }
    }

    /// The `X-Request-Id` of the request that began it, if it is known.
    pub(super) fn asked_by(&self) -> Option<&str> {
        Some(&*self.request_id).filter(|id| !id.is_empty())
    }

    /// The tag of the version that the vendor compares before it does this.
    pub(super) fn bound_to(&self) -> Option<&str> {
        self.before.as_deref().filter(|_| self.guarantee == Guarantee::Native)
    }

    /// The wanted values, for an update.
    pub(super) fn differences(&self) -> Vec<Difference> {
        match &self.wanted {
            Wanted::Values(saved) => saved.iter().map(SavedDifference::restore).collect(),
            Wanted::Members(members) => {
                members.iter().map(|(name, value)| Difference::of_member(name, value.value())).collect()
            }
            Wanted::Gone | Wanted::Made { .. } => Vec::new(),
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
    pub(super) fn resendable(planned: &Planned, guarantee: Guarantee) -> Option<SavedCall> {
        let bound = planned.repeatable && guarantee == Guarantee::Native && planned.completion == Completion::Now;
        bound.then(|| SavedCall(planned.call.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As builds before this test wrote it, without the members that came later.
    const EARLIER: &str = r#"{"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","system":"itsm","record":["A","1"],"action":"update","guarantee":"native","wanted":{"Members":[["Costs","1.10"],["Name","\"é\""]]},"before":"\"r1.x\"","after":null,"resend":{"method":"PUT","path":"/p?q=1","headers":[["explicit-language","en"]],"body":"{\"Costs\":1.10}"},"refused":null,"losses":["l"],"queued":false,"any_state":true,"keyed":false,"prefer":{"representation":false,"respond_async":false,"wait":null},"begun_ms":7}"#;

    #[test]
    fn what_an_earlier_build_left_behind_can_be_taken_up() {
        let intended: Intended = serde_json::from_str(EARLIER).expect("it can be read");
        assert_eq!(intended.paths(), ["/fields/Costs", "/fields/Name"]);
        let call = intended.resend.as_ref().expect("a call").restore();
        assert_eq!((call.path.as_str(), call.body.as_deref()), ("/p?q=1", Some(br#"{"Costs":1.10}"#.as_slice())));
        let written = intended.text().expect("it can be written");
        let again: Intended = serde_json::from_str(&written).expect("it can be read again");
        assert_eq!(again.text(), Some(written));
    }
}
