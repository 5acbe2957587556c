//! How the ledger is stored: in pages, one for each commit, and each entry is a line of its page.
//!
//! A line is the entry's hash, a space, and the entry as canonical JSON (RFC 8785: members sorted by name, no white space)
//! without what need not be said twice:
//! - `seq` is the line's place in the chain, and `prev` is the hash of the line before;
//! - what is null or empty is left out, and so is an intent's `state`, which is always `running`;
//! - an outcome on the page of its intent names the intent's `seq` as `intent` instead of repeating `action`, `caller`,
//!   `operation`, `paths`, `precondition`, `request_id`, `system` and, unless it is a create that has learned it, `record`.
//!
//! An entry's hash covers the hash of the entry before (its 32 bytes) and the entry's JSON. With any tool:
//! `(printf %s "$prev" | xxd -r -p; printf %s "$json") | sha256sum`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::ledger::{LedgerEntry, LedgerEvent, chain_hash};
use crate::record::{Action, CallMade, push_json_string};

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Page {
    /// The first entry's number.
    pub(super) first: i64,
    /// The first entry's time, in milliseconds since 1970.
    pub(super) at: i64,
    /// The hash of the entry before the first.
    pub(super) prev: String,
    /// The lines.
    pub(super) lines: String,
    /// How many.
    pub(super) entries: usize,
    /// The records of each system that entries are about.
    records: HashMap<String, HashSet<String>>,
}

impl Page {
    /// An empty page.
    pub(super) fn begin(first: i64, at: i64, prev: &str) -> Self {
        Self { first, at, prev: prev.to_owned(), lines: String::new(), entries: 0, records: HashMap::new() }
    }

    /// Adds an entry and gives its hash. `intent` = the number of the intent that the entry is the outcome of.
    pub(super) fn append(&mut self, entry: &LedgerEntry, intent: Option<i64>, prev: &str) -> String {
        let intent = intent.filter(|intent| *intent >= self.first);
        let json = canonical(entry, intent);
        let hash = chain_hash(prev, &json);
        self.lines.reserve(hash.len() + json.len() + 2);
        self.lines.push_str(&hash);
        self.lines.push(' ');
        self.lines.push_str(&json);
        self.lines.push('\n');
        self.entries += 1;
        if let Some(record) = entry.record.as_ref().filter(|_| says_record(entry, intent)) {
            self.traced(&entry.system, record);
        }
        hash
    }

    fn traced(&mut self, system: &str, record: &str) {
        if !self.records.contains_key(system) {
            self.records.insert(system.to_owned(), HashSet::new());
        }
        if let Some(records) = self.records.get_mut(system).filter(|records| !records.contains(record)) {
            records.insert(record.to_owned());
        }
    }

    /// The records that its entries are about: where a search for one of them must look.
    pub(super) fn records(&self) -> impl Iterator<Item = (&str, &str)> {
        self.records
            .iter()
            .flat_map(|(system, records)| records.iter().map(move |record| (system.as_str(), record.as_str())))
    }
}

/// Whether an entry's line holds its record.
fn says_record(entry: &LedgerEntry, intent: Option<i64>) -> bool {
    intent.is_none() || entry.action == Action::Create
}

/// The JSON of a line: its members must be added sorted by name.
fn canonical(entry: &LedgerEntry, intent: Option<i64>) -> String {
    let whole = intent.is_none();
    let said = |text: &str| !text.is_empty() && whole;
    let mut json = Canonical(String::with_capacity(if whole { 768 } else { 192 }));
    json.text("action", entry.action.as_str(), whole);
    json.text("at", &entry.at, true);
    json.list("calls", &entry.calls, push_call, true);
    json.text("caller", &entry.caller, said(&entry.caller));
    json.maybe("etag_after", entry.etag_after.as_deref(), true);
    json.text("event", entry.event.as_str(), true);
    if let Some(intent) = intent {
        // Writing to a String cannot fail.
        let _ = write!(json.name("intent"), "{intent}");
    }
    json.list("losses", &entry.losses, |json, loss| push_json_string(json, loss), true);
    json.text("operation", entry.operation.as_str(), whole);
    json.list("paths", &entry.paths, |json, path| push_json_string(json, path), whole);
    json.maybe("precondition", entry.precondition.as_deref(), whole);
    json.maybe("problem", entry.problem.as_deref(), true);
    json.maybe("record", entry.record.as_deref(), says_record(entry, intent));
    json.text("request_id", &entry.request_id, said(&entry.request_id));
    json.text("state", &entry.state, entry.event == LedgerEvent::Outcome);
    json.text("system", &entry.system, said(&entry.system));
    json.0.push('}');
    json.0
}

struct Canonical(String);

impl Canonical {
    /// Begins a member. The names are this file's own and need no escapes.
    fn name(&mut self, name: &str) -> &mut String {
        self.0.push_str(if self.0.is_empty() { "{\"" } else { ",\"" });
        self.0.push_str(name);
        self.0.push_str("\":");
        &mut self.0
    }

    fn text(&mut self, name: &str, value: &str, said: bool) {
        if said {
            push_json_string(self.name(name), value);
        }
    }

    fn maybe(&mut self, name: &str, value: Option<&str>, said: bool) {
        if let Some(value) = value {
            self.text(name, value, said);
        }
    }

    fn list<T>(&mut self, name: &str, values: &[T], push: impl Fn(&mut String, &T), said: bool) {
        if values.is_empty() || !said {
            return;
        }
        let json = self.name(name);
        for (index, value) in values.iter().enumerate() {
            json.push(if index == 0 { '[' } else { ',' });
            push(json, value);
        }
        json.push(']');
    }
}

fn push_call(json: &mut String, made: &CallMade) {
    json.push_str("{\"call\":");
    push_json_string(json, &made.call);
    let _ = write!(json, ",\"ms\":{},\"status\":", made.ms);
    match made.status {
        Some(status) => {
            let _ = write!(json, "{status}");
        }
        None => json.push_str("null"),
    }
    json.push('}');
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{NOTHING_BEFORE, rfc3339};
    use super::super::lines::Lines;
    use super::*;
    use crate::record::OperationId;

    fn intent() -> LedgerEntry {
        LedgerEntry {
            seq: 1,
            at: rfc3339(1_795_255_530_120),
            event: LedgerEvent::Intent,
            operation: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
            request_id: "r".into(),
            caller: "billing \"é\"".into(),
            system: "crm".into(),
            record: Some("A:1".into()),
            action: Action::Update,
            precondition: Some("\"c1\"".into()),
            paths: vec!["/fields/Email".into()],
            losses: vec![],
            calls: vec![],
            state: "running".into(),
            problem: None,
            etag_after: None,
            prev: NOTHING_BEFORE.into(),
            hash: String::new(),
        }
    }

    fn outcome() -> LedgerEntry {
        LedgerEntry {
            seq: 2,
            at: rfc3339(1_795_255_530_170),
            event: LedgerEvent::Outcome,
            calls: vec![CallMade { call: "update".into(), status: Some(204), ms: 41 }],
            state: "applied".into(),
            ..intent()
        }
    }

    fn written(entries: &[(LedgerEntry, Option<i64>)]) -> (Page, Vec<LedgerEntry>) {
        let mut page = Page::begin(1, 0, NOTHING_BEFORE);
        let mut prev = NOTHING_BEFORE.to_owned();
        let mut shown = Vec::new();
        for (entry, intent) in entries {
            let hash = page.append(entry, *intent, &prev);
            shown.push(LedgerEntry { prev: std::mem::replace(&mut prev, hash.clone()), hash, ..entry.clone() });
        }
        (page, shown)
    }

    #[test]
    fn a_hash_can_be_computed_from_the_lines_with_any_tool() {
        let (page, shown) = written(&[(intent(), None), (outcome(), Some(1))]);
        let lines: Vec<_> = page.lines.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(
            lines.iter().map(|(_, json)| *json).collect::<Vec<_>>(),
            [
                r#"{"action":"update","at":"2026-11-21T10:05:30.120Z","caller":"billing \"é\"","event":"intent","operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"],"precondition":"\"c1\"","record":"A:1","request_id":"r","system":"crm"}"#,
                r#"{"at":"2026-11-21T10:05:30.170Z","calls":[{"call":"update","ms":41,"status":204}],"event":"outcome","intent":1,"state":"applied"}"#,
            ]
        );
        let first = hex::decode(&shown[0].hash).expect("hex");
        let second = crate::record::sha256([first.as_slice(), lines[1].1.as_bytes()]);
        assert_eq!((shown[1].hash.as_str(), lines[1].0), (hex::encode(second).as_str(), shown[1].hash.as_str()));
        assert_eq!(page.records().collect::<Vec<_>>(), [("crm", "A:1")]);
    }

    #[test]
    fn entries_come_back_whole_whatever_their_lines_left_out() {
        let create = |entry: LedgerEntry, record: Option<&str>| LedgerEntry {
            action: Action::Create,
            record: record.map(str::to_owned),
            precondition: None,
            ..entry
        };
        let refused =
            LedgerEntry { problem: Some("rejected".into()), losses: vec!["l".into()], calls: vec![], ..outcome() };
        for entries in [
            [(intent(), None), (outcome(), Some(1))],
            [(intent(), None), (outcome(), None)],
            [(intent(), None), (refused, Some(1))],
            [(intent(), None), (LedgerEntry { etag_after: Some("\"t\"".into()), ..outcome() }, Some(-5))],
            [(create(intent(), None), None), (create(outcome(), Some("A:2")), Some(1))],
        ] {
            let (page, shown) = written(&entries);
            let mut lines = Lines::of(1, NOTHING_BEFORE.into(), &page.lines);
            let read: Vec<_> = std::iter::from_fn(|| lines.checked()).collect::<Result<_, _>>().expect("sound");
            assert_eq!(read, shown);
            assert_eq!(
                Lines::of(1, String::new(), &page.lines).find(2).map(|entry| entry.operation),
                Some(outcome().operation)
            );
            assert_eq!(Lines::of(1, String::new(), &page.lines).find(3), None);
        }
    }
}
