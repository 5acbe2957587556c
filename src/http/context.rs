//! What is known of one request: the state that its middleware shares, and the extractor that its
//! handler takes.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use tokio::time::{Instant, timeout_at};

use super::authenticator::missing_credentials;
use super::compat;
use super::error::ApiError;
use super::headers;
use super::item_request::ItemRequest;
use super::query::QueryParams;
use super::request_target::percent_decode;
use super::route::Route;
use super::state::ApiState;
use crate::access::{AdmittedRequest, Permission, Principal};
use crate::gateway::Gateway;
use crate::journal::JournalError;
use crate::metrics::RequestAction;
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::record::{Action, RequestId};
use crate::system::{CallerContext, System};
use crate::transport::Priority;
use crate::transport::trace::{RequestAttributes, RequestSpan, TraceContext};

/// The part of the deadline that a held response leaves for itself.
const WAIT_RESERVE: Duration = Duration::from_millis(250);

/// Where a request goes.
#[derive(Default)]
struct RouteTarget {
    /// `None` when no path matches or the head is refused.
    route: Option<Rc<Route>>,
    /// The configured system that the path names.
    system: Option<Arc<System>>,
    action: Option<RequestAction>,
}

/// Where an item of a batch goes.
pub(super) struct ItemTarget {
    pub(super) route: Rc<Route>,
    /// The configured system that the path names.
    pub(super) system: Option<Arc<System>>,
    pub(super) action: RequestAction,
}

/// What the middleware and the handler of one request share.
pub(super) struct RequestState {
    pub(super) api: Arc<ApiState>,
    pub(super) request_id: RequestId,
    pub(super) received_at: StdInstant,
    deadline: Instant,
    /// The body, unless it is being read.
    payload: Cell<Option<Payload>>,
    /// Parsed when it is needed first.
    trace: OnceCell<Arc<TraceContext>>,
    target: OnceCell<RouteTarget>,
    principal: OnceCell<Arc<Principal>>,
    /// Counts the request as in flight, where its caller has limits.
    admitted: OnceCell<AdmittedRequest>,
    /// Whether an item of this batch is in flight in its place.
    pub(super) lends_place: Cell<bool>,
    span: Cell<Option<RequestSpan>>,
}

impl RequestState {
    pub(super) fn new(api: Arc<ApiState>, request_id: RequestId, payload: Payload) -> Rc<Self> {
        let deadline = Instant::now() + api.limits.deadline;
        Rc::new(Self {
            api,
            request_id,
            received_at: StdInstant::now(),
            deadline,
            payload: Cell::new(Some(payload)),
            trace: OnceCell::new(),
            target: OnceCell::new(),
            principal: OnceCell::new(),
            admitted: OnceCell::new(),
            lends_place: Cell::new(false),
            span: Cell::new(None),
        })
    }

    /// The state that `middleware::create_request_state` put into the request.
    ///
    /// # Errors
    /// 500 where the application is wired without it.
    pub(super) fn from_request(request: &HttpRequest) -> Result<Rc<Self>, ApiError> {
        let state = request.extensions().get::<Rc<Self>>().map(Rc::clone);
        state.ok_or_else(|| ProblemKind::InternalError.with_detail("the request has no state").into())
    }

    /// Records where the request goes. From here on it counts as in flight, and its span begins.
    pub(super) fn set_target(&self, request: &HttpRequest, route: Option<Rc<Route>>, system: Option<Arc<System>>) {
        let action = route.as_ref().map(|route| route.action(request.method()));
        let target = self.target.get_or_init(|| RouteTarget { route, system, action });
        self.api.metrics.in_flight(target.system.as_ref().map(|system| system.index), 1);
        if self.api.tracer.is_some() && !self.is_ops() {
            let attributes = RequestAttributes {
                method: request.method(),
                route: target.route.as_ref().map(|route| route.path),
                scheme: if compat::is_over_tls(request) { "https" } else { "http" },
                system: target.system.as_ref().map(|system| system.name.as_str()),
                action: self.action().as_str(),
            };
            self.span.set(RequestSpan::begin(self.trace(request.headers()), attributes));
        }
    }

    /// The state of an item of a batch: the batch's caller and trace, and a deadline of its own. It
    /// is not counted as a request in flight.
    pub(super) fn of_item(batch: &Self, target: ItemTarget) -> Rc<Self> {
        let state = Self::new(Arc::clone(&batch.api), batch.request_id.clone(), Payload::None);
        let ItemTarget { route, system, action } = target;
        // A new state has nothing of these yet.
        let _ = state.trace.set(Arc::clone(batch.trace(&HeaderMap::new())));
        let _ = state.target.set(RouteTarget { route: Some(route), system, action: Some(action) });
        if let Some(caller) = batch.principal.get() {
            state.set_principal(Arc::clone(caller));
        }
        state
    }

    pub(super) fn has_begun(&self) -> bool {
        self.target.get().is_some()
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.target.get().and_then(|target| target.route.as_deref())
    }

    pub(super) fn system(&self) -> Option<&Arc<System>> {
        self.target.get().and_then(|target| target.system.as_ref())
    }

    pub(super) fn action(&self) -> RequestAction {
        self.target.get().and_then(|target| target.action).unwrap_or(RequestAction::Other)
    }

    fn is_ops(&self) -> bool {
        self.route().is_some_and(|route| route.is_ops)
    }

    fn trace(&self, headers: &HeaderMap) -> &Arc<TraceContext> {
        self.trace.get_or_init(|| headers::trace_context(headers, self.api.tracer.as_ref()))
    }

    /// The caller's name; `none` before it is known.
    pub(super) fn caller_name(&self) -> &str {
        self.principal.get().map_or("none", |caller| &caller.name().0)
    }

    /// How long vendor requests were on the wire.
    pub(super) fn vendor_time(&self) -> Duration {
        self.trace.get().map(|trace| trace.vendor_time()).unwrap_or_default()
    }

    pub(super) fn take_span(&self) -> Option<RequestSpan> {
        self.span.take()
    }

    pub(super) fn set_principal(&self, principal: Arc<Principal>) {
        // A request is authenticated once.
        let _ = self.principal.set(principal);
    }

    /// The caller, once it is authenticated.
    pub(super) fn principal(&self) -> Option<&Principal> {
        self.principal.get().map(|caller| &**caller)
    }

    /// The request counts against its caller's limits.
    pub(super) fn set_admitted(&self, admitted: AdmittedRequest) {
        // A request is admitted once.
        let _ = self.admitted.set(admitted);
    }

    pub(super) fn admitted(&self) -> Option<&AdmittedRequest> {
        self.admitted.get()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn take_payload(&self) -> Option<Payload> {
        self.payload.take()
    }

    pub(super) fn put_payload(&self, payload: Payload) {
        self.payload.set(Some(payload));
    }

    /// Logs a failure that concerns the operator. A probe that finds the gateway not ready is no
    /// failure.
    pub(super) fn log_failure(&self, problem: &Problem) {
        if self.is_ops() && problem.name == ProblemKind::Overloaded {
            return;
        }
        let trace = self.trace.get();
        let failure = FailureEvent {
            message: "request failed",
            request_id: &self.request_id.0,
            system: self.system().map(|system| system.name.as_str()),
            action: self.action().as_str(),
            problem,
            operation: None,
            trace_id: trace.map(|trace| trace.trace_id()),
            elapsed: self.received_at.elapsed(),
            vendor_time: trace.map(|trace| trace.vendor_time()).unwrap_or_default(),
        };
        failure.log();
    }
}

/// A request as its handler sees it. The handler cannot distinguish a single request from an item
/// of a batch.
pub(super) struct RequestContext {
    state: Rc<RequestState>,
    source: Source,
}

/// Where the parts of a request are.
enum Source {
    Http(HttpRequest),
    Item(Rc<ItemRequest>),
}

impl FromRequest for RequestContext {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(RequestState::from_request(request).map(|state| Self { state, source: Source::Http(request.clone()) }))
    }
}

impl RequestContext {
    /// An item of a batch.
    pub(super) fn of_item(state: Rc<RequestState>, item: Rc<ItemRequest>) -> Self {
        Self { state, source: Source::Item(item) }
    }

    pub(super) fn api(&self) -> &ApiState {
        &self.state.api
    }

    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.state.api.gateway
    }

    pub(super) fn state(&self) -> &Rc<RequestState> {
        &self.state
    }

    /// The item of a batch that this request is, if it is one.
    pub(super) fn item(&self) -> Option<&ItemRequest> {
        match &self.source {
            Source::Http(_) => None,
            Source::Item(item) => Some(item),
        }
    }

    /// The HTTP request, unless this is an item of a batch.
    pub(super) fn http_request(&self) -> Option<&HttpRequest> {
        match &self.source {
            Source::Http(request) => Some(request),
            Source::Item(_) => None,
        }
    }

    pub(super) fn method(&self) -> &Method {
        match &self.source {
            Source::Http(request) => request.method(),
            Source::Item(item) => &item.method,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match &self.source {
            Source::Http(request) => request.headers(),
            Source::Item(item) => &item.headers,
        }
    }

    /// The query's parameters; `known` are the names that it may have.
    ///
    /// # Errors
    /// 400.
    pub(super) fn query(&self, known: &'static [&'static str]) -> Result<QueryParams, Problem> {
        let (path, query) = match &self.source {
            Source::Http(request) => (request.path(), request.query_string()),
            Source::Item(item) => (item.path.as_str(), ""),
        };
        Ok(QueryParams::parse(query, known)?.of_path(path))
    }

    /// A segment of the path by its name in the route, percent-decoded. actix-web decodes all
    /// octets but `%25`, `%2B` and `%2F`, so that decoding the rest here decodes each octet once.
    /// The segments of an item are as they were sent.
    ///
    /// # Errors
    /// 400.
    pub(super) fn path_param(&self, name: &str) -> Result<Cow<'_, str>, Problem> {
        let segment = match &self.source {
            Source::Http(request) => request.match_info().get(name),
            Source::Item(item) => item.param(name),
        };
        percent_decode(segment.unwrap_or_default(), "path")
    }

    /// The caller.
    ///
    /// # Errors
    /// 401 on a public route, where nobody is authenticated.
    pub(super) fn caller(&self) -> Result<&Principal, Problem> {
        self.state.principal.get().map(|caller| &**caller).ok_or_else(missing_credentials)
    }

    /// The system that the path names.
    ///
    /// # Errors
    /// 404.
    pub(super) fn system(&self) -> Result<&Arc<System>, Problem> {
        match self.state.system() {
            Some(system) => Ok(system),
            None => self.api().find_system(&self.path_param("system")?),
        }
    }

    /// The system that the path names, if its vendor has the action and the caller has the
    /// permission.
    ///
    /// # Errors
    /// 404, 405, 403, in this order.
    pub(super) fn authorize_system(&self, action: Action) -> Result<&Arc<System>, Problem> {
        let system = self.system()?;
        let capabilities = system.adapter.capabilities();
        if !capabilities.actions.contains(&action) {
            let detail = format!("{} has no way to {} a record", capabilities.vendor, action.as_str());
            let mut problem = ProblemKind::MethodNotAllowed.with_detail(detail);
            problem.allow = self.state.route().map(|route| route.allow_header(Some(system)));
            return Err(problem);
        }
        if !self.caller()?.can(system.name.as_str(), action) {
            return Err(missing_permission(system.name.as_str(), action.into()));
        }
        Ok(system)
    }

    /// Whether the caller may read the records of a system.
    ///
    /// # Errors
    /// As [`caller`](Self::caller).
    pub(super) fn can_read(&self, system: &str) -> Result<bool, Problem> {
        Ok(self.caller()?.can(system, Permission::Read))
    }

    /// What the gateway needs to know of the caller.
    ///
    /// # Errors
    /// As [`caller`](Self::caller).
    pub(super) fn op_context(&self) -> Result<CallerContext, Problem> {
        let share = self.caller()?.share();
        Ok(CallerContext {
            caller: self.caller()?.name().clone(),
            request_id: self.state.request_id.clone(),
            batch: self.item().map(|item| Arc::clone(&item.name)),
            reads: self.item().and_then(|item| item.reads.clone()),
            trace: Arc::clone(self.state.trace(self.headers())),
            received_at: self.state.deadline - self.state.api.limits.deadline,
            deadline: self.state.deadline,
            priority: if self.item().is_some() { Priority::bulk(share) } else { Priority::single(share) },
        })
    }

    /// Until when a response is held back for a caller that waits this long. It ends before the
    /// deadline, because what follows takes time, too.
    pub(super) fn end_of_wait(&self, wait: Duration) -> Instant {
        let reserve = WAIT_RESERVE.min(self.state.api.limits.deadline / 4);
        (Instant::now() + wait).min(self.state.deadline - reserve)
    }

    /// Reads from the store, at most until the request's deadline.
    ///
    /// # Errors
    /// 503.
    pub(super) async fn read_journal<T>(
        &self,
        read: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, Problem> {
        self.before_deadline(read).await?.map_err(|error| journal_unavailable(&error))
    }

    /// Waits for the store, at most until the request's deadline.
    ///
    /// # Errors
    /// 503.
    pub(super) async fn before_deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        timeout_at(self.state.deadline, work).await.map_err(|_| {
            let problem = ProblemKind::Overloaded.with_detail("the store did not respond in time");
            problem.retry_after(Duration::from_secs(1))
        })
    }
}

/// 503 for a store that cannot be read.
pub(super) fn journal_unavailable(error: &JournalError) -> Problem {
    let problem = ProblemKind::Overloaded.with_detail("the gateway's store cannot be read at the moment");
    problem.retry_after(Duration::from_secs(2)).with_cause(error)
}

/// 403 for a caller without a permission.
pub(super) fn missing_permission(system: &str, permission: Permission) -> Problem {
    ProblemKind::Forbidden.with_detail(format!("you lack the permission {system}:{}", permission.as_str()))
}
