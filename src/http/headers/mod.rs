//! From headers to types: pure parsers, each tested with a table of cases.

pub(crate) mod accept;
mod content;
mod etag;
mod idempotency;
pub(crate) mod names;
mod prefer;
mod syntax;

pub(crate) use content::{BodyType, body_type, content_length, has_content_encoding};
pub(crate) use etag::{parse_own_etag, parse_precondition};
pub(crate) use idempotency::{fingerprint, parse_idempotency_key};
pub(crate) use prefer::parse_prefer;

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::problem::Problem;
use crate::record::{PlanTag, Precondition, RequestId};
use crate::transport::trace::{TraceContext, Tracer};
use crate::writes::Prefer;

/// The headers of a write.
#[derive(Debug)]
pub(crate) struct WriteHeaders {
    pub(crate) if_match: Option<Precondition>,
    pub(crate) if_none_match: Option<Precondition>,
    pub(crate) prefer: Prefer,
    pub(crate) accept_loss: Vec<String>,
    pub(crate) require_native: bool,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) if_plan: Option<PlanTag>,
}

impl WriteHeaders {
    /// # Errors
    /// 400 for a header that is malformed.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: parse_precondition(headers, &IF_MATCH)?,
            if_none_match: parse_precondition(headers, &IF_NONE_MATCH)?,
            prefer: parse_prefer(headers),
            accept_loss: parse_accept_loss(headers),
            require_native: parse_require_guarantee(headers)?,
            idempotency_key: parse_idempotency_key(headers)?,
            if_plan: parse_if_plan(headers)?,
        })
    }
}

/// `Accept-Loss: name, name`. Unknown names match no loss.
fn parse_accept_loss(headers: &HeaderMap) -> Vec<String> {
    let lines = syntax::field_values(headers, names::ACCEPT_LOSS);
    let texts: Vec<&str> = lines.filter_map(|line| std::str::from_utf8(line).ok()).collect();
    texts.iter().flat_map(|line| syntax::split_list(line, ',')).map(str::to_owned).collect()
}

/// `Require-Guarantee: native`, the only value.
fn parse_require_guarantee(headers: &HeaderMap) -> Result<bool, Problem> {
    match syntax::single_value(headers, &names::REQUIRE_GUARANTEE)? {
        None => Ok(false),
        Some(b"native") => Ok(true),
        Some(_) => Err(syntax::bad_header("Require-Guarantee must be `native`")),
    }
}

/// `If-Plan: "p.…"`: one strong tag of a plan.
fn parse_if_plan(headers: &HeaderMap) -> Result<Option<PlanTag>, Problem> {
    let Some(line) = syntax::single_value(headers, &names::IF_PLAN)? else { return Ok(None) };
    let opaque = line.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let opaque = opaque.and_then(|opaque| std::str::from_utf8(opaque).ok()).filter(|opaque| !opaque.contains('"'));
    match opaque.and_then(PlanTag::parse) {
        Some(plan) => Ok(Some(plan)),
        None => Err(syntax::bad_header("If-Plan must be the `plan` of a preview, such as \"p.AAAB\", with its quotes")),
    }
}

/// The `X-Request-Id` of the request if it is one line of 1 to 128 visible ASCII characters, else a
/// new one.
pub(crate) fn request_id(headers: &HeaderMap) -> RequestId {
    let sent = syntax::single_value(headers, &names::REQUEST_ID).ok().flatten();
    let usable = sent.filter(|id| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic));
    match usable.and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => RequestId(id.into()),
        None => RequestId::generate(),
    }
}

/// `traceparent` and `tracestate`, whatever they hold (http-rules 184).
pub(crate) fn trace_context(headers: &HeaderMap, spans: Option<&Arc<Tracer>>) -> Arc<TraceContext> {
    let texts = |name| -> Vec<&str> {
        syntax::field_values(headers, HeaderName::from_static(name))
            .map(|line| std::str::from_utf8(line).unwrap_or(""))
            .collect()
    };
    let (parent, state) = (texts("traceparent"), texts("tracestate"));
    Arc::new(match spans {
        Some(spans) => spans.trace_from_headers(&parent, &state),
        None => TraceContext::from_headers(&parent, &state),
    })
}

/// The key in `Authorization: Bearer KEY` (RFC 6750 §2.1); the scheme's name in any case.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(actix_web::http::header::AUTHORIZATION)?.as_bytes();
    let value = std::str::from_utf8(value).ok().filter(|value| value.is_ascii())?.trim_ascii();
    let (scheme, key) = value.split_at_checked("bearer".len())?;
    let key = key.strip_prefix(' ')?.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn headers_with(name: &'static str, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_usable_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(&*request_id(&headers_with("x-request-id", &["abc-1"])).0, "abc-1");
        for lines in [&[][..], &[""], &["a b"], &["a", "b"], &["a\tb"]] {
            let made = request_id(&headers_with("x-request-id", lines));
            assert!(uuid::Uuid::try_parse(&made.0).is_ok(), "{lines:?}");
        }
    }

    #[test]
    fn losses_are_accepted_by_name_over_several_lines() {
        let headers = headers_with("accept-loss", &["linked-questions, ,source-connections", "x"]);
        assert_eq!(parse_accept_loss(&headers), ["linked-questions", "source-connections", "x"]);
    }

    #[test]
    fn a_plan_is_one_strong_tag_of_a_preview() {
        let plan = parse_if_plan(&headers_with("if-plan", &[" \"p.AAAB\" "])).expect("a plan").expect("a plan");
        assert_eq!(plan.as_str(), "p.AAAB");
        assert_eq!(parse_if_plan(&headers_with("if-plan", &[])), Ok(None));
        for lines in
            [&["W/\"p.A\""][..], &["\"c7.x\""], &["p.A"], &["*"], &["\"p.A\", \"p.B\""], &["\"p.A\"", "\"p.A\""], &[""]]
        {
            assert!(parse_if_plan(&headers_with("if-plan", lines)).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn native_is_the_only_guarantee_to_require() {
        assert_eq!(parse_require_guarantee(&headers_with("require-guarantee", &[])), Ok(false));
        assert_eq!(parse_require_guarantee(&headers_with("require-guarantee", &[" native "])), Ok(true));
        for lines in [&["Native"][..], &["guarded"], &[""], &["native", "native"]] {
            assert!(parse_require_guarantee(&headers_with("require-guarantee", lines)).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_bearer_key_is_found_whatever_the_case_of_the_scheme() {
        for (line, expected) in [
            ("Bearer k", Some("k")),
            ("bearer  k", Some("k")),
            ("Basic k", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("k", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, HeaderValue::from_static(line));
            assert_eq!(bearer(&headers), expected, "{line}");
        }
    }
}
