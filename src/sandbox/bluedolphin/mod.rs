//! A fake BlueDolphin: the object definitions API.
//!
//! ## Documented traps that it reproduces
//!
//! - 401 for a wrong tenant or key, with the problem bodies of the vendor's quick start.
//! - PUT replaces the whole definition and only queues the update (202). GET returns the old
//!   definition until the update takes effect.
//! - A second PUT meanwhile is 400 "ongoing update". An unknown id is 400 too, with another text.
//! - Omitted properties are removed, except locked ones.
//! - Every PUT drops linked questions and source connections, which no response shows.
//! - A queued update can fail silently, or skip one property (options of `/_sandbox/settings`).
//! - DELETE requires a disabled definition and deletes every object based on it.
//! - No response has a version.
//! - `GET /liveness` responds with the text `Healthy`.
//!
//! ## Assumptions where the documentation is silent
//!
//! 400 bodies have the form of the documented 401 bodies. The busy response is per definition. A
//! PUT ignores unknown questionnaires. Properties keep their order. POST returns `{"id", "name"}`.
//! An unknown route is 404.

mod definition;
mod handlers;
mod routes;
mod sample;
mod state;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::common::lock::lock;
use super::common::options::{parse_flag, parse_number, parse_optional_text};
use super::common::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, InjectedFault, VendorModel};
pub use definition::{Definition, LinkedQuestion, Property, Questionnaire};
use handlers::{check_access, create, delete, error_response, list, put, set_status};
use routes::{Route, route};
pub use sample::{
    API_KEY, BUSINESS_OBJECT_ID, EMPTY_DEFINITION_ID, NEW_APPLICATION_ID, OTHER_QUESTIONNAIRE_ID, QUESTIONNAIRE_ID,
    RETIRED_SERVER_ID, ROLE_ID, TEMPLATE_ID, TENANT,
};
pub use state::Settings;
use state::State;

/// A running fake BlueDolphin.
pub type Vendor = FakeVendor<BlueDolphin>;

/// BlueDolphin's behaviour and state.
#[derive(Debug, Default)]
pub struct BlueDolphin(Mutex<State>);

impl BlueDolphin {
    /// Changes the settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock_and_apply_due().settings);
    }

    /// Holds queued updates until [`BlueDolphin::apply_queued`].
    pub fn hold_queue(&self) {
        self.configure(|settings| settings.queue_delay = None);
    }

    /// Applies every queued update now, or lets it fail silently; returns how many there were.
    pub fn apply_queued(&self) -> usize {
        lock(&self.0).apply_all()
    }

    /// The number of queued updates.
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

    /// Hidden: the number of objects that were deleted with their definitions.
    pub fn deleted_objects(&self) -> u32 {
        self.lock_and_apply_due().deleted_objects
    }

    /// Changes a definition as another client would. Returns `false` if it does not exist.
    pub fn write(&self, id: &str, change: impl FnOnce(&mut Definition)) -> bool {
        let mut state = self.lock_and_apply_due();
        let exists = state.find_mut(id).map(change).is_some();
        state.record_change(id);
        exists
    }

    /// Creates a definition without properties and returns its id.
    pub fn insert(&self, name: &str) -> String {
        self.lock_and_apply_due().create(name)
    }

    /// Deletes a definition as another client would, disabled or not.
    pub fn remove(&self, id: &str) {
        self.lock_and_apply_due().delete(id);
    }

    /// Starts recording changes of definitions.
    pub fn record_changes(&self) {
        self.lock_and_apply_due().changes.enable();
    }

    /// Every recorded change, whichever client made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.lock_and_apply_due().changes.all()
    }

    fn lock_and_apply_due(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.0);
        state.apply_due();
        state
    }
}

impl VendorModel for BlueDolphin {
    const NAME: &'static str = "bluedolphin";
    const SYSTEM: &'static str = "architecture";
    const TEXT_MEMBER: &'static str = "name";

    fn settings(_base_url: &str) -> Vec<(&'static str, String)> {
        let settings = [("tenant", TENANT), ("api_key", API_KEY), ("collection", "object-definitions")];
        settings.map(|(key, value)| (key, value.to_owned())).into()
    }

    fn busy() -> InjectedFault {
        InjectedFault::json(400, r#"{"title":"There is an ongoing update of this object"}"#)
    }

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match route(request) {
            Route::Liveness | Route::Unknown => CallKind::Other,
            Route::Questionnaire(_) => CallKind::Schema,
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
        if let Some(denied) = check_access(&state.settings, request) {
            return denied;
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
            Route::Questionnaire(id) => match state.questionnaires.iter().find(|known| known.id == id) {
                Some(known) => FakeResponse::json(200, &json!({ "id": known.id, "name": known.name })),
                None => FakeResponse::empty(404),
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
        let [.., id] = path else { return false };
        self.write(id, |definition| definition.apply_external_update(members))
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
                return Err(
                    "queue_delay_ms (null = until apply_queued), apply_queued, silent_failure, ignored_property, \
                            hide_is_mandatory, key_expired, add_on_missing"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}
