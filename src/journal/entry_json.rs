//! The stored form of a ledger entry: canonical JSON (RFC 8785: members sorted by name, no white
//! space) without `seq`, `prev` and `hash`, which are columns.
//!
//! Null and empty members are omitted, and so is the `state` of an intent, which is `running`. Two
//! members are for the gateway alone:
//! - `bound_to`: the ETag of the version that the vendor compared, if `precondition` (`*`, a list)
//!   does not name exactly that. Concurrent writes are distinguished by it.
//! - `intent`, in an outcome: the number of the intent.

use serde::Deserialize;

use super::ledger::{Hash, LedgerCut, LedgerEntry, LedgerEvent, rfc3339};
use super::model::{Intent, Outcome};
use super::verdict::Verdict;
use crate::record::{Action, OperationId, OperationState, VendorRequestLog, sha256, write_json_string};

/// Room for most entries.
const EST_ENTRY_BYTES: usize = 1024;

/// How an operation ended, and the number of its intent.
#[derive(Clone, Copy)]
pub(super) struct EntryOutcome<'e> {
    pub(super) intent_seq: i64,
    pub(super) outcome: &'e Outcome,
}

/// The JSON of an intent or, with an `ending`, of an outcome. `at` is in milliseconds since 1970.
pub(super) fn encode(intent: &Intent, ending: Option<EntryOutcome<'_>>, at: i64) -> String {
    let mut text = String::with_capacity(EST_ENTRY_BYTES);
    let outcome = ending.map(|ending| ending.outcome);
    let event = if outcome.is_some() { LedgerEvent::Outcome } else { LedgerEvent::Intent };
    // The outcome of a create reveals the record.
    let revealed = outcome.and_then(|outcome| outcome.record.as_deref());
    let mut json = CanonicalJson { text: &mut text, separator: "{\"" };
    json.plain("action", intent.action.as_str());
    json.plain("at", &rfc3339(at));
    json.write_optional("batch", intent.batch_item.as_deref());
    json.write_optional("bound_to", intent.compared_etag.as_deref());
    json.list("calls", outcome.map_or(&[], |outcome| &outcome.calls), write_call);
    json.non_empty("caller", &intent.caller);
    json.write_optional("etag_after", outcome.and_then(|outcome| outcome.etag.as_deref()));
    json.plain("event", event.as_str());
    if let Some(ending) = ending {
        json.begin_member("intent").push_str(itoa::Buffer::new().format(ending.intent_seq));
    }
    let losses = outcome.map_or(&intent.losses, |outcome| &outcome.losses);
    json.list("losses", losses, |json, loss| write_json_string(json, loss));
    json.write_optional("model", intent.model.as_deref());
    json.plain("operation", intent.operation.as_str());
    json.list("paths", &intent.paths, |json, path| write_json_string(json, path));
    if intent.has_if_plan {
        json.begin_member("plan").push_str("true");
    }
    json.write_optional("precondition", intent.precondition.as_deref());
    json.write_optional("problem", outcome.and_then(|outcome| outcome.problem_name.as_deref()));
    json.write_optional("rebased_onto", intent.rebased_onto.as_deref());
    json.write_optional("record", revealed.or(intent.record.as_deref()));
    json.non_empty("request_id", &intent.request_id);
    if let Some(outcome) = outcome {
        json.plain("state", outcome.state.as_str());
    }
    json.non_empty("system", &intent.system);
    json.text.push('}');
    text
}

/// The JSON of a later verdict on an operation. Of its note it has the hash.
pub(super) fn encode_verdict(intent: &Intent, intent_seq: i64, verdict: &Verdict, at: i64) -> String {
    let mut text = String::with_capacity(EST_ENTRY_BYTES);
    let note_hash = verdict.note.as_ref().map(|note| const_hex::encode(sha256([note.as_bytes()])));
    let mut json = CanonicalJson { text: &mut text, separator: "{\"" };
    json.plain("action", intent.action.as_str());
    json.plain("at", &rfc3339(at));
    json.write_optional("bound_to", intent.compared_etag.as_deref());
    json.non_empty("caller", &verdict.caller);
    json.write_optional("etag_after", verdict.etag.as_deref());
    json.plain("event", LedgerEvent::Resolved.as_str());
    json.begin_member("intent").push_str(itoa::Buffer::new().format(intent_seq));
    json.write_optional("model", intent.model.as_deref());
    json.write_optional("note_hash", note_hash.as_deref());
    json.plain("operation", intent.operation.as_str());
    json.list("paths", &intent.paths, |json, path| write_json_string(json, path));
    json.write_optional("precondition", intent.precondition.as_deref());
    json.write_optional("record", verdict.record.as_deref().or(intent.record.as_deref()));
    json.non_empty("request_id", &verdict.request_id);
    json.plain("state", verdict.state.as_str());
    json.non_empty("system", &intent.system);
    json.text.push('}');
    text
}

/// The JSON of the entry that a cut leaves: the last entry that is no longer kept, and its hash.
pub(super) fn encode_cut(at: i64, last: i64, hash: &Hash) -> String {
    let mut text = String::with_capacity(EST_ENTRY_BYTES);
    let mut json = CanonicalJson { text: &mut text, separator: "{\"" };
    json.plain("at", &rfc3339(at));
    let cut = json.begin_member("cut");
    cut.push_str("{\"hash\":\"");
    cut.push_str(&const_hex::encode(hash));
    cut.push_str("\",\"seq\":");
    cut.push_str(itoa::Buffer::new().format(last));
    cut.push('}');
    json.plain("event", LedgerEvent::Cut.as_str());
    json.text.push('}');
    text
}

/// Writes members, which must come sorted by name.
struct CanonicalJson<'l> {
    text: &'l mut String,
    /// The text before the next member's name.
    separator: &'static str,
}

impl CanonicalJson<'_> {
    /// Begins a member. The names come from this file and need no escapes.
    fn begin_member(&mut self, name: &str) -> &mut String {
        self.text.push_str(std::mem::replace(&mut self.separator, ",\""));
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text
    }

    /// Adds a value that needs no escapes: a state, an event, a time or an id.
    fn plain(&mut self, name: &str, value: &str) {
        self.begin_member(name).push('"');
        self.text.push_str(value);
        self.text.push('"');
    }

    fn write_optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            write_json_string(self.begin_member(name), value);
        }
    }

    fn non_empty(&mut self, name: &str, value: &str) {
        self.write_optional(name, Some(value).filter(|value| !value.is_empty()));
    }

    fn list<T>(&mut self, name: &str, values: &[T], write: impl Fn(&mut String, &T)) {
        if values.is_empty() {
            return;
        }
        let json = self.begin_member(name);
        for (index, value) in values.iter().enumerate() {
            json.push(if index == 0 { '[' } else { ',' });
            write(json, value);
        }
        json.push(']');
    }
}

fn write_call(json: &mut String, call: &VendorRequestLog) {
    json.push_str("{\"call\":");
    write_json_string(json, &call.call);
    json.push_str(",\"ms\":");
    json.push_str(itoa::Buffer::new().format(call.ms));
    json.push_str(",\"status\":");
    match call.status {
        Some(status) => json.push_str(itoa::Buffer::new().format(status)),
        None => json.push_str("null"),
    }
    json.push('}');
}

/// A stored entry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredEntry {
    pub(super) action: Option<Action>,
    pub(super) at: String,
    #[serde(rename = "batch")]
    pub(super) batch_item: Option<String>,
    #[serde(rename = "bound_to")]
    pub(super) compared_etag: Option<String>,
    #[serde(default)]
    pub(super) calls: Vec<VendorRequestLog>,
    #[serde(default)]
    pub(super) caller: String,
    pub(super) cut: Option<LedgerCut>,
    pub(super) etag_after: Option<String>,
    pub(super) event: LedgerEvent,
    pub(super) intent: Option<i64>,
    #[serde(default)]
    pub(super) losses: Vec<String>,
    pub(super) model: Option<String>,
    pub(super) note_hash: Option<String>,
    pub(super) operation: Option<OperationId>,
    #[serde(default)]
    pub(super) paths: Vec<String>,
    #[serde(default)]
    pub(super) plan: bool,
    pub(super) precondition: Option<String>,
    pub(super) problem: Option<String>,
    pub(super) rebased_onto: Option<String>,
    pub(super) record: Option<String>,
    #[serde(default)]
    pub(super) request_id: String,
    #[serde(default)]
    pub(super) state: OperationState,
    #[serde(default)]
    pub(super) system: String,
}

impl StoredEntry {
    /// Parses an entry; `None` = it is no entry.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The column `intent` of its row.
    pub(super) fn intent_column(&self) -> Option<i64> {
        match self.event {
            LedgerEvent::Intent | LedgerEvent::Outcome => self.intent,
            LedgerEvent::Resolved => self.intent.map(|intent| -intent),
            LedgerEvent::Cut => Some(0),
        }
    }

    /// What the entry says of the write that it records.
    pub(super) fn into_intent(self, operation: OperationId, action: Action) -> Intent {
        Intent {
            operation,
            request_id: self.request_id.into(),
            batch_item: self.batch_item.map(Into::into),
            model: self.model.map(Into::into),
            caller: self.caller.into(),
            system: self.system.into(),
            record: self.record.map(Into::into),
            action,
            precondition: self.precondition,
            compared_etag: self.compared_etag,
            rebased_onto: self.rebased_onto,
            has_if_plan: self.plan,
            paths: self.paths.into(),
            losses: self.losses,
            is_async: false,
            lease: None,
            idempotency: None,
            recovery: None,
        }
    }

    /// The entry as callers read it.
    pub(super) fn into_entry(self, seq: i64, prev: &Hash, hash: &Hash) -> LedgerEntry {
        let state = if self.operation.is_some() { self.state.as_str() } else { "" };
        LedgerEntry {
            seq,
            at: self.at,
            event: self.event,
            operation: self.operation,
            request_id: self.request_id,
            batch_item: self.batch_item,
            model: self.model,
            caller: self.caller,
            system: self.system,
            record: self.record,
            action: self.action,
            precondition: self.precondition,
            compared_etag: self.compared_etag,
            rebased_onto: self.rebased_onto,
            plan: self.plan,
            paths: self.paths,
            losses: self.losses,
            calls: self.calls,
            state: state.to_owned(),
            problem: self.problem,
            etag_after: self.etag_after,
            note_hash: self.note_hash,
            cut: self.cut,
            prev: const_hex::encode(prev),
            hash: const_hex::encode(hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{GENESIS, chain_hash};
    use super::super::tests::samples;
    use super::*;

    fn update_intent() -> Intent {
        Intent {
            operation: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
            request_id: "r".into(),
            caller: "billing \"é\"".into(),
            ..samples::intent("A:1")
        }
    }

    fn outcome_without_etag() -> Outcome {
        Outcome { etag: None, ..samples::applied_outcome(&update_intent().operation) }
    }

    #[test]
    fn other_tools_can_compute_a_hash_from_a_row() {
        let intent = encode(&update_intent(), None, 1_795_255_530_120);
        let ending = EntryOutcome { intent_seq: 1, outcome: &outcome_without_etag() };
        let outcome = encode(&update_intent(), Some(ending), 1_795_255_530_170);
        assert_eq!(
            [&intent, &outcome],
            [
                r#"{"action":"update","at":"2026-11-21T10:05:30.120Z","caller":"billing \"é\"","event":"intent","operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"],"precondition":"\"c1\"","record":"A:1","request_id":"r","system":"crm"}"#,
                r#"{"action":"update","at":"2026-11-21T10:05:30.170Z","calls":[{"call":"update","ms":41,"status":204}],"caller":"billing \"é\"","event":"outcome","intent":1,"operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"],"precondition":"\"c1\"","record":"A:1","request_id":"r","state":"applied","system":"crm"}"#,
            ]
        );
        let first = chain_hash(&GENESIS, 1, &intent);
        let second = chain_hash(&first, 2, &outcome);
        // Computed with b3sum.
        assert_eq!(
            [first, second].map(const_hex::encode),
            [
                "0b653cb2e5098df717e548e4366894c18b37d139401d3af1dd68ec8ab82afae2",
                "cc64829562175562e35f79b04fb028cea2ec97a9d5d65c9f3aeb2d60135d0f53",
            ]
        );
    }

    #[test]
    fn an_entry_reads_back_complete_whatever_its_json_omits() {
        let create = Intent { action: Action::Create, record: None, precondition: None, ..update_intent() };
        let star = Intent { precondition: Some("*".into()), compared_etag: Some("\"c1\"".into()), ..update_intent() };
        let refused = Outcome {
            problem_name: Some("rejected".into()),
            losses: vec!["l".into()],
            calls: vec![],
            ..outcome_without_etag()
        };
        let item = Intent { batch_item: Some("r/a".into()), model: Some("contact@f".into()), ..update_intent() };
        let tagged = Outcome { etag: Some("\"t\"".into()), ..outcome_without_etag() };
        let revealed = Outcome { record: Some("A:2".into()), ..outcome_without_etag() };
        for (intent, outcome) in [
            (update_intent(), outcome_without_etag()),
            (update_intent(), refused),
            (star, tagged),
            (item, outcome_without_etag()),
            (create.clone(), revealed),
            (create, outcome_without_etag()),
        ] {
            let ending = EntryOutcome { intent_seq: 7, outcome: &outcome };
            for ending in [None, Some(ending)] {
                let read = StoredEntry::parse(&encode(&intent, ending, 0)).expect("an entry");
                let outcome = ending.map(|ending| ending.outcome);
                assert_eq!(read.intent, ending.map(|_| 7));
                let read = read.into_entry(8, &GENESIS, &GENESIS);
                let record = outcome.and_then(|outcome| outcome.record.clone());
                assert_eq!(read.batch_item.as_deref(), intent.batch_item.as_deref());
                assert_eq!(read.model.as_deref(), intent.model.as_deref());
                assert_eq!(read.record, record.or(intent.record.as_deref().map(str::to_owned)));
                assert_eq!((&*read.caller, &*read.system), (&*intent.caller, &*intent.system));
                assert_eq!(
                    (read.precondition, read.compared_etag),
                    (intent.precondition.clone(), intent.compared_etag.clone())
                );
                assert_eq!(read.losses, outcome.map_or(&intent.losses, |outcome| &outcome.losses).clone());
                assert_eq!(read.calls, outcome.map(|outcome| outcome.calls.clone()).unwrap_or_default());
                assert_eq!(read.state, outcome.map_or("running", |outcome| outcome.state.as_str()));
                assert_eq!(read.problem, outcome.and_then(|outcome| outcome.problem_name.clone()));
                assert_eq!(read.etag_after, outcome.and_then(|outcome| outcome.etag.clone()));
                assert_eq!((read.paths, read.at.as_str()), (intent.paths.to_vec(), "1970-01-01T00:00:00.000Z"));
            }
        }
    }
}
