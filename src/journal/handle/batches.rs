//! Asynchronous batches.

use std::collections::HashSet;
use std::sync::Arc;

use super::Journal;
use crate::journal::batches::{self, BatchRow};
use crate::journal::command::Command;
use crate::journal::error::JournalError;
use crate::journal::sql::replace_nul;

impl Journal {
    /// Saves rows of a batch, all or none; each replaces the row of its position, unless that is of
    /// an item or of a batch that has ended.
    ///
    /// # Errors
    /// `Unavailable`: they may not have been saved.
    pub async fn save_batch_rows(&self, rows: Vec<BatchRow>) -> Result<(), JournalError> {
        self.submit(Command::SaveBatchRows(rows.into())).await.map(|_| ())
    }

    /// At most `limit` rows of a batch from a position on; none if there is no such batch.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_rows(&self, id: &str, from: i64, limit: usize) -> Result<Vec<BatchRow>, JournalError> {
        let (id, limit): (Arc<str>, _) = (id.into(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(move |reader| {
            let id = Arc::clone(&id);
            async move { batches::rows(&reader, id, from, limit).await }
        })
        .await
    }

    /// How many items of a batch have each status.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_counts(&self, id: &str) -> Result<Vec<(i64, i64)>, JournalError> {
        let id: Arc<str> = id.into();
        self.read(move |reader| {
            let id = Arc::clone(&id);
            async move { batches::counts(&reader, &id).await }
        })
        .await
    }

    /// The batches that are not over, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn open_batches(&self, limit: usize) -> Result<Vec<String>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |reader| async move { batches::open(&reader, limit).await }).await
    }

    /// How many bytes of requests a batch has, about.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn batch_size(&self, id: &str) -> Result<usize, JournalError> {
        let id: Arc<str> = id.into();
        let size = self.read(move |reader| {
            let id = Arc::clone(&id);
            async move { batches::size(&reader, &id).await }
        });
        Ok(usize::try_from(size.await?).unwrap_or_default())
    }

    /// Which idempotency keys of a caller are claimed: of these, and of those that begin with
    /// `prefix`. A key is claimed from the intent of its write on.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claimed_keys(
        &self,
        caller: &str,
        prefix: &str,
        keys: Vec<String>,
    ) -> Result<HashSet<String>, JournalError> {
        let query = Arc::new((replace_nul(caller.to_owned()), replace_nul(prefix.to_owned()), keys));
        self.read(move |reader| {
            let query = Arc::clone(&query);
            async move { batches::claimed_keys(&reader, &query.0, &query.1, &query.2).await }
        })
        .await
    }
}
