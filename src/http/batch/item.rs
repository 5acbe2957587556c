//! One item of a batch, handled as the request alone would be.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::{Method, Uri};
use futures_util::FutureExt as _;

use super::outcome::ItemOutcome;
use crate::http::caller_quota;
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::handlers::{previews, record_reads, record_writes};
use crate::http::item_request::ItemRequest;
use crate::http::middleware::{ProblemTarget, add_common_headers, panic_to_problem, render_problem};
use crate::http::request_state::{ItemTarget, RequestState};
use crate::http::request_target;
use crate::http::route::Route;
use crate::http::write_request::WriteMode;
use crate::metrics::RequestAction::{self, Create, Delete, List, Preview, Read, Update};
use crate::problem::ProblemKind;

/// Handles an item on the path of `route`. `batch` is the state of the request that brought it. An
/// item that waits for its caller's limits begins only if it still `may_begin`, else it is `None`.
pub(in crate::http) async fn respond(
    batch: &Rc<RequestState>,
    route: &Rc<Route>,
    item: ItemRequest,
    mode: WriteMode,
    may_begin: &dyn Fn() -> bool,
) -> Option<ItemOutcome> {
    let item = Rc::new(item);
    let system = item.system(&batch.api);
    let is_previewed = mode == WriteMode::Preview && item.method != Method::GET;
    let own_action = route.action(&item.method);
    let action = if is_previewed { Preview } else { own_action };
    let state = RequestState::of_item(batch, ItemTarget { route: Rc::clone(route), system, action });
    let context = RequestContext::of_item(Rc::clone(&state), Rc::clone(&item));
    // A panic costs its item a 500 and nothing more.
    let handled = handle(batch, route, (own_action, is_previewed), context, may_begin);
    let result = match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(panic_to_problem(&*panic).into()),
    };
    Some(match result {
        Ok(response) => {
            let mut response = response?;
            add_common_headers(response.headers_mut(), &state);
            ItemOutcome::new(response, None, &state)
        }
        Err(error) => refuse(error, &state, &item),
    })
}

/// The response to an item that failed.
pub(super) fn refuse(error: ApiError, state: &RequestState, item: &ItemRequest) -> ItemOutcome {
    state.log_failure(&error.problem);
    let target = ProblemTarget { method: &item.method, path: &item.path, headers: &item.headers };
    let mut response = render_problem(&error, state, &target);
    add_common_headers(response.headers_mut(), state);
    ItemOutcome::new(response, Some(*error.problem), state)
}

/// The order of checks is that of a request alone (contract 4): the target, the method, the
/// caller's limits, and then what the handler checks.
async fn handle(
    batch: &Rc<RequestState>,
    route: &Route,
    (action, is_previewed): (RequestAction, bool),
    context: RequestContext,
    may_begin: &dyn Fn() -> bool,
) -> Result<Option<HttpResponse>, ApiError> {
    if let Some(uri) = context.item().and_then(|item| item.path.parse::<Uri>().ok()) {
        request_target::validate(&uri)?;
    }
    if !route.allows(context.method()) {
        return Err(route.method_not_allowed(context.state().system().map(|system| &**system)).into());
    }
    // What is only replayed sends nothing to a vendor, and must not use up what the others need.
    let limited = context.item().filter(|item| !item.replays_only);
    let _loan = match limited {
        Some(item) => Some(caller_quota::admit_item(context.state(), batch, item.slot.as_ref()).await?),
        None => None,
    };
    if !may_begin() {
        return Ok(None);
    }
    let handled = match action {
        Create if is_previewed => previews::preview_create(&context).await,
        Update if is_previewed => previews::preview_update(&context).await,
        Delete if is_previewed => previews::preview_delete(&context).await,
        Preview if context.item().is_some_and(|item| item.param("id").is_some()) => {
            previews::change_or_delete(context).await
        }
        Preview => previews::new_record(context).await,
        Read => record_reads::get(context).await,
        List => record_reads::list(context).await,
        Create => record_writes::create(context).await,
        Update => record_writes::update(context).await,
        Delete => record_writes::delete(context).await,
        _ => Err(ProblemKind::InternalError.with_detail("the batch has a path without a handler").into()),
    };
    handled.map(Some)
}
