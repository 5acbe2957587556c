//! Asynchronous batches.

use std::sync::Arc;

use super::Journal;
use crate::journal::batches::{self, BatchRow};
use crate::journal::command::Command;
use crate::journal::error::JournalError;

impl Journal {
    /// Saves rows of a batch, all or none; each replaces the row of its position.
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
}
