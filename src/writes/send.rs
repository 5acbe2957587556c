//! Step 4. The one vendor request is sent. A caller that prefers an asynchronous response may get
//! its 202 meanwhile.

use tokio::time::Instant;

use super::begin::Journaled;
use super::in_flight_write::InFlightWrite;
use super::reconcile_on_drop::ReconcileOnDrop;
use super::write_task::WriteTask;
use crate::record::VendorError;
use crate::transport::{Transport as _, VendorResponse};
use crate::vendors::Completion;

/// A write whose request the vendor may have received.
pub(super) struct Sent<'t> {
    pub task: &'t WriteTask<'t>,
    pub guard: ReconcileOnDrop<'t>,
    /// The vendor's response, or why there is none that shows what happened.
    pub result: Result<VendorResponse, VendorError>,
    /// Whether a success only means that the vendor has queued the write.
    pub is_queued: bool,
}

/// Sends the request.
pub(super) async fn send(journaled: Journaled<'_>) -> Sent<'_> {
    let Journaled { task, request, mut guard } = journaled;
    let write = &mut guard.write;
    // After its deadline a request is not sent.
    if Instant::now() < task.context.deadline {
        task.gate.send(&write.operation);
    }
    let prefer = &task.command.prefer;
    if prefer.respond_async && prefer.wait.is_none() {
        Box::pin(task.respond_accepted(write)).await;
    }
    task.session.set_deadline(task.send_deadline());
    let is_queued = request.completion == Completion::Queued;
    let sending = task.session.send(request.request);
    let result = match prefer.wait.filter(|_| prefer.respond_async) {
        Some(wait) => Box::pin(send_with_early_accept(task, task.context.received_at + wait, sending, write)).await,
        None => sending.await,
    };
    Sent { task, guard, result, is_queued }
}

/// Waits for the vendor's response, and responds 202 to the caller meanwhile if `until` comes
/// first.
async fn send_with_early_accept(
    task: &WriteTask<'_>,
    until: Instant,
    sending: impl Future<Output = Result<VendorResponse, VendorError>>,
    write: &mut InFlightWrite,
) -> Result<VendorResponse, VendorError> {
    tokio::pin!(sending);
    if let Ok(result) = tokio::time::timeout_at(until, &mut sending).await {
        return result;
    }
    task.respond_accepted(write).await;
    sending.await
}
