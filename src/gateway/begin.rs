//! The beginning of a write: leases, and the intent that is stored before the vendor is called.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::in_flight_write::InFlightWrite;
use super::reconcile::lease_ttl;
use super::{Gateway, OpContext, System, WriteCommand, WriteOutcome};
use crate::problem::{Problem, ProblemKind};
use crate::record::{OperationId, Precondition, RecordId};
use crate::store::{BeginResult, IdempotencyClaim, IdempotencyState, Intent, Lease, LeaseResult, StoreError};

/// First and longest pause while another writer of the same record is being sent.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(250);
/// What a caller is told to wait for a write that is running.
const RUNNING_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why a write stops before its vendor call.
pub(super) enum BeginError {
    /// Refused.
    Rejected(Box<Problem>),
    /// The lease was lost or the world has moved: begin again.
    Restart,
    /// An earlier request with this key has a verdict.
    Replay(Box<WriteOutcome>),
}

impl From<Problem> for BeginError {
    fn from(problem: Problem) -> Self {
        Self::Rejected(Box::new(problem))
    }
}

impl Gateway {
    /// Waits for the lease of a record and takes it (contract 4.3).
    pub(super) async fn acquire_lease(
        &self,
        system: &System,
        id: &RecordId,
        ask: &OpContext,
    ) -> Result<Lease, BeginError> {
        let mut pause = MIN_BACKOFF;
        loop {
            // However long the call waits for its turn at the vendor, the record stays this writer's until it is sent.
            let sent_by = ask.deadline.saturating_duration_since(Instant::now()) + system.policy.timeout;
            let lasting = lease_ttl(system).max(sent_by);
            let acquired = self.store.acquire(system.name.as_str(), id.as_str(), lasting).await;
            let running = match acquired.map_err(|error| store_unavailable(&error))? {
                LeaseResult::Lease(lease) => return Ok(lease),
                LeaseResult::Held => None,
                LeaseResult::Running(operation) => Some(operation),
            };
            self.wait_for_writer(system, id, ask, &mut pause, running.as_ref()).await?;
        }
    }

    /// A queued write is refused at once; one that is just being sent is waited for, deadline permitting.
    async fn wait_for_writer(
        &self,
        system: &System,
        id: &RecordId,
        ask: &OpContext,
        pause: &mut Duration,
        running: Option<&OperationId>,
    ) -> Result<(), Problem> {
        self.ensure_no_async_write(system, id).await?;
        if Instant::now() + *pause >= ask.deadline {
            return Err(write_in_progress(system, running));
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(MAX_BACKOFF);
        Ok(())
    }

    /// 409 while a queued write of the record runs (contract 4.4).
    pub(super) async fn ensure_no_async_write(&self, system: &System, id: &RecordId) -> Result<(), Problem> {
        let pending = self
            .store
            .async_write_on(system.name.as_str(), id.as_str())
            .await
            .map_err(|error| store_unavailable(&error))?;
        pending.map_or(Ok(()), |operation| Err(write_in_progress(system, Some(&operation))))
    }

    /// Stores the intent. When this returns `Ok` the write must be sent and concluded.
    pub(super) async fn journal_intent(
        &self,
        system: &System,
        write: &WriteCommand,
        ask: &OpContext,
        pending: &InFlightWrite,
    ) -> Result<(), BeginError> {
        let mut pause = MIN_BACKOFF;
        let material = &pending.intent;
        let precondition = write.precondition.as_ref().map(Precondition::to_header);
        let bound_to = pending.compared_etag().filter(|tag| precondition.as_deref() != Some(*tag)).map(str::to_owned);
        loop {
            let intent = Intent {
                operation: pending.operation.clone(),
                request_id: Arc::clone(&ask.request_id.0),
                caller: Arc::clone(&ask.caller.0),
                system: system.name.to_shared_str(),
                record: pending.id().map(RecordId::to_shared_str),
                action: pending.action,
                precondition: precondition.clone(),
                compared_etag: bound_to.clone(),
                paths: Arc::clone(material) as _,
                losses: pending.losses.clone(),
                is_async: pending.is_async,
                lease: pending.lease.clone(),
                idempotency: idempotency_claim(write, ask),
                recovery: Some(Arc::clone(material) as _),
            };
            match self.store.begin(intent).await.map_err(|error| begin_failed(system, pending, &error))? {
                BeginResult::Started => {
                    self.metrics.operations_running(system.index, 1);
                    self.in_flight_creates.insert_if_create(pending);
                    return Ok(());
                }
                BeginResult::LeaseLost => return Err(BeginError::Restart),
                BeginResult::Running(operation) => return Err(write_in_progress(system, Some(&operation)).into()),
                BeginResult::IdempotencyKey(state) => return Err(self.outcome_from_key(system, state)),
                BeginResult::LeaseHeld => match pending.id() {
                    Some(id) => self.wait_for_writer(system, id, ask, &mut pause, None).await?,
                    None => return Err(write_in_progress(system, None).into()),
                },
            }
        }
    }

    /// Looks an `Idempotency-Key` up: after authentication, before preconditions (http-rules 165).
    pub(super) async fn check_idempotency_key(
        &self,
        system: &System,
        write: &WriteCommand,
        ask: &OpContext,
    ) -> Result<(), BeginError> {
        let Some(claim) = idempotency_claim(write, ask) else { return Ok(()) };
        let state = self.store.lookup_idempotency_key(&claim).await.map_err(|error| store_unavailable(&error))?;
        state.map_or(Ok(()), |state| Err(self.outcome_from_key(system, state)))
    }

    fn outcome_from_key(&self, system: &System, state: IdempotencyState) -> BeginError {
        match state {
            IdempotencyState::Running(operation) => write_in_progress(system, Some(&operation)).into(),
            IdempotencyState::Mismatch => {
                let detail = "this Idempotency-Key came earlier with another method, path, If-Match or body";
                ProblemKind::IdempotencyKeyReused.with_detail(detail).into()
            }
            IdempotencyState::Completed(text) | IdempotencyState::Interim(text) => match serde_json::from_str(&text) {
                Ok(verdict) => {
                    self.metrics.idempotent_replay();
                    BeginError::Replay(Box::new(verdict))
                }
                Err(error) => ProblemKind::InternalError
                    .with_detail("the stored answer to this Idempotency-Key cannot be read")
                    .with_cause(error)
                    .into(),
            },
        }
    }
}

fn idempotency_claim(write: &WriteCommand, ask: &OpContext) -> Option<IdempotencyClaim> {
    let key = write.idempotency.as_ref()?;
    Some(IdempotencyClaim { caller: ask.caller.to_string(), key: key.key.clone(), fingerprint: key.fingerprint })
}

/// `operation-in-progress`, for a request whose first sending has not come as far as its intent.
pub(super) fn duplicate_in_progress(system: &System) -> Problem {
    let detail = "a request with this Idempotency-Key is still running; repeat when it is settled";
    ProblemKind::OperationInProgress.with_detail(detail).system(system.name.as_str()).retry_after(RUNNING_RETRY_AFTER)
}

/// `operation-in-progress`.
fn write_in_progress(system: &System, operation: Option<&OperationId>) -> Problem {
    let detail = match operation {
        Some(operation) => format!("operation {operation} is still running; repeat when it is settled"),
        None => "another write of this record is being sent; repeat when it is done".to_owned(),
    };
    let mut problem = ProblemKind::OperationInProgress.with_detail(detail).system(system.name.as_str());
    problem.operation = operation.cloned();
    problem.retry_after(RUNNING_RETRY_AFTER)
}

/// No intent, no write. Where the intent may be there after all, only its operation can tell that it was not sent: a process that
/// finds it running would send it.
fn begin_failed(system: &System, pending: &InFlightWrite, error: &StoreError) -> Problem {
    if *error != StoreError::CommitUnknown {
        return store_unavailable(error);
    }
    let detail = "the gateway's store did not confirm the intent in time, so nothing was sent to the vendor; the operation \
                  will say so, unless the gateway stops or is cut off before that and the write is settled by the next one";
    let problem = ProblemKind::OutcomeUnknown.with_detail(detail).system(system.name.as_str());
    problem.operation(&pending.operation).with_cause(error)
}

/// No journal, no write: refused before the vendor is called.
fn store_unavailable(error: &StoreError) -> Problem {
    let detail = "the gateway's store cannot be written just now, so no write is begun; nothing was sent to the vendor";
    ProblemKind::Overloaded.with_detail(detail).retry_after(RUNNING_RETRY_AFTER).with_cause(error)
}
