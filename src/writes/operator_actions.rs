//! What an operator can do with a write whose outcome is not known: have it probed once more, or
//! resolve it by hand (contract 4.15).

use std::sync::Arc;

use tokio::time::Instant;

use super::active_probes::{ActiveProbeGuard, WakeResult};
use super::command::Operator;
use super::in_flight_write::InFlightWrite;
use super::intent::WriteIntent;
use super::outcome::{SuccessBody, WriteOutcome, WriteSuccess};
use super::probe::{OutcomeProbe, PROBE_TIMEOUT};
use super::reconciler::resolve_and_verify;
use super::record_outcome::late_verdict;
use super::write_services::{MIN_AGE_TO_RESOLVE, WriteServices};
use super::write_task::accepted_success;
use crate::journal::{InterimResponse, JournalError, Verdict, VerdictResult};
use crate::record::{Action, Operation, OperationId, OperationState};
use crate::system::{System, VendorSession};
use crate::transport::trace::TraceContext;

/// The result of an operator's request for one more probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeRequestResult {
    /// The probe has begun.
    Started,
    /// Another probe is running.
    AlreadyRunning,
    /// The operation's outcome is known.
    OutcomeKnown,
    /// The store no longer has what a probe needs.
    NoRecoveryData,
}

/// Probes the outcome of a write at once. If the write has ended `unknown`, or by a person's
/// verdict, the record is read once more, and the write is not sent again.
///
/// # Errors
/// The store is unavailable.
pub(crate) async fn probe_again(
    services: &Arc<WriteServices>,
    operation: &Operation,
    operator: Operator,
) -> Result<ProbeRequestResult, JournalError> {
    let missing = match operation.state {
        OperationState::Unknown => ProbeRequestResult::NoRecoveryData,
        _ => ProbeRequestResult::OutcomeKnown,
    };
    match operation.state {
        OperationState::Applied | OperationState::NotApplied if operation.resolved_by.is_none() => Ok(missing),
        // A running write that this process does not probe is its request's, or another replica's.
        OperationState::Running => Ok(match services.active_probes.wake(&operation.id) {
            WakeResult::Woken => ProbeRequestResult::Started,
            WakeResult::Polling | WakeResult::NotProbed => ProbeRequestResult::AlreadyRunning,
        }),
        OperationState::Unknown | OperationState::Applied | OperationState::NotApplied => {
            let Some(guard) = services.active_probes.register(&operation.id) else {
                return Ok(ProbeRequestResult::AlreadyRunning);
            };
            let intent = stored_intent(services, &operation.id).await?;
            let (Some(intent), Some(system)) = (intent, services.system(&operation.system)) else {
                return Ok(missing);
            };
            if intent.tenant_fingerprint != system.tenant_fingerprint {
                return Ok(missing);
            }
            actix_web::rt::spawn(run_probe(Arc::clone(services), system, intent, operator, guard));
            Ok(ProbeRequestResult::Started)
        }
    }
}

async fn stored_intent(services: &WriteServices, operation: &OperationId) -> Result<Option<WriteIntent>, JournalError> {
    let recovery = services.journal.recovery_of(operation).await?;
    Ok(recovery.and_then(|json| WriteIntent::from_json(&json)))
}

async fn run_probe(
    services: Arc<WriteServices>,
    system: Arc<System>,
    intent: WriteIntent,
    operator: Operator,
    _guard: ActiveProbeGuard,
) {
    // Others may have written the record since the write has ended: it is never sent again.
    let mut write =
        InFlightWrite { response: Some(InterimResponse::Unknown), has_ended_elsewhere: true, ..intent.into() };
    let trace = TraceContext::new_root();
    let session = VendorSession::to_reconcile(&system, &trace, Instant::now() + PROBE_TIMEOUT);
    let probe = OutcomeProbe { services: &services, system: &system, session: &session };
    let finding = resolve_and_verify(&probe, &mut write, Instant::now()).await;
    let resolution = finding.resolution.as_str();
    let Some(verdict) = late_verdict(&services, &system, &mut write, finding, &operator).await else { return };
    match services.journal.record_verdict(verdict).await {
        Ok(result) => {
            services.unknown_writes_changed.notify_one();
            tracing::info!(operation = %write.operation, system = %system.name, resolution, ?result, "write probed again");
        }
        Err(error) => tracing::error!(operation = %write.operation, %error, "outcome of a later probe not stored"),
    }
}

/// Ends an operation with the verdict of a person. Its record is free at once.
pub(crate) async fn record_verdict_by_hand(
    services: &WriteServices,
    operation: &Operation,
    state: OperationState,
    note: String,
    operator: Operator,
) -> Result<VerdictResult, JournalError> {
    let intent = stored_intent(services, &operation.id).await?;
    let verdict = Verdict {
        operation: operation.id.clone(),
        state,
        caller: operator.caller.0,
        request_id: operator.request_id.0,
        is_by_hand: true,
        note: Some(note),
        record: None,
        etag: None,
        warnings: Vec::new(),
        replay_json: intent.filter(|_| state == OperationState::Applied).and_then(replay_of_applied),
        min_age: MIN_AGE_TO_RESOLVE,
    };
    let result = services.journal.record_verdict(verdict).await?;
    if result == VerdictResult::Recorded {
        // A running probe sees that the operation has ended.
        services.active_probes.wake(&operation.id);
        if let Some(system) = services.system(&operation.system) {
            services.metrics.operation_resolved(system.index, state);
            if operation.state == OperationState::Unknown {
                services.metrics.unknown_writes_ended(system.index, -1);
            }
        }
        services.unknown_writes_changed.notify_one();
    }
    Ok(result)
}

/// What a key replays of a write that a person resolved as applied: no read has shown the record.
/// Of one that is not applied it replays nothing, so that a repeat runs.
fn replay_of_applied(intent: WriteIntent) -> Option<String> {
    let guarantee = (intent.action != Action::Create).then_some(intent.guarantee);
    let operation = Some(intent.operation.clone());
    let outcome = WriteOutcome::Success(if intent.is_async {
        accepted_success(&InFlightWrite { response: Some(InterimResponse::Accepted), ..intent.into() })
    } else {
        WriteSuccess { body: SuccessBody::NoContent, operation, guarantee, etag: None, preference_applied: None }
    });
    serde_json::to_string(&outcome).ok()
}
