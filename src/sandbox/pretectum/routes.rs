//! The routes of the data objects API.

use super::sample::{BUSINESS_AREA_ID, DATASET_ID, SCHEMA_ID};
use super::state::Settings;
use crate::sandbox::common::http::FakeRequest;

/// The route of a request, with ids as sent.
pub(super) enum Route {
    Token,
    Areas,
    Schemas,
    Schema,
    Datasets,
    List,
    Create,
    Update(String),
    Delete(String),
    Search,
}

/// Finds the route, and whether the ids in the path are those of the sample.
pub(super) fn route(request: &FakeRequest<'_>, settings: &Settings) -> Option<(Route, bool)> {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ids_exist = |ids: &[&str]| [BUSINESS_AREA_ID, SCHEMA_ID, DATASET_ID].starts_with(ids);
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("POST", ["v1", "oauth2", "token"]) if settings.token_path_v1 => (Route::Token, true),
        ("POST", ["oauth2", "token"]) if settings.token_path_plain => (Route::Token, true),
        ("GET", ["v1", "my", "businessareas"]) => (Route::Areas, true),
        ("GET", ["dataobjects", "search"]) => (Route::Search, true),
        ("GET", ["v1", "businessareas", area, "schemas"]) => (Route::Schemas, ids_exist(&[area])),
        ("GET", ["v1", "businessareas", area, "schemas", schema]) => (Route::Schema, ids_exist(&[area, schema])),
        ("GET", ["v1", "businessareas", area, "schemas", schema, "datasets"]) => {
            (Route::Datasets, ids_exist(&[area, schema]))
        }
        (method, ["v1", "businessareas", area, "schemas", schema, "datasets", dataset, "dataobjects", rest @ ..]) => {
            let route = match (method, rest) {
                ("GET", []) => Route::List,
                ("POST", []) => Route::Create,
                ("PUT", [id]) => Route::Update((*id).to_owned()),
                ("DELETE", [id]) => Route::Delete((*id).to_owned()),
                _ => return None,
            };
            (route, ids_exist(&[area, schema, dataset]))
        }
        _ => return None,
    })
}
