//! The straight line every write goes: key, preconditions, intent, one vendor call, outcome; and what its caller is told
//! when patience ends before the outcome is known.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::begin::{BeginError, duplicate_in_progress};
use super::handoff_guard::ReconcileOnDrop;
use super::in_flight_write::{InFlightWrite, ResponseState};
use super::intent::{ExpectedState, WriteIntent};
use super::reconcile::{ObservedRecord, Resolution};
use super::reconciler::final_probe;
use super::record_outcome::{accepted_success, outcome_unknown};
use super::vendor_session::VendorSession;
use super::{Gateway, Guarantee, OpContext, System, WriteCommand, WriteOp, WriteOutcome, WriteResponse};
use crate::metrics::DetectedBy;
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::record::{Action, OperationId, Precondition, RecordId, SideEffect, VendorError, VendorErrorKind};
use crate::store::{self, Lease};
use crate::transport::{Transport as _, VendorResponse};
use crate::vendors::{Completion, DataLoss, PlannedRequest};

/// How often a write begins anew because its lease was lost before it was sent.
pub(super) const MAX_LEASE_RETRIES: usize = 2;
/// What a caller is told to wait when the vendor is busy with the record.
pub(super) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A last look in the caller's time may take this long beyond its patience.
const MIN_PROBE_TIME: Duration = Duration::from_millis(300);

/// How a write ended for its caller.
pub(super) enum PipelineResult {
    /// Nothing had to be sent.
    NoChange(WriteOutcome),
    /// The vendor was called.
    Sent(WriteOutcome),
}

/// One write on its way.
pub(super) struct WritePipeline<'c> {
    pub(super) gateway: &'c Arc<Gateway>,
    pub(super) system: &'c Arc<System>,
    pub(super) write: &'c WriteCommand,
    pub(super) op_context: &'c OpContext,
    pub(super) session: VendorSession<'c>,
    /// The operation whose call may be under way.
    pub(super) in_flight_op: &'c RefCell<Option<OperationId>>,
    /// When the write was asked for: `Prefer: wait` counts from here.
    started_at: Instant,
    /// Tells the caller 202 before the vendor has answered (`Prefer: respond-async`).
    responder: Cell<Option<oneshot::Sender<Result<WriteResponse, Problem>>>>,
    /// Whether the settler goes on with it, and will say how it ends.
    handed_off: bool,
}

/// Runs a write to its end and tells its caller, who may have gone.
pub(super) async fn run(
    gateway: &Arc<Gateway>,
    system: &Arc<System>,
    write: &WriteCommand,
    ask: &OpContext,
    teller: oneshot::Sender<Result<WriteResponse, Problem>>,
    sending: &RefCell<Option<OperationId>>,
) {
    let session = VendorSession::new(&*system.transport, &ask.trace, ask.deadline);
    let begun = Instant::now();
    let teller = Cell::new(Some(teller));
    let mut context = WritePipeline {
        gateway,
        system,
        write,
        op_context: ask,
        session,
        started_at: begun,
        in_flight_op: sending,
        responder: teller,
        handed_off: false,
    };
    let told = context.execute().await;
    let untold = match context.responder.take() {
        Some(teller) => teller.send(told).err(),
        None => Some(told),
    };
    // A caller that hung up, or has its 202, does not change what was done; but then nobody is answered with a failure.
    if let Some(untold) = untold.filter(|_| !context.handed_off) {
        context.log_failure(&untold);
    }
}

impl WritePipeline<'_> {
    async fn execute(&mut self) -> Result<WriteResponse, Problem> {
        let key = self.write.idempotency.as_ref().map(|claimed| claimed.key.as_str());
        // Held to the end of the line, whatever becomes of the caller.
        let under_way = key.map(|key| self.gateway.in_flight_keys.try_acquire(&self.op_context.caller.0, key));
        let ended = match self.gateway.check_idempotency_key(self.system, self.write, self.op_context).await {
            Ok(()) if matches!(under_way, Some(None)) => Err(duplicate_in_progress(self.system).into()),
            Ok(()) => self.dispatch().await,
            Err(stop) => Err(stop),
        };
        let ended = match ended {
            // Its own operation tells more than its key could.
            Err(BeginError::Rejected(problem)) if problem.name == ProblemKind::OutcomeUnknown => {
                Err(BeginError::Rejected(problem))
            }
            // While this request looked around, the first one with its key may have been begun, and may be what this one
            // stumbled over: its tag is stale, or there is nothing left to change, because the write is being done.
            Ok(PipelineResult::NoChange(_)) | Err(BeginError::Rejected(_)) => {
                self.gateway.check_idempotency_key(self.system, self.write, self.op_context).await.and(ended)
            }
            other => other,
        };
        let (verdict, replayed) = match ended {
            Ok(PipelineResult::NoChange(verdict) | PipelineResult::Sent(verdict)) => (verdict, false),
            Err(BeginError::Replay(verdict)) => (*verdict, true),
            Err(BeginError::Rejected(problem)) => return Err(*problem),
            Err(BeginError::Restart) => {
                let detail = "the gateway lost its turn to write this record again and again; nothing was sent";
                return Err(ProblemKind::Overloaded.with_detail(detail).retry_after(BUSY_RETRY_AFTER));
            }
        };
        Ok(self.gateway.build_response(verdict, replayed).await)
    }

    fn log_failure(&self, untold: &Result<WriteResponse, Problem>) {
        let problem = match untold {
            Ok(WriteResponse { outcome: WriteOutcome::Problem(problem), .. }) => problem,
            Err(problem) => problem,
            Ok(_) => return,
        };
        let failure = FailureEvent {
            message: "operation failed",
            request_id: &self.op_context.request_id.0,
            system: Some(self.system.name.as_str()),
            action: self.write.kind.action().as_str(),
            problem,
            operation: None,
            trace_id: Some(self.op_context.trace.trace_id()),
            elapsed: self.started_at.elapsed(),
            vendor_time: self.op_context.trace.vendor_time(),
        };
        failure.log();
    }

    async fn dispatch(&mut self) -> Result<PipelineResult, BeginError> {
        match &self.write.kind {
            WriteOp::Update { id, patch } => self.update(id, patch).await,
            // Boxed, as is all that a PATCH rarely comes to: a line is moved a few times before it begins.
            WriteOp::Delete { id } => Box::pin(self.delete(id)).await,
            WriteOp::Create { collection, fields } => Box::pin(self.create(collection, fields)).await,
        }
    }

    /// `guarantee-unavailable` where the vendor does not compare versions for this action.
    pub(super) fn check_guarantee(&self) -> Result<(), Problem> {
        if !self.write.require_native {
            return Ok(());
        }
        let detail = format!(
            "{} does not compare versions on {}: the gateway compares under a lease (guarded), and a change made elsewhere \
             within that window is not excluded",
            self.system.name,
            self.write.kind.action().as_str()
        );
        Err(ProblemKind::GuaranteeUnavailable.with_detail(detail).system(self.system.name.as_str()))
    }

    /// The parts of what a write intends that are the same for every kind.
    pub(super) fn new_intent(
        &self,
        action: Action,
        id: Option<&RecordId>,
        guarantee: Guarantee,
        losses: &[DataLoss],
    ) -> WriteIntent {
        WriteIntent {
            operation: OperationId::new(),
            request_id: Arc::clone(&self.op_context.request_id.0),
            system: self.system.name.to_shared_str(),
            tenant_fingerprint: Arc::clone(&self.system.tenant_fingerprint),
            record: id.cloned(),
            action,
            guarantee,
            expected: ExpectedState::Deleted,
            etag_before: None,
            etag_after: None,
            resendable_request: None,
            losses: losses.iter().map(|loss| loss.name.to_owned()).collect(),
            is_async: self.write.prefer.respond_async,
            begun_ms: jiff::Timestamp::now().as_millisecond(),
            if_match_any: matches!(self.write.precondition, Some(Precondition::Exists) | None),
            has_idempotency_key: self.write.idempotency.is_some(),
            prefer: self.write.prefer.clone(),
        }
    }

    /// Gives a lease back that was not used.
    pub(super) async fn release(&self, lease: Lease) {
        // An expired lease frees the record as well.
        let _ = self.gateway.store.release(&lease).await;
    }

    /// Sends the one vendor call of a stored intent, settles its outcome if that can be done in the caller's time, and
    /// hands it to the settler if not.
    pub(super) async fn send_and_resolve(&mut self, planned: PlannedRequest, pending: InFlightWrite) -> WriteOutcome {
        if Instant::now() < self.op_context.deadline {
            self.in_flight_op.replace(Some(pending.operation.clone()));
        }
        let mut carried = ReconcileOnDrop::new(self.gateway, pending);
        let pending = &mut carried.write;
        if self.write.prefer.respond_async && self.write.prefer.wait.is_none() {
            Box::pin(self.respond_accepted(pending)).await;
        }
        self.session.set_deadline(self.send_deadline());
        let queued = planned.completion == Completion::Queued;
        let answer = {
            let sending = self.session.send(planned.request);
            match self.write.prefer.wait.filter(|_| self.write.prefer.respond_async) {
                Some(wait) => Box::pin(self.send_with_early_accept(self.started_at + wait, sending, pending)).await,
                None => sending.await,
            }
        };
        // Only what the vendor has taken on is told as accepted.
        let taken_on = queued && answer.is_ok();
        let settled = match answer {
            Ok(reply) => self.on_success(pending, &reply, queued).await,
            Err(fault) => Box::pin(self.on_fault(pending, fault)).await,
        };
        pending.calls.extend(self.session.take_calls());
        match settled {
            Some(settled) => self.finish(pending, settled).await,
            None => Box::pin(self.hand_off(carried, taken_on)).await,
        }
    }

    /// Part of the deadline is kept for finding out what became of a write: a quarter of what is left, at most 5 s.
    fn send_deadline(&self) -> Instant {
        let left = self.op_context.deadline.saturating_duration_since(Instant::now());
        self.op_context.deadline - (left / 4).min(Duration::from_secs(5))
    }

    /// How long the caller wants to wait for a write that goes on.
    fn wait_deadline(&self, queued: bool) -> Instant {
        match self.write.prefer.wait {
            Some(wait) => (self.started_at + wait).min(self.op_context.deadline),
            None if queued || self.write.prefer.respond_async => Instant::now(),
            None => self.op_context.deadline,
        }
    }

    /// The vendor said yes.
    async fn on_success(
        &mut self,
        pending: &mut InFlightWrite,
        reply: &VendorResponse,
        queued: bool,
    ) -> Option<Resolution> {
        if let ExpectedState::Created { collection, .. } = &pending.expected {
            return match self.system.adapter.parse_created(collection, reply) {
                Ok(created) => Some(Resolution::Applied(ObservedRecord {
                    record: created.record,
                    created_id: Some(created.id),
                    ..ObservedRecord::default()
                })),
                Err(_) => Box::pin(self.await_resolution(pending, self.op_context.deadline)).await,
            };
        }
        if !queued {
            return Some(Resolution::Applied(ObservedRecord::default()));
        }
        let until = self.wait_deadline(queued);
        if until <= Instant::now() { None } else { Box::pin(self.await_resolution(pending, until)).await }
    }

    /// The vendor said no, or nothing.
    async fn on_fault(&mut self, pending: &mut InFlightWrite, fault: VendorError) -> Option<Resolution> {
        match (fault.kind, fault.effect) {
            (VendorErrorKind::Conflict | VendorErrorKind::Ambiguous, _) => {
                let told = self
                    .gateway
                    .disambiguate_refusal(self.system, &self.session, pending, &fault, self.op_context.deadline)
                    .await;
                if told.is_none() && fault.kind == VendorErrorKind::Conflict {
                    let mut stale = self.gateway.precondition_failed(self.system, DetectedBy::Vendor);
                    stale.vendor = self.system.fault_to_problem(&fault).vendor;
                    return Some(Resolution::NotApplied(Box::new(stale)));
                }
                if told.is_none() {
                    pending.ambiguous_fault = Some(Box::new(fault));
                }
                told
            }
            (_, SideEffect::None) => Some(Resolution::NotApplied(Box::new(match pending.id() {
                Some(id) => super::read::record_fault_to_problem(self.system, id, &fault),
                None => self.system.fault_to_problem(&fault),
            }))),
            (_, SideEffect::Unknown) => self.await_resolution(pending, self.op_context.deadline).await,
        }
    }

    /// Looks for the outcome as long as the caller waits. Where that is longer than writes are watched, the write ends here.
    async fn await_resolution(&self, pending: &InFlightWrite, until: Instant) -> Option<Resolution> {
        let watched = Instant::now() + pending.time_left(self.system.policy.completion_timeout);
        let (gateway, system, session) = (self.gateway, self.system, &self.session);
        let settled = gateway.poll_until_resolved(system, session, pending, until.min(watched), MIN_PROBE_TIME).await;
        if settled.is_none() && watched < until {
            let until = self.op_context.deadline.max(Instant::now() + MIN_PROBE_TIME);
            return Some(final_probe(gateway, system, session, pending, until).await);
        }
        settled
    }

    /// The end, in the caller's time: with the record where the caller asked for it or the vendor warns.
    async fn finish(&mut self, pending: &mut InFlightWrite, settled: Resolution) -> WriteOutcome {
        let (settled, shown) = match settled {
            Resolution::Applied(seen) => self.verify_applied(pending, seen).await,
            other => (other, None),
        };
        pending.calls.extend(self.session.take_calls());
        self.gateway.record_outcome(self.system, pending, settled, shown).await
    }

    /// The outcome is not known in the caller's time: the settler goes on, and the caller is told what is true now. A 202
    /// needs the vendor's word that it has taken the write on, or a caller who asked not to wait for it.
    async fn hand_off(&mut self, mut carried: ReconcileOnDrop<'_>, taken_on: bool) -> WriteOutcome {
        let pending = &mut carried.write;
        let verdict = if taken_on || self.write.prefer.respond_async {
            pending.response = ResponseState::Accepted;
            WriteOutcome::Success(accepted_success(pending))
        } else {
            let problem = outcome_unknown(self.system, pending, None);
            WriteOutcome::Problem(Box::new(problem))
        };
        self.save_interim_outcome(pending, &verdict).await;
        self.handed_off = true;
        drop(carried);
        verdict
    }

    /// Whether the caller has its 202: it watches that one operation, and another try would be another operation.
    pub(super) fn has_responded(&self) -> bool {
        let teller = self.responder.take();
        let was_told = teller.is_none();
        self.responder.set(teller);
        was_told
    }

    /// Waits for the vendor's answer, and tells the caller 202 on the way when `wait` is over.
    async fn send_with_early_accept(
        &self,
        until: Instant,
        sending: impl Future<Output = Result<VendorResponse, VendorError>>,
        pending: &mut InFlightWrite,
    ) -> Result<VendorResponse, VendorError> {
        tokio::pin!(sending);
        if let Ok(answer) = tokio::time::timeout_at(until, &mut sending).await {
            return answer;
        }
        self.respond_accepted(pending).await;
        sending.await
    }

    /// 202 before the vendor has answered, because the caller asked for it.
    async fn respond_accepted(&self, pending: &mut InFlightWrite) {
        pending.response = ResponseState::Accepted;
        let verdict = WriteOutcome::Success(accepted_success(pending));
        self.save_interim_outcome(pending, &verdict).await;
        let told = self.gateway.build_response(verdict, false).await;
        if let Some(teller) = self.responder.take() {
            let _ = teller.send(Ok(told));
        }
    }

    async fn save_interim_outcome(&self, pending: &InFlightWrite, verdict: &WriteOutcome) {
        if self.write.idempotency.is_none() {
            return;
        }
        let text = serde_json::to_string(verdict).unwrap_or_default();
        let told = if pending.response == ResponseState::Accepted {
            store::InterimResponse::Accepted
        } else {
            store::InterimResponse::Unknown
        };
        if let Err(error) = self.gateway.store.save_interim_outcome(&pending.operation, told, text).await {
            tracing::warn!(%error, operation = %pending.operation, "an interim answer could not be stored");
        }
    }
}
