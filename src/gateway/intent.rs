//! The beginning of a write: leases, and the intent that is stored before the vendor is called.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pending::Pending;
use super::settle::lease_time;
use super::{Ask, Gateway, System, Verdict, Write};
use crate::problem::{Problem, ProblemName};
use crate::record::{OperationId, Precondition, RecordId};
use crate::store::{Acquired, Begun, Claim, Intent, KeyState, Lease, StoreError};

/// First and longest pause while another writer of the same record is being sent.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// What a caller is told to wait for a write that is running.
const RUNNING_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Why a write stops before its vendor call.
pub(super) enum Stop {
    /// Refused.
    Refused(Box<Problem>),
    /// The lease was lost or the world has moved: begin again.
    Again,
    /// An earlier request with this key has a verdict.
    Replay(Box<Verdict>),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl Gateway {
    /// Waits for the lease of a record and takes it (contract 4.3).
    pub(super) async fn lease(&self, system: &System, id: &RecordId, ask: &Ask) -> Result<Lease, Stop> {
        let mut pause = FIRST_PAUSE;
        loop {
            // However long the call waits for its turn at the vendor, the record stays this writer's until it is sent.
            let sent_by = ask.deadline.saturating_duration_since(Instant::now()) + system.policy.timeout;
            let lasting = lease_time(system).max(sent_by);
            let acquired = self.store.acquire(system.name.as_str(), id.as_str(), lasting).await;
            let running = match acquired.map_err(|error| store_away(&error))? {
                Acquired::Lease(lease) => return Ok(lease),
                Acquired::Held => None,
                Acquired::Running(operation) => Some(operation),
            };
            self.wait_turn(system, id, ask, &mut pause, running.as_ref()).await?;
        }
    }

    /// A queued write is refused at once; one that is just being sent is waited for, deadline permitting.
    async fn wait_turn(
        &self,
        system: &System,
        id: &RecordId,
        ask: &Ask,
        pause: &mut Duration,
        running: Option<&OperationId>,
    ) -> Result<(), Problem> {
        self.refuse_while_running(system, id).await?;
        if Instant::now() + *pause >= ask.deadline {
            return Err(in_progress(system, running));
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// 409 while a queued write of the record runs (contract 4.4).
    pub(super) async fn refuse_while_running(&self, system: &System, id: &RecordId) -> Result<(), Problem> {
        let pending =
            self.store.pending(system.name.as_str(), id.as_str()).await.map_err(|error| store_away(&error))?;
        pending.map_or(Ok(()), |operation| Err(in_progress(system, Some(&operation))))
    }

    /// Stores the intent. When this returns `Ok` the write must be sent and concluded.
    pub(super) async fn begin(&self, system: &System, write: &Write, ask: &Ask, pending: &Pending) -> Result<(), Stop> {
        let mut pause = FIRST_PAUSE;
        let material = &pending.intended;
        let precondition = write.precondition.as_ref().map(Precondition::text);
        let bound_to = pending.bound_to().filter(|tag| precondition.as_deref() != Some(*tag)).map(str::to_owned);
        loop {
            let intent = Intent {
                operation: pending.operation.clone(),
                request_id: Arc::clone(&ask.request_id.0),
                caller: Arc::clone(&ask.caller.0),
                system: system.name.text(),
                record: pending.id().map(RecordId::text),
                action: pending.action,
                precondition: precondition.clone(),
                bound_to: bound_to.clone(),
                paths: Arc::clone(material) as _,
                losses: pending.losses.clone(),
                queued: pending.queued,
                lease: pending.lease.clone(),
                claim: claim(write, ask),
                material: Some(Arc::clone(material) as _),
            };
            match self.store.begin(intent).await.map_err(|error| not_begun(system, pending, &error))? {
                Begun::Started => {
                    self.meter.operations_running(system.index, 1);
                    self.creates.begun(pending);
                    return Ok(());
                }
                Begun::LeaseLost => return Err(Stop::Again),
                Begun::Running(operation) => return Err(in_progress(system, Some(&operation)).into()),
                Begun::Key(state) => return Err(self.told_by_key(system, state)),
                Begun::Held => match pending.id() {
                    Some(id) => self.wait_turn(system, id, ask, &mut pause, None).await?,
                    None => return Err(in_progress(system, None).into()),
                },
            }
        }
    }

    /// Looks an `Idempotency-Key` up: after authentication, before preconditions (http-rules 165).
    pub(super) async fn replayed(&self, system: &System, write: &Write, ask: &Ask) -> Result<(), Stop> {
        let Some(claim) = claim(write, ask) else { return Ok(()) };
        let state = self.store.lookup(&claim).await.map_err(|error| store_away(&error))?;
        state.map_or(Ok(()), |state| Err(self.told_by_key(system, state)))
    }

    fn told_by_key(&self, system: &System, state: KeyState) -> Stop {
        match state {
            KeyState::Running(operation) => in_progress(system, Some(&operation)).into(),
            KeyState::Reused => {
                let detail = "this Idempotency-Key came earlier with another method, path, If-Match or body";
                ProblemName::IdempotencyKeyReused.with(detail).into()
            }
            KeyState::Verdict(text) | KeyState::Interim(text) => match serde_json::from_str(&text) {
                Ok(verdict) => {
                    self.meter.idempotent_replay();
                    Stop::Replay(Box::new(verdict))
                }
                Err(error) => ProblemName::InternalError
                    .with("the stored answer to this Idempotency-Key cannot be read")
                    .because(error)
                    .into(),
            },
        }
    }
}

fn claim(write: &Write, ask: &Ask) -> Option<Claim> {
    let key = write.idempotency.as_ref()?;
    Some(Claim { caller: ask.caller.to_string(), key: key.key.clone(), fingerprint: key.fingerprint })
}

/// `operation-in-progress`, for a request whose first sending has not come as far as its intent.
pub(super) fn repeat_of_a_running(system: &System) -> Problem {
    let detail = "a request with this Idempotency-Key is still running; repeat when it is settled";
    ProblemName::OperationInProgress.with(detail).system(system.name.as_str()).retry_after(RUNNING_RETRY_AFTER)
}

/// `operation-in-progress`.
fn in_progress(system: &System, operation: Option<&OperationId>) -> Problem {
    let detail = match operation {
        Some(operation) => format!("operation {operation} is still running; repeat when it is settled"),
        None => "another write of this record is being sent; repeat when it is done".to_owned(),
    };
    let mut problem = ProblemName::OperationInProgress.with(detail).system(system.name.as_str());
    problem.operation = operation.cloned();
    problem.retry_after(RUNNING_RETRY_AFTER)
}

/// No intent, no write. Where the intent may be there after all, only its operation can tell that it was not sent: a process that
/// finds it running would send it.
fn not_begun(system: &System, pending: &Pending, error: &StoreError) -> Problem {
    if *error != StoreError::InDoubt {
        return store_away(error);
    }
    let detail = "the gateway's store did not confirm the intent in time, so nothing was sent to the vendor; the operation \
                  will say so, unless the gateway stops or is cut off before that and the write is settled by the next one";
    let problem = ProblemName::OutcomeUnknown.with(detail).system(system.name.as_str());
    problem.operation(&pending.operation).because(error)
}

/// No journal, no write: refused before the vendor is called.
fn store_away(error: &StoreError) -> Problem {
    let detail = "the gateway's store cannot be written just now, so no write is begun; nothing was sent to the vendor";
    ProblemName::Overloaded.with(detail).retry_after(RUNNING_RETRY_AFTER).because(error)
}
