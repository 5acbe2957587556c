//! Leases, and the calls of a write: begin, save an interim outcome, finish, adopt.

use std::sync::Arc;
use std::time::Duration;

use super::{Journal, to_millis};
use crate::journal::command::{Command, CommandResult};
use crate::journal::error::JournalError;
use crate::journal::model::{
    BeginResult, IdempotencyClaim, IdempotencyState, Intent, InterimResponse, Lease, LeaseResult, OrphanedOperation,
    Outcome,
};
use crate::journal::sql::replace_nul;
use crate::journal::verdict::{Verdict, VerdictResult};
use crate::record::OperationId;

impl Journal {
    /// Tries to take the lease of a record, for a guarded write.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn acquire(&self, system: &str, record: &str, ttl: Duration) -> Result<LeaseResult, JournalError> {
        let command = Command::Acquire {
            system: replace_nul(Arc::from(system)),
            record: replace_nul(Arc::from(record)),
            ttl_ms: to_millis(ttl),
        };
        match self.submit(command).await? {
            CommandResult::Acquired(result) => Ok(result),
            _ => Err(JournalError::Unavailable),
        }
    }

    /// Extends a lease from now. `false` = it has expired or belongs to another writer.
    ///
    /// # Errors
    /// `Unavailable`: the lease may expire.
    pub async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<bool, JournalError> {
        let result = self.submit(Command::Renew { lease: lease.clone(), ttl_ms: to_millis(ttl) }).await?;
        Ok(matches!(result, CommandResult::Renewed(true)))
    }

    /// Frees a lease. A lease that belongs to another writer by now stays.
    ///
    /// # Errors
    /// `Unavailable`: the lease expires by itself.
    pub async fn release(&self, lease: &Lease) -> Result<(), JournalError> {
        self.submit(Command::Release { lease: lease.clone() }).await.map(|_| ())
    }

    /// Stores what an idempotency key replays whose write changed nothing, so that it has no
    /// operation. The result is the state of the key if another request has it: then nothing is
    /// stored.
    ///
    /// # Errors
    /// `Unavailable`: it may not be stored.
    pub async fn store_replay(
        &self,
        claim: IdempotencyClaim,
        replay_json: String,
    ) -> Result<Option<IdempotencyState>, JournalError> {
        let claim = IdempotencyClaim { caller: replace_nul(claim.caller), key: replace_nul(claim.key), ..claim };
        match self.submit(Command::StoreReplay { claim, replay_json: replay_json.into() }).await? {
            CommandResult::ReplayStored(taken) => Ok(taken),
            _ => Err(JournalError::Unavailable),
        }
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
    pub async fn begin(&self, mut intent: Intent) -> Result<BeginResult, JournalError> {
        intent.caller = replace_nul(intent.caller);
        intent.record = intent.record.map(replace_nul);
        if let Some(claim) = &mut intent.idempotency {
            claim.key = replace_nul(std::mem::take(&mut claim.key));
        }
        match self.submit(Command::Begin(Arc::new(intent))).await? {
            CommandResult::Begun(result, guard) => {
                if let Some(guard) = guard {
                    guard.disarm();
                }
                Ok(result)
            }
            _ => Err(JournalError::Unavailable),
        }
    }

    /// Saves the response that the caller gets while its write still runs. The idempotency key
    /// replays `replay_json` until the operation is finished. From an
    /// [`Unknown`](InterimResponse::Unknown) on, the write blocks its record as a queued one does:
    /// others get `Running` at once, and reads name it (contract 4.4).
    ///
    /// # Errors
    /// `Unavailable`: it is kept in memory and written later.
    pub async fn save_interim_outcome(
        &self,
        operation: &OperationId,
        response: InterimResponse,
        replay_json: String,
    ) -> Result<(), JournalError> {
        let command = Command::SaveInterim { operation: operation.clone(), response, replay_json: Some(replay_json) };
        self.submit_persistent(command).await.map(|_| ())
    }

    /// A write whose response was lost blocks its record from now on, as one whose caller got an
    /// [`Unknown`](InterimResponse::Unknown). Its key replays nothing yet: the first request runs.
    ///
    /// # Errors
    /// `Unavailable`: it is kept in memory and written later.
    pub async fn block_record(&self, operation: &OperationId) -> Result<(), JournalError> {
        let (operation, response) = (operation.clone(), InterimResponse::Unknown);
        self.submit_persistent(Command::SaveInterim { operation, response, replay_json: None }).await.map(|_| ())
    }

    /// Finishes an operation: stores its final state, appends the outcome to the ledger, completes
    /// or frees the idempotency key, and releases the lease. The recovery payload is deleted,
    /// unless the outcome is `unknown`.
    ///
    /// `false` = another outcome is the final one: the operation was finished before, or another
    /// replica has adopted it. A retry after a database failure always returns `true`.
    ///
    /// The journal keeps the outcome from this call on, even if the future is dropped.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is kept in memory and written later.
    pub fn finish<O: Into<Arc<Outcome>>>(
        &self,
        outcome: O,
    ) -> impl Future<Output = Result<bool, JournalError>> + use<O> {
        let finished = self.submit_persistent(Command::Finish(outcome.into()));
        async move { Ok(!matches!(finished.await?, CommandResult::Finished(false))) }
    }

    /// Records a verdict on an operation that ended `unknown` or runs too long. The operation ends
    /// with that state, and its record is free. One transaction ends the operation, appends the
    /// verdict to the ledger, and completes or frees the idempotency key.
    ///
    /// # Errors
    /// `Unavailable`: nothing is recorded, or it is not known whether it was; a repeat
    /// shows it.
    pub async fn record_verdict(&self, mut verdict: Verdict) -> Result<VerdictResult, JournalError> {
        verdict.caller = replace_nul(verdict.caller);
        verdict.note = verdict.note.map(replace_nul);
        verdict.record = verdict.record.map(replace_nul);
        match self.submit(Command::RecordVerdict(Arc::new(verdict))).await? {
            CommandResult::Verdict(result) => Ok(result),
            _ => Err(JournalError::Unavailable),
        }
    }

    /// Saves a vendor's token, encrypted, for the other replicas; it replaces an earlier one.
    ///
    /// # Errors
    /// `Unavailable`: it was not saved.
    pub async fn save_token(&self, system: &str, sealed: &[u8]) -> Result<(), JournalError> {
        let command = Command::SaveToken { system: Arc::from(system), sealed: Arc::from(sealed) };
        self.submit(command).await.map(|_| ())
    }

    /// Adopts running operations of dead instances, oldest first, at most `limit`. Of several
    /// replicas one gets each operation and must reconcile and finish it. Call it again until the
    /// result is empty; on PostgreSQL call it at intervals.
    ///
    /// # Errors
    /// `Unavailable`: none was adopted.
    pub async fn adopt(&self, limit: usize) -> Result<Vec<OrphanedOperation>, JournalError> {
        match self.submit(Command::Adopt { limit }).await? {
            CommandResult::Adopted(orphans) => Ok(orphans),
            _ => Err(JournalError::Unavailable),
        }
    }
}
