//! The entry that replaces the oldest entries of the ledger.

use super::WriterState;
use crate::journal::change_set::{ChangeSet, EntryKeys, NewCut};
use crate::journal::entry_json::encode_cut;
use crate::journal::ledger::Hash;

impl WriterState {
    /// Appends the entry that replaces all up to this one. It carries the hash of the last of them,
    /// so that the rest can still be verified.
    pub(in crate::journal) fn cut(&mut self, last: i64, hash: Hash, changes: &mut ChangeSet) {
        let at = self.next_entry_time(changes);
        let json = encode_cut(at, last, &hash);
        let keys = EntryKeys { operation: uuid::Uuid::nil(), system: "".into(), record: None, intent: Some(0) };
        let marker = self.push_entry(at, json, keys, changes);
        changes.cut = Some(NewCut { seq: last, hash, marker });
    }
}
