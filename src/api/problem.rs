//! A problem as an HTTP answer (RFC 9457; contract 4.7).

use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::door::Refused;
use super::{caller, headers, reply};
use crate::problem::{Document, Problem, ProblemName};
use crate::record::RequestId;

/// The answer: document and the header fields that go with the problem.
pub(super) fn response(refused: &Refused, request: &HttpRequest, request_id: &RequestId, close: bool) -> HttpResponse {
    let problem = &*refused.problem;
    let status = StatusCode::from_u16(problem.name.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CONTENT_TYPE, "application/problem+json")).insert_header(reply::NO_STORE);
    if let Some(seconds) = problem.retry_after_seconds().or_else(|| promised(problem.name)) {
        answer.insert_header((RETRY_AFTER, seconds));
    }
    if let Some(operation) = &problem.operation {
        answer.insert_header((reply::OPERATION, operation.path()));
    }
    if refused.replayed {
        answer.insert_header((reply::REPLAYED, "true"));
    }
    fields_of(problem, request, &mut answer);
    if close {
        answer.force_close();
    }
    let document = Document::of(problem, Some(request.uri().path()), Some(&request_id.0));
    answer.body(serde_json::to_vec(&document).unwrap_or_default())
}

/// Problems that always say when to come back (contract 4.7), even if nobody knew better: in a second.
fn promised(name: ProblemName) -> Option<u64> {
    use ProblemName::{OperationInProgress, Overloaded, RateLimited, VendorBusy, VendorUnavailable};
    let promises = [OperationInProgress, VendorBusy, RateLimited, Overloaded, VendorUnavailable];
    promises.contains(&name).then_some(1)
}

/// What particular problems must carry (RFC 9110 §15.5.2, §15.5.6, §15.5.16, §12.5.3; RFC 5789 §2.2).
fn fields_of(problem: &Problem, request: &HttpRequest, answer: &mut HttpResponseBuilder) {
    match problem.name {
        ProblemName::Unauthenticated => {
            answer.insert_header((WWW_AUTHENTICATE, caller::challenge(request.headers())));
        }
        ProblemName::MethodNotAllowed => {
            answer.insert_header((ALLOW, problem.allow.as_deref().unwrap_or_default()));
        }
        ProblemName::UnsupportedMediaType => {
            if headers::is_encoded(request.headers()) {
                answer.insert_header(("Accept-Encoding", "identity"));
            }
            if request.method() == Method::PATCH {
                answer.insert_header(("Accept-Patch", reply::ACCEPT_PATCH));
            } else {
                answer.insert_header(("Accept-Post", "application/json"));
            }
        }
        _ => {}
    }
}
