//! The routes of the Fragments service.

use super::class::parse_guid;
use crate::sandbox::common::http::FakeRequest;

pub(super) enum Route {
    Exchange,
    Get(String, String, bool),
    List(String, bool),
    Create(String),
    Update(String),
    Delete(String, String),
    Classes,
    User,
    /// The path exists, but not with this method.
    WrongMethod,
    Unknown,
}

/// Paths are case-insensitive, as in IIS, and a trailing slash is ignored.
pub(super) fn route(request: &FakeRequest<'_>) -> Route {
    let segments = request.segments();
    let is = |at: usize, word: &str| segments.get(at).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
    if !(is(0, "m42Services") && is(1, "api")) {
        return Route::Unknown;
    }
    let method = request.method.as_str();
    let rest: Vec<&str> = segments.iter().skip(2).map(String::as_str).collect();
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    match rest.as_slice() {
        [a, b] if same(a, "ApiToken") && same(b, "GenerateAccessTokenFromApiToken") => match method {
            "POST" => Route::Exchange,
            _ => Route::WrongMethod,
        },
        [a, b] if same(a, "Schema") && same(b, "classes") && method == "GET" => Route::Classes,
        [a] if same(a, "userinfo") && method == "GET" => Route::User,
        [a, b, class, rest @ ..] if same(a, "data") && same(b, "fragments") => route_fragments(method, class, rest),
        _ => Route::Unknown,
    }
}

fn route_fragments(method: &str, class: &str, rest: &[&str]) -> Route {
    let class = class.to_owned();
    match (method, rest) {
        ("GET", []) => Route::List(class, false),
        ("POST", []) => Route::Create(class),
        ("PUT", []) => Route::Update(class),
        ("GET", [word]) if word.eq_ignore_ascii_case("schema-info") => Route::List(class, true),
        ("GET" | "DELETE", [id]) => match (parse_guid(id), method) {
            (None, _) => Route::Unknown,
            (Some(id), "GET") => Route::Get(class, id, false),
            (Some(id), _) => Route::Delete(class, id),
        },
        ("GET", [id, word]) if word.eq_ignore_ascii_case("schema-info") => match parse_guid(id) {
            None => Route::Unknown,
            Some(id) => Route::Get(class, id, true),
        },
        (_, [] | [_]) => Route::WrongMethod,
        _ => Route::Unknown,
    }
}
