//! The requests that an item of a batch can be, and their responses: each is handled as the request
//! alone would be.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::{Method, Uri};
use futures_util::FutureExt as _;

use crate::http::context::{ItemTarget, RequestContext, RequestState};
use crate::http::error::{ApiError, HandlerResult};
use crate::http::handlers::{records, writes};
use crate::http::item_request::{ItemRequest, PathParams};
use crate::http::middleware::{ProblemTarget, add_common_headers, panic_to_problem, render_problem};
use crate::http::request_target::{self, percent_decode};
use crate::http::route::Route;
use crate::metrics::RequestAction::{self, Create, Delete, List, Read, Update};
use crate::problem::{Problem, ProblemKind};

/// The paths that an item can name.
pub(in crate::http) struct ItemRoutes(Vec<Rc<Route>>);

impl ItemRoutes {
    pub(in crate::http) fn new() -> Self {
        let record = Route::new("/records/{system}/{id}").with(Method::GET, Read).with(Method::HEAD, Read);
        let collection = Route::new("/records/{system}").with(Method::GET, List).with(Method::HEAD, List);
        let document = Route::new("/models/{model}/{system}/{id}").with(Method::GET, Read).with(Method::HEAD, Read);
        let documents = Route::new("/models/{model}/{system}").with(Method::GET, List).with(Method::HEAD, List);
        Self(vec![
            Rc::new(record.with(Method::PATCH, Update).with(Method::DELETE, Delete)),
            Rc::new(collection.with(Method::POST, Create)),
            Rc::new(document.with(Method::PATCH, Update).with(Method::DELETE, Delete)),
            Rc::new(documents.with(Method::POST, Create)),
        ])
    }

    /// The route of a path and the segments that it names; `None` for a path that no item can have.
    pub(in crate::http) fn find(&self, path: &str) -> Option<(Rc<Route>, PathParams)> {
        path.parse::<Uri>().ok().filter(|uri| uri.path() == path)?;
        self.0.iter().find_map(|route| Some((Rc::clone(route), bind(route.path, path)?)))
    }
}

/// The segments of `path` that `pattern` names.
fn bind(pattern: &'static str, path: &str) -> Option<PathParams> {
    let (mut names, mut segments) = (pattern.split('/'), path.split('/'));
    let mut bound = Vec::with_capacity(2);
    loop {
        match (names.next(), segments.next()) {
            (None, None) => return Some(bound),
            (Some(name), Some(segment)) => match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => bound.push((name, segment.to_owned())),
                None if name == segment => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// What became of an item.
pub(in crate::http) struct ItemOutcome {
    /// The response, problem or not.
    pub(in crate::http) response: HttpResponse,
    /// The problem that it is.
    pub(in crate::http) problem: Option<Problem>,
}

/// Handles an item of the batch that `batch` is, on the path of `route`.
pub(in crate::http) async fn respond(batch: &RequestContext, route: &Rc<Route>, item: ItemRequest) -> ItemOutcome {
    let item = Rc::new(item);
    let name = item.param("system").and_then(|name| percent_decode(name, "path").ok());
    let system = name.and_then(|name| batch.api().find_system(&name).ok().cloned());
    let action = route.action(&item.method);
    let state = RequestState::of_item(batch, ItemTarget { route: Rc::clone(route), system, action });
    let context = RequestContext::of_item(Rc::clone(&state), Rc::clone(&item));
    // A panic costs its item a 500 and nothing more.
    let result = match AssertUnwindSafe(handle(route, action, context)).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(panic_to_problem(&*panic).into()),
    };
    let mut outcome = match result {
        Ok(response) => ItemOutcome { response, problem: None },
        Err(error) => refuse(error, &state, &item),
    };
    add_common_headers(outcome.response.headers_mut(), &state);
    outcome
}

/// The response to an item that failed.
fn refuse(error: ApiError, state: &RequestState, item: &ItemRequest) -> ItemOutcome {
    state.log_failure(&error.problem);
    let target = ProblemTarget { method: &item.method, path: &item.path, headers: &item.headers };
    let response = render_problem(&error, state, &target);
    ItemOutcome { response, problem: Some(*error.problem) }
}

/// The order of checks is that of a request alone (contract 4): the target, the method, and then
/// what the handler checks.
async fn handle(route: &Route, action: RequestAction, context: RequestContext) -> HandlerResult {
    if let Some(uri) = context.item().and_then(|item| item.path.parse::<Uri>().ok()) {
        request_target::validate(&uri)?;
    }
    if !route.allows(context.method()) {
        return Err(route.method_not_allowed(context.state().system().map(|system| &**system)).into());
    }
    match action {
        Read => records::get(context).await,
        List => records::list(context).await,
        Create => writes::create(context).await,
        Update => writes::update(context).await,
        Delete => writes::delete(context).await,
        _ => Err(ProblemKind::InternalError.with_detail("the batch has a path without a handler").into()),
    }
}
