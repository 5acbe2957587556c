//! Metrics and the span of a request.

use std::rc::Rc;

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;

use crate::http::context::RequestState;
use crate::metrics::RequestOutcome;
use crate::problem::ProblemKind;

/// Counts the request and ends its span.
pub(in crate::http) async fn record_metrics(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut guard = MetricsGuard { state: RequestState::of(request.request())?, outcome: None };
    let response = next.call(request).await?;
    // `render_problems` leaves the problem's name here.
    let problem = response.response().extensions().get::<ProblemKind>().copied();
    guard.outcome = Some(match problem {
        Some(problem) => RequestOutcome::Problem(problem),
        None if response.status() == StatusCode::MULTI_STATUS => RequestOutcome::Partial,
        None => RequestOutcome::Ok,
    });
    if let Some(mut span) = guard.state.take_span() {
        span.set_response(response.status().as_u16(), problem.map(ProblemKind::as_str));
    }
    Ok(response)
}

/// Ends a request's metrics however it ends. A request whose caller disconnects has no outcome and
/// is not in `gateway_requests_total`.
struct MetricsGuard {
    state: Rc<RequestState>,
    outcome: Option<RequestOutcome>,
}

impl Drop for MetricsGuard {
    fn drop(&mut self) {
        let state = &self.state;
        if !state.has_begun() {
            return;
        }
        let (metrics, system) = (&state.api.metrics, state.system().map(|system| system.index));
        metrics.in_flight(system, -1);
        if let Some(outcome) = self.outcome {
            metrics.request(system, state.action(), outcome, state.received_at.elapsed().as_secs_f64());
        }
    }
}
