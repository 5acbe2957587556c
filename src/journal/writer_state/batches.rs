//! Asynchronous batches.

use super::WriterState;
use crate::journal::batches::{BatchKey, BatchRow};
use crate::journal::change_set::ChangeSet;
use crate::journal::model::{IdempotencyState, Lease};
use crate::journal::shared::KeyTtl;
use crate::journal::writer_rows::{IdempotencyKeyId, IdempotencyRow, KeyProgress};

impl WriterState {
    /// Stores a new batch, unless another one than `repeats` has its key: then the state of that is
    /// returned. Where the key of `repeats` has expired meanwhile, nothing is repeated.
    pub(in crate::journal) fn store_batch(
        &mut self,
        rows: &[BatchRow],
        key: Option<&BatchKey>,
        key_ttl: KeyTtl,
        changes: &mut ChangeSet,
    ) -> Option<IdempotencyState> {
        if let Some(BatchKey { claim, batch_id, repeats }) = key {
            let key_id: IdempotencyKeyId = (claim.caller.as_str().into(), claim.key.as_str().into());
            match self.keys.get(&key_id).and_then(|row| row.state(claim, self.now_ms())) {
                // An earlier attempt of this very command.
                Some(IdempotencyState::Running(stored)) if stored == *batch_id => return None,
                Some(IdempotencyState::Running(stored)) if Some(&stored) == repeats.as_ref() => {}
                Some(another) => return Some(another),
                None => {
                    if let Some(first) = repeats {
                        return Some(IdempotencyState::Running(first.clone()));
                    }
                }
            }
            let expires_ms = Some(self.now_ms().saturating_add(key_ttl.stored_batch_ms));
            let row = IdempotencyRow {
                fingerprint: claim.fingerprint.to_vec(),
                operation: batch_id.clone(),
                progress: KeyProgress { expires_ms, ..KeyProgress::default() },
            };
            self.keys.insert(key_id.clone(), row.clone());
            changes.key_claims.insert(key_id, row);
        }
        changes.save_batch_rows(rows);
        None
    }

    /// Saves rows of a batch; `false` = its lease is no longer held, and nothing is saved.
    pub(in crate::journal) fn save_batch_rows(
        &self,
        rows: &[BatchRow],
        lease: Option<&Lease>,
        changes: &mut ChangeSet,
    ) -> bool {
        let may_save = lease.is_none_or(|lease| self.owns_lease(lease));
        if may_save {
            changes.save_batch_rows(rows);
        }
        may_save
    }
}
