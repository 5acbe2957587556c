//! The routes of the object definitions API.

use crate::sandbox::common::http::FakeRequest;

pub(super) enum Route {
    Liveness,
    List,
    Create,
    Get(String),
    Put(String),
    Delete(String),
    Enable(String),
    Disable(String),
    Questionnaire(String),
    Unknown,
}

pub(super) fn route(request: &FakeRequest<'_>) -> Route {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let id_of = |id: &str| id.to_owned();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["liveness"]) => Route::Liveness,
        ("GET", ["v1", "object-definitions"]) => Route::List,
        ("POST", ["v1", "object-definitions"]) => Route::Create,
        ("GET", ["v1", "object-definitions", id]) => Route::Get(id_of(id)),
        ("PUT", ["v1", "object-definitions", id]) => Route::Put(id_of(id)),
        ("DELETE", ["v1", "object-definitions", id]) => Route::Delete(id_of(id)),
        ("POST", ["v1", "object-definitions", id, "enable"]) => Route::Enable(id_of(id)),
        ("POST", ["v1", "object-definitions", id, "disable"]) => Route::Disable(id_of(id)),
        ("GET", ["v1", "questionnaires", id]) => Route::Questionnaire(id_of(id)),
        _ => Route::Unknown,
    }
}
