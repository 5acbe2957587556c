//! The ledger's entries as callers read them (contract 4.9), and the hash that chains them.
//! `entry_json` has the stored form.

use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

use crate::record::{Action, OperationId, VendorRequestLog};

/// The `prev` of the first entry.
pub(super) const GENESIS: Hash = [0; 32];

/// The hash of an entry; callers get lower-case hex.
pub(super) type Hash = [u8; 32];

/// Whether an entry precedes the vendor call or follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerEvent {
    /// The write is about to be sent.
    #[default]
    Intent,
    /// The write has ended.
    Outcome,
    /// The outcome of a write that had ended `unknown`: as a person or a later probe has found it.
    Resolved,
    /// The operator has moved all entries up to one to a file (`ledger cut`).
    Cut,
}

impl LedgerEvent {
    /// The name in an entry.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Resolved => "resolved",
            Self::Cut => "cut",
        }
    }
}

/// Where the ledger begins after a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerCut {
    /// The hash of the last entry that is gone: the `prev` of the first that is left.
    pub hash: String,
    /// The number of the last entry that is gone.
    pub seq: i64,
}

/// One entry. It never holds the value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LedgerEntry {
    /// The entry's number, counted from 1 without gaps.
    pub seq: i64,
    /// The time (RFC 3339, UTC, milliseconds). It is earlier than that of the entry before only
    /// where the clock went back by a second or more.
    #[schema(example = "2026-11-21T10:15:30.123Z")]
    pub at: String,
    /// Whether the entry precedes the vendor call or follows it, or stands for entries that are
    /// gone.
    pub event: LedgerEvent,
    /// The operation, which an intent and an outcome share; null in the entry of a cut.
    #[schema(required = true)]
    pub operation: Option<OperationId>,
    /// The request that began it.
    pub request_id: String,
    /// The batch and the item that the write is, `{request id}/{item id}`; absent in others.
    #[serde(rename = "batch", skip_serializing_if = "Option::is_none")]
    pub batch_item: Option<String>,
    /// The model that the caller used, `{name}@{fingerprint}`; absent in others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The caller's name.
    pub caller: String,
    /// The system's name.
    pub system: String,
    /// The record's id; null in a create until the vendor has responded.
    pub record: Option<String>,
    /// Create, update or delete; null in the entry of a cut.
    #[schema(required = true)]
    pub action: Option<Action>,
    /// `If-Match` as sent.
    pub precondition: Option<String>,
    /// The ETag of the version that the vendor compares, if `precondition` does not name exactly
    /// that.
    #[serde(skip)]
    pub compared_etag: Option<String>,
    /// The ETag of the state that a rebased write was applied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rebased_onto: Option<String>,
    /// Whether the write was compared with a plan.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub plan: bool,
    /// JSON Pointers to what the write changes.
    pub paths: Vec<String>,
    /// The names of the losses that were accepted (intent) or happened (outcome).
    pub losses: Vec<String>,
    /// The vendor calls made; empty in an intent.
    pub calls: Vec<VendorRequestLog>,
    /// The operation's state: `running` in an intent.
    pub state: String,
    /// The name of the problem that the caller got, if any.
    pub problem: Option<String>,
    /// The record's ETag after the write, if confirmed.
    pub etag_after: Option<String>,
    /// In a verdict: the SHA-256 of the note, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note_hash: Option<String>,
    /// In an entry of a cut: the last entry that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<LedgerCut>,
    /// The hash of the entry before.
    pub prev: String,
    /// This entry's hash.
    pub hash: String,
}

/// The hash of an entry: BLAKE3 over its number, a space and its stored JSON, keyed with the hash
/// of the entry before. With other tools, where `prev` is that hash in hex and the text is in a
/// file: `printf %s "$prev" | xxd -r -p | b3sum --keyed FILE`.
pub(super) fn chain_hash(prev: &Hash, seq: i64, json: &str) -> Hash {
    let mut hasher = blake3::Hasher::new_keyed(prev);
    hasher.update(itoa::Buffer::new().format(seq).as_bytes()).update(b" ").update(json.as_bytes());
    hasher.finalize().into()
}

/// Formats milliseconds since 1970 as RFC 3339, UTC, with milliseconds.
pub(super) fn rfc3339(ms: i64) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_serializes_the_members_of_the_contract_in_order() {
        let entry = LedgerEntry {
            seq: 1,
            at: rfc3339(1_795_255_530_120),
            event: LedgerEvent::Intent,
            operation: Some(OperationId::new()),
            request_id: String::new(),
            batch_item: None,
            model: None,
            caller: String::new(),
            system: String::new(),
            record: None,
            action: Some(Action::Update),
            precondition: None,
            compared_etag: Some("not serialized".into()),
            rebased_onto: None,
            plan: false,
            paths: Vec::new(),
            losses: Vec::new(),
            calls: Vec::new(),
            state: String::new(),
            problem: None,
            etag_after: None,
            note_hash: None,
            cut: None,
            prev: const_hex::encode(GENESIS),
            hash: String::new(),
        };
        let json = serde_json::to_value(&entry).expect("JSON");
        let members: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            members.join(" "),
            "seq at event operation request_id caller system record action precondition paths losses calls state problem etag_after prev hash"
        );
        assert_eq!(json["at"], "2026-11-21T10:05:30.120Z");
    }
}
