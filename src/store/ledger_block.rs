//! The stored form of the ledger: one block for each commit, one line of the block for each entry.
//!
//! A line is the entry's hash, a space, and the entry as canonical JSON (RFC 8785: members sorted
//! by name, no white space), shortened:
//! - `seq` and `prev` are omitted: they follow from the line before;
//! - null and empty members are omitted, and so is the `state` of an intent, which is `running`;
//! - an outcome in the block of its intent has the intent's number as `intent` instead of `action`,
//!   `bound_to`, `caller`, `operation`, `paths`, `precondition`, `request_id`, `system` and, unless
//!   the write revealed it, `record`.
//!
//! Callers never get `bound_to`: the ETag of the version that the vendor compared, if
//! `precondition` (`*`, a list) does not name exactly that. Concurrent writes are distinguished by
//! it.
//!
//! An entry's hash is BLAKE3 over its JSON, keyed with the 32 bytes of the hash of the entry
//! before. With other tools, the JSON being in a file:
//! `printf %s "$prev" | xxd -r -p | b3sum --keyed FILE`.

use std::sync::Arc;

use foldhash::{HashSet, HashSetExt as _};

use super::ledger::{Hash, LedgerEvent, chain_hash, parse_hash, rfc3339};
use super::model::{ChangedPaths, Intent, Outcome};
use crate::record::{VendorCallLog, write_json_string};

/// An entry that is not written yet: an intent or, with an `outcome_ref`, an outcome.
#[derive(Debug)]
pub(super) struct PendingEntry {
    pub(super) seq: i64,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) intent: Arc<Intent>,
    pub(super) outcome_ref: Option<OutcomeRef>,
}

/// How an operation ended.
#[derive(Debug)]
pub(super) struct OutcomeRef {
    /// The intent's `seq`.
    pub(super) intent_seq: i64,
    pub(super) outcome: Arc<Outcome>,
}

impl PendingEntry {
    /// The entry's record: the outcome of a create reveals it.
    pub(super) fn record(&self) -> Option<&str> {
        let revealed = self.outcome_ref.as_ref().and_then(|end| end.outcome.record.as_deref());
        revealed.or(self.intent.record.as_deref())
    }
}

/// About the length of a line.
const EST_ENTRY_BYTES: usize = 512;
/// The beginning of a line until its hash is known.
const HASH_PLACEHOLDER: &str = "0000000000000000000000000000000000000000000000000000000000000000 ";

/// A block that is being built.
#[derive(Debug)]
pub(super) struct LedgerBlock<'e> {
    /// The number of the first entry.
    pub(super) first_seq: i64,
    /// The time of the first entry, in milliseconds since 1970.
    pub(super) at: i64,
    /// The hash of the entry before the first.
    pub(super) prev: String,
    pub(super) lines: String,
    /// The hash of the last entry so far.
    hash: Hash,
    time: Rfc3339Cache,
    /// The systems and records in the lines.
    records: HashSet<(&'e str, &'e str)>,
}

impl<'e> LedgerBlock<'e> {
    /// Builds the block of these entries, chained to the hash `prev`; `None` = there are no
    /// entries.
    pub(super) fn from_entries(entries: &'e [PendingEntry], prev: &str) -> Option<Self> {
        let first = entries.first()?;
        let mut block = Self {
            first_seq: first.seq,
            at: first.at,
            prev: prev.to_owned(),
            lines: String::with_capacity(entries.len() * EST_ENTRY_BYTES),
            hash: parse_hash(prev),
            time: Rfc3339Cache::default(),
            records: HashSet::new(),
        };
        for entry in entries {
            block.append(entry);
        }
        Some(block)
    }

    fn append(&mut self, entry: &'e PendingEntry) {
        let standalone = entry.outcome_ref.as_ref().is_none_or(|end| end.intent_seq < self.first_seq);
        let line_start = self.lines.len();
        let json_start = line_start + HASH_PLACEHOLDER.len();
        self.lines.push_str(HASH_PLACEHOLDER);
        write_canonical(&mut self.lines, entry, self.time.format(entry.at), standalone);
        self.hash = chain_hash(&self.hash, self.lines.get(json_start..).unwrap_or_default());
        self.lines.replace_range(line_start..json_start - 1, const_hex::Buffer::<32>::new().format(&self.hash));
        self.lines.push('\n');
        if let Some(record) = entry.record().filter(|_| includes_record(entry, standalone)) {
            self.records.insert((&entry.intent.system, record));
        }
    }

    /// The hash of the last entry.
    pub(super) fn hash(&self) -> String {
        const_hex::encode(self.hash)
    }

    /// The records in the block, for the index that finds blocks by record.
    pub(super) fn records(&self) -> impl Iterator<Item = (&'e str, &'e str)> {
        self.records.iter().copied()
    }
}

/// Formats times as `rfc3339` does, and reuses the text within one second.
#[derive(Debug, Default)]
struct Rfc3339Cache {
    second: i64,
    text: String,
}

impl Rfc3339Cache {
    fn format(&mut self, ms: i64) -> &str {
        let second = ms.div_euclid(1000);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = rfc3339(ms);
        } else {
            // Only the digits after the decimal point change.
            self.text.truncate(self.text.len().saturating_sub("000Z".len()));
            let digit = |value: i64| char::from(b'0' + u8::try_from(value % 10).unwrap_or_default());
            let ms = ms.rem_euclid(1000);
            self.text.extend([digit(ms / 100), digit(ms / 10), digit(ms), 'Z']);
        }
        &self.text
    }
}

/// Whether an entry's line holds its record.
fn includes_record(entry: &PendingEntry, standalone: bool) -> bool {
    standalone || entry.record() != entry.intent.record.as_deref()
}

/// Appends the JSON of a line; members must be added sorted by name. `standalone` = the line
/// repeats what its intent holds.
fn write_canonical(line: &mut String, entry: &PendingEntry, at: &str, standalone: bool) {
    let (intent, outcome) = (&*entry.intent, entry.outcome_ref.as_ref().map(|end| &*end.outcome));
    let event = if outcome.is_some() { LedgerEvent::Outcome } else { LedgerEvent::Intent };
    let include = |text: &str| !text.is_empty() && standalone;
    let mut json = CanonicalJson { text: line, separator: "{\"" };
    json.raw_str("action", intent.action.as_str(), standalone);
    json.raw_str("at", at, true);
    json.opt_str("bound_to", intent.compared_etag.as_deref(), standalone);
    json.list("calls", outcome.map_or(&[], |outcome| &outcome.calls), write_call, true);
    json.escaped_str("caller", &intent.caller, include(&intent.caller));
    json.opt_str("etag_after", outcome.and_then(|outcome| outcome.etag.as_deref()), true);
    json.raw_str("event", event.as_str(), true);
    if let Some(end) = entry.outcome_ref.as_ref().filter(|_| !standalone) {
        json.begin_member("intent").push_str(itoa::Buffer::new().format(end.intent_seq));
    }
    let losses = outcome.map_or(&intent.losses, |outcome| &outcome.losses);
    json.list("losses", losses, |json, loss| write_json_string(json, loss), true);
    json.raw_str("operation", intent.operation.as_str(), standalone);
    if standalone {
        json.paths(&*intent.paths);
    }
    json.opt_str("precondition", intent.precondition.as_deref(), standalone);
    json.opt_str("problem", outcome.and_then(|outcome| outcome.problem_name.as_deref()), true);
    json.opt_str("record", entry.record(), includes_record(entry, standalone));
    json.escaped_str("request_id", &intent.request_id, include(&intent.request_id));
    if let Some(outcome) = outcome {
        json.raw_str("state", outcome.final_state().as_str(), true);
    }
    json.escaped_str("system", &intent.system, include(&intent.system));
    json.text.push('}');
}

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
    fn raw_str(&mut self, name: &str, value: &str, include: bool) {
        if include {
            self.begin_member(name).push('"');
            self.text.push_str(value);
            self.text.push('"');
        }
    }

    fn escaped_str(&mut self, name: &str, value: &str, include: bool) {
        if include {
            write_json_string(self.begin_member(name), value);
        }
    }

    fn opt_str(&mut self, name: &str, value: Option<&str>, include: bool) {
        if let Some(value) = value {
            self.escaped_str(name, value, include);
        }
    }

    fn paths(&mut self, paths: &dyn ChangedPaths) {
        let mut separator = '[';
        paths.for_each(&mut |path| {
            if separator == '[' {
                self.begin_member("paths");
            }
            self.text.push(separator);
            separator = ',';
            write_json_string(self.text, path);
        });
        if separator == ',' {
            self.text.push(']');
        }
    }

    fn list<T>(&mut self, name: &str, values: &[T], write: impl Fn(&mut String, &T), include: bool) {
        if values.is_empty() || !include {
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

fn write_call(json: &mut String, call: &VendorCallLog) {
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

#[cfg(test)]
mod tests {
    use super::super::block_reader::BlockReader;
    use super::super::ledger::{GENESIS_HASH, LedgerEntry};
    use super::super::tests::samples;
    use super::*;
    use crate::record::{Action, OperationId};

    fn update_intent() -> Intent {
        Intent {
            operation: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
            request_id: "r".into(),
            caller: "billing \"é\"".into(),
            ..samples::intent("A:1")
        }
    }

    fn outcome_without_etag(intent: &Intent) -> Outcome {
        Outcome { etag: None, ..samples::applied_outcome(&intent.operation) }
    }

    /// An intent and its outcome, in one block or in two.
    fn entries(intent: Intent, outcome: Outcome, intent_seq: i64) -> [PendingEntry; 2] {
        let intent = Arc::new(intent);
        let end = OutcomeRef { intent_seq, outcome: Arc::new(outcome) };
        [
            PendingEntry { seq: 1, at: 1_795_255_530_120, intent: Arc::clone(&intent), outcome_ref: None },
            PendingEntry { seq: 2, at: 1_795_255_530_170, intent, outcome_ref: Some(end) },
        ]
    }

    /// The entry as callers read it.
    fn expected_entry(entry: &PendingEntry, hash: &str, prev: &str) -> LedgerEntry {
        let (intent, outcome) = (&entry.intent, entry.outcome_ref.as_ref().map(|end| &end.outcome));
        LedgerEntry {
            seq: entry.seq,
            at: rfc3339(entry.at),
            event: if outcome.is_some() { LedgerEvent::Outcome } else { LedgerEvent::Intent },
            operation: intent.operation.clone(),
            request_id: intent.request_id.to_string(),
            caller: intent.caller.to_string(),
            system: intent.system.to_string(),
            record: entry.record().map(str::to_owned),
            action: intent.action,
            precondition: intent.precondition.clone(),
            compared_etag: intent.compared_etag.clone(),
            paths: intent.paths.paths(),
            losses: outcome.map_or(&intent.losses, |outcome| &outcome.losses).clone(),
            calls: outcome.map(|outcome| outcome.calls.clone()).unwrap_or_default(),
            state: outcome.map_or("running", |outcome| outcome.state.as_str()).into(),
            problem: outcome.and_then(|outcome| outcome.problem_name.clone()),
            etag_after: outcome.and_then(|outcome| outcome.etag.clone()),
            prev: prev.into(),
            hash: hash.into(),
        }
    }

    #[test]
    fn a_cached_time_formats_like_an_uncached_one() {
        let mut time = Rfc3339Cache::default();
        for ms in [
            1_795_255_530_120,
            1_795_255_530_999,
            1_795_255_530_000,
            1_795_255_530_007,
            1_795_255_531_060,
            0,
            -1,
            -1000,
        ] {
            assert_eq!(time.format(ms), rfc3339(ms), "{ms}");
        }
    }

    #[test]
    fn other_tools_can_compute_a_hash_from_the_lines() {
        let (intent, outcome) = (update_intent(), outcome_without_etag(&update_intent()));
        let entries = entries(intent, outcome, 1);
        let block = LedgerBlock::from_entries(&entries, GENESIS_HASH).expect("a block");
        let lines: Vec<_> = block.lines.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(
            lines.iter().map(|(_, json)| *json).collect::<Vec<_>>(),
            [
                r#"{"action":"update","at":"2026-11-21T10:05:30.120Z","caller":"billing \"é\"","event":"intent","operation":"01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11","paths":["/fields/Email"],"precondition":"\"c1\"","record":"A:1","request_id":"r","system":"crm"}"#,
                r#"{"at":"2026-11-21T10:05:30.170Z","calls":[{"call":"update","ms":41,"status":204}],"event":"outcome","intent":1,"state":"applied"}"#,
            ]
        );
        // Computed with b3sum.
        let hashes = [
            "1302c8ea549c2c4330636098f476b0ea283466e861e7000d896301e8e639db5b",
            "31c0da97180a55c5dc3d9a4116047ff1899efc56f61137a9ef09505ee22ebbee",
        ];
        assert_eq!((lines[0].0, lines[1].0, block.hash().as_str()), (hashes[0], hashes[1], hashes[1]));
        assert_eq!(block.records().collect::<Vec<_>>(), [("crm", "A:1")]);
    }

    #[test]
    fn an_entry_reads_back_complete_whatever_its_json_omits() {
        let create = |record: Option<&str>| {
            let intent = Intent { action: Action::Create, record: None, precondition: None, ..update_intent() };
            let outcome = Outcome { record: record.map(str::to_owned), ..outcome_without_etag(&intent) };
            (intent, outcome)
        };
        let plain = || (update_intent(), outcome_without_etag(&update_intent()));
        let refused = Outcome {
            problem_name: Some("rejected".into()),
            losses: vec!["l".into()],
            calls: vec![],
            ..outcome_without_etag(&update_intent())
        };
        let star =
            || Intent { precondition: Some("*".into()), compared_etag: Some("\"c1\"".into()), ..update_intent() };
        let tagged = Outcome { etag: Some("\"t\"".into()), ..outcome_without_etag(&update_intent()) };
        for ((intent, outcome), intent_seq) in [
            (plain(), 1),
            (plain(), -5),
            ((update_intent(), refused), 1),
            ((update_intent(), tagged), -5),
            ((star(), outcome_without_etag(&star())), 1),
            ((star(), outcome_without_etag(&star())), -5),
            (create(Some("A:2")), 1),
            (create(None), 1),
        ] {
            let entries = entries(intent, outcome, intent_seq);
            let block = LedgerBlock::from_entries(&entries, GENESIS_HASH).expect("a block");
            let hashes: Vec<_> = block.lines.lines().filter_map(|line| line.split_once(' ')).collect();
            let expected = [
                expected_entry(&entries[0], hashes[0].0, GENESIS_HASH),
                expected_entry(&entries[1], hashes[1].0, hashes[0].0),
            ];
            let mut reader = BlockReader::new(1, GENESIS_HASH.into(), &block.lines);
            let read: Vec<_> = std::iter::from_fn(|| reader.next_verified()).collect::<Result<_, _>>().expect("sound");
            assert_eq!(read, expected);
            assert_eq!(
                BlockReader::new(1, String::new(), &block.lines).find(2).map(|entry| entry.operation),
                Some(update_intent().operation)
            );
            assert_eq!(BlockReader::new(1, String::new(), &block.lines).find(3), None);
        }
    }
}
