//! The ledger as a whole: its head, a part of its chain, and its cut.

use std::time::Duration;

use super::Journal;
use crate::journal::command::Command;
use crate::journal::error::JournalError;
use crate::journal::ledger::Hash;
use crate::journal::sql::SqlValue;
use crate::journal::verify::{self, LedgerHead, VerifiedRange};

/// How often a cut polls whether everything is deleted.
const DELETE_POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Journal {
    /// The last entry of the ledger.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn ledger_head(&self) -> Result<LedgerHead, JournalError> {
        Ok(verify::head(&self.inner.reader).await?)
    }

    /// Verifies at most `limit` entries from number `from` on. Each part also shows that it follows
    /// the entry before it.
    ///
    /// # Errors
    /// `Unavailable`. A broken chain is not an error; the result has it.
    pub async fn verify_range(&self, from: i64, limit: i64) -> Result<VerifiedRange, JournalError> {
        Ok(verify::run_range(&self.inner.reader, from, limit).await?)
    }

    /// Whether the ledger still has every entry since a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn is_complete_since(&self, ms: i64) -> Result<bool, JournalError> {
        let statement = "SELECT l.at FROM ledger_cut c LEFT JOIN ledger l ON l.seq = c.seq + 1
                         ORDER BY c.seq DESC LIMIT 1";
        let Some(mut row) = self.select_one(statement, &[]).await? else { return Ok(true) };
        Ok(row.opt_int(0)?.is_some_and(|first| first <= ms))
    }

    /// Ends the keeping of all entries up to this one, leaves a `cut` entry, and waits until they
    /// are deleted.
    ///
    /// # Errors
    /// `Unavailable`: perhaps not all of them are deleted; any later start resumes the deletion.
    pub(in crate::journal) async fn cut(&self, seq: i64, hash: Hash) -> Result<(), JournalError> {
        self.submit(Command::Cut { seq, hash }).await?;
        while self.has_entries_until(seq).await? {
            tokio::time::sleep(DELETE_POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn has_entries_until(&self, seq: i64) -> Result<bool, JournalError> {
        let statement = "SELECT seq FROM ledger WHERE seq <= ?1 ORDER BY seq LIMIT 1";
        Ok(self.select_one(statement, &[SqlValue::Int(seq)]).await?.is_some())
    }
}
