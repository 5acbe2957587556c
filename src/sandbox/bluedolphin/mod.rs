//! BlueDolphin's stand-in: object definitions.
//!
//! Traps it has, as the vendor has them: PUT replaces, is only queued (202), and is seen by GET some time later; it drops linked
//! questions and source connections whatever is sent; not found and busy are 400 with prose; DELETE wants a disabled definition
//! and takes every object based on it along; no version anywhere.
//!
//! Assumed where the vendor is silent: 400 bodies look as the documented 401 bodies; the busy answer is per definition; unknown
//! questionnaires in a PUT are passed over; properties keep their place; POST answers `{"id", "name"}`; an unknown route is 404.

mod sample;
mod state;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::common::{lock, parse_flag, parse_number, parse_optional_text};
use super::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
pub use sample::{
    API_KEY, BUSINESS_OBJECT_ID, EMPTY_DEFINITION_ID, NEW_APPLICATION_ID, OTHER_QUESTIONNAIRE_ID, QUESTIONNAIRE_ID,
    RETIRED_SERVER_ID, ROLE_ID, TEMPLATE_ID, TENANT,
};
use state::State;
pub use state::{Definition, LinkedQuestion, Property, Questionnaire, Settings};
use validate::ValidationError;

/// BlueDolphin on a port.
pub type Vendor = FakeVendor<BlueDolphin>;

/// BlueDolphin's behaviour and state.
#[derive(Debug, Default)]
pub struct BlueDolphin(Mutex<State>);

impl BlueDolphin {
    /// Changes how it behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock_and_apply_due().settings);
    }

    /// From now on queued updates wait for [`BlueDolphin::apply_queued`].
    pub fn hold_queue(&self) {
        self.configure(|settings| settings.queue_delay = None);
    }

    /// Lets every queued update take effect (or fail in silence) now; gives how many there were.
    pub fn apply_queued(&self) -> usize {
        lock(&self.0).apply_all()
    }

    /// How many updates are queued.
    pub fn queued_count(&self) -> usize {
        self.lock_and_apply_due().queued_count()
    }

    /// A definition with its hidden state.
    pub fn definition(&self, id: &str) -> Option<Definition> {
        self.lock_and_apply_due().find(id).cloned()
    }

    /// Every definition with its hidden state.
    pub fn definitions(&self) -> Vec<Definition> {
        self.lock_and_apply_due().definitions.clone()
    }

    /// Hidden: how many objects were deleted with their definitions.
    pub fn deleted_objects(&self) -> u32 {
        self.lock_and_apply_due().deleted_objects
    }

    /// A second writer straight at the vendor. `false` if there is no such definition.
    pub fn write(&self, id: &str, change: impl FnOnce(&mut Definition)) -> bool {
        let mut state = self.lock_and_apply_due();
        let known = state.find_mut(id).map(change).is_some();
        state.record_change(id);
        known
    }

    /// Adds a definition without properties; gives its id.
    pub fn insert(&self, name: &str) -> String {
        self.lock_and_apply_due().create(name)
    }

    /// A second writer deletes a definition, enabled or not.
    pub fn remove(&self, id: &str) {
        self.lock_and_apply_due().delete(id);
    }

    /// From now on changes of records are kept.
    pub fn record_changes(&self) {
        self.lock_and_apply_due().changes.enable();
    }

    /// Every change of a record that took effect since then, whoever made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.lock_and_apply_due().changes.all()
    }

    fn lock_and_apply_due(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.0);
        state.apply_due();
        state
    }
}

enum Route {
    Liveness,
    List,
    Create,
    Get(String),
    Put(String),
    Delete(String),
    Enable(String),
    Disable(String),
    Unknown,
}

fn route(request: &FakeRequest<'_>) -> Route {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let own = |id: &str| id.to_owned();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["liveness"]) => Route::Liveness,
        ("GET", ["v1", "object-definitions"]) => Route::List,
        ("POST", ["v1", "object-definitions"]) => Route::Create,
        ("GET", ["v1", "object-definitions", id]) => Route::Get(own(id)),
        ("PUT", ["v1", "object-definitions", id]) => Route::Put(own(id)),
        ("DELETE", ["v1", "object-definitions", id]) => Route::Delete(own(id)),
        ("POST", ["v1", "object-definitions", id, "enable"]) => Route::Enable(own(id)),
        ("POST", ["v1", "object-definitions", id, "disable"]) => Route::Disable(own(id)),
        _ => Route::Unknown,
    }
}

/// The vendor's error body: `errors` maps a name to texts, and the title speaks of validation whatever is wrong.
fn error_response(status: u16, key: &str, text: &str) -> FakeResponse {
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

/// `None` = may go on.
fn check_access(settings: &Settings, request: &FakeRequest<'_>) -> Option<FakeResponse> {
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

impl VendorModel for BlueDolphin {
    const NAME: &'static str = "bluedolphin";

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match route(request) {
            Route::Liveness | Route::Unknown => CallKind::Other,
            Route::List => CallKind::List,
            Route::Create => CallKind::Create,
            Route::Get(_) => CallKind::Read,
            Route::Put(_) | Route::Enable(_) | Route::Disable(_) => CallKind::Update,
            Route::Delete(_) => CallKind::Delete,
        }
    }

    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse {
        let route = route(request);
        if matches!(route, Route::Liveness) {
            return FakeResponse::raw(200, "text/plain", "Healthy");
        }
        let mut state = self.lock_and_apply_due();
        if let Some(refused) = check_access(&state.settings, request) {
            return refused;
        }
        if matches!(route, Route::Create | Route::Put(_)) && !request.is_json() {
            return error_response(415, "Content-Type", "Unsupported Media Type");
        }
        match route {
            Route::Liveness | Route::Unknown => FakeResponse::empty(404),
            Route::List => list(&state, request),
            Route::Create => create(&mut state, request),
            Route::Get(id) => match state.find(&id) {
                Some(definition) => FakeResponse::json(200, &definition.to_json(!state.settings.hide_is_mandatory)),
                None => error_response(400, "object_definition", "Unable to load BlueDolphin Object configuration."),
            },
            Route::Put(id) => put(&mut state, &id, request),
            Route::Delete(id) => delete(&mut state, &id),
            Route::Enable(id) => set_status(&mut state, &id, false),
            Route::Disable(id) => set_status(&mut state, &id, true),
        }
    }

    fn records(&self) -> Value {
        let state = self.lock_and_apply_due();
        let definitions: Vec<Value> = state.definitions.iter().map(Definition::to_json_with_hidden_state).collect();
        json!({ "definitions": definitions, "queued": state.queued_count(), "deleted_objects": state.deleted_objects })
    }

    /// Members: `name`, `disabled`, and `properties` as `{name: value or null}`.
    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [id] = path else { return false };
        self.write(id, |definition| apply_external_update(definition, members))
    }

    fn set_option(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut state = self.lock_and_apply_due();
        let settings = &mut state.settings;
        match name {
            "queue_delay_ms" if value.is_null() => settings.queue_delay = None,
            "queue_delay_ms" => settings.queue_delay = Some(Duration::from_millis(parse_number(value)?)),
            "silent_failure" => settings.silent_failure = parse_flag(value)?,
            "ignored_property" => settings.ignored_property = parse_optional_text(value)?,
            "hide_is_mandatory" => settings.hide_is_mandatory = parse_flag(value)?,
            "key_expired" => settings.key_expired = parse_flag(value)?,
            "add_on_missing" => settings.add_on_missing = parse_flag(value)?,
            "apply_queued" => drop(state.apply_all()),
            _ => {
                return Err("queue_delay_ms (null = by hand), apply_queued, silent_failure, ignored_property, \
                            hide_is_mandatory, key_expired, add_on_missing"
                    .to_owned());
            }
        }
        Ok(())
    }
}

fn list(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
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

fn create(state: &mut State, request: &FakeRequest<'_>) -> FakeResponse {
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

fn put(state: &mut State, id: &str, request: &FakeRequest<'_>) -> FakeResponse {
    if !validate::is_id(id) {
        return error_response(400, "id", "'id' is not a valid 24 digit hex string.");
    }
    let wanted = match validate::parse_update(id, request.json()) {
        Ok(wanted) => wanted,
        Err(error) => return validation_error_response(error),
    };
    if state.find(id).is_none() {
        let text = format!("The requested object definition with ID '{id}' could not be found in the database");
        return error_response(400, "id", &text);
    }
    if state.is_name_taken(&wanted.name, id) {
        return error_response(400, "name", "The name of the object definition must be unique");
    }
    if state.is_busy(id) {
        let text = "There might be an ongoing update in progress. Please try again later.";
        return error_response(400, "id", text);
    }
    state.queue(id, wanted);
    ok_response(202)
}

fn set_status(state: &mut State, id: &str, disabled: bool) -> FakeResponse {
    match state.find_mut(id) {
        None => error_response(400, "id", "Object definition is built-in or non-existing"),
        Some(definition) if definition.built_in => error_response(400, "id", "Object definition is secured"),
        Some(definition) => {
            definition.disabled = disabled;
            ok_response(200)
        }
    }
}

fn delete(state: &mut State, id: &str) -> FakeResponse {
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

fn apply_external_update(definition: &mut Definition, members: &Map<String, Value>) {
    if let Some(name) = members.get("name").and_then(Value::as_str) {
        name.clone_into(&mut definition.name);
    }
    if let Some(disabled) = members.get("disabled").and_then(Value::as_bool) {
        definition.disabled = disabled;
    }
    for (name, value) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().map(str::to_owned);
        let Some(value) = value else {
            definition.properties.retain(|property| property.name != *name);
            continue;
        };
        match definition.properties.iter_mut().find(|property| property.name == *name) {
            Some(property) => property.value = Some(value),
            None => definition.properties.push(Property { name: name.clone(), value: Some(value), locked: false }),
        }
    }
}
