//! A fake Pretectum: customer records under business area, schema and dataset.
//!
//! ## Documented traps that it reproduces
//!
//! - `Authorization` holds the bare token; with `Bearer` in front of it the response is 401.
//! - There are two token paths, and tokens expire.
//! - PUT is partial and requires `_version`. A missing or stale version and malformed JSON are all
//!   400, with different texts.
//! - PUT responds 204 without the new version.
//! - Invalid values are stored and flagged in `_errors`.
//! - There is no route for a single record. List pages are short, and an empty page may still have
//!   a `nextPageKey`.
//! - Search hits have no `_version`.
//! - DELETE takes no version and only hides the record. A second DELETE is 404.
//!
//! ## Assumptions where the documentation is silent
//!
//! Error bodies are `{"message"}`. The API gateway is AWS's: an unknown route is 403 "Missing
//! Authentication Token". `null` clears a field, which is then absent. Unknown field names are
//! ignored. POST responds 201.

mod describe;
mod handlers;
mod routes;
mod rules;
mod sample;
mod search;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::common::lock::lock;
use super::common::members::set_members;
use super::common::options::{parse_flag, parse_number, parse_optional_text};
use super::common::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
use describe::{business_area_json, dataset_json, schema_json, schema_summary_json};
use handlers::{list, message_response, search, sign_in, update};
use routes::{Route, route};
pub use sample::{
    ADA_ID, ALAN_ID, BUSINESS_AREA_ID, BUSINESS_AREA_NAME, CLIENT_ID, CLIENT_SECRET, DATASET_ID, DATASET_NAME, EMMY_ID,
    GRACE_ID, MARY_ID, SCHEMA_ID, SCHEMA_NAME,
};
use state::State;
pub use state::{LastKey, Object, Settings};

/// A running fake Pretectum.
pub type Vendor = FakeVendor<Pretectum>;

/// Pretectum's behaviour and state.
#[derive(Debug, Default)]
pub struct Pretectum(Mutex<State>);

impl Pretectum {
    /// Changes the settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).settings);
    }

    /// Invalidates every token issued so far.
    pub fn expire_all_tokens(&self) {
        lock(&self.0).tokens.expire_all();
    }

    /// A record, even if it is deleted.
    pub fn object(&self, id: &str) -> Option<Object> {
        lock(&self.0).objects.iter().find(|object| object.id == id).cloned()
    }

    /// Every record in list order, deleted ones included.
    pub fn objects(&self) -> Vec<Object> {
        lock(&self.0).objects.clone()
    }

    /// Changes the fields as another client would and increments the version. Returns `false` if
    /// there is no such record.
    pub fn write(&self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        lock(&self.0).write(id, change)
    }

    /// Creates a record as another client would and returns its id.
    pub fn insert(&self, fields: &Map<String, Value>) -> String {
        lock(&self.0).create(fields).id
    }

    /// Deletes a record as another client would. Returns `false` if there is no such record.
    pub fn remove(&self, id: &str) -> bool {
        lock(&self.0).delete(id)
    }

    /// Starts recording changes of records.
    pub fn record_changes(&self) {
        lock(&self.0).changes.enable();
    }

    /// Every recorded change, whichever client made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.0).changes.all()
    }
}

impl VendorModel for Pretectum {
    const NAME: &'static str = "pretectum";
    const SYSTEM: &'static str = "crm";
    const TEXT_MEMBER: &'static str = "First Name";

    fn settings(_base_url: &str) -> Vec<(&'static str, String)> {
        let collection = [BUSINESS_AREA_ID, SCHEMA_ID, DATASET_ID].join(":");
        vec![
            ("client_id", CLIENT_ID.to_owned()),
            ("client_secret", CLIENT_SECRET.to_owned()),
            ("collection", collection),
        ]
    }

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match route(request, &lock(&self.0).settings) {
            Some((Route::Token, _)) => CallKind::SignIn,
            Some((Route::Areas | Route::Schemas | Route::Schema | Route::Datasets, _)) => CallKind::Schema,
            Some((Route::List | Route::Search, _)) => CallKind::List,
            Some((Route::Create, _)) => CallKind::Create,
            Some((Route::Update(_), _)) => CallKind::Update,
            Some((Route::Delete(_), _)) => CallKind::Delete,
            None => CallKind::Other,
        }
    }

    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse {
        let mut state = lock(&self.0);
        let Some((route, ids_exist)) = route(request, &state.settings) else {
            return message_response(403, "Missing Authentication Token");
        };
        if matches!(route, Route::Token) {
            return sign_in(&mut state, request);
        }
        if !request.header("authorization").is_some_and(|token| state.tokens.is_valid(token)) {
            return message_response(401, "Unauthorized");
        }
        if matches!(route, Route::Create | Route::Update(_)) && !request.is_json() {
            return message_response(415, "Unsupported Media Type: Content-Type must be application/json");
        }
        if !ids_exist {
            return message_response(404, "Resource not found or access denied");
        }
        match route {
            Route::Token => message_response(403, "Forbidden"),
            Route::Areas => FakeResponse::json(200, &json!([business_area_json()])),
            Route::Schemas => {
                FakeResponse::json(200, &json!({ "items": [schema_summary_json(&state)], "nextPageKey": null }))
            }
            Route::Schema => FakeResponse::json(200, &schema_json(&state)),
            Route::Datasets => {
                FakeResponse::json(200, &json!({ "items": [dataset_json(&state)], "nextPageKey": null }))
            }
            Route::List => list(&state, request),
            Route::Search => search(&state, request),
            Route::Create => match request.json() {
                Some(Value::Object(body)) => FakeResponse::json(201, &Value::Object(state.create(&body).to_map())),
                _ => message_response(400, "Malformed JSON in the request body"),
            },
            Route::Update(id) => update(&mut state, &id, request),
            Route::Delete(id) if state.delete(&id) => FakeResponse::empty(204),
            Route::Delete(_) => message_response(404, "Data object not found"),
        }
    }

    fn records(&self) -> Value {
        let object = |object: &Object| {
            let mut record = object.to_map();
            record.insert("deleted".to_owned(), json!(object.deleted));
            Value::Object(record)
        };
        lock(&self.0).objects.iter().map(object).collect()
    }

    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [.., id] = path else { return false };
        self.write(id, |fields| set_members(fields, members))
    }

    fn set_option(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut state = lock(&self.0);
        let settings = &mut state.settings;
        match name {
            "page_size" => settings.page_size = usize::try_from(parse_number(value)?).unwrap_or(usize::MAX),
            "empty_page" => settings.empty_page = parse_flag(value)?,
            "token_life_ms" => settings.token_life = Duration::from_millis(parse_number(value)?),
            "refuse_invalid" => settings.refuse_invalid = parse_flag(value)?,
            "ignored_field" => settings.ignored_field = parse_optional_text(value)?,
            "added_field" => settings.added_field = parse_optional_text(value)?,
            "expire_all_tokens" => state.tokens.expire_all(),
            _ => {
                return Err(
                    "page_size, empty_page, token_life_ms, refuse_invalid, ignored_field, added_field, expire_all_tokens".into()
                );
            }
        }
        Ok(())
    }
}
