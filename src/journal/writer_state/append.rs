//! New entries of the ledger.

use std::sync::Arc;

use super::WriterState;
use crate::journal::change_set::{ChangeSet, EntryKeys, NewEntry};
use crate::journal::clock::EntryTime;
use crate::journal::entry_json::{EntryOutcome, encode};
use crate::journal::ledger::chain_hash;
use crate::journal::model::Intent;
use crate::journal::sql::{operation_uuid, replace_nul};
use crate::journal::writer_rows::ChainHead;

impl WriterState {
    /// The time of the next entry.
    pub(super) fn next_entry_time(&self, changes: &mut ChangeSet) -> i64 {
        match EntryTime::after(self.head.at, self.clock.wall_ms) {
            EntryTime::At(at) => at,
            EntryTime::Step(at) => {
                changes.clock_step = Some((self.head.seq + 1, at));
                at
            }
        }
    }

    /// Adds an entry to the chain and returns its number.
    pub(super) fn push_entry(&mut self, at: i64, json: String, keys: EntryKeys, changes: &mut ChangeSet) -> i64 {
        let seq = self.head.seq + 1;
        let hash = chain_hash(&self.head.hash, seq, &json);
        changes.entries.push(NewEntry { seq, at, keys, json, hash });
        self.head = ChainHead { seq, hash, at };
        seq
    }

    /// Appends a ledger entry and returns its number.
    pub(super) fn append(&mut self, intent: &Intent, ending: Option<EntryOutcome<'_>>, changes: &mut ChangeSet) -> i64 {
        let at = self.next_entry_time(changes);
        let json = encode(intent, ending, at);
        let revealed = ending.and_then(|ending| ending.outcome.record.as_deref());
        let record = revealed.map(|record| replace_nul(Arc::from(record))).or_else(|| intent.record.clone());
        let keys = EntryKeys {
            operation: operation_uuid(&intent.operation),
            system: replace_nul(Arc::clone(&intent.system)),
            record,
            intent: ending.map(|ending| ending.intent_seq),
        };
        self.push_entry(at, json, keys, changes)
    }
}
