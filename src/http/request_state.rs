//! What the middleware and the handler of one request share.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::HeaderMap;
use actix_web::{HttpMessage as _, HttpRequest};
use tokio::time::Instant;

use super::compat;
use super::error::ApiError;
use super::headers;
use super::route::Route;
use super::state::ApiState;
use crate::access::{AdmittedRequest, Principal};
use crate::metrics::RequestAction;
use crate::problem::{FailureEvent, Problem, ProblemKind};
use crate::record::RequestId;
use crate::system::System;
use crate::transport::trace::{RequestAttributes, RequestSpan, TraceContext};

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
    /// Whether an item of this batch is in flight instead of it.
    pub(super) lends_in_flight: Cell<bool>,
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
            lends_in_flight: Cell::new(false),
            span: Cell::new(None),
        })
    }

    /// Puts the state where [`from_request`](Self::from_request) finds it.
    pub(super) fn attach_to(self: &Rc<Self>, request: &ServiceRequest) {
        request.extensions_mut().insert(Rc::clone(self));
    }

    /// The state that `middleware::create_request_state` attached to the request.
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

    /// The trace that the request continues or begins, by its headers.
    pub(super) fn trace(&self, headers: &HeaderMap) -> &Arc<TraceContext> {
        self.trace.get_or_init(|| headers::trace_context(headers, self.api.tracer.as_ref()))
    }

    /// The trace, if anything has used it yet.
    pub(super) fn trace_if_started(&self) -> Option<Arc<TraceContext>> {
        self.trace.get().map(Arc::clone)
    }

    /// The caller's name; `none` before it is known.
    pub(super) fn caller_name(&self) -> &str {
        self.principal.get().map_or("none", |caller| &caller.name().0)
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
        if self.is_ops() && problem.kind == ProblemKind::Overloaded {
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
