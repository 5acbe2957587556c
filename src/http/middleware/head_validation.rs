//! HTTP itself, before anything is known of route or caller: method, header section, target
//! (http-rules 89, 94, 99, 100, 116).

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use crate::http::error::refuse;
use crate::http::request_state::RequestState;
use crate::http::{compat, request_target};

use crate::problem::{Problem, ProblemKind};

/// All field lines together, in bytes, with 4 more per line for `: ` and the line's end.
const MAX_HEADERS_BYTES: usize = 32 * 1024;
/// One field line, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The registered methods (IANA, HTTP Method Registry) without `PRI`, which begins HTTP/2. Methods
/// are case-sensitive, so `patch` is none of them.
#[rustfmt::skip]
const KNOWN_METHODS: [&str; 39] = [
    "GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT", "TRACE", "CONNECT", "QUERY",
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE",
    "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND",
    "PROPPATCH", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE",
    "UPDATEREDIRECTREF", "VERSION-CONTROL",
];

/// Refuses a request whose head breaks the rules of HTTP.
pub(in crate::http) async fn validate_head(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let http_request = request.request();
    let checked = compat::check_not_closing(http_request)
        .and_then(|()| check_head(http_request))
        .and_then(|()| request_target::validate(http_request.uri()));
    match checked {
        Ok(()) => next.call(request).await,
        Err(problem) => {
            RequestState::from_request(http_request)?.set_target(http_request, None, None);
            Ok(refuse(request, problem))
        }
    }
}

/// Checks method and header section.
///
/// # Errors
/// 501, 431, 400.
fn check_head(request: &HttpRequest) -> Result<(), Problem> {
    if !KNOWN_METHODS.contains(&request.method().as_str()) {
        let detail = "HTTP has no such method; methods are case-sensitive (RFC 9110 §9.1)";
        return Err(ProblemKind::NotImplemented.with_detail(detail));
    }
    check_header_sizes(request.headers())?;
    for name in [HOST, CONTENT_TYPE, AUTHORIZATION] {
        if request.headers().get_all(&name).nth(1).is_some() {
            return Err(ProblemKind::MalformedRequest.with_detail(format!("{name} was sent twice; send it once")));
        }
    }
    match request.headers().get(HOST) {
        Some(host) if !is_host(host.as_bytes()) => {
            Err(ProblemKind::MalformedRequest.with_detail("Host is not a host with an optional port (RFC 9112 §3.2)"))
        }
        _ => Ok(()),
    }
}

fn check_header_sizes(headers: &HeaderMap) -> Result<(), Problem> {
    let mut section = 0_usize;
    for (name, value) in headers {
        let field = name.as_str().len() + value.len();
        if field > MAX_HEADER_BYTES {
            let detail = format!("the header {name} has {field} bytes; the limit is {MAX_HEADER_BYTES}");
            return Err(ProblemKind::HeadersTooLarge.with_detail(detail));
        }
        section += field + 4;
    }
    if section > MAX_HEADERS_BYTES {
        let detail = format!("the headers have {section} bytes; the limit is {MAX_HEADERS_BYTES}");
        return Err(ProblemKind::HeadersTooLarge.with_detail(detail));
    }
    Ok(())
}

/// `uri-host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2.2), which may be empty: a name, or an
/// address in brackets.
fn is_host(field: &[u8]) -> bool {
    let colon = match field.first() {
        Some(b'[') => field.iter().position(|byte| *byte == b']').map(|end| end + 1),
        _ => Some(field.iter().position(|byte| *byte == b':').unwrap_or(field.len())),
    };
    let Some((host, port)) = colon.and_then(|at| field.split_at_checked(at)) else { return false };
    let more: &[u8] = if host.first() == Some(&b'[') { b"[]:." } else { b"-._~%!$&'()*+,;=" };
    let named = host.iter().all(|byte| byte.is_ascii_alphanumeric() || more.contains(byte));
    let digits = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    named && digits
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;

    use super::*;

    fn problem_name(request: TestRequest) -> Option<&'static str> {
        check_head(&request.to_http_request()).err().map(|problem| problem.kind.as_str())
    }

    #[test]
    fn an_unknown_method_gets_501_in_any_case() {
        for method in ["FOO", "get", "patch", "Patch", "M-SEARCH"] {
            let method = Method::from_bytes(method.as_bytes()).expect("a token");
            assert_eq!(problem_name(TestRequest::default().method(method)), Some("not-implemented"));
        }
        for method in KNOWN_METHODS {
            let method = Method::from_bytes(method.as_bytes()).expect("a token");
            assert_eq!(problem_name(TestRequest::default().method(method)), None);
        }
    }

    #[test]
    fn a_large_header_and_many_small_headers_are_rejected() {
        let large = TestRequest::default().insert_header(("x-large", "v".repeat(MAX_HEADER_BYTES)));
        let problem = check_head(&large.to_http_request()).expect_err("too large");
        assert!(problem.kind == ProblemKind::HeadersTooLarge && problem.detail.contains("x-large"));
        let mut many = TestRequest::default();
        for _ in 0..5 {
            many = many.append_header(("x-many", "v".repeat(7000)));
        }
        assert_eq!(problem_name(many), Some("headers-too-large"));
    }

    #[test]
    fn singleton_headers_occur_at_most_once() {
        for name in ["host", "content-type", "authorization"] {
            let twice = TestRequest::default().append_header((name, "a")).append_header((name, "a"));
            assert_eq!(problem_name(twice), Some("malformed-request"), "{name}");
        }
        for (host, expected) in [
            ("", None),
            ("a.b:80", None),
            ("a:", None),
            ("[::1]", None),
            ("[::1]:80", None),
            ("a b", Some("malformed-request")),
            ("a:b", Some("malformed-request")),
            ("a:80:80", Some("malformed-request")),
            ("::1", Some("malformed-request")),
            ("[::1", Some("malformed-request")),
            ("[::1]x", Some("malformed-request")),
            ("u@a", Some("malformed-request")),
        ] {
            assert_eq!(problem_name(TestRequest::default().insert_header(("host", host))), expected, "{host}");
        }
    }
}
