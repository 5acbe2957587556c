//! The steps before the vendor call: the `Idempotency-Key`, and the intent that is stored first.

use std::sync::Arc;

use super::command::{OpContext, WriteCommand};
use super::in_flight_write::InFlightWrite;
use super::lease::{MIN_BACKOFF, wait_for_writer};
use super::outcome::WriteOutcome;
use super::state::GatewayState;
use super::system::System;
use super::write_problems::{begin_failed, store_unavailable, write_in_progress};
use crate::problem::{Problem, ProblemKind};
use crate::record::{Precondition, RecordId};
use crate::store::{BeginResult, IdempotencyClaim, IdempotencyState, Intent};

/// Why a write ends before its vendor call.
pub(super) enum EarlyReturn {
    /// It is rejected.
    Rejected(Box<Problem>),
    /// The lease was lost: the attempt must start again.
    Restart,
    /// An earlier request with this key has an outcome.
    Replay(Box<WriteOutcome>),
    /// The patch changes nothing.
    NoChange(Box<WriteOutcome>),
}

impl From<Problem> for EarlyReturn {
    fn from(problem: Problem) -> Self {
        Self::Rejected(Box::new(problem))
    }
}

/// Stores the intent. After `Ok` the write must be sent and its outcome recorded.
pub(super) async fn journal_intent(
    gateway: &GatewayState,
    system: &System,
    command: &WriteCommand,
    context: &OpContext,
    write: &InFlightWrite,
) -> Result<(), EarlyReturn> {
    let mut pause = MIN_BACKOFF;
    let precondition = command.precondition.as_ref().map(Precondition::to_header);
    // The ledger names the compared version only where `If-Match` does not.
    let compared_etag = write.compared_etag().filter(|etag| precondition.as_deref() != Some(*etag)).map(str::to_owned);
    loop {
        let intent = Intent {
            operation: write.operation.clone(),
            request_id: Arc::clone(&context.request_id.0),
            caller: Arc::clone(&context.caller.0),
            system: system.name.to_shared_str(),
            record: write.id().map(RecordId::to_shared_str),
            action: write.action,
            precondition: precondition.clone(),
            compared_etag: compared_etag.clone(),
            paths: Arc::clone(&write.intent) as _,
            losses: write.losses.clone(),
            is_async: write.is_async,
            lease: write.lease.clone(),
            idempotency: idempotency_claim(command, context),
            recovery: Some(Arc::clone(&write.intent) as _),
        };
        let begun = gateway.store.begin(intent).await;
        match begun.map_err(|error| begin_failed(system, &write.operation, &error))? {
            BeginResult::Started => {
                gateway.metrics.operations_running(system.index, 1);
                gateway.in_flight_creates.insert_if_create(write);
                return Ok(());
            }
            BeginResult::LeaseLost => return Err(EarlyReturn::Restart),
            BeginResult::Running(operation) => return Err(write_in_progress(system, Some(&operation)).into()),
            BeginResult::IdempotencyKey(state) => return Err(outcome_from_key(gateway, system, state)),
            BeginResult::LeaseHeld => match write.id() {
                Some(id) => wait_for_writer(&gateway.store, system, id, context, &mut pause, None).await?,
                None => return Err(write_in_progress(system, None).into()),
            },
        }
    }
}

/// Looks an `Idempotency-Key` up: after authentication, before preconditions (http-rules 165).
pub(super) async fn check_idempotency_key(
    gateway: &GatewayState,
    system: &System,
    command: &WriteCommand,
    context: &OpContext,
) -> Result<(), EarlyReturn> {
    let Some(claim) = idempotency_claim(command, context) else { return Ok(()) };
    let state = gateway.store.lookup_idempotency_key(&claim).await.map_err(|error| store_unavailable(&error))?;
    state.map_or(Ok(()), |state| Err(outcome_from_key(gateway, system, state)))
}

fn outcome_from_key(gateway: &GatewayState, system: &System, state: IdempotencyState) -> EarlyReturn {
    match state {
        IdempotencyState::Running(operation) => write_in_progress(system, Some(&operation)).into(),
        IdempotencyState::Mismatch => {
            let detail = "This Idempotency-Key was used before with another method, path, If-Match or body. Use a \
                          new key for a new request.";
            ProblemKind::IdempotencyKeyReused.with_detail(detail).into()
        }
        IdempotencyState::Completed(text) | IdempotencyState::Interim(text) => match serde_json::from_str(&text) {
            Ok(outcome) => {
                gateway.metrics.idempotent_replay();
                EarlyReturn::Replay(Box::new(outcome))
            }
            Err(error) => ProblemKind::InternalError
                .with_detail("The stored response to this Idempotency-Key cannot be read.")
                .with_cause(error)
                .into(),
        },
    }
}

fn idempotency_claim(command: &WriteCommand, context: &OpContext) -> Option<IdempotencyClaim> {
    let key = command.idempotency.as_ref()?;
    Some(IdempotencyClaim { caller: context.caller.to_string(), key: key.key.clone(), fingerprint: key.fingerprint })
}
