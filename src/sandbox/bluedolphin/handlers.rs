//! The handlers of the object definitions API.

use serde_json::{Value, json};

use super::definition::Definition;
use super::sample::{API_KEY, TEMPLATE_ID, TENANT};
use super::state::{Settings, State};
use super::validate::{self, ValidationError};
use crate::sandbox::common::http::{FakeRequest, FakeResponse};

/// The vendor's error body. Its title mentions validation whatever the error is.
pub(super) fn error_response(status: u16, key: &str, text: &str) -> FakeResponse {
    let kind = match status {
        401 => "https://tools.ietf.org/html/rfc7235#section-3.1",
        403 => "https://tools.ietf.org/html/rfc7231#section-6.5.3",
        415 => "https://tools.ietf.org/html/rfc7231#section-6.5.13",
        _ => "https://tools.ietf.org/html/rfc7231#section-6.5.1",
    };
    let body = json!({ "type": kind, "title": "One or more validation errors occurred", "status": status,
                       "traceId": uuid::Uuid::now_v7().to_string(), "errors": { key: [text] } });
    FakeResponse::raw(status, "application/problem+json; charset=utf-8", body.to_string())
}

fn validation_error_response((key, text): ValidationError) -> FakeResponse {
    error_response(400, key, &text)
}

fn ok_response(status: u16) -> FakeResponse {
    FakeResponse::json(status, &json!({ "result": "OK" }))
}

/// Returns the response to a request without valid credentials.
pub(super) fn check_access(settings: &Settings, request: &FakeRequest<'_>) -> Option<FakeResponse> {
    match request.header("tenant") {
        None | Some("") => return Some(error_response(401, "tenant", "Tenant header missing or empty")),
        Some(tenant) if tenant != TENANT => return Some(error_response(401, "tenant", "Unknown tenant specified")),
        Some(_) => {}
    }
    if request.header("x-api-key") != Some(API_KEY) || settings.key_expired {
        return Some(error_response(401, "x-api-key", "Invalid apikey"));
    }
    settings.add_on_missing.then(|| error_response(403, "tenant", "Add-on PUBLIC_API is not enabled"))
}

pub(super) fn list(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
    let number = |name: &str, default: i64| {
        request
            .query_param(name)
            .map_or(Ok(default), |text| text.parse::<i64>().map_err(|_| ()))
            .and_then(|number| usize::try_from(number).map_err(|_| ()))
    };
    let Ok(take) = number("take", 100) else {
        return error_response(400, "take", "'take' must be greater than or equal to '0'");
    };
    let Ok(start) = number("start", 0) else {
        return error_response(400, "start", "'start' must be greater than or equal to '0'");
    };
    let with_disabled = request.query_param("include_disabled").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let listed = || state.definitions.iter().filter(|definition| with_disabled || !definition.disabled);
    let item =
        |definition: &Definition| json!({ "id": definition.id, "name": definition.name, "type": definition.kind });
    let items: Vec<Value> = listed().skip(start).take(take).map(item).collect();
    FakeResponse::json(200, &json!({ "total_items": listed().count(), "items": items }))
}

pub(super) fn create(state: &mut State, request: &FakeRequest<'_>) -> FakeResponse {
    let name = match validate::parse_create(request.json(), TEMPLATE_ID) {
        Ok(name) => name,
        Err(error) => return validation_error_response(error),
    };
    if state.is_name_taken(&name, "") {
        return error_response(400, "name", "The name of the object definition must be unique");
    }
    let id = state.create(&name);
    FakeResponse::json(201, &json!({ "id": id, "name": name }))
}

pub(super) fn put(state: &mut State, id: &str, request: &FakeRequest<'_>) -> FakeResponse {
    if !validate::is_id(id) {
        return error_response(400, "id", "'id' is not a valid 24 digit hex string.");
    }
    let update = match validate::parse_update(id, request.json()) {
        Ok(update) => update,
        Err(error) => return validation_error_response(error),
    };
    if state.find(id).is_none() {
        let text = format!("The requested object definition with ID '{id}' could not be found in the database");
        return error_response(400, "id", &text);
    }
    if state.is_name_taken(&update.name, id) {
        return error_response(400, "name", "The name of the object definition must be unique");
    }
    if state.is_busy(id) {
        let text = "There might be an ongoing update in progress. Please try again later.";
        return error_response(400, "id", text);
    }
    state.queue(id, update);
    ok_response(202)
}

pub(super) fn set_status(state: &mut State, id: &str, disabled: bool) -> FakeResponse {
    match state.find_mut(id) {
        None => error_response(400, "id", "Object definition is built-in or non-existing"),
        Some(definition) if definition.built_in => error_response(400, "id", "Object definition is secured"),
        Some(definition) => {
            definition.disabled = disabled;
            ok_response(200)
        }
    }
}

pub(super) fn delete(state: &mut State, id: &str) -> FakeResponse {
    match state.find(id) {
        None => error_response(400, "id", "Object definition is built-in or non-existing"),
        Some(definition) if definition.built_in => error_response(400, "id", "Object definition is secured"),
        Some(definition) if !definition.disabled => {
            error_response(400, "id", "Only disabled object definitions can be deleted")
        }
        Some(_) => {
            state.delete(id);
            ok_response(200)
        }
    }
}
