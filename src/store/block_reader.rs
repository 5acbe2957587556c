//! Reading a stored page of the ledger back, line by line (see `page`).

use std::collections::HashMap;

use serde::Deserialize;

use super::ledger::{LedgerEntry, LedgerEvent, chain_hash, parse_hash};
use crate::record::{Action, OperationId, OperationState, VendorCallLog};

/// What a line says.
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

/// Reads a stored page, line by line.
pub(super) struct BlockReader<'p> {
    first: i64,
    left: std::str::SplitTerminator<'p, char>,
    /// The hash of the entry before the next.
    prev: String,
    /// The intents among the entries so far.
    intents: HashMap<i64, LedgerEntry>,
    next: i64,
}

impl<'p> BlockReader<'p> {
    /// Over the page's columns.
    pub(super) fn new(first: i64, prev: String, lines: &'p str) -> Self {
        Self { first, left: lines.split_terminator('\n'), prev, intents: HashMap::new(), next: first }
    }

    /// The next entry; whether its hash is the right one is told beside it.
    fn read(&mut self, line: &str) -> Option<(LedgerEntry, bool)> {
        let (hash, json) = line.split_once(' ')?;
        let is_sound = const_hex::encode(chain_hash(&parse_hash(&self.prev), json)) == hash;
        let seq = self.next;
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
        self.next += 1;
        Some((entry, is_sound))
    }

    /// The next entry that is to be shown; `Err` = it cannot be read.
    pub(super) fn next_entry(&mut self) -> Option<Result<LedgerEntry, sqlx::Error>> {
        let line = self.left.next()?;
        let unreadable = || sqlx::Error::Decode("a ledger entry cannot be read".into());
        Some(self.read(line).map(|(entry, _)| entry).ok_or_else(unreadable))
    }

    /// The next entry that is to be checked; `Err` = what is wrong with it.
    pub(super) fn next_verified(&mut self) -> Option<Result<LedgerEntry, String>> {
        let line = self.left.next()?;
        Some(match self.read(line) {
            None => Err("its content is not an entry".into()),
            Some((_, false)) => Err("its hash does not fit its content and the entry before".into()),
            Some((entry, true)) => Ok(entry),
        })
    }

    /// One entry of the page, if it is there.
    pub(super) fn find(mut self, seq: i64) -> Option<LedgerEntry> {
        let before = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        for _ in 0..before {
            self.next_entry()?.ok()?;
        }
        self.next_entry()?.ok()
    }
}
