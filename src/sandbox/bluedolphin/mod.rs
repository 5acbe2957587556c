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

use super::common::{flag, lock, number, optional_text};
use super::{Answer, CallKind, Change, Incoming, Model, Standin};
pub use sample::{
    API_KEY, BUSINESS_OBJECT_ID, EMPTY_DEFINITION_ID, NEW_APPLICATION_ID, OTHER_QUESTIONNAIRE_ID, QUESTIONNAIRE_ID,
    RETIRED_SERVER_ID, ROLE_ID, TEMPLATE_ID, TENANT,
};
use state::State;
pub use state::{Definition, LinkedQuestion, Property, Questionnaire, Settings};
use validate::Wrong;

/// BlueDolphin on a port.
pub type Vendor = Standin<BlueDolphin>;

/// BlueDolphin's behaviour and state.
#[derive(Debug, Default)]
pub struct BlueDolphin(Mutex<State>);

impl BlueDolphin {
    /// Changes how it behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settled().settings);
    }

    /// From now on queued updates wait for [`BlueDolphin::apply_queued`].
    pub fn queue_by_hand(&self) {
        self.configure(|settings| settings.queue_delay = None);
    }

    /// Lets every queued update take effect (or fail in silence) now; gives how many there were.
    pub fn apply_queued(&self) -> usize {
        lock(&self.0).apply_all()
    }

    /// How many updates are queued.
    pub fn queued(&self) -> usize {
        self.settled().queued()
    }

    /// A definition with its hidden state.
    pub fn definition(&self, id: &str) -> Option<Definition> {
        self.settled().find(id).cloned()
    }

    /// Every definition with its hidden state.
    pub fn definitions(&self) -> Vec<Definition> {
        self.settled().definitions.clone()
    }

    /// Hidden: how many objects were deleted with their definitions.
    pub fn deleted_objects(&self) -> u32 {
        self.settled().deleted_objects
    }

    /// A second writer straight at the vendor. `false` if there is no such definition.
    pub fn write(&self, id: &str, change: impl FnOnce(&mut Definition)) -> bool {
        let mut state = self.settled();
        let known = state.find_mut(id).map(change).is_some();
        state.note(id);
        known
    }

    /// Adds a definition without properties; gives its id.
    pub fn insert(&self, name: &str) -> String {
        self.settled().create(name)
    }

    /// A second writer deletes a definition, enabled or not.
    pub fn remove(&self, id: &str) {
        self.settled().delete(id);
    }

    /// From now on changes of records are kept.
    pub fn keep_changes(&self) {
        self.settled().changes.keep();
    }

    /// Every change of a record that took effect since then, whoever made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.settled().changes.all()
    }

    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.0);
        state.settle();
        state
    }
}

enum Route {
    Live,
    List,
    Create,
    Get(String),
    Put(String),
    Delete(String),
    Enable(String),
    Disable(String),
    Unknown,
}

fn route(request: &Incoming<'_>) -> Route {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let own = |id: &str| id.to_owned();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["liveness"]) => Route::Live,
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
fn problem(status: u16, key: &str, text: &str) -> Answer {
    let kind = match status {
        401 => "https://tools.ietf.org/html/rfc7235#section-3.1",
        403 => "https://tools.ietf.org/html/rfc7231#section-6.5.3",
        415 => "https://tools.ietf.org/html/rfc7231#section-6.5.13",
        _ => "https://tools.ietf.org/html/rfc7231#section-6.5.1",
    };
    let body = json!({ "type": kind, "title": "One or more validation errors occurred", "status": status,
                       "traceId": uuid::Uuid::now_v7().to_string(), "errors": { key: [text] } });
    Answer::raw(status, "application/problem+json; charset=utf-8", body.to_string())
}

fn wrong((key, text): Wrong) -> Answer {
    problem(400, key, &text)
}

fn ok(status: u16) -> Answer {
    Answer::json(status, &json!({ "result": "OK" }))
}

/// `None` = may go on.
fn refuse(settings: &Settings, request: &Incoming<'_>) -> Option<Answer> {
    match request.header("tenant") {
        None | Some("") => return Some(problem(401, "tenant", "Tenant header missing or empty")),
        Some(tenant) if tenant != TENANT => return Some(problem(401, "tenant", "Unknown tenant specified")),
        Some(_) => {}
    }
    if request.header("x-api-key") != Some(API_KEY) || settings.key_expired {
        return Some(problem(401, "x-api-key", "Invalid apikey"));
    }
    settings.add_on_missing.then(|| problem(403, "tenant", "Add-on PUBLIC_API is not enabled"))
}

impl Model for BlueDolphin {
    const NAME: &'static str = "bluedolphin";

    fn call_kind(&self, request: &Incoming<'_>) -> CallKind {
        match route(request) {
            Route::Live | Route::Unknown => CallKind::Other,
            Route::List => CallKind::List,
            Route::Create => CallKind::Create,
            Route::Get(_) => CallKind::Read,
            Route::Put(_) | Route::Enable(_) | Route::Disable(_) => CallKind::Update,
            Route::Delete(_) => CallKind::Delete,
        }
    }

    fn answer(&self, request: &Incoming<'_>) -> Answer {
        let route = route(request);
        if matches!(route, Route::Live) {
            return Answer::raw(200, "text/plain", "Healthy");
        }
        let mut state = self.settled();
        if let Some(refused) = refuse(&state.settings, request) {
            return refused;
        }
        if matches!(route, Route::Create | Route::Put(_)) && !request.is_json() {
            return problem(415, "Content-Type", "Unsupported Media Type");
        }
        match route {
            Route::Live | Route::Unknown => Answer::empty(404),
            Route::List => list(&state, request),
            Route::Create => create(&mut state, request),
            Route::Get(id) => match state.find(&id) {
                Some(definition) => Answer::json(200, &definition.show(!state.settings.hide_is_mandatory)),
                None => problem(400, "object_definition", "Unable to load BlueDolphin Object configuration."),
            },
            Route::Put(id) => put(&mut state, &id, request),
            Route::Delete(id) => delete(&mut state, &id),
            Route::Enable(id) => switch(&mut state, &id, false),
            Route::Disable(id) => switch(&mut state, &id, true),
        }
    }

    fn records(&self) -> Value {
        let state = self.settled();
        let definitions: Vec<Value> = state.definitions.iter().map(Definition::show_all).collect();
        json!({ "definitions": definitions, "queued": state.queued(), "deleted_objects": state.deleted_objects })
    }

    /// Members: `name`, `disabled`, and `properties` as `{name: value or null}`.
    fn edit(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [id] = path else { return false };
        self.write(id, |definition| edit(definition, members))
    }

    fn set(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut state = self.settled();
        let settings = &mut state.settings;
        match name {
            "queue_delay_ms" if value.is_null() => settings.queue_delay = None,
            "queue_delay_ms" => settings.queue_delay = Some(Duration::from_millis(number(value)?)),
            "silent_failure" => settings.silent_failure = flag(value)?,
            "ignored_property" => settings.ignored_property = optional_text(value)?,
            "hide_is_mandatory" => settings.hide_is_mandatory = flag(value)?,
            "key_expired" => settings.key_expired = flag(value)?,
            "add_on_missing" => settings.add_on_missing = flag(value)?,
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

fn list(state: &State, request: &Incoming<'_>) -> Answer {
    let number = |name: &str, default: i64| {
        request
            .parameter(name)
            .map_or(Ok(default), |text| text.parse::<i64>().map_err(|_| ()))
            .and_then(|number| usize::try_from(number).map_err(|_| ()))
    };
    let Ok(take) = number("take", 100) else {
        return problem(400, "take", "'take' must be greater than or equal to '0'");
    };
    let Ok(start) = number("start", 0) else {
        return problem(400, "start", "'start' must be greater than or equal to '0'");
    };
    let with_disabled = request.parameter("include_disabled").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let listed = || state.definitions.iter().filter(|definition| with_disabled || !definition.disabled);
    let item =
        |definition: &Definition| json!({ "id": definition.id, "name": definition.name, "type": definition.kind });
    let items: Vec<Value> = listed().skip(start).take(take).map(item).collect();
    Answer::json(200, &json!({ "total_items": listed().count(), "items": items }))
}

fn create(state: &mut State, request: &Incoming<'_>) -> Answer {
    let name = match validate::create(request.json(), TEMPLATE_ID) {
        Ok(name) => name,
        Err(error) => return wrong(error),
    };
    if state.name_taken(&name, "") {
        return problem(400, "name", "The name of the object definition must be unique");
    }
    let id = state.create(&name);
    Answer::json(201, &json!({ "id": id, "name": name }))
}

fn put(state: &mut State, id: &str, request: &Incoming<'_>) -> Answer {
    if !validate::is_id(id) {
        return problem(400, "id", "'id' is not a valid 24 digit hex string.");
    }
    let wanted = match validate::update(id, request.json()) {
        Ok(wanted) => wanted,
        Err(error) => return wrong(error),
    };
    if state.find(id).is_none() {
        let text = format!("The requested object definition with ID '{id}' could not be found in the database");
        return problem(400, "id", &text);
    }
    if state.name_taken(&wanted.name, id) {
        return problem(400, "name", "The name of the object definition must be unique");
    }
    if state.is_busy(id) {
        let text = "There might be an ongoing update in progress. Please try again later.";
        return problem(400, "id", text);
    }
    state.queue(id, wanted);
    ok(202)
}

fn switch(state: &mut State, id: &str, disabled: bool) -> Answer {
    match state.find_mut(id) {
        None => problem(400, "id", "Object definition is built-in or non-existing"),
        Some(definition) if definition.built_in => problem(400, "id", "Object definition is secured"),
        Some(definition) => {
            definition.disabled = disabled;
            ok(200)
        }
    }
}

fn delete(state: &mut State, id: &str) -> Answer {
    match state.find(id) {
        None => problem(400, "id", "Object definition is built-in or non-existing"),
        Some(definition) if definition.built_in => problem(400, "id", "Object definition is secured"),
        Some(definition) if !definition.disabled => {
            problem(400, "id", "Only disabled object definitions can be deleted")
        }
        Some(_) => {
            state.delete(id);
            ok(200)
        }
    }
}

fn edit(definition: &mut Definition, members: &Map<String, Value>) {
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
