//! The background job that resolves the writes whose callers already have a response, and those
//! that a crashed process left behind.
//!
//! It runs on the thread that awaits [`run_reconciler`], so that a worker that stops takes no write
//! with it. The callers of its writes have 202 or `outcome-unknown`. A failure is therefore logged
//! here, once, as is the end of a write whose caller got `outcome-unknown`.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::active_probes::ActiveProbeGuard;
use super::in_flight_write::InFlightWrite;
use super::intent::WriteIntent;
use super::outcome::WriteOutcome;
use super::probe::{Finding, OutcomeProbe, PROBE_TIMEOUT};
use super::record_outcome::record_outcome;
use super::resolve::Resolution;
use super::unknown_writes::watch_unknown_writes;
use super::verify_applied::verify_applied;
use super::write_services::{ReconcileQueue, WriteServices};
use crate::journal::{self, InterimResponse};
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::record::{OperationId, OperationState, VendorRequestLog};
use crate::system::{System, VendorSession};
use crate::transport::trace::TraceContext;

/// How often the store is searched for operations of dead processes.
const ADOPT_INTERVAL: Duration = Duration::from_secs(2);
/// How many operations are adopted at a time.
const MAX_ADOPT_BATCH: usize = 256;
/// The pause before a write is tried again whose resolution panicked.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How much the clock of a store that replicas share and that of the process that stored an intent
/// may differ. Clocks that a time service keeps differ by less.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(2);

/// Resolves the writes of the queue and those of dead processes, until the gateway is
/// dropped.
pub(crate) async fn run_reconciler(services: &Arc<WriteServices>, ReconcileQueue(mut receiver): ReconcileQueue) {
    let weak = Arc::downgrade(services);
    actix_web::rt::spawn(watch_unknown_writes(weak.clone()));
    let mut adopt = tokio::time::interval(ADOPT_INTERVAL);
    let mut adopting: Option<JoinHandle<()>> = None;
    let adoption_failing = Rc::new(Cell::new(false));
    loop {
        tokio::select! {
            handed_off = receiver.recv() => match (handed_off, weak.upgrade()) {
                (Some(write), Some(services)) => { actix_web::rt::spawn(reconcile_supervised(services, write)); }
                _ => return,
            },
            _ = adopt.tick() => match weak.upgrade() {
                // Not awaited here: a slow store must not delay the writes of this process.
                Some(services) if adopting.as_ref().is_none_or(JoinHandle::is_finished) => {
                    adopting = Some(actix_web::rt::spawn(adopt_orphans(services, Rc::clone(&adoption_failing))));
                }
                Some(_) => {}
                None => return,
            },
        }
    }
}

/// Adopts operations of dead processes. `adoption_failing` is the last attempt's result: the log
/// gets the beginning of a failure only.
async fn adopt_orphans(services: Arc<WriteServices>, adoption_failing: Rc<Cell<bool>>) {
    let orphans = match services.journal.adopt(MAX_ADOPT_BATCH).await {
        Ok(orphans) => orphans,
        Err(error) => {
            if !adoption_failing.replace(true) {
                tracing::warn!(%error, "operations of dead processes cannot be adopted yet");
            }
            return;
        }
    };
    adoption_failing.set(false);
    for orphan in orphans {
        let (adopting, operation) = (Arc::clone(&services), orphan.operation.clone());
        // In a task of its own, so that a panic does not keep the other operations from being
        // adopted.
        let adopted = actix_web::rt::spawn(async move { adopt_one(&adopting, orphan).await }).await;
        if adopted.is_err_and(|failure| failure.is_panic()) {
            abandon(&services, &operation, None, "adopting it panicked").await;
        }
    }
}

async fn adopt_one(services: &WriteServices, orphan: journal::OrphanedOperation) {
    let intent = orphan.recovery.as_deref().and_then(WriteIntent::from_json);
    let Some(mut intent) = intent else {
        abandon(services, &orphan.operation, None, "its stored intent cannot be read").await;
        return;
    };
    let clock_skew = if services.journal.is_shared() { MAX_CLOCK_SKEW } else { Duration::ZERO };
    if may_have_been_stored_late(orphan.stored_ms, intent.deadline_ms, clock_skew) {
        intent.resendable_request = None;
    }
    tracing::info!(operation = %orphan.operation, system = %intent.system, "operation adopted");
    if let Some(system) = services.system(&intent.system) {
        services.metrics.operations_running(system.index, 1);
    }
    let response = match orphan.response {
        // The caller of a queued write has most likely got its 202. With a key, the store knows
        // every 202 before the caller does.
        None if intent.is_async && !intent.claims_key() => Some(InterimResponse::Accepted),
        None => Some(InterimResponse::Unknown),
        some => some,
    };
    let first_adopted_ms = Some(orphan.first_adopted_ms);
    // The journal keeps other writers from the record of an adopted write.
    services.enqueue_reconcile(InFlightWrite { response, first_adopted_ms, blocks_record: true, ..intent.into() });
}

/// Whether the intent may have been stored after its caller's deadline, by the clock of its
/// process: then that process did not send it, and responded that nothing was sent. An intent that
/// was sent all the same loses nothing but its repetition. One without a deadline is never late.
fn may_have_been_stored_late(stored_ms: Option<i64>, deadline_ms: Option<i64>, clock_skew: Duration) -> bool {
    let skew_ms = i64::try_from(clock_skew.as_millis()).unwrap_or(i64::MAX);
    let Some(deadline_ms) = deadline_ms else { return false };
    stored_ms.is_none_or(|stored_ms| stored_ms.saturating_add(skew_ms) >= deadline_ms)
}

/// Resolves a write. If that panics it is tried again until the write's time is over, and then ends
/// `unknown`: no write runs for ever.
async fn reconcile_supervised(services: Arc<WriteServices>, mut write: InFlightWrite) {
    let reconciling = actix_web::rt::spawn(reconcile(Arc::clone(&services), write.clone()));
    // A cancelled task ends with the process, and the next process adopts the write.
    if !reconciling.await.is_err_and(|failure| failure.is_panic()) {
        return;
    }
    tracing::error!(operation = %write.operation, system = %write.system, "reconciling panicked");
    match services.system(&write.system) {
        Some(system) if write.time_left(&system.policy).is_zero() => {
            record_outcome(&services, &system, &mut write, Resolution::Unknown(None).into()).await;
        }
        _ => {
            tokio::time::sleep(RETRY_DELAY).await;
            services.requeue(write);
        }
    }
}

async fn reconcile(services: Arc<WriteServices>, mut write: InFlightWrite) {
    let Some(system) = services.system(&write.system) else {
        abandon(&services, &write.operation, Some(&write), "its system is no longer configured").await;
        return;
    };
    let guard = services.active_probes.register(&write.operation);
    write.probe_control = guard.as_ref().map(ActiveProbeGuard::control);
    let finding = if write.tenant_fingerprint == system.tenant_fingerprint {
        find_outcome(&services, &system, &mut write).await
    } else {
        // What was sent to one installation is neither probed for at another nor sent to it.
        tracing::warn!(operation = %write.operation, system = %system.name,
            "the write was sent to another installation than the one that is configured now");
        Resolution::Unknown(None).into()
    };
    let state = finding.resolution.as_str();
    let calls = write.calls.clone();
    match record_outcome(&services, &system, &mut write, finding).await {
        _ if write.has_ended_elsewhere => {
            tracing::info!(operation = %write.operation, system = %system.name, state, "outcome found of a write that had been ended");
        }
        WriteOutcome::Problem(problem) if problem.kind.is_operator_issue() => {
            log_failure(&problem, &write.operation, Some(&write), &calls);
        }
        _ if write.response == Some(InterimResponse::Unknown) => {
            tracing::info!(operation = %write.operation, system = %system.name, state, "write resolved");
        }
        _ => {}
    }
}

/// Finds the outcome of a write as its request would, for the operation and what its
/// `Idempotency-Key` replays.
async fn find_outcome(services: &WriteServices, system: &System, write: &mut InFlightWrite) -> Finding {
    let trace = TraceContext::new_root();
    let until = Instant::now() + write.time_left(&system.policy);
    let session = VendorSession::to_reconcile(system, &trace, until);
    let probe = OutcomeProbe { services, system, session: &session };
    let finding = resolve_and_verify(&probe, write, until).await;
    write.calls.extend(session.take_calls());
    finding
}

/// Ends an operation that can no longer be resolved. `write` is what is left of it.
async fn abandon(services: &WriteServices, operation: &OperationId, write: Option<&InFlightWrite>, reason: &str) {
    let problem = ProblemKind::OutcomeUnknown
        .with_detail("The gateway restarted and can no longer find out whether the vendor applied this write.")
        .with_cause(reason)
        .operation(operation);
    log_failure(&problem, operation, write, &[]);
    let outcome = journal::Outcome {
        operation: operation.clone(),
        state: OperationState::Unknown,
        record: None,
        etag: None,
        warnings: Vec::new(),
        problem_name: Some(problem.kind.as_str().to_owned()),
        problem: Some(
            problem.to_stored_json(write.map(|write| write.path()).as_deref(), write.map(|write| &*write.request_id)),
        ),
        observed: None,
        calls: Vec::new(),
        losses: Vec::new(),
        replay_json: serde_json::to_string(&WriteOutcome::Problem(Box::new(problem))).ok(),
        lease: None,
    };
    if let Err(error) = services.journal.finish(outcome).await {
        tracing::error!(%operation, %error, "outcome of an abandoned operation not stored");
    }
    services.unknown_writes_changed.notify_one();
}

/// Logs a write that failed when its caller already had a response.
fn log_failure(problem: &Problem, operation: &OperationId, write: Option<&InFlightWrite>, calls: &[VendorRequestLog]) {
    let request_id = write.map(|write| &*write.request_id);
    let failure = FailureEvent {
        message: "operation failed",
        request_id: request_id.unwrap_or("-"),
        system: write.map(|write| &*write.system),
        action: write.map_or("other", |write| write.action.as_str()),
        problem,
        operation: Some(operation),
        trace_id: None,
        elapsed: write.map(|write| write.age()).unwrap_or_default(),
        vendor_time: Duration::from_millis(calls.iter().map(|call| call.ms).sum()),
    };
    failure.log();
}

/// Polls until the write is resolved or `until` has come, then probes once more, and reads back
/// what was applied: for the writes that no caller waits for.
pub(super) async fn resolve_and_verify(probe: &OutcomeProbe<'_>, write: &mut InFlightWrite, until: Instant) -> Finding {
    let finding = match probe.poll_until_resolved(write, until, PROBE_TIMEOUT).await {
        finding if finding.resolution == Resolution::Open => {
            probe.final_probe(write, Instant::now() + PROBE_TIMEOUT).await
        }
        finding => finding,
    };
    verify_applied(probe, write, finding, Instant::now() + PROBE_TIMEOUT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_may_be_late_within_the_clock_skew_of_its_deadline() {
        let (deadline, same, other) = (1_700_000_030_000, Duration::ZERO, MAX_CLOCK_SKEW);
        for (stored, of_one_clock, of_two_clocks) in [
            (Some(deadline - 30_000), false, false),
            (Some(deadline - 2001), false, false),
            // The clock of the store may be behind that of the process.
            (Some(deadline - 2000), false, true),
            (Some(deadline - 1), false, true),
            (Some(deadline), true, true),
            (Some(deadline + 1), true, true),
            (Some(i64::MAX), true, true),
            (None, true, true),
        ] {
            assert_eq!(may_have_been_stored_late(stored, Some(deadline), same), of_one_clock, "{stored:?}");
            assert_eq!(may_have_been_stored_late(stored, Some(deadline), other), of_two_clocks, "{stored:?}");
        }
        for stored in [None, Some(0), Some(i64::MAX)] {
            assert!(!may_have_been_stored_late(stored, None, other), "{stored:?}");
        }
    }
}
