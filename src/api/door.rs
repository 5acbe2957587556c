//! The one way in: every request is checked, routed, attributed, answered, measured and given its headers here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant as WallInstant;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::{Method, Uri};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::routes::Route;
use super::seams::{RequestMetrics, Right, Rights};
use super::{Api, Listener, body, caller, connection, guard, headers, pieces, problem, target};
use crate::gateway::{Ask, System};
use crate::problem::{Problem, ProblemName};
use crate::record::{Action, RequestId};

/// What a handler gives back.
pub(super) type Answer = Result<HttpResponse, Refused>;

/// A problem to be told, and whether it was told before under the same `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) problem: Box<Problem>,
    pub(super) replayed: bool,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), replayed: false }
    }
}

/// A request that passed the door, as handlers see it.
pub(super) struct Inbound<'r> {
    pub(super) api: &'r Api,
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    /// The query as it came, without `?`.
    pub(super) query: &'r str,
    pub(super) route: &'r Route,
    request_id: &'r RequestId,
    caller: Option<Arc<dyn Rights>>,
    deadline: Instant,
}

impl Inbound<'_> {
    /// The caller.
    ///
    /// # Errors
    /// 401 on an open route, which asks for nobody.
    pub(super) fn caller(&self) -> Result<&dyn Rights, Problem> {
        self.caller.as_deref().ok_or_else(caller::nobody)
    }

    /// The system of a name.
    ///
    /// # Errors
    /// 404.
    pub(super) fn system(&self, name: &str) -> Result<&Arc<System>, Problem> {
        let found = self.api.records.systems().iter().find(|system| system.name.as_str() == name);
        found.ok_or_else(|| ProblemName::SystemNotFound.with("no system of this name is configured"))
    }

    /// The system of a name, whose vendor can do this and with which the caller may do it.
    ///
    /// # Errors
    /// 404, 405, 403, in this order.
    pub(super) fn system_for(&self, name: &str, action: Action) -> Result<&Arc<System>, Problem> {
        let system = self.system(name)?;
        if !system.adapter.profile().actions.contains(&action) {
            let detail = format!("{} has no way to {} a record", system.adapter.profile().vendor, action.as_str());
            let mut problem = ProblemName::MethodNotAllowed.with(detail);
            problem.allow = Some(self.route.methods_of(system));
            return Err(problem);
        }
        if !self.caller()?.may(name, Right::Records(action)) {
            return Err(ProblemName::Forbidden.with(format!("you lack the right {name}:{}", action.as_str())));
        }
        Ok(system)
    }

    /// Who asks, for the gateway.
    ///
    /// # Errors
    /// As [`caller`](Self::caller).
    pub(super) fn ask(&self) -> Result<Ask, Problem> {
        Ok(Ask {
            caller: self.caller()?.name().clone(),
            request_id: self.request_id.clone(),
            trace: headers::trace(self.headers),
            deadline: self.deadline,
        })
    }
}

/// Counts a request however it ends, the caller's leaving included.
struct Measured<'a> {
    metrics: &'a dyn RequestMetrics,
    system: Option<&'a str>,
    action: &'static str,
    outcome: Option<&'static str>,
    since: WallInstant,
}

impl<'a> Measured<'a> {
    fn begin(metrics: &'a dyn RequestMetrics, system: Option<&'a str>, action: &'static str) -> Self {
        metrics.began(system);
        Self { metrics, system, action, outcome: None, since: WallInstant::now() }
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.metrics.ended(self.system, self.action, self.outcome, self.since.elapsed());
    }
}

/// Answers one request.
pub(super) async fn serve(
    api: Arc<Api>,
    listener: Listener,
    request: HttpRequest,
    mut payload: Payload,
) -> HttpResponse {
    let request_id = headers::request_id(request.headers());
    let found = connection::take(&request)
        .and_then(|()| guard::check(&request))
        .and_then(|()| find(&api, listener, request.uri()));
    let system = found.as_ref().ok().and_then(Route::system).and_then(|name| {
        api.records.systems().iter().map(|system| system.name.as_str()).find(|configured| *configured == name)
    });
    let action = found.as_ref().map_or("other", |route| route.action(request.method()));
    let mut measured = Measured::begin(&*api.metrics, system, action);
    let answered = match &found {
        Ok(route) => {
            let handled = pass(&api, &request, &request_id, route, &mut payload);
            // A panic costs its request a 500 and nothing more: state that is shared sits behind locks and stores.
            AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|_| Err(panicked().into()))
        }
        Err(problem) => Err(problem.clone().into()),
    };
    measured.outcome = Some(answered.as_ref().map_or_else(|refused| refused.problem.name.as_str(), |_| "ok"));
    let response = match answered {
        Ok(response) => response,
        Err(mut refused) => {
            if let (ProblemName::MethodNotAllowed, None, Ok(route)) =
                (refused.problem.name, &refused.problem.allow, &found)
            {
                refused.problem.allow = Some(route.methods().to_owned());
            }
            log(&refused.problem, &request_id, system);
            let close = !body::drained(&request, &mut payload).await;
            problem::response(&refused, &request, &request_id, close)
        }
    };
    finish(response, &request, &request_id)
}

/// Method, caller, handler.
async fn pass(
    api: &Api,
    request: &HttpRequest,
    request_id: &RequestId,
    route: &Route,
    payload: &mut Payload,
) -> Answer {
    let deadline = Instant::now() + api.limits.deadline;
    let mut inbound = Inbound {
        api,
        method: request.method(),
        headers: request.headers(),
        query: request.uri().query().unwrap_or_default(),
        route,
        request_id,
        caller: None,
        deadline,
    };
    if !route.methods().split(", ").any(|method| method == inbound.method.as_str()) {
        let mut problem =
            ProblemName::MethodNotAllowed.with("the path does not take this method; `Allow` lists those it takes");
        let system = route.system().and_then(|name| inbound.system(name).ok());
        problem.allow = Some(system.map_or_else(|| route.methods().to_owned(), |system| route.methods_of(system)));
        return Err(problem.into());
    }
    inbound.caller = caller::identify(api, route, inbound.headers).await?;
    route.answer(&inbound, payload).await
}

/// The route of a target.
fn find(api: &Api, listener: Listener, uri: &Uri) -> Result<Route, Problem> {
    if uri.path() == "*" {
        return Ok(Route::Server);
    }
    let found = Route::find(&target::segments(uri)?).filter(|route| route.is_served(api, listener));
    found.ok_or_else(|| ProblemName::NotFound.with("there is nothing at this path; /docs/ lists the paths there are"))
}

fn panicked() -> Problem {
    ProblemName::InternalError.with("the gateway failed while it answered this request")
}

/// Failures are logged, once, here; what a caller did wrong is the caller's to know.
fn log(problem: &Problem, request_id: &RequestId, system: Option<&str>) {
    let row = problem.name.row();
    if row.status >= 500 {
        tracing::warn!(
            problem = row.name,
            request_id = %request_id,
            system,
            vendor_status = problem.vendor.as_ref().and_then(|vendor| vendor.status),
            detail = problem.detail,
            "request failed"
        );
    }
}

fn finish(response: HttpResponse, request: &HttpRequest, request_id: &RequestId) -> HttpResponse {
    let mut response = connection::framed(pieces::in_pieces(response), request);
    let fields = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id.0) {
        fields.insert(HeaderName::from_static("x-request-id"), value);
    }
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
