//! The ledger's entries and their chain (contract 4.9).
//!
//! `hash` = SHA-256, in lower-case hex, over the text of `prev` followed by the canonical JSON (RFC 8785: members sorted by
//! name, no white space) of the entry without `hash`. The first entry's `prev` is 64 zeros.

use serde::{Deserialize, Serialize};

use crate::record::{Action, CallMade, OperationId, sha256};

/// The `prev` of the first entry.
pub(super) const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Before the vendor is called, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerEvent {
    /// Before.
    Intent,
    /// After.
    Outcome,
}

/// One entry. It never holds a field's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// JSON Pointers of what was to change.
    pub paths: Vec<String>,
    /// The names of the losses accepted (intent) or done (outcome).
    pub losses: Vec<String>,
    /// The vendor calls made; none in an intent.
    pub calls: Vec<CallMade>,
    /// The operation's state: `running` in an intent.
    pub state: String,
    /// The problem's name, if there was one.
    pub problem: Option<String>,
    /// The record's tag after the write, when it is proven.
    pub etag_after: Option<String>,
    /// The hash of the entry before.
    pub prev: String,
    /// This entry's hash.
    #[serde(default)]
    pub hash: String,
}

/// The form that is hashed and stored: the same members, sorted by name.
#[derive(Serialize)]
struct Canonical<'e> {
    action: Action,
    at: &'e str,
    calls: Vec<CanonicalCall<'e>>,
    caller: &'e str,
    etag_after: Option<&'e str>,
    event: LedgerEvent,
    losses: &'e [String],
    operation: &'e str,
    paths: &'e [String],
    precondition: Option<&'e str>,
    prev: &'e str,
    problem: Option<&'e str>,
    record: Option<&'e str>,
    request_id: &'e str,
    seq: i64,
    state: &'e str,
    system: &'e str,
}

#[derive(Serialize)]
struct CanonicalCall<'e> {
    call: &'e str,
    ms: u64,
    status: Option<u16>,
}

impl LedgerEntry {
    /// The canonical text, without `hash`.
    pub(super) fn canonical(&self) -> String {
        let calls = self
            .calls
            .iter()
            .map(|made| CanonicalCall { call: &made.call, ms: made.ms, status: made.status })
            .collect();
        let canonical = Canonical {
            action: self.action,
            at: &self.at,
            calls,
            caller: &self.caller,
            etag_after: self.etag_after.as_deref(),
            event: self.event,
            losses: &self.losses,
            operation: self.operation.as_str(),
            paths: &self.paths,
            precondition: self.precondition.as_deref(),
            prev: &self.prev,
            problem: self.problem.as_deref(),
            record: self.record.as_deref(),
            request_id: &self.request_id,
            seq: self.seq,
            state: &self.state,
            system: &self.system,
        };
        // Strings, numbers and lists only: serializing cannot fail.
        serde_json::to_string(&canonical).unwrap_or_default()
    }

    /// Puts a stored text and its hash together again.
    pub(super) fn restore(body: &str, hash: &str) -> Option<Self> {
        let mut entry: Self = serde_json::from_str(body).ok()?;
        hash.clone_into(&mut entry.hash);
        Some(entry)
    }
}

/// The hash of an entry.
pub(super) fn chain_hash(prev: &str, canonical: &str) -> String {
    hex::encode(sha256([prev.as_bytes(), canonical.as_bytes()]))
}

/// Milliseconds since 1970 as RFC 3339, UTC, with milliseconds.
pub(super) fn rfc3339(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_can_be_computed_from_the_document_with_any_tool() {
        let entry = LedgerEntry {
            seq: 1,
            at: rfc3339(1_795_255_530_120),
            event: LedgerEvent::Outcome,
            operation: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
            request_id: "r".into(),
            caller: "billing \"é\"".into(),
            system: "crm".into(),
            record: None,
            action: Action::Update,
            precondition: Some("\"c1\"".into()),
            paths: vec!["/fields/Email".into()],
            losses: vec![],
            calls: vec![CallMade { call: "update".into(), status: Some(204), ms: 41 }],
            state: "applied".into(),
            problem: None,
            etag_after: None,
            prev: NOTHING_BEFORE.into(),
            hash: String::new(),
        };
        let canonical = format!(
            r#"{{"action":"update","at":"2026-11-21T10:05:30.120Z","calls":[{{"call":"update","ms":41,"status":204}}],"caller":"billing \"é\"","etag_after":null,"event":"outcome","losses":[],"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"],"precondition":"\"c1\"","prev":"{NOTHING_BEFORE}","problem":null,"record":null,"request_id":"r","seq":1,"state":"applied","system":"crm"}}"#
        );
        assert_eq!(entry.canonical(), canonical);
        let hash = chain_hash(&entry.prev, &canonical);
        assert_eq!(hash, hex::encode(sha256([format!("{NOTHING_BEFORE}{canonical}").as_bytes()])));
        let restored = LedgerEntry::restore(&canonical, &hash).expect("an entry");
        assert_eq!(LedgerEntry { hash: String::new(), ..restored }, entry);
    }

    #[test]
    fn the_document_has_exactly_the_members_of_the_contract_in_its_order() {
        let entry = LedgerEntry::restore(
            &format!(r#"{{"action":"read","at":"","calls":[],"caller":"","etag_after":null,"event":"intent","losses":[],"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":[],"precondition":null,"prev":"{NOTHING_BEFORE}","problem":null,"record":null,"request_id":"","seq":1,"state":"","system":""}}"#),
            "h",
        )
        .expect("an entry");
        let document = serde_json::to_value(&entry).expect("JSON");
        let members: Vec<_> = document.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            members.join(" "),
            "seq at event operation request_id caller system record action precondition paths losses calls state problem etag_after prev hash"
        );
    }
}
