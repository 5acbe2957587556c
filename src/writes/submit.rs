//! Starts a write in a task of its own, and waits for its response until the caller's deadline. The
//! write runs to its end even if its caller disconnects.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::command::WriteCommand;
use super::drain::DrainTracker;
use super::outcome::WriteResponse;
use super::pipeline;
use super::write_services::WriteServices;
use super::write_task::SentOperation;
use crate::problem::{Problem, ProblemKind};
use crate::system::{CallerContext, System};

/// How much longer than its deadline a caller waits for a write that was sent, before it gets
/// `outcome-unknown`.
const SENT_GRACE: Duration = Duration::from_millis(500);

/// The same for a write that was not sent: it has noticed the deadline and is about to respond.
const UNSENT_GRACE: Duration = Duration::from_millis(50);

/// Runs a write and returns its response.
pub(crate) async fn submit(
    services: &Arc<WriteServices>,
    drain: &DrainTracker,
    system: &Arc<System>,
    command: WriteCommand,
    context: &CallerContext,
) -> WriteResponse {
    let Some(guard) = drain.begin() else {
        return overloaded("The gateway is shutting down, so nothing was sent. Repeat the request.").into();
    };
    let (responder, response) = oneshot::channel();
    let (services, system, context) = (Arc::clone(services), Arc::clone(system), context.clone());
    let (deadline, system_name) = (context.deadline, system.name.clone());
    let sent_operation = Rc::new(RefCell::new(None));
    let task_operation = Rc::clone(&sent_operation);
    // Boxed before it is spawned, because the runtime moves the future several times.
    actix_web::rt::spawn(Box::pin(async move {
        pipeline::run(&services, &system, &command, &context, responder, &task_operation).await;
        drop(guard);
    }));
    let response = tokio::select! {
        response = wait_with_grace(response, deadline, &sent_operation) => response,
        () = drain_aborted(drain, &sent_operation) => None,
    };
    let outcome_unknown = |reason: &str| {
        let problem =
            ProblemKind::OutcomeUnknown.with_detail(format!("{reason}. Follow the operation to learn the outcome."));
        sent_operation.take().map(|operation| problem.system(system_name.as_str()).operation(&operation))
    };
    match response {
        Some(Ok(response)) => response,
        Some(Err(_)) => outcome_unknown("The gateway failed after the write was sent")
            .unwrap_or_else(|| ProblemKind::InternalError.with_detail("The gateway failed before the write was sent."))
            .into(),
        None => outcome_unknown("The write did not end in time")
            .unwrap_or_else(|| {
                overloaded("The gateway could not begin the write in time, so nothing was sent. Repeat the request.")
            })
            .into(),
    }
}

fn overloaded(detail: &str) -> Problem {
    ProblemKind::Overloaded.with_detail(detail).retry_after(Duration::from_secs(1))
}

/// The response by the deadline, or within the grace that follows it. `None`: there is none. A
/// request that is not sent by its deadline is never sent.
async fn wait_with_grace<T>(
    mut response: oneshot::Receiver<T>,
    deadline: Instant,
    sent_operation: &SentOperation,
) -> Option<Result<T, RecvError>> {
    if let Ok(response) = timeout_at(deadline, &mut response).await {
        return Some(response);
    }
    let is_sent = sent_operation.borrow().is_some();
    timeout_at(deadline + if is_sent { SENT_GRACE } else { UNSENT_GRACE }, response).await.ok()
}

/// Completes when a drain has timed out and the write was sent. A write that was not sent may still
/// be sent, so its caller continues to wait.
async fn drain_aborted(drain: &DrainTracker, sent_operation: &SentOperation) {
    drain.aborted().await;
    if sent_operation.borrow().is_none() {
        std::future::pending::<()>().await;
    }
}
