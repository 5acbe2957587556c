//! One running write: what its steps share, and the responses that its caller gets before it ends.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::WriteCommand;
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::interim_outcome::save_interim_outcome;
use super::outcome::{SuccessBody, WriteOutcome, WriteResponse, WriteSuccess};
use super::schema_findings::SchemaFindings;
use super::send_gate::SendGate;
use super::write_services::WriteServices;
use crate::journal::InterimResponse;
use crate::record::{Action, OperationId, Precondition};
use crate::system::{CallerContext, Guarantee, System, VendorSession};
use crate::vendors::DataLoss;

/// Delivers the response to the waiting caller.
pub(super) type Responder = oneshot::Sender<WriteResponse>;

/// One running write.
pub(super) struct WriteTask<'t> {
    pub services: &'t WriteServices,
    pub system: &'t System,
    pub command: &'t WriteCommand,
    pub context: &'t CallerContext,
    pub session: VendorSession<'t>,
    pub gate: &'t SendGate,
    /// `None` once the caller has a response.
    pub responder: RefCell<Option<Responder>>,
    /// Whether the reconciler has the write, and will log how it ends.
    pub handed_off: Cell<bool>,
    /// Whether an update must be planned from a read, because its tag is known to be stale.
    pub must_read: Cell<bool>,
    /// What the check against the schema has found.
    pub schema: SchemaFindings,
}

impl<'t> WriteTask<'t> {
    /// A write that begins. Without a `responder` nobody waits for it.
    pub(super) fn new(
        (services, system): (&'t WriteServices, &'t System),
        command: &'t WriteCommand,
        context: &'t CallerContext,
        gate: &'t SendGate,
        responder: Option<Responder>,
    ) -> Self {
        Self {
            services,
            system,
            command,
            context,
            session: VendorSession::new(system, context),
            gate,
            responder: RefCell::new(responder),
            handed_off: Cell::new(false),
            must_read: Cell::new(false),
            schema: SchemaFindings::default(),
        }
    }
}

impl WriteTask<'_> {
    /// Whether the caller accepts any state of the record (`If-Match: *`).
    pub(super) fn is_if_match_any(&self) -> bool {
        matches!(self.command.precondition, Some(Precondition::Exists) | None)
    }

    /// What every action's intent has in common; each action sets the rest.
    pub(super) fn new_intent(
        &self,
        guarantee: Guarantee,
        losses: &[DataLoss],
        is_queued: bool,
        expected: ExpectedState,
    ) -> WriteIntent {
        let begun_ms = jiff::Timestamp::now().as_millisecond();
        let left = self.context.deadline.saturating_duration_since(Instant::now());
        WriteIntent {
            operation: OperationId::new(),
            request_id: Arc::clone(&self.context.request_id.0),
            system: self.system.name.to_shared_str(),
            tenant_fingerprint: Arc::clone(&self.system.tenant_fingerprint),
            record: self.command.op.record().cloned(),
            action: self.command.op.action(),
            guarantee,
            expected,
            etag_before: None,
            etag_after: None,
            resendable_request: None,
            rebased: None,
            has_if_plan: self.command.if_plan.is_some(),
            losses: losses.iter().map(|loss| loss.name.to_owned()).collect(),
            is_queued,
            is_async: is_queued || self.command.prefer.respond_async,
            begun_ms,
            deadline_ms: i64::try_from(left.as_millis()).ok().map(|left| begun_ms.saturating_add(left)),
            if_match_any: self.is_if_match_any(),
            has_idempotency_key: self.command.idempotency.is_some(),
            claims_plan: false,
            prefer: self.command.prefer.clone(),
            schema_warnings: self.schema.warnings(),
            needs_read_back: self.schema.needs_read_back(),
        }
    }

    /// When the vendor request must end. A quarter of the time left, at most 5 s, is kept for
    /// finding the outcome.
    pub(super) fn send_deadline(&self) -> Instant {
        let left = self.context.deadline.saturating_duration_since(Instant::now());
        self.context.deadline - (left / 4).min(Duration::from_secs(5))
    }

    /// Until when a write that meets conflicts tries again: the caller's `Prefer: wait`, or its
    /// deadline without the reserve for finding the outcome.
    pub(super) fn retry_deadline(&self) -> Instant {
        match self.command.prefer.wait {
            Some(wait) => (self.context.received_at + wait).min(self.send_deadline()),
            None => self.send_deadline(),
        }
    }

    /// Until when the caller waits for a queued write.
    pub(super) fn queue_deadline(&self) -> Instant {
        match self.command.prefer.wait {
            Some(wait) => (self.context.received_at + wait).min(self.context.deadline),
            None => Instant::now(),
        }
    }

    /// Whether the caller has its 202. A second attempt would be a second operation, which the
    /// caller does not poll.
    pub(super) fn has_responded(&self) -> bool {
        self.responder.borrow().is_none()
    }

    /// Responds 202 before the vendor has, because the caller requested it.
    pub(super) async fn respond_accepted(&self, write: &mut InFlightWrite) {
        write.response = Some(InterimResponse::Accepted);
        let outcome = WriteOutcome::Success(accepted_success(write));
        if write.claims_key() {
            save_interim_outcome(&self.services.journal, write, InterimResponse::Accepted, &outcome).await;
        }
        let response = build_response(self.services, outcome, false).await;
        if let Some(responder) = self.responder.take() {
            let _ = responder.send(response);
        }
    }
}

/// The 202 of a write that continues.
pub(super) fn accepted_success(write: &InFlightWrite) -> WriteSuccess {
    WriteSuccess {
        body: SuccessBody::Accepted,
        operation: Some(write.operation.clone()),
        guarantee: (write.action != Action::Create).then_some(write.guarantee),
        etag: None,
        preference_applied: write.preference_applied(&SuccessBody::Accepted),
    }
}

/// Completes an outcome with the operation's document, where that is the body, and remembers the
/// record that the caller gets.
pub(super) async fn build_response(services: &WriteServices, outcome: WriteOutcome, replayed: bool) -> WriteResponse {
    let mut operation = None;
    if let WriteOutcome::Success(WriteSuccess { body, operation: id, .. }) = &outcome {
        match (body, id) {
            (SuccessBody::Accepted, Some(id)) => operation = services.journal.operation(id).await.ok().flatten(),
            (SuccessBody::Record(record) | SuccessBody::Created(record), _) => {
                services.remember(record).await;
            }
            _ => {}
        }
    }
    WriteResponse { outcome, replayed, operation }
}
