//! Reads a stored ledger block entry by entry (`ledger_block` describes the form).

use std::collections::HashMap;

use serde::Deserialize;

use super::ledger::{LedgerEntry, LedgerEvent, chain_hash, parse_hash};
use crate::record::{Action, OperationId, OperationState, VendorCallLog};

/// The JSON of a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryJson {
    action: Option<Action>,
    at: String,
    #[serde(rename = "bound_to")]
    compared_etag: Option<String>,
    #[serde(default)]
    calls: Vec<VendorCallLog>,
    #[serde(default)]
    caller: String,
    etag_after: Option<String>,
    event: LedgerEvent,
    intent: Option<i64>,
    #[serde(default)]
    losses: Vec<String>,
    operation: Option<OperationId>,
    #[serde(default)]
    paths: Vec<String>,
    precondition: Option<String>,
    problem: Option<String>,
    record: Option<String>,
    #[serde(default)]
    request_id: String,
    state: Option<String>,
    #[serde(default)]
    system: String,
}

/// Reads the entries of a block in order.
pub(super) struct BlockReader<'b> {
    first_seq: i64,
    lines: std::str::SplitTerminator<'b, char>,
    /// The hash of the entry read last.
    prev: String,
    /// The intents read so far, by number.
    intents: HashMap<i64, LedgerEntry>,
    next_seq: i64,
}

impl<'b> BlockReader<'b> {
    /// A reader of a block with these columns.
    pub(super) fn new(first_seq: i64, prev: String, lines: &'b str) -> Self {
        Self { first_seq, lines: lines.split_terminator('\n'), prev, intents: HashMap::new(), next_seq: first_seq }
    }

    /// The entry of the next line, and whether its hash is right. `None` = the line is no entry.
    fn parse_line(&mut self, line: &str) -> Option<(LedgerEntry, bool)> {
        let (hash, json) = line.split_once(' ')?;
        let hash_matches = const_hex::encode(chain_hash(&parse_hash(&self.prev), json)) == hash;
        let seq = self.next_seq;
        let line: EntryJson = serde_json::from_str(json).ok()?;
        let mut entry = LedgerEntry {
            seq,
            at: line.at,
            event: line.event,
            losses: line.losses,
            calls: line.calls,
            problem: line.problem,
            etag_after: line.etag_after,
            prev: std::mem::replace(&mut self.prev, hash.to_owned()),
            hash: hash.to_owned(),
            ..match line.intent {
                Some(intent) => self.intents.get(&intent)?.clone(),
                None => LedgerEntry {
                    seq,
                    at: String::new(),
                    event: line.event,
                    operation: line.operation?,
                    request_id: line.request_id,
                    caller: line.caller,
                    system: line.system,
                    record: None,
                    action: line.action?,
                    precondition: line.precondition,
                    compared_etag: line.compared_etag,
                    paths: line.paths,
                    losses: Vec::new(),
                    calls: Vec::new(),
                    state: OperationState::Running.as_str().to_owned(),
                    problem: None,
                    etag_after: None,
                    prev: String::new(),
                    hash: String::new(),
                },
            }
        };
        if let Some(state) = line.state {
            entry.state = state;
        }
        if line.record.is_some() {
            entry.record = line.record;
        }
        if entry.event == LedgerEvent::Intent {
            self.intents.insert(seq, entry.clone());
        }
        self.next_seq += 1;
        Some((entry, hash_matches))
    }

    /// The next entry, with its hash unchecked; `Err` = it cannot be read.
    pub(super) fn next_entry(&mut self) -> Option<Result<LedgerEntry, sqlx::Error>> {
        let line = self.lines.next()?;
        let unreadable = || sqlx::Error::Decode("a ledger entry cannot be read".into());
        Some(self.parse_line(line).map(|(entry, _)| entry).ok_or_else(unreadable))
    }

    /// The next entry, with its hash checked; `Err` = what is wrong with it.
    pub(super) fn next_verified(&mut self) -> Option<Result<LedgerEntry, String>> {
        let line = self.lines.next()?;
        Some(match self.parse_line(line) {
            None => Err("its content is not an entry".into()),
            Some((_, false)) => Err("its hash does not match its content and the entry before".into()),
            Some((entry, true)) => Ok(entry),
        })
    }

    /// The entry with this number, if the block holds it.
    pub(super) fn find(mut self, seq: i64) -> Option<LedgerEntry> {
        let skipped = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        for _ in 0..skipped {
            self.next_entry()?.ok()?;
        }
        self.next_entry()?.ok()
    }
}
