//! Metrics and the span of a request.

use std::rc::Rc;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;

use crate::http::access_log::{AccessLine, LoggedStream};
use crate::http::request_state::RequestState;
use crate::metrics::RequestOutcome;
use crate::problem::ProblemKind;

/// Counts the request and ends its span.
pub(in crate::http) async fn record_metrics(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = RequestState::from_request(request.request())?;
    let method = state.api.access_log.then(|| request.method().clone());
    let mut guard = MetricsGuard { state, outcome: None, method, status: None, bytes: None };
    let response = next.call(request).await?;
    // `render_problems` leaves the problem's name here.
    let problem = response.response().extensions().get::<ProblemKind>().copied();
    guard.outcome = Some(match problem {
        Some(problem) => RequestOutcome::Problem(problem),
        None if response.status() == StatusCode::MULTI_STATUS => RequestOutcome::Partial,
        None => RequestOutcome::Ok,
    });
    if guard.method.is_some() {
        guard.status = Some(response.status().as_u16());
        guard.bytes = match response.response().body().size() {
            BodySize::Sized(bytes) => Some(bytes),
            BodySize::None => Some(0),
            BodySize::Stream => None,
        };
    }
    if let Some(mut span) = guard.state.take_span() {
        span.set_response(response.status().as_u16(), problem.map(ProblemKind::as_str));
    }
    let is_stream = matches!(response.response().body().size(), BodySize::Stream);
    let Some(method) = guard.method.take_if(|_| is_stream) else { return Ok(response) };
    let mut line = AccessLine::new(&guard.state, method);
    line.status = guard.status;
    line.outcome = guard.outcome.map_or(line.outcome, RequestOutcome::as_str);
    Ok(response.map_body(|_, body| BoxBody::new(LoggedStream { body, line, bytes: 0 })))
}

/// Ends a request's metrics however it ends. A request whose caller disconnects has no outcome and
/// is not in `gateway_requests_total`.
struct MetricsGuard {
    state: Rc<RequestState>,
    outcome: Option<RequestOutcome>,
    /// Where there is an access log.
    method: Option<Method>,
    status: Option<u16>,
    bytes: Option<u64>,
}

impl Drop for MetricsGuard {
    fn drop(&mut self) {
        let state = &self.state;
        if !state.has_begun() {
            return;
        }
        if let Some(method) = self.method.take() {
            let mut line = AccessLine::new(state, method);
            (line.status, line.bytes) = (self.status, self.bytes);
            line.outcome = self.outcome.map_or(line.outcome, RequestOutcome::as_str);
            line.log();
        }
        let (metrics, system) = (&state.api.metrics, state.system().map(|system| system.index));
        metrics.in_flight(system, -1);
        if let Some(outcome) = self.outcome {
            metrics.request(system, state.action(), outcome, state.received_at.elapsed().as_secs_f64());
        }
    }
}
