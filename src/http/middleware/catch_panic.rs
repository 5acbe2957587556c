//! Panics of handlers.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use futures_util::FutureExt as _;

use crate::http::error::ApiError;
use crate::problem::{Problem, ProblemKind};

/// Turns a panic into a 500. State that outlives a request is behind locks and stores, so that a
/// panic cannot leave it broken.
pub(in crate::http) async fn catch_panic(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Before the route has matched a clone would make actix-web panic (actix/actix-web#2657).
    let http_request = request.request().clone();
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => Ok(ServiceResponse::from_err(ApiError::from(panic_to_problem(&*panic)), http_request)),
    }
}

pub(in crate::http) fn panic_to_problem(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let problem = ProblemKind::InternalError.with_detail("the gateway failed while it handled this request");
    problem.with_cause(format_args!("a panic: {}", text.unwrap_or("without a message")))
}
