//! A request as its handler sees it: the extractor that handlers take.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest};
use tokio::time::{Instant, timeout_at};

use super::authenticator::missing_credentials;
use super::error::ApiError;
use super::item_request::ItemRequest;
use super::query::QueryParams;
use super::request_state::RequestState;
use super::request_target::percent_decode;
use super::state::ApiState;
use crate::access::{Permission, Principal};
use crate::gateway::Gateway;
use crate::journal::JournalError;
use crate::problem::{Problem, ProblemKind};
use crate::record::Action;
use crate::system::{CallerContext, System};
use crate::transport::Priority;

/// The part of the deadline that a held response leaves for itself.
const WAIT_RESERVE: Duration = Duration::from_millis(250);

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
        self.state.principal().ok_or_else(missing_credentials)
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
    pub(super) fn caller_context(&self) -> Result<CallerContext, Problem> {
        let share = self.caller()?.share();
        Ok(CallerContext {
            caller: self.caller()?.name().clone(),
            request_id: self.state.request_id.clone(),
            batch_item: self.item().map(|item| Arc::clone(&item.name)),
            slot: self.item().and_then(|item| item.slot.clone()),
            trace: Arc::clone(self.state.trace(self.headers())),
            received_at: self.state.deadline() - self.state.api.limits.deadline,
            deadline: self.state.deadline(),
            priority: if self.item().is_some() { Priority::bulk(share) } else { Priority::single(share) },
        })
    }

    /// Until when a response is held back for a caller that waits this long. It ends before the
    /// deadline, because what follows takes time, too.
    pub(super) fn end_of_wait(&self, wait: Duration) -> Instant {
        let reserve = WAIT_RESERVE.min(self.state.api.limits.deadline / 4);
        (Instant::now() + wait).min(self.state.deadline() - reserve)
    }

    /// Reads from the store, at most until the request's deadline.
    ///
    /// # Errors
    /// 503.
    pub(super) async fn read_journal<T>(
        &self,
        read: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, Problem> {
        self.before_deadline(read).await?.map_err(|error| store_unavailable(&error))
    }

    /// Waits for the store, at most until the request's deadline.
    ///
    /// # Errors
    /// 503.
    pub(super) async fn before_deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        timeout_at(self.state.deadline(), work).await.map_err(|_| {
            let problem = ProblemKind::Overloaded.with_detail("the store did not respond in time");
            problem.retry_after(Duration::from_secs(1))
        })
    }
}

/// 503 for a store that cannot be reached.
pub(super) fn store_unavailable(error: &JournalError) -> Problem {
    let problem = ProblemKind::Overloaded.with_detail("the gateway's store cannot be reached at the moment");
    problem.retry_after(Duration::from_secs(2)).with_cause(error)
}

/// 403 for a caller without a permission.
pub(super) fn missing_permission(system: &str, permission: Permission) -> Problem {
    ProblemKind::Forbidden.with_detail(format!("you lack the permission {system}:{}", permission.as_str()))
}
