//! Asynchronous batches.

use std::collections::HashMap;

use super::Journal;
use crate::journal::batches::{self, BatchKey, BatchRow};
use crate::journal::command::{Command, CommandResult};
use crate::journal::error::JournalError;
use crate::journal::model::{IdempotencyClaim, IdempotencyState, Lease};
use crate::journal::sql::replace_nul;
use crate::record::OperationId;

impl Journal {
    /// Stores a new batch, all of its rows or none, and claims its key. If the key is not free,
    /// nothing is stored, and the result is its state: [`IdempotencyState::Running`] with the id of
    /// the batch that has it, or [`IdempotencyState::Mismatch`]. The key of the batch `repeats` is
    /// free for the same request until it expires.
    ///
    /// # Errors
    /// `Unavailable`: it was not stored. `CommitUnknown`: it may have been.
    pub async fn store_batch(
        &self,
        batch_id: &OperationId,
        rows: Vec<BatchRow>,
        claim: Option<IdempotencyClaim>,
        repeats: Option<OperationId>,
    ) -> Result<Option<IdempotencyState>, JournalError> {
        let key = claim.map(|claim| BatchKey {
            claim: IdempotencyClaim { caller: replace_nul(claim.caller), key: replace_nul(claim.key), ..claim },
            batch_id: batch_id.clone(),
            repeats,
        });
        match self.submit(Command::StoreBatch { rows: rows.into(), key }).await? {
            CommandResult::BatchStored(taken) => Ok(taken),
            _ => Err(JournalError::Unavailable),
        }
    }

    /// Saves rows of a batch, all or none; each replaces the row of its position, unless that is of
    /// an item or of a batch that has ended.
    ///
    /// # Errors
    /// `Unavailable`: they were not saved. `CommitUnknown`: they may have been.
    pub async fn save_batch_rows(&self, rows: Vec<BatchRow>) -> Result<(), JournalError> {
        self.submit(Command::SaveBatchRows { rows: rows.into(), lease: None }).await.map(|_| ())
    }

    /// The same for the one that runs a batch. `false` = its lease is no longer held, and nothing
    /// is saved: another process has the batch.
    ///
    /// # Errors
    /// `Unavailable`: they were not saved. `CommitUnknown`: they may have been.
    pub async fn save_rows_of_running_batch(&self, lease: &Lease, rows: Vec<BatchRow>) -> Result<bool, JournalError> {
        let command = Command::SaveBatchRows { rows: rows.into(), lease: Some(lease.clone()) };
        Ok(matches!(self.submit(command).await?, CommandResult::BatchRowsSaved(true)))
    }

    /// At most `limit` rows of a batch from a position on; none if there is no such batch.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_rows(&self, id: &str, from: i64, limit: usize) -> Result<Vec<BatchRow>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(batches::rows(&self.inner.reader, id.into(), from, limit).await?)
    }

    /// How many items of a batch have each status.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_counts(&self, id: &str) -> Result<Vec<(i64, i64)>, JournalError> {
        Ok(batches::counts(&self.inner.reader, id).await?)
    }

    /// The batches that are not over, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn open_batches(&self, limit: usize) -> Result<Vec<String>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(batches::open(&self.inner.reader, limit).await?)
    }

    /// How many bytes of requests a batch has, about.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_size(&self, id: &str) -> Result<usize, JournalError> {
        Ok(usize::try_from(batches::size(&self.inner.reader, id).await?).unwrap_or_default())
    }

    /// Which of these idempotency keys of a caller are claimed, and by which operation. A key is
    /// claimed from the intent of its write on, or by the response of one that changed nothing:
    /// that one has no operation ([`OperationId::nil`]).
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claimed_keys(
        &self,
        caller: &str,
        keys: Vec<String>,
    ) -> Result<HashMap<String, OperationId>, JournalError> {
        let (caller, now_ms) = (replace_nul(caller.to_owned()), self.inner.shared.now_ms());
        Ok(batches::claimed_keys(&self.inner.reader, &caller, &keys, now_ms).await?)
    }

    /// The same for the keys that begin with a prefix, in one pass over all keys of the caller.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claimed_keys_with_prefix(
        &self,
        caller: &str,
        prefix: &str,
    ) -> Result<HashMap<String, OperationId>, JournalError> {
        let (caller, prefix) = (replace_nul(caller.to_owned()), replace_nul(prefix.to_owned()));
        let now_ms = self.inner.shared.now_ms();
        Ok(batches::claimed_keys_with_prefix(&self.inner.reader, &caller, &prefix, now_ms).await?)
    }

    /// The operation that has claimed an idempotency key of a caller; see
    /// [`claimed_keys`](Self::claimed_keys).
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claiming_operation(&self, caller: &str, key: &str) -> Result<Option<OperationId>, JournalError> {
        let (caller, key) = (replace_nul(caller.to_owned()), replace_nul(key.to_owned()));
        let now_ms = self.inner.shared.now_ms();
        Ok(batches::claiming_operation(&self.inner.reader, &caller, &key, now_ms).await?)
    }
}
