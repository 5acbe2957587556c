//! The routes of the Web API and of the sign-in service.

use actix_web::http::Method;

use super::state::parse_guid;
use crate::sandbox::common::FakeRequest;

/// Below it is the Web API.
pub(super) const API: &str = "/api/data/v9.2/";

/// What a request is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    /// The tenant.
    SignIn(String),
    /// Set and key.
    Read(String, String),
    Update(String, String),
    Delete(String, String),
    /// The set.
    List(String),
    Create(String),
    /// Every table's description.
    Tables,
    /// The columns of a table by its logical name, and the type that they are cast to.
    Columns(String, Option<String>),
    /// The lookups of a table by its logical name.
    Lookups(String),
    WrongMethod,
    Unknown,
}

/// The route of a request.
pub(super) fn route(request: &FakeRequest<'_>) -> Route {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [tenant, "oauth2", "v2.0", "token"] if *request.method == Method::POST => Route::SignIn((*tenant).to_owned()),
        ["api", "data", "v9.2", rest @ ..] => route_api(request.method, rest),
        _ => Route::Unknown,
    }
}

fn route_api(method: &Method, segments: &[&str]) -> Route {
    let is_get = *method == Method::GET;
    match segments {
        ["EntityDefinitions"] if is_get => Route::Tables,
        [table, rest @ ..] if table.starts_with("EntityDefinitions(") => match (logical_name(table), rest) {
            (Some(name), ["Attributes"]) if is_get => Route::Columns(name, None),
            (Some(name), ["Attributes", cast]) if is_get => Route::Columns(name, Some((*cast).to_owned())),
            (Some(name), ["ManyToOneRelationships"]) if is_get => Route::Lookups(name),
            _ => Route::Unknown,
        },
        [resource] => route_records(method, resource),
        _ => Route::Unknown,
    }
}

/// `EntityDefinitions(LogicalName='account')`.
fn logical_name(segment: &str) -> Option<String> {
    let name = segment.strip_prefix("EntityDefinitions(LogicalName='")?.strip_suffix("')")?;
    Some(name.to_owned())
}

fn route_records(method: &Method, resource: &str) -> Route {
    let Some((set, key)) = resource.split_once('(') else {
        return match *method {
            Method::GET => Route::List(resource.to_owned()),
            Method::POST => Route::Create(resource.to_owned()),
            _ => Route::WrongMethod,
        };
    };
    let Some(key) = key.strip_suffix(')').and_then(parse_guid) else { return Route::Unknown };
    let set = set.to_owned();
    match *method {
        Method::GET => Route::Read(set, key),
        Method::PATCH => Route::Update(set, key),
        Method::DELETE => Route::Delete(set, key),
        _ => Route::WrongMethod,
    }
}
