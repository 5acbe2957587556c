//! Starts a write in a task of its own, and waits for its response until the caller's deadline. The
//! write runs to its end even if its caller disconnects.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, sleep, timeout_at};

use super::command::WriteCommand;
use super::drain::DrainTracker;
use super::outcome::WriteResponse;
use super::pipeline;
use super::problems::{overloaded, shutting_down};
use super::send_gate::{GivenUp, SendGate};
use super::write_services::WriteServices;
use crate::problem::ProblemKind;
use crate::record::OperationId;
use crate::system::{CallerContext, System};

/// How much longer than its deadline a caller waits for a write that was sent, before it gets
/// `outcome-unknown`.
const SENT_GRACE: Duration = Duration::from_millis(500);

/// The same for a write that was not sent: it has noticed the deadline and is about to respond.
const UNSENT_GRACE: Duration = Duration::from_millis(50);

/// The pause between two looks at a write that is being stored when its caller stops waiting.
const BEGIN_POLL: Duration = Duration::from_millis(5);

/// Runs a write and returns its response.
pub(crate) async fn submit(
    services: &Arc<WriteServices>,
    drain: &DrainTracker,
    system: &Arc<System>,
    command: WriteCommand,
    context: &CallerContext,
) -> WriteResponse {
    let Some(guard) = drain.begin() else { return shutting_down().into() };
    let (responder, response) = oneshot::channel();
    let (services, system, context) = (Arc::clone(services), Arc::clone(system), context.clone());
    let (deadline, system_name) = (context.deadline, system.name.clone());
    let gate = Rc::new(SendGate::new(drain.abort_flag()));
    let task_gate = Rc::clone(&gate);
    // Boxed before it is spawned, because the runtime moves the future several times.
    actix_web::rt::spawn(Box::pin(async move {
        pipeline::run(&services, &system, &command, &context, responder, &task_gate).await;
        drop(guard);
    }));
    let (response, given_up) = tokio::select! {
        // A response that is there comes first.
        biased;
        response = wait_with_grace(response, deadline, &gate) => (response, None),
        given_up = drain_aborted(drain, &gate) => (None, Some(given_up)),
    };
    let outcome_unknown = |operation: &OperationId, reason: &str| {
        let detail = format!("{reason}. Follow the operation to learn the outcome.");
        ProblemKind::OutcomeUnknown.with_detail(detail).system(system_name.as_str()).operation(operation)
    };
    let problem = match (response, given_up, gate.sent()) {
        (Some(Ok(response)), ..) => return response,
        (Some(Err(_)), _, Some(operation)) => {
            outcome_unknown(&operation, "The gateway failed after the write was sent")
        }
        (Some(Err(_)), _, None) => {
            ProblemKind::InternalError.with_detail("The gateway failed before the write was sent.")
        }
        (None, Some(GivenUp::NotSent), _) => shutting_down(),
        (None, Some(GivenUp::Sent(operation)), _) | (None, None, Some(operation)) => {
            outcome_unknown(&operation, "The write did not end in time")
        }
        (None, None, None) => {
            overloaded("The gateway could not begin the write in time, so nothing was sent. Repeat the request.")
        }
    };
    problem.into()
}

/// The response by the deadline, or within the grace that follows it. `None`: there is none. A
/// request that is not sent by its deadline is never sent.
async fn wait_with_grace<T>(
    mut response: oneshot::Receiver<T>,
    deadline: Instant,
    gate: &SendGate,
) -> Option<Result<T, RecvError>> {
    if let Ok(response) = timeout_at(deadline, &mut response).await {
        return Some(response);
    }
    let grace = if gate.sent().is_some() { SENT_GRACE } else { UNSENT_GRACE };
    timeout_at(deadline + grace, response).await.ok()
}

/// Completes when a drain has timed out, and it is known whether the write was sent. One that has
/// not begun by then never begins.
async fn drain_aborted(drain: &DrainTracker, gate: &SendGate) -> GivenUp {
    drain.aborted().await;
    loop {
        match gate.give_up() {
            Some(given_up) => return given_up,
            None => sleep(BEGIN_POLL).await,
        }
    }
}
