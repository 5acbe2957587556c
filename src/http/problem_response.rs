//! A problem as an HTTP answer (RFC 9457; contract 4.7).

use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::service::ApiError;
use super::{auth, headers, response};
use crate::problem::{Problem, ProblemDocument, ProblemKind};
use crate::record::RequestId;

/// The answer: document and the header fields that go with the problem.
pub(super) fn problem_response(
    refused: &ApiError,
    request: &HttpRequest,
    request_id: &RequestId,
    close: bool,
) -> HttpResponse {
    let problem = &*refused.problem;
    let status = StatusCode::from_u16(problem.name.spec().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CONTENT_TYPE, "application/problem+json")).insert_header(response::NO_STORE);
    if let Some(seconds) = problem.retry_after_seconds().or_else(|| default_retry_after(problem.name)) {
        answer.insert_header((RETRY_AFTER, seconds));
    }
    if let Some(operation) = &problem.operation {
        answer.insert_header((response::H_OPERATION, operation.path()));
    }
    if refused.replayed {
        answer.insert_header((response::H_IDEMPOTENCY_REPLAYED, "true"));
    }
    add_required_headers(problem, request, &mut answer);
    if close {
        answer.force_close();
    }
    let document = ProblemDocument::new(problem, Some(request.uri().path()), Some(&request_id.0));
    answer.body(serde_json::to_vec(&document).unwrap_or_default())
}

/// Problems that always say when to come back (contract 4.7), even if nobody knew better: in a second.
fn default_retry_after(name: ProblemKind) -> Option<u64> {
    use ProblemKind::{OperationInProgress, Overloaded, RateLimited, VendorBusy, VendorUnavailable};
    let promises = [OperationInProgress, VendorBusy, RateLimited, Overloaded, VendorUnavailable];
    promises.contains(&name).then_some(1)
}

/// What particular problems must carry (RFC 9110 §15.5.2, §15.5.6, §15.5.16, §12.5.3; RFC 5789 §2.2).
fn add_required_headers(problem: &Problem, request: &HttpRequest, answer: &mut HttpResponseBuilder) {
    match problem.name {
        ProblemKind::Unauthenticated => {
            answer.insert_header((WWW_AUTHENTICATE, auth::www_authenticate(request.headers())));
        }
        ProblemKind::MethodNotAllowed => {
            answer.insert_header((ALLOW, problem.allow.as_deref().unwrap_or_default()));
        }
        ProblemKind::UnsupportedMediaType => {
            if headers::has_content_encoding(request.headers()) {
                answer.insert_header(("Accept-Encoding", "identity"));
            }
            if request.method() == Method::PATCH {
                answer.insert_header(("Accept-Patch", response::ACCEPT_PATCH));
            } else {
                answer.insert_header(("Accept-Post", "application/json"));
            }
        }
        _ => {}
    }
}
