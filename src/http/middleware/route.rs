//! The first thing that happens when a path has matched.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use crate::http::error::refuse;
use crate::http::request_state::RequestState;
use crate::http::request_target::percent_decode;
use crate::http::route::Route;
use crate::system::System;

/// Finds the system that the path names and refuses a method that the path does not take.
pub(in crate::http) async fn enter_route(
    route: Rc<Route>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = RequestState::from_request(request.request())?;
    state.set_target(request.request(), Some(Rc::clone(&route)), find_system(&state, &request));
    if !route.allows(request.method()) {
        return Ok(refuse(request, route.method_not_allowed(state.system().map(|system| &**system))));
    }
    next.call(request).await
}

fn find_system(state: &RequestState, request: &ServiceRequest) -> Option<Arc<System>> {
    let name = percent_decode(request.match_info().get("system")?, "path").ok()?;
    state.api.find_system(&name).ok().cloned()
}
