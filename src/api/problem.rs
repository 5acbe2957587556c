//! A problem as an HTTP answer (RFC 9457; contract 4.7).

use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use super::door::Refused;
use super::{caller, headers, reply};
use crate::problem::{Problem, ProblemName, VendorSaid};
use crate::record::RequestId;

/// A problem document. Members that do not apply are absent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'p> {
    /// `/problems/{name}`: names the problem, and leads to a page that explains it.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/precondition-failed")]
    kind: String,
    /// The same for every problem of this type.
    #[schema(example = "The record has changed")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 412, minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong this time and what would be right.
    detail: &'p str,
    /// The path of the request.
    #[schema(format = "uri-reference")]
    instance: &'p str,
    /// The `X-Request-Id` of the answer.
    request_id: &'p str,
    /// Whether the same request may succeed later, unchanged.
    retryable: bool,
    /// The system, where a vendor was involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'p str>,
    /// What the vendor said, cleaned.
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'p VendorSaid>,
    /// The values found wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Finding<'p>>,
    /// 412: the record's present tag, if known. Not sent as `ETag`: no representation was selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_etag: Option<&'p str>,
    /// 412: JSON Pointers of what differs from the caller's version, if known.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    changed: &'p [String],
    /// `/operations/{id}` of the operation that tells the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri-reference")]
    operation: Option<String>,
    /// `lossy-write`: the names to send in `Accept-Loss`.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    losses: &'p [String],
}

/// One value that was found wrong.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Finding<'p> {
    /// JSON Pointer into the request's body (RFC 6901).
    #[schema(example = "/fields/Email")]
    pointer: &'p str,
    /// What is wrong and what would be right.
    detail: &'p str,
}

impl<'p> Document<'p> {
    fn of(problem: &'p Problem, instance: &'p str, request_id: &'p RequestId) -> Self {
        let row = problem.name.row();
        Self {
            kind: format!("/problems/{}", row.name),
            title: row.title,
            status: row.status,
            detail: &problem.detail,
            instance,
            request_id: &request_id.0,
            retryable: row.retryable,
            system: problem.system.as_deref(),
            vendor: problem.vendor.as_ref(),
            errors: problem.errors.iter().map(|(pointer, detail)| Finding { pointer, detail }).collect(),
            current_etag: problem.current_etag.as_deref(),
            changed: &problem.changed,
            operation: problem.operation.as_ref().map(crate::record::OperationId::path),
            losses: &problem.losses,
        }
    }
}

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
    if close || matches!(problem.name, ProblemName::BodyTooLarge | ProblemName::RequestTimeout) {
        answer.force_close();
    }
    let document = Document::of(problem, request.uri().path(), request_id);
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
        ProblemName::UnsupportedMediaType if headers::is_encoded(request.headers()) => {
            answer.insert_header(("Accept-Encoding", "identity"));
        }
        ProblemName::UnsupportedMediaType if request.method() == Method::PATCH => {
            answer.insert_header(("Accept-Patch", reply::ACCEPT_PATCH));
        }
        ProblemName::UnsupportedMediaType => {
            answer.insert_header(("Accept-Post", "application/json"));
        }
        _ => {}
    }
}
