//! The feed of changes.

use std::sync::Arc;
use std::time::Duration;

use super::{Journal, to_millis};
use crate::journal::changes::{self, ChangeQuery, ChangeRead, ChangeStart};
use crate::journal::error::JournalError;
use crate::journal::ownership::DEAD_AFTER;
use crate::journal::shared::FeedFloor;
use crate::journal::sql::SqlValue;

/// How long the search for the oldest event that is kept counts, in milliseconds, at most: an event
/// is shown so much longer than it is kept.
const MAX_FLOOR_VALID_MS: i64 = 5000;

impl Journal {
    /// Reads the feed of changes, whose events are kept for `retention`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn changes(
        &self,
        query: &Arc<ChangeQuery>,
        start: ChangeStart,
        retention: Duration,
    ) -> Result<ChangeRead, JournalError> {
        let floor = self.changes_floor(retention).await?;
        Ok(changes::read(&self.inner.reader, query, start, floor).await?)
    }

    async fn changes_floor(&self, retention: Duration) -> Result<i64, JournalError> {
        let (shared, retention_ms) = (&self.inner.shared, to_millis(retention));
        let now_ms = shared.now_ms();
        let valid_ms = MAX_FLOOR_VALID_MS.min(retention_ms / 10);
        let known = *shared.lock_floor();
        if let Some(floor) = known.filter(|floor| {
            floor.retention_ms == retention_ms && (floor.found_ms..floor.found_ms + valid_ms).contains(&now_ms)
        }) {
            return Ok(floor.position);
        }
        let cutoff_ms = now_ms.saturating_sub(retention_ms);
        let position = changes::floor(&self.inner.reader, cutoff_ms).await?;
        *shared.lock_floor() = Some(FeedFloor { position, retention_ms, found_ms: now_ms });
        Ok(position)
    }

    /// Waits until the ledger has an entry after a position. Entries of other replicas are seen at
    /// most 250 ms late.
    pub async fn wait_for_entry_after(&self, position: i64) {
        let mut head = self.inner.shared.head.subscribe();
        // An error means that the journal has ended; who waits has a deadline.
        if head.wait_for(|head| *head > position).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How many instances use the database.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_replicas(&self) -> Result<i64, JournalError> {
        if !self.is_shared() {
            return Ok(1);
        }
        let alive_since = self.inner.shared.now_ms() - to_millis(DEAD_AFTER);
        let statement = "SELECT count(*) FROM instance WHERE seen > ?1";
        let row = self.select_one(statement, &[SqlValue::Int(alive_since)]).await?;
        Ok(row.map_or(Ok(1), |mut row| row.int(0))?)
    }
}
