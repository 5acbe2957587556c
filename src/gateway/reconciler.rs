//! The settler goes on with writes whose callers have been answered, and with those that a crash left behind.
//!
//! It runs on a thread of its own choosing (the one that [`ReconcilerHandle::run`] is awaited on), so that a worker that stops takes
//! no write with it.
//!
//! What ends badly here was told to nobody as what it is (its caller had 202 or `outcome-unknown`), so it is logged here, once;
//! the operation tells the caller. A write whose caller was told that nobody knows gets a line when it is known after all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::in_flight_write::{InFlightWrite, ResponseState};
use super::intent::{ExpectedState, WriteIntent};
use super::read::{read_confirming_absence, read_optional};
use super::reconcile::{ObservedRecord, Resolution, resolve_by_state};
use super::vendor_session::VendorSession;
use super::{Gateway, RecordView, System, WriteOutcome};
use crate::problem::{FailureEvent, Problem};
use crate::record::{ObservedState, OperationId, VendorCallLog, all_applied};
use crate::store::{self, InterimResponse};
use crate::transport::trace::TraceContext;

/// How often the store is asked for operations whose owner has died.
const ADOPT_INTERVAL: Duration = Duration::from_secs(5);
/// How many operations are taken over at a time; the rest follows with the next time.
const MAX_ADOPT_BATCH: usize = 256;
/// The pause before a write whose settling failed by a fault of the gateway is settled anew.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// A look made because time is up still gets this long.
const FINAL_PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a write is handed over.
#[derive(Clone)]
pub(super) struct ReconcilerHandle {
    sender: mpsc::UnboundedSender<InFlightWrite>,
    /// Whether the store was away when it was last asked for operations of dead owners.
    store_unavailable: Arc<AtomicBool>,
}

/// The other end: what is to be settled.
pub struct ReconcileQueue {
    receiver: mpsc::UnboundedReceiver<InFlightWrite>,
}

impl ReconcilerHandle {
    pub(super) fn new() -> (Self, ReconcileQueue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, store_unavailable: Arc::default() }, ReconcileQueue { receiver })
    }

    /// Takes a write over. If nobody settles any more (the process ends), the store still has it.
    pub(super) fn enqueue(&self, pending: InFlightWrite) {
        let _ = self.sender.send(pending);
    }
}

impl Gateway {
    /// Settles what is handed over and adopts what dead owners have left, until the gateway is dropped. Await this on the
    /// main thread, inside a `LocalSet` or an actix system.
    pub async fn run_reconciler(self: &Arc<Self>, unsettled: ReconcileQueue) {
        let weak = Arc::downgrade(self);
        let mut receiver = unsettled.receiver;
        let mut adopt = tokio::time::interval(ADOPT_INTERVAL);
        let mut adopting: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                taken = receiver.recv() => match (taken, weak.upgrade()) {
                    (Some(pending), Some(gateway)) => { actix_web::rt::spawn(reconcile_supervised(gateway, pending)); }
                    _ => return,
                },
                _ = adopt.tick() => match weak.upgrade() {
                    // Not waited for: a slow store must not keep what is handed over waiting.
                    Some(gateway) if adopting.as_ref().is_none_or(JoinHandle::is_finished) => {
                        adopting = Some(actix_web::rt::spawn(async move { gateway.adopt_orphans().await }));
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    /// Takes over the operations of dead owners. That the store is away is logged when it begins, not each time.
    async fn adopt_orphans(self: Arc<Self>) {
        let found = match self.store.adopt(MAX_ADOPT_BATCH).await {
            Ok(found) => found,
            Err(error) => {
                if !self.reconciler.store_unavailable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "operations of dead owners cannot be taken over yet");
                }
                return;
            }
        };
        self.reconciler.store_unavailable.store(false, Ordering::Relaxed);
        for one in found {
            let (gateway, operation) = (Arc::clone(&self), one.operation.clone());
            // In a task of its own: a fault of the gateway must not keep the others from being settled.
            let taken = actix_web::rt::spawn(async move { gateway.adopt_one(one).await }).await;
            if taken.is_err_and(|failure| failure.is_panic()) {
                self.abandon(&operation, None, "taking it over failed by a fault of the gateway").await;
            }
        }
    }

    async fn adopt_one(&self, one: store::OrphanedOperation) {
        let saved = one.recovery.as_deref().and_then(|text| serde_json::from_str::<WriteIntent>(text).ok());
        let Some(intended) = saved else {
            self.abandon(&one.operation, None, "what it needs to be settled cannot be read").await;
            return;
        };
        tracing::info!(operation = %one.operation, system = %intended.system, "settling an operation of a former process");
        if let Some(system) = self.system(&intended.system) {
            self.metrics.operations_running(system.index, 1);
        }
        let told = match one.response {
            Some(InterimResponse::Accepted) => ResponseState::Accepted,
            // Whoever waited for a write that runs on by itself has most likely been told that it does.
            None if intended.is_async => ResponseState::Accepted,
            Some(InterimResponse::Unknown) | None => ResponseState::Unknown,
        };
        self.enqueue_reconcile(InFlightWrite { response: told, adopted_at: Some(Instant::now()), ..intended.into() });
    }
}

/// Settles a write. One whose settling panics is settled anew, and ends `unknown` when its time is over: nothing runs for ever.
async fn reconcile_supervised(gateway: Arc<Gateway>, mut pending: InFlightWrite) {
    let settling = actix_web::rt::spawn(reconcile(Arc::clone(&gateway), pending.clone()));
    // One that was cancelled ends with the process, and the next start settles it.
    if !settling.await.is_err_and(|failure| failure.is_panic()) {
        return;
    }
    tracing::error!(operation = %pending.operation, system = %pending.system, "settling failed by a fault of the gateway");
    match gateway.system(&pending.system) {
        Some(system) if pending.time_left(system.policy.completion_timeout).is_zero() => {
            gateway.record_outcome(&system, &mut pending, Resolution::Unknown(None), None).await;
        }
        _ => {
            tokio::time::sleep(RETRY_DELAY).await;
            gateway.reconciler.enqueue(pending);
        }
    }
}

async fn reconcile(gateway: Arc<Gateway>, mut pending: InFlightWrite) {
    let Some(system) = gateway.system(&pending.system) else {
        gateway.abandon(&pending.operation, Some(&pending), "the system is not configured any more").await;
        return;
    };
    let settled = if pending.tenant_fingerprint.is_empty() || pending.tenant_fingerprint == system.tenant_fingerprint {
        resolve(&gateway, &system, &mut pending).await
    } else {
        // What was sent to one server is not looked for, and never sent again, at another.
        tracing::warn!(operation = %pending.operation, system = %system.name,
            "the system is another installation now than the one that the write was sent to");
        Resolution::Unknown(None)
    };
    let state = settled.as_str();
    let shown = load_created(&system, &pending, &settled).await;
    let calls = pending.calls.clone();
    match gateway.record_outcome(&system, &mut pending, settled, shown).await {
        WriteOutcome::Problem(problem) if problem.name.is_operator_issue() => {
            log_failure(&problem, &pending.operation, Some(&pending), &calls);
        }
        _ if pending.response == ResponseState::Unknown => {
            tracing::info!(operation = %pending.operation, system = %system.name, state, "settled");
        }
        _ => {}
    }
}

/// The one line of a write that ended badly without its caller.
pub(super) fn log_failure(
    problem: &Problem,
    operation: &OperationId,
    pending: Option<&InFlightWrite>,
    calls: &[VendorCallLog],
) {
    let request_id = pending.and_then(|pending| pending.request_id());
    let failure = FailureEvent {
        message: "operation failed",
        request_id: request_id.unwrap_or("-"),
        system: pending.map(|pending| &*pending.system),
        action: pending.map_or("other", |pending| pending.action.as_str()),
        problem,
        operation: Some(operation),
        trace_id: None,
        elapsed: pending.map(|pending| pending.age()).unwrap_or_default(),
        vendor_time: Duration::from_millis(calls.iter().map(|call| call.ms).sum()),
    };
    failure.log();
}

/// Follows a write until its time is over, and then looks once more to say what is there.
async fn resolve(gateway: &Gateway, system: &System, pending: &mut InFlightWrite) -> Resolution {
    let trace = TraceContext::new_root();
    let until = Instant::now() + pending.time_left(system.policy.completion_timeout);
    let session = VendorSession::new(&*system.transport, &trace, until);
    let settled = match gateway.poll_until_resolved(system, &session, pending, until, FINAL_PROBE_TIMEOUT).await {
        Some(settled) => settled,
        None => final_probe(gateway, system, &session, pending, Instant::now() + FINAL_PROBE_TIMEOUT).await,
    };
    pending.calls.extend(session.take_calls());
    settled
}

/// The record that a create was found to have made: what its key replays.
async fn load_created(system: &System, pending: &InFlightWrite, settled: &Resolution) -> Option<RecordView> {
    let Resolution::Applied(ObservedRecord { created_id: Some(id), .. }) = settled else { return None };
    let trace = TraceContext::new_root();
    let session = VendorSession::new(&*system.transport, &trace, Instant::now());
    let stored = read_optional(system, &session, id, Instant::now() + FINAL_PROBE_TIMEOUT).await.ok().flatten();
    Some(stored.map_or_else(|| system.view_from_request(id, pending), |stored| system.to_view(id, &stored, None)))
}

/// What is there when the time is up: the last read may show what no look before it could, that the write was done.
pub(super) async fn final_probe(
    gateway: &Gateway,
    system: &System,
    session: &VendorSession<'_>,
    pending: &InFlightWrite,
    until: Instant,
) -> Resolution {
    let Some(id) = pending.id() else { return Resolution::Unknown(None) };
    let Ok(stored) = read_confirming_absence(system, session, id, until).await else {
        return Resolution::Unknown(None);
    };
    let now = stored.as_ref().map(|stored| system.tag(id, &stored.version()).to_header());
    let shown = stored.as_ref().is_some_and(|stored| all_applied(&pending.field_changes(), &stored.fields.to_map()));
    let observed = if now == pending.etag_before {
        ObservedState::Unchanged
    } else if shown && matches!(pending.expected, ExpectedState::Values(_) | ExpectedState::Members(_)) {
        ObservedState::Expected
    } else {
        ObservedState::Other
    };
    let found = match (&pending.ambiguous_fault, &pending.resendable_request) {
        (Some(fault), _) => gateway.resolve_refusal(system, pending, fault, stored).await,
        (None, Some(_)) => gateway.resolve_by_version(system, pending, stored).await,
        (None, None) => resolve_by_state(pending, stored),
    };
    found.unwrap_or(Resolution::Unknown(Some(observed)))
}
