//! The ledger's entries, as they are shown (contract 4.9). How they are stored and hashed: `page`.

use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

use crate::record::{Action, OperationId, VendorCallLog};

/// The `prev` of the first entry: 64 zeros.
pub(super) const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Before the vendor is called, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerEvent {
    /// Before.
    Intent,
    /// After.
    Outcome,
}

impl LedgerEvent {
    /// The word in an entry.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
        }
    }
}

/// One entry. It never holds a field's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LedgerEntry {
    /// Counts from 1, without gaps.
    pub seq: i64,
    /// When (RFC 3339, UTC, milliseconds). Never earlier than the entry before.
    #[schema(example = "2026-11-21T10:15:30.123Z")]
    pub at: String,
    /// Before or after the vendor was called.
    pub event: LedgerEvent,
    /// The operation; two entries share it.
    pub operation: OperationId,
    /// The request that began it.
    pub request_id: String,
    /// For whom.
    pub caller: String,
    /// In which system.
    pub system: String,
    /// Which record; null while a create has not been answered.
    pub record: Option<String>,
    /// What.
    pub action: Action,
    /// `If-Match` as sent.
    pub precondition: Option<String>,
    /// The tag of the version that the vendor compares, where `precondition` is not just that.
    #[serde(skip)]
    pub compared_etag: Option<String>,
    /// JSON Pointers of what was to change.
    pub paths: Vec<String>,
    /// The names of the losses accepted (intent) or done (outcome).
    pub losses: Vec<String>,
    /// The vendor calls made; none in an intent.
    pub calls: Vec<VendorCallLog>,
    /// The operation's state: `running` in an intent.
    pub state: String,
    /// The problem's name, if there was one.
    pub problem: Option<String>,
    /// The record's tag after the write, when it is proven.
    pub etag_after: Option<String>,
    /// The hash of the entry before.
    pub prev: String,
    /// This entry's hash.
    pub hash: String,
}

/// A hash as it is computed; shown and stored as lower-case hex.
pub(super) type Hash = [u8; 32];

/// The hash of an entry: keyed BLAKE3 over the entry's own JSON, the key being the hash of the entry before.
pub(super) fn chain_hash(prev: &Hash, json: &str) -> Hash {
    blake3::keyed_hash(prev, json.as_bytes()).into()
}

/// The hash in a text. What is no hash has none that follows it: it is read as one that fits nothing.
pub(super) fn parse_hash(text: &str) -> Hash {
    let mut hash = [0; 32];
    match const_hex::decode_to_slice(text, &mut hash) {
        Ok(()) => hash,
        Err(_) => blake3::hash(text.as_bytes()).into(),
    }
}

/// Milliseconds since 1970 as RFC 3339, UTC, with milliseconds.
pub(super) fn rfc3339(ms: i64) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_exactly_the_members_of_the_contract_in_its_order() {
        let entry = LedgerEntry {
            seq: 1,
            at: rfc3339(1_795_255_530_120),
            event: LedgerEvent::Intent,
            operation: OperationId::new(),
            request_id: String::new(),
            caller: String::new(),
            system: String::new(),
            record: None,
            action: Action::Update,
            precondition: None,
            compared_etag: Some("not shown".into()),
            paths: Vec::new(),
            losses: Vec::new(),
            calls: Vec::new(),
            state: String::new(),
            problem: None,
            etag_after: None,
            prev: GENESIS_HASH.into(),
            hash: String::new(),
        };
        let document = serde_json::to_value(&entry).expect("JSON");
        let members: Vec<_> = document.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            members.join(" "),
            "seq at event operation request_id caller system record action precondition paths losses calls state problem etag_after prev hash"
        );
        assert_eq!(document["at"], "2026-11-21T10:05:30.120Z");
    }
}
