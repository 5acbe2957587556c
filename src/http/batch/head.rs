//! The header row of an asynchronous batch.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::Principal;
use crate::record::{OperationId, RawJson, format_time};

/// How often a running batch polls whether it was cancelled.
pub(in crate::http) const CANCEL_POLL: Duration = Duration::from_millis(500);

/// The header row of an asynchronous batch: its caller and options.
#[derive(Serialize, Deserialize)]
pub(in crate::http) struct BatchHead {
    pub(in crate::http) caller: Principal,
    /// Whether the caller had a token, whose permissions no configuration holds.
    #[serde(default)]
    pub(in crate::http) has_token: bool,
    pub(in crate::http) request_id: String,
    pub(in crate::http) started_at: String,
    /// The systems that its items name.
    pub(in crate::http) systems: Vec<String>,
    pub(in crate::http) key: Option<String>,
    /// The batch with the same key that is over and had left something to do: this one begins with
    /// the outcomes of its items that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::http) repeats: Option<RepeatedBatch>,
    /// The body without its items.
    pub(in crate::http) options: RawJson,
}

/// A batch that is over, and that another one repeats.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::http) struct RepeatedBatch {
    /// The batch's id, which has the form of an operation id.
    pub(in crate::http) id: OperationId,
    started_at: String,
}

impl RepeatedBatch {
    pub(super) fn new(id: OperationId, head: &BatchHead) -> Self {
        Self { id, started_at: head.started_at.clone() }
    }
}

impl BatchHead {
    /// Since when the store keeps what is known of its items: from the start of the batch that it
    /// repeats, if it repeats one. Keys older than `retention` are gone.
    pub(super) fn known_since(&self) -> Option<Timestamp> {
        let started_at = self.repeats.as_ref().map_or(&self.started_at, |first| &first.started_at);
        started_at.parse().ok()
    }
}

/// How far a batch is.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::http) struct BatchState {
    pub(in crate::http) is_cancelled: bool,
    pub(in crate::http) finished_at: Option<String>,
}

/// The current time in documents.
pub(in crate::http) fn now_text() -> String {
    format_time(Timestamp::now())
}

/// The state in the header row.
pub(in crate::http) fn parse_state(response: Option<&str>) -> BatchState {
    response.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The document of an item that has not ended.
pub(in crate::http) fn pending_item_json(request: &str) -> Value {
    let item: Value = serde_json::from_str(request).unwrap_or_default();
    serde_json::json!({ "id": item.get("id"), "status": null })
}
