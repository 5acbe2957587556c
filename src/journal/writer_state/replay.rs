//! What an idempotency key replays whose write has no operation.

use super::WriterState;
use crate::journal::change_set::ChangeSet;
use crate::journal::model::{IdempotencyClaim, IdempotencyState};
use crate::journal::shared::KeyTtl;
use crate::journal::writer_rows::{IdempotencyKeyId, IdempotencyRow, KeyProgress};
use crate::record::OperationId;

impl WriterState {
    /// Stores what a key replays without an operation; the state of the key if it is not free.
    /// `is_retry` = an earlier attempt of this very command may have stored it.
    pub(in crate::journal) fn store_replay(
        &mut self,
        claim: &IdempotencyClaim,
        replay_json: &str,
        is_retry: bool,
        key_ttl: KeyTtl,
        changes: &mut ChangeSet,
    ) -> Option<IdempotencyState> {
        let key_id: IdempotencyKeyId = (claim.caller.as_str().into(), claim.key.as_str().into());
        if let Some(row) = self.keys.get(&key_id)
            && let Some(state) = row.state(claim, self.now_ms())
        {
            let is_own = is_retry
                && row.operation.is_nil()
                && matches!(&state, IdempotencyState::Completed(stored) if stored == replay_json);
            return (!is_own).then_some(state);
        }
        let expires_ms = Some(self.now_ms().saturating_add(key_ttl.of_item(claim.is_of_stored_batch)));
        let row = IdempotencyRow {
            fingerprint: claim.fingerprint.to_vec(),
            operation: OperationId::nil(),
            progress: KeyProgress { replay_json: Some(replay_json.to_owned()), interim: None, expires_ms },
        };
        self.keys.insert(key_id.clone(), row.clone());
        changes.key_claims.insert(key_id, row);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::samples;

    #[test]
    fn a_replay_that_is_stored_again_by_a_retry_is_the_first_one() {
        let (mut state, mut changes) = (WriterState::new("here".into()), ChangeSet::default());
        let ttl = KeyTtl { single_ms: 1000, stored_batch_ms: 1000 };
        let claim = samples::claim("k");
        let mut store = |text, is_retry| state.store_replay(&claim, text, is_retry, ttl, &mut changes);
        assert_eq!(store("nothing", false), None);
        assert_eq!(store("nothing", true), None, "its commit was unknown");
        let stored = Some(IdempotencyState::Completed("nothing".to_owned()));
        assert_eq!(store("nothing", false), stored, "another request");
        assert_eq!(store("another", true), stored, "another request was first");
    }
}
