//! Problems as HTTP responses (RFC 9457; contract 4.7).

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError as _};

use super::auth;
use crate::http::error::ApiError;
use crate::http::headers::names;
use crate::http::html::{escape_html, html_response, inline_code_html};
use crate::http::request_state::RequestState;
use crate::http::{body, compat, headers, response};
use crate::problem::{Problem, ProblemDocument, ProblemKind};

/// Writes the document of an [`ApiError`], logs it, and drains the body that the handler did not
/// read.
pub(in crate::http) async fn render_problems(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = RequestState::from_request(request.request())?;
    let (request, response) = next.call(request).await?.into_parts();
    let Some(error) = response.error().and_then(|error| error.as_error::<ApiError>()) else {
        return Ok(ServiceResponse::new(request, response));
    };
    state.log_failure(&error.problem);
    let unread = matches!(error.problem.kind, ProblemKind::BodyTooLarge | ProblemKind::RequestTimeout);
    let close = unread || !body::drain_unread_body(&request, &state).await;
    if close {
        compat::mark_closing(&request);
    }
    let target = ProblemTarget { method: request.method(), path: request.uri().path(), headers: request.headers() };
    let mut rendered = render_problem(error, &state, &target);
    if close {
        rendered.head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(ServiceResponse::new(request, rendered))
}

/// The request that a problem document is about.
pub(in crate::http) struct ProblemTarget<'r> {
    pub(in crate::http) method: &'r Method,
    pub(in crate::http) path: &'r str,
    pub(in crate::http) headers: &'r HeaderMap,
}

/// The document of a problem.
pub(in crate::http) fn render_problem(
    error: &ApiError,
    state: &RequestState,
    target: &ProblemTarget<'_>,
) -> HttpResponse {
    let problem = &*error.problem;
    let mut response = HttpResponse::build(error.status_code());
    response.insert_header((CONTENT_TYPE, response::PROBLEM_JSON)).insert_header(response::NO_STORE);
    if let Some(seconds) = problem.retry_after_seconds().or_else(|| default_retry_after(problem.kind)) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    if let Some(operation) = &problem.operation {
        response.insert_header((names::OPERATION, operation.path()));
    }
    if error.is_replay {
        response.insert_header((names::IDEMPOTENCY_REPLAYED, "true"));
    }
    add_required_headers(problem, state, target, &mut response);
    response.extensions_mut().insert(problem.kind);
    if is_for_a_browser(problem.kind, target) {
        return problem_page(&mut response, problem, state);
    }
    let document = ProblemDocument::new(problem, Some(target.path), Some(&state.request_id.0));
    let document = document.with_external_url(&state.api.external_url);
    response.body(serde_json::to_vec(&document).unwrap_or_default())
}

/// Whether a person reads the response: a browser that has followed a link to nothing, or to what
/// needs credentials. Programs that accept something other than JSON get the document all the same.
fn is_for_a_browser(kind: ProblemKind, target: &ProblemTarget<'_>) -> bool {
    matches!(kind.spec().status, 401 | 404)
        && target.method == Method::GET
        && headers::accept::accepts_html(target.headers)
}

fn problem_page(response: &mut HttpResponseBuilder, problem: &Problem, state: &RequestState) -> HttpResponse {
    let spec = problem.kind.spec();
    let url = &state.api.external_url;
    let body = format!(
        "<p>{}</p><p>{}</p><p><a href=\"{url}/problems/{name}\">{name}</a>, status {}, request <code>{}</code></p>",
        escape_html(&problem.detail),
        link_docs(&inline_code_html(spec.remedy), url),
        spec.status,
        escape_html(&state.request_id.0),
        name = spec.name,
    );
    html_response(response.insert_header((VARY, "Accept")), spec.title, Some(url), &body)
}

/// A link where the text names the page that lists the API.
fn link_docs(html: &str, url: &str) -> String {
    html.replace("<code>/docs/</code>", &format!("<a href=\"{url}/docs/\"><code>/docs/</code></a>"))
}

/// Problems that always carry `Retry-After` (contract 4.7), one second where nothing better is
/// known.
fn default_retry_after(kind: ProblemKind) -> Option<u64> {
    use ProblemKind::{
        Contended, OperationInProgress, Overloaded, QuotaExceeded, RateLimited, VendorBusy, VendorUnavailable,
    };
    let retryable =
        [OperationInProgress, VendorBusy, Contended, QuotaExceeded, RateLimited, Overloaded, VendorUnavailable];
    retryable.contains(&kind).then_some(1)
}

/// The headers that particular problems must carry (RFC 9110 §15.5.2, §15.5.6, §15.5.16, §12.5.3;
/// RFC 5789 §2.2).
fn add_required_headers(
    problem: &Problem,
    state: &RequestState,
    target: &ProblemTarget<'_>,
    response: &mut HttpResponseBuilder,
) {
    match problem.kind {
        ProblemKind::Unauthenticated => {
            response.insert_header((WWW_AUTHENTICATE, auth::www_authenticate(target.headers)));
        }
        ProblemKind::MethodNotAllowed => {
            let of_path = || state.route().map(|route| route.allow_header(None)).unwrap_or_default();
            response.insert_header((ALLOW, problem.allow.clone().unwrap_or_else(of_path)));
        }
        ProblemKind::UnsupportedMediaType => {
            if headers::has_content_encoding(target.headers) {
                response.insert_header(("Accept-Encoding", "identity"));
            }
            if target.method == Method::PATCH {
                response.insert_header((names::ACCEPT_PATCH, response::ACCEPT_PATCH));
            } else {
                response.insert_header((names::ACCEPT_POST, "application/json"));
            }
        }
        _ => {}
    }
}
