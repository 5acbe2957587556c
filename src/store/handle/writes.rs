//! Leases, and the calls of a write: begin, save an interim outcome, finish, adopt.

use std::sync::Arc;
use std::time::Duration;

use super::{Store, to_millis};
use crate::record::OperationId;
use crate::store::command::{CommandResult, StoreCommand};
use crate::store::error::StoreError;
use crate::store::model::{BeginResult, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation, Outcome};
use crate::store::sql::replace_nul;

impl Store {
    /// Tries to take the lease of a record, for a guarded write.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn acquire(&self, system: &str, record: &str, ttl: Duration) -> Result<LeaseResult, StoreError> {
        let command = StoreCommand::Acquire {
            system: replace_nul(system.to_owned()),
            record: replace_nul(record.to_owned()),
            ttl_ms: to_millis(ttl),
        };
        match self.submit(command).await? {
            CommandResult::Acquired(result) => Ok(result),
            _ => Err(StoreError::Unavailable),
        }
    }

    /// Extends a lease from now. `false` = it has expired or belongs to another writer.
    ///
    /// # Errors
    /// `Unavailable`: the lease may expire.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, StoreError> {
        let result = self.submit(StoreCommand::Renew { lease: lease.clone(), ttl_ms: to_millis(ttl) }).await?;
        Ok(matches!(result, CommandResult::Renewed(true)))
    }

    /// Frees a lease. A lease that belongs to another writer by now stays.
    ///
    /// # Errors
    /// `Unavailable`: the lease expires by itself.
    pub async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.submit(StoreCommand::Release { lease: lease.clone() }).await.map(|_| ())
    }

    /// Begins a write before it is sent. One transaction checks the idempotency key, the queued
    /// writes and the lease of the record, claims the key, stores the operation and appends the
    /// intent to the ledger. Unless the result is `Started`, nothing has changed.
    ///
    /// The key is checked first: a repeat gets its result whatever else runs.
    ///
    /// # Errors
    /// `Unavailable`: the operation was not begun. `CommitUnknown`: it may have been. In both cases
    /// nothing may be sent.
    pub async fn begin(&self, mut intent: Intent) -> Result<BeginResult, StoreError> {
        intent.caller = replace_nul(intent.caller);
        intent.record = intent.record.map(replace_nul);
        if let Some(claim) = &mut intent.idempotency {
            claim.key = replace_nul(std::mem::take(&mut claim.key));
        }
        let intent = Arc::new(intent);
        if let Some(result) = self.inner.shared.try_begin_inline(&intent) {
            return Ok(result);
        }
        match self.submit(StoreCommand::Begin(intent)).await? {
            CommandResult::Begun(result, guard) => {
                if let Some(guard) = guard {
                    guard.disarm();
                }
                Ok(result)
            }
            _ => Err(StoreError::Unavailable),
        }
    }

    /// Saves the response that the caller gets while its write still runs. The idempotency key
    /// replays `replay_json` until the operation is finished.
    ///
    /// # Errors
    /// `Unavailable`: it is kept in memory and written later.
    pub async fn save_interim_outcome(
        &self,
        operation: &OperationId,
        response: InterimResponse,
        replay_json: String,
    ) -> Result<(), StoreError> {
        let command = StoreCommand::SaveInterim { operation: operation.clone(), response, replay_json };
        self.submit_persistent(command).await.map(|_| ())
    }

    /// Finishes an operation: stores its final state, appends the outcome to the ledger, completes
    /// or frees the idempotency key, releases the lease and drops the recovery payload.
    ///
    /// `false` = another outcome is the final one: the operation was finished before, or another
    /// replica has adopted it. A retry after a database failure always returns `true`.
    ///
    /// The store keeps the outcome from this call on, even if the future is dropped.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is kept in memory and written later.
    pub fn finish<O: Into<Arc<Outcome>>>(&self, outcome: O) -> impl Future<Output = Result<bool, StoreError>> + use<O> {
        let outcome = outcome.into();
        let inline = self
            .inner
            .shared
            .try_finish_inline(&outcome)
            .ok_or_else(|| self.submit_persistent(StoreCommand::Finish(outcome)));
        async move {
            match inline {
                Ok(is_final) => Ok(is_final),
                Err(queued) => Ok(!matches!(queued.await?, CommandResult::Finished(false))),
            }
        }
    }

    /// Adopts running operations of dead instances, oldest first, at most `limit`. Of several
    /// replicas one gets each operation and must reconcile and finish it. Call it again until the
    /// result is empty; on PostgreSQL call it at intervals.
    ///
    /// # Errors
    /// `Unavailable`: none was adopted.
    pub async fn adopt(&self, limit: usize) -> Result<Vec<OrphanedOperation>, StoreError> {
        match self.submit(StoreCommand::Adopt { limit: limit.try_into().unwrap_or(i64::MAX) }).await? {
            CommandResult::Adopted(orphans) => Ok(orphans),
            _ => Err(StoreError::Unavailable),
        }
    }
}
