//! Reads of operations, idempotency keys, queued writes and the ledger.

use std::collections::HashMap;

use super::Store;
use crate::record::{Operation, OperationId};
use crate::store::error::StoreError;
use crate::store::ledger::LedgerEntry;
use crate::store::model::{IdempotencyClaim, IdempotencyState, LedgerQuery, OperationQuery, Page};
use crate::store::sql::replace_nul;
use crate::store::verify::{self, VerifyReport};
use crate::store::{ledger_query, queries};

impl Store {
    /// The state of an idempotency key, without a claim; `None` = the key is free.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lookup_idempotency_key(
        &self,
        claim: &IdempotencyClaim,
    ) -> Result<Option<IdempotencyState>, StoreError> {
        let (claim, now_ms) = (claim.clone(), self.inner.shared.now_ms());
        let claim = IdempotencyClaim { caller: replace_nul(claim.caller), key: replace_nul(claim.key), ..claim };
        self.read(move |pool| async move { queries::lookup_idempotency_key(&pool, &claim, now_ms).await }).await
    }

    /// One operation.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, StoreError> {
        let (id, since_ms) = (id.clone(), self.inner.shared.retention_cutoff_ms());
        self.read(move |pool| async move { queries::operation(&pool, &id, since_ms).await }).await
    }

    /// A page of operations, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn operations(&self, query: OperationQuery) -> Result<Page<Operation, OperationId>, StoreError> {
        let since_ms = self.inner.shared.retention_cutoff_ms();
        self.read(move |pool| async move { queries::operations(&pool, &query, since_ms).await }).await
    }

    /// The queued write that runs on a record. Every read of a record uses it: with SQLite it comes
    /// from memory.
    ///
    /// # Errors
    /// `Unavailable` (PostgreSQL only).
    pub async fn async_write_on(&self, system: &str, record: &str) -> Result<Option<OperationId>, StoreError> {
        if !self.inner.shared.backend.is_shared() {
            return Ok(self.inner.shared.async_writes.get(system, record));
        }
        let (system, record) = (replace_nul(system.to_owned()), replace_nul(record.to_owned()));
        self.read(move |pool| async move { queries::async_write_on(&pool, system, record).await }).await
    }

    /// The queued writes that run on these records, by record.
    ///
    /// # Errors
    /// `Unavailable` (PostgreSQL only).
    pub async fn async_writes_on(
        &self,
        system: &str,
        records: Vec<String>,
    ) -> Result<HashMap<String, OperationId>, StoreError> {
        if !self.inner.shared.backend.is_shared() {
            let index = &self.inner.shared.async_writes;
            let running = |record: String| index.get(system, &record).map(|operation| (record, operation));
            return Ok(records.into_iter().filter_map(running).collect());
        }
        let system = replace_nul(system.to_owned());
        let running =
            self.read(move |pool| async move { queries::async_writes_of_system(&pool, system).await }).await?;
        Ok(running.into_iter().filter(|(record, _)| records.contains(record)).collect())
    }

    /// A page of the ledger, oldest first.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`; also `Unavailable` while an acknowledged write cannot be written,
    /// because the page would lack it.
    pub async fn ledger(&self, query: LedgerQuery) -> Result<Page<LedgerEntry, i64>, StoreError> {
        self.flush().await?;
        self.read(move |pool| async move { ledger_query::list(&pool, &query).await }).await
    }

    /// Verifies the whole chain. `head` is the hash of an earlier report, which must still be in
    /// it.
    ///
    /// # Errors
    /// `Unavailable`. A broken chain is not an error; the report has it.
    pub async fn verify(&self, head: Option<&str>) -> Result<VerifyReport, StoreError> {
        // What is written can be verified even if more cannot be written.
        let _ = self.flush().await;
        let (pool, head) = (self.inner.readers.clone(), head.map(str::to_owned));
        let task = self.inner.runtime.spawn(async move { verify::run(&pool, head.as_deref()).await });
        Ok(task.await.map_err(|_| StoreError::Unavailable)??)
    }

    /// How many running operations stay unresolved if this process ends: with SQLite all, on
    /// PostgreSQL its own.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_running(&self) -> Result<i64, StoreError> {
        let shared = &self.inner.shared;
        let owner = if shared.backend.is_shared() { shared.instance.clone() } else { String::new() };
        self.read(|pool| async move { queries::count_running(&pool, owner).await }).await
    }
}
