//! The one way in: every request is checked, routed, attributed, answered, measured and given its headers here.

use std::any::Any;
use std::cell::OnceCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant as WallInstant;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{Method, Uri, Version};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::routes::Route;
use super::seams::{AuthenticatedCaller, Permission, RequestRecorder};
use super::{
    ApiState, Listener, auth, body, connection_state, head_validation, headers, problem_response, request_target,
    throttled_body,
};
use crate::gateway::{OpContext, System};
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::record::{Action, RequestId};
use crate::transport::trace::{RequestAttributes, RequestSpan, TraceContext, Tracer};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a handler gives back.
pub(super) type HandlerResult = Result<HttpResponse, ApiError>;

/// A problem to be told, and whether it was told before under the same `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) problem: Box<Problem>,
    pub(super) replayed: bool,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), replayed: false }
    }
}

/// A request that passed the door, as handlers see it.
pub(super) struct RequestContext<'r> {
    pub(super) api: &'r ApiState,
    pub(super) method: &'r Method,
    pub(super) version: Version,
    pub(super) headers: &'r HeaderMap,
    /// The query as it came, without `?`.
    pub(super) query: &'r str,
    pub(super) route: &'r Route,
    request_id: &'r RequestId,
    /// Read when it is needed first.
    trace: &'r OnceCell<Arc<TraceContext>>,
    caller: Option<Arc<dyn AuthenticatedCaller>>,
    /// When the caller is to have an answer.
    pub(super) deadline: Instant,
}

impl RequestContext<'_> {
    /// The caller.
    ///
    /// # Errors
    /// 401 on an open route, which asks for nobody.
    pub(super) fn caller(&self) -> Result<&dyn AuthenticatedCaller, Problem> {
        self.caller.as_deref().ok_or_else(auth::missing_credentials)
    }

    /// The system of a name.
    ///
    /// # Errors
    /// 404.
    pub(super) fn find_system(&self, name: &str) -> Result<&Arc<System>, Problem> {
        let found = self.api.records.systems().iter().find(|system| system.name.as_str() == name);
        found.ok_or_else(|| ProblemKind::SystemNotFound.with_detail("no system of this name is configured"))
    }

    /// The system of a name, whose vendor can do this and with which the caller may do it.
    ///
    /// # Errors
    /// 404, 405, 403, in this order.
    pub(super) fn authorize_system(&self, name: &str, action: Action) -> Result<&Arc<System>, Problem> {
        let system = self.find_system(name)?;
        if !system.adapter.capabilities().actions.contains(&action) {
            let detail = format!("{} has no way to {} a record", system.adapter.capabilities().vendor, action.as_str());
            let mut problem = ProblemKind::MethodNotAllowed.with_detail(detail);
            problem.allow = Some(self.route.allow_of(system));
            return Err(problem);
        }
        if !self.caller()?.can(name, Permission::Record(action)) {
            return Err(ProblemKind::Forbidden.with_detail(format!("you lack the right {name}:{}", action.as_str())));
        }
        Ok(system)
    }

    /// Who asks, for the gateway.
    ///
    /// # Errors
    /// As [`caller`](Self::caller).
    pub(super) fn op_context(&self) -> Result<OpContext, Problem> {
        Ok(OpContext {
            caller: self.caller()?.name().clone(),
            request_id: self.request_id.clone(),
            trace: Arc::clone(self.trace.get_or_init(|| headers::trace_context(self.headers, None))),
            deadline: self.deadline,
        })
    }
}

/// Counts a request however it ends, the caller's leaving included.
struct RequestMetricsGuard<'a> {
    metrics: &'a dyn RequestRecorder,
    system: Option<&'a str>,
    action: &'static str,
    outcome: Option<&'static str>,
    since: WallInstant,
}

impl<'a> RequestMetricsGuard<'a> {
    fn begin(metrics: &'a dyn RequestRecorder, system: Option<&'a str>, action: &'static str) -> Self {
        metrics.on_start(system);
        Self { metrics, system, action, outcome: None, since: WallInstant::now() }
    }

    /// Failures are logged once, here.
    fn log_failure(&self, problem: &Problem, request_id: &RequestId, trace: Option<&Arc<TraceContext>>) {
        let failure = FailureEvent {
            message: "request failed",
            request_id: &request_id.0,
            system: self.system,
            action: self.action,
            problem,
            operation: None,
            trace_id: trace.map(|trace| trace.trace_id()),
            elapsed: self.since.elapsed(),
            vendor_time: trace.map(|trace| trace.vendor_time()).unwrap_or_default(),
        };
        failure.log();
    }
}

impl Drop for RequestMetricsGuard<'_> {
    fn drop(&mut self) {
        self.metrics.on_finish(self.system, self.action, self.outcome, self.since.elapsed());
    }
}

/// Answers one request.
pub(super) async fn handle_request(
    api: Arc<ApiState>,
    listener: Listener,
    request: HttpRequest,
    mut payload: Payload,
) -> HttpResponse {
    let Some(place) = connection_state::acquire_stream_permit(&request) else {
        RequestMetricsGuard::begin(&*api.metrics, None, "other").outcome = Some(ProblemKind::Overloaded.as_str());
        return connection_state::too_many_streams();
    };
    let request_id = headers::request_id(request.headers());
    let found = connection_state::check_not_closing(&request)
        .and_then(|()| head_validation::validate_head(&request))
        .and_then(|()| match_route(&api, listener, request.uri()));
    let system = found.as_ref().ok().and_then(Route::system).and_then(|name| {
        api.records.systems().iter().map(|system| system.name.as_str()).find(|configured| *configured == name)
    });
    let action = found.as_ref().map_or("other", |route| route.action(request.method()));
    let trace = OnceCell::new();
    let mut span =
        api.tracer.as_ref().and_then(|spans| start_request_span(spans, &request, &found, system, action, &trace));
    let mut measured = RequestMetricsGuard::begin(&*api.metrics, system, action);
    let answered = match &found {
        Ok(route) => {
            let handled = authenticate_and_dispatch(&api, &request, &request_id, &trace, route, &mut payload);
            // A panic costs its request a 500 and nothing more: state that is shared sits behind locks and stores.
            AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|panic| Err(panic_to_problem(&*panic).into()))
        }
        Err(problem) => Err(problem.clone().into()),
    };
    measured.outcome = Some(answered.as_ref().map_or_else(|refused| refused.problem.name.as_str(), |_| "ok"));
    let mut problem = None;
    let response = match answered {
        Ok(response) => response,
        Err(mut refused) => {
            problem = Some(refused.problem.name.as_str());
            if let (ProblemKind::MethodNotAllowed, None, Ok(route)) =
                (refused.problem.name, &refused.problem.allow, &found)
            {
                refused.problem.allow = Some(route.allow());
            }
            // Who asks whether the gateway is ready is answered, again and again; why it is not is told where it is found.
            if !matches!(found, Ok(Route::Readyz)) {
                measured.log_failure(&refused.problem, &request_id, trace.get());
            }
            let unread = matches!(refused.problem.name, ProblemKind::BodyTooLarge | ProblemKind::RequestTimeout);
            let close = unread || !body::drain_unread_body(&request, &mut payload).await;
            if close {
                connection_state::mark_closing(&request);
            }
            problem_response::problem_response(&refused, &request, &request_id, close)
        }
    };
    if let Some(span) = &mut span {
        span.set_response(response.status().as_u16(), problem);
    }
    connection_state::hold_permit_until_sent(apply_common_headers(response, &request, &request_id), place)
}

/// The span of a request, if its trace is recorded. Who looks whether the gateway is well, every few seconds, is no request.
fn start_request_span(
    spans: &Arc<Tracer>,
    request: &HttpRequest,
    found: &Result<Route, Problem>,
    system: Option<&str>,
    action: &'static str,
    trace: &OnceCell<Arc<TraceContext>>,
) -> Option<RequestSpan> {
    if matches!(found, Ok(Route::Healthz | Route::Readyz | Route::Metrics)) {
        return None;
    }
    let context = trace.get_or_init(|| headers::trace_context(request.headers(), Some(spans)));
    let scheme = if request.app_config().secure() { "https" } else { "http" };
    let route = found.as_ref().ok().map(Route::template);
    RequestSpan::begin(context, RequestAttributes { method: request.method(), route, scheme, system, action })
}

/// Method, caller, handler.
async fn authenticate_and_dispatch(
    api: &ApiState,
    request: &HttpRequest,
    request_id: &RequestId,
    trace: &OnceCell<Arc<TraceContext>>,
    route: &Route,
    payload: &mut Payload,
) -> HandlerResult {
    let deadline = Instant::now() + api.limits.deadline;
    let mut inbound = RequestContext {
        api,
        method: request.method(),
        version: request.version(),
        headers: request.headers(),
        query: request.uri().query().unwrap_or_default(),
        route,
        request_id,
        trace,
        caller: None,
        deadline,
    };
    if !route.takes(inbound.method) {
        let mut problem = ProblemKind::MethodNotAllowed
            .with_detail("the path does not take this method; `Allow` lists those it takes");
        let system = route.system().and_then(|name| inbound.find_system(name).ok());
        problem.allow = Some(system.map_or_else(|| route.allow(), |system| route.allow_of(system)));
        return Err(problem.into());
    }
    inbound.caller = auth::authenticate(api, route, inbound.headers).await?;
    route.answer(&inbound, payload).await
}

/// The route of a target.
fn match_route(api: &ApiState, listener: Listener, uri: &Uri) -> Result<Route, Problem> {
    if uri.path() == "*" {
        return Ok(Route::Server);
    }
    let found = Route::find(&request_target::segments(uri)?).filter(|route| route.is_served(api, listener));
    found.ok_or_else(|| {
        ProblemKind::NotFound.with_detail("there is nothing at this path; /docs/ lists the paths there are")
    })
}

fn panic_to_problem(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let problem = ProblemKind::InternalError.with_detail("the gateway failed while it answered this request");
    problem.with_cause(format_args!("a panic: {}", text.unwrap_or("without a word")))
}

fn apply_common_headers(response: HttpResponse, request: &HttpRequest, request_id: &RequestId) -> HttpResponse {
    let mut response = connection_state::fix_response_framing(throttled_body::chunk_large_body(response), request);
    let fields = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id.0) {
        fields.insert(REQUEST_ID, value);
    }
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
