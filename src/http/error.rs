//! The error of handlers and middleware.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

use crate::problem::Problem;

/// The result of a handler.
pub(super) type HandlerResult = Result<HttpResponse, ApiError>;

/// A problem to return, and whether it is the stored response of an `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) problem: Box<Problem>,
    pub(super) is_replay: bool,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), is_replay: false }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.problem.kind.as_str())
    }
}

/// `middleware::render_problems` writes the document: it needs the request, which is not known
/// here.
impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.kind.spec().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

/// Ends a request in a middleware. An `Err` would leave the outer middleware without the request,
/// which the problem document names.
pub(super) fn refuse(request: ServiceRequest, error: impl Into<ApiError>) -> ServiceResponse<BoxBody> {
    request.error_response(error.into())
}
