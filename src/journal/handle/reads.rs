//! Reads of operations, idempotency keys, blocking writes and the ledger.

use super::Journal;
use crate::journal::command::Command;
use crate::journal::error::{DbError, JournalError};
use crate::journal::ledger::LedgerEntry;
use crate::journal::model::{IdempotencyClaim, IdempotencyState, UnknownWrites};
use crate::journal::query::{LedgerQuery, OperationQuery, Page};
use crate::journal::row_decoding::{SELECT_KEYS, idempotency_row};
use crate::journal::sql::{Row, SqlValue, operation_uuid, replace_nul};
use crate::journal::{ledger_list, operations};
use crate::record::{Operation, OperationId, PlanKey};

impl Journal {
    /// The state of an idempotency key, without a claim; `None` = the key is free.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lookup_idempotency_key(
        &self,
        claim: &IdempotencyClaim,
    ) -> Result<Option<IdempotencyState>, JournalError> {
        let key = [replace_nul(claim.caller.clone()), replace_nul(claim.key.clone())].map(SqlValue::Text);
        let statement = format!("{SELECT_KEYS} WHERE i.caller = ?1 AND i.key = ?2");
        let Some(mut row) = self.select_one(&statement, &key).await? else { return Ok(None) };
        let (_, row) = idempotency_row(&mut row)?;
        Ok(row.state(claim, self.inner.shared.now_ms()))
    }

    /// The encrypted token that a replica saved last for a system.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn token(&self, system: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let system = [SqlValue::Text(system.to_owned())];
        let row = self.select_one("SELECT sealed FROM token WHERE system = ?1", &system).await?;
        Ok(row.map(|mut row| row.opt_bytes(0)).transpose()?.flatten())
    }

    /// Whether states of records that callers got are kept for all replicas.
    #[must_use]
    pub fn remembers_shown(&self) -> bool {
        self.inner.shared.remember_shown_ms > 0
    }

    /// Keeps the state of a record that a caller got, by its ETag. What cannot be written is not
    /// remembered.
    pub fn remember_shown(&self, etag: &str, fields: &str) {
        self.submit_without_result(Command::SaveShown {
            etag: replace_nul(etag.into()),
            fields: replace_nul(fields.into()),
        });
    }

    /// `fields` of a record in the state of an ETag, if a replica has shown it lately.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn shown_state(&self, etag: &str) -> Result<Option<String>, JournalError> {
        let params = [SqlValue::Text(etag.to_owned()), SqlValue::Int(self.inner.shared.now_ms())];
        let row = self.select_one("SELECT fields FROM shown_state WHERE etag = ?1 AND expires > ?2", &params).await?;
        Ok(row.map(|mut row| row.opt_text(0)).transpose()?.flatten())
    }

    /// The key that authenticates the tags of plans, the same for all replicas.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn plan_key(&self) -> Result<PlanKey, JournalError> {
        let row = self.select_one("SELECT key FROM plan_key", &[]).await?;
        let mut row = row.ok_or_else(|| DbError::Corrupt("the key of plans is missing".into()))?;
        Ok(PlanKey::new(row.array(0)?))
    }

    /// One operation.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, JournalError> {
        Ok(operations::operation(&self.inner.reader, id, self.inner.shared.retention_cutoff_ms()).await?)
    }

    /// A page of operations.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn operations(&self, query: OperationQuery) -> Result<Page<Operation>, JournalError> {
        Ok(operations::operations(&self.inner.reader, &query, self.inner.shared.retention_cutoff_ms()).await?)
    }

    /// The queued or unresolved write that runs on a record. Every read of a record uses it: it
    /// comes from memory. Writes of other replicas are seen at most 250 ms late, or as they were
    /// while the server is away.
    #[must_use]
    pub fn blocking_write_on(&self, system: &str, record: &str) -> Option<OperationId> {
        self.inner.shared.blocking.get(system, record)
    }

    /// A write of this instance has ended in the store without it: it blocks its record no longer.
    pub fn forget_blocking(&self, operation: &OperationId) {
        self.inner.shared.blocking.remove(operation);
    }

    /// A page of the ledger.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn ledger(&self, query: LedgerQuery) -> Result<Page<LedgerEntry>, JournalError> {
        Ok(ledger_list::entries(&self.inner.reader, &query).await?)
    }

    /// What looking for the outcome of an operation needs that runs or has ended `unknown`: the
    /// JSON of its [`Intent::recovery`](crate::journal::Intent::recovery).
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn recovery_of(&self, operation: &OperationId) -> Result<Option<String>, JournalError> {
        let statement = "SELECT recovery FROM running WHERE operation = ?1
             UNION ALL SELECT d.recovery FROM ledger o JOIN operation_detail d ON d.seq = o.intent
             WHERE o.operation = ?1 AND o.intent > 0";
        let id = [SqlValue::Id(operation_uuid(operation))];
        let Some(mut row) = self.select_one(statement, &id).await? else { return Ok(None) };
        Ok(row.opt_bytes(0)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// The creates of a system that may have made a record that no entry of the ledger names, with
    /// their [`Intent::recovery`](crate::journal::Intent::recovery), at most `limit`: those that
    /// run; and of those that began since a time (milliseconds since 1970) those that ended
    /// `unknown`, or `applied` by a person's word alone.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn unresolved_creates(
        &self,
        system: &str,
        since_ms: i64,
        limit: usize,
    ) -> Result<Vec<(OperationId, Option<String>)>, JournalError> {
        Ok(operations::unresolved_creates(&self.inner.reader, system, since_ms, limit).await?)
    }

    /// Whether an operation still runs, here or in another instance.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn is_running(&self, operation: &OperationId) -> Result<bool, JournalError> {
        let params = [SqlValue::Id(operation_uuid(operation))];
        Ok(self.select_one("SELECT seq FROM running WHERE operation = ?1", &params).await?.is_some())
    }

    /// Whether the operation is stored as a running one of this process.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn owns_operation(&self, operation: &OperationId) -> Result<bool, JournalError> {
        let params = [SqlValue::Id(operation_uuid(operation)), SqlValue::Text(self.inner.shared.instance.clone())];
        let row = self.select_one("SELECT seq FROM running WHERE operation = ?1 AND owner = ?2", &params).await?;
        Ok(row.is_some())
    }

    /// The first row of a query.
    pub(super) async fn select_one(&self, statement: &str, params: &[SqlValue]) -> Result<Option<Row>, JournalError> {
        Ok(self.inner.reader.select(statement, params).await?.into_iter().next())
    }

    /// The writes of each system whose outcome is not known, but for the number of those that this
    /// instance reconciles itself. A system without one is not listed.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn unknown_writes(&self) -> Result<Vec<UnknownWrites>, JournalError> {
        let shared = &self.inner.shared;
        let cutoff_ms = shared.retention_cutoff_ms();
        Ok(operations::unknown_writes(&self.inner.reader, &shared.instance, cutoff_ms).await?)
    }

    /// How many running operations stay unresolved if this process ends: with SQLite all, on
    /// PostgreSQL its own.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_running(&self) -> Result<i64, JournalError> {
        let owner = if self.is_shared() { &*self.inner.shared.instance } else { "" };
        let statement = "SELECT count(*) FROM running WHERE ?1 = '' OR owner = ?1";
        let row = self.select_one(statement, &[SqlValue::Text(owner.to_owned())]).await?;
        Ok(row.map_or(Ok(0), |mut row| row.int(0))?)
    }
}
