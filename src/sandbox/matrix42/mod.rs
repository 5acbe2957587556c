//! A fake Matrix42: the Fragments service of the generic data service.
//!
//! ## Documented traps that it reproduces
//!
//! - The token exchange responds 200 `null` to an invalid API token. Access tokens live briefly.
//! - A data request with the API token itself is 406.
//! - A missing fragment is 200 `null`.
//! - A stale `TimeStamp`, a missing fragment, an unknown data definition and an invalid value are
//!   all 500. The message is German unless the request has `Explicit-Language: en`.
//! - PUT goes to the collection with `ID` in the body, and responds 204 without a body.
//! - PUT compares `TimeStamp` only if the body has one; without it the last writer wins.
//! - POST responds with a GUID in quotes.
//! - Lists are bare arrays of zero-based pages. The columns must include `ID`, or the list is 500.
//!
//! ## Assumptions where the documentation is silent
//!
//! Errors have ASP.NET's error body. DELETE is 204, and 500 if repeated. An id that is not a GUID
//! is 404. A reset attribute is returned as `null`. Malformed JSON is a 500 with a useless message.

mod class;
mod failure;
mod list;
mod routes;
mod sample;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::common::lock::lock;
use super::common::options::{parse_flag, parse_number, parse_optional_text};
use super::common::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
pub use class::Fragment;
use failure::Failure;
use routes::{Route, route};
pub use sample::{
    ACTIVITY_CLASS, API_TOKEN, CATEGORY_CLASS, FACILITY_ID, FACILITY_TIMESTAMP, HARDWARE_ID, PRINTER_ID, SOFTWARE_ID,
};
pub use state::Settings;
use state::State;

/// A running fake Matrix42.
pub type Vendor = FakeVendor<Matrix42>;

/// Matrix42's behaviour and state.
#[derive(Debug, Default)]
pub struct Matrix42(Mutex<State>);

impl Matrix42 {
    /// Changes the settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).settings);
    }

    /// Invalidates every access token issued so far.
    pub fn expire_all_tokens(&self) {
        lock(&self.0).tokens.expire_all();
    }

    /// A fragment by its id in lower case.
    pub fn fragment(&self, class: &str, id: &str) -> Option<Fragment> {
        lock(&self.0).class(class)?.rows.get(id).cloned()
    }

    /// Every fragment of a class, ordered by id.
    pub fn fragments(&self, class: &str) -> Vec<Fragment> {
        lock(&self.0).class(class).map(|class| class.rows.values().cloned().collect()).unwrap_or_default()
    }

    /// Changes the attributes as another client would, with a new `TimeStamp`. Returns `false` if
    /// there is no such fragment.
    pub fn write(&self, class: &str, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        lock(&self.0).write(class, id, change)
    }

    /// Creates a fragment as another client would and returns its id; `None` if the vendor rejects
    /// it.
    pub fn insert(&self, class: &str, attributes: &Map<String, Value>) -> Option<String> {
        lock(&self.0).create(class, attributes).ok()
    }

    /// Deletes a fragment as another client would. Returns `false` if there is no such fragment.
    pub fn remove(&self, class: &str, id: &str) -> bool {
        lock(&self.0).delete(class, id).is_ok()
    }

    /// Starts recording changes of fragments.
    pub fn record_changes(&self) {
        lock(&self.0).changes.enable();
    }

    /// Every recorded change, whichever client made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.0).changes.all()
    }
}

fn message_response(status: u16, text: &str) -> FakeResponse {
    FakeResponse::json(status, &json!({ "Message": text }))
}

impl VendorModel for Matrix42 {
    const NAME: &'static str = "matrix42";
    const SYSTEM: &'static str = "itsm";
    const TEXT_MEMBER: &'static str = "Description";

    fn settings(_base_url: &str) -> Vec<(&'static str, String)> {
        vec![("api_token", API_TOKEN.to_owned())]
    }

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match route(request) {
            Route::Exchange => CallKind::SignIn,
            Route::Get(_, _, false) => CallKind::Read,
            Route::List(_, false) => CallKind::List,
            Route::Create(_) => CallKind::Create,
            Route::Update(_) => CallKind::Update,
            Route::Delete(..) => CallKind::Delete,
            Route::Get(_, _, true) | Route::List(_, true) | Route::Classes => CallKind::Schema,
            Route::User | Route::WrongMethod | Route::Unknown => CallKind::Other,
        }
    }

    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse {
        let route = route(request);
        match route {
            Route::Unknown => {
                return message_response(404, "No HTTP resource was fragment that matches the request URI.");
            }
            Route::WrongMethod => {
                return message_response(405, "The requested resource does not support this http method.");
            }
            Route::Exchange => return exchange_token(&mut lock(&self.0), request),
            _ => {}
        }
        let mut state = lock(&self.0);
        match request.bearer_token() {
            Some(API_TOKEN) => return message_response(406, "The presented token was not accepted."),
            Some(token) if state.tokens.is_valid(token) => {}
            _ => return message_response(401, "Authorization has been denied for this request."),
        }
        if matches!(route, Route::Create(_) | Route::Update(_)) && !request.is_json() {
            return message_response(415, "The request entity's media type is not supported for this resource.");
        }
        serve(&mut state, route, request)
            .unwrap_or_else(|failure| failure.to_response(request.header("explicit-language")))
    }

    fn records(&self) -> Value {
        let state = lock(&self.0);
        let rows = |class: &class::Class| {
            let rows: Vec<Value> = class.rows.values().map(|row| Value::Object(row.to_map())).collect();
            (class.name.to_owned(), json!(rows))
        };
        Value::Object(state.classes.iter().map(rows).collect())
    }

    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [class, id] = path else { return false };
        // A reset attribute stays, with the value `null`.
        self.write(class, &id.to_ascii_lowercase(), |attributes| attributes.extend(members.clone()))
    }

    fn set_option(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut state = lock(&self.0);
        let settings = &mut state.settings;
        match name {
            "token_life_ms" => settings.token_life = Duration::from_millis(parse_number(value)?),
            "api_token_withdrawn" => settings.api_token_withdrawn = parse_flag(value)?,
            "ignored_attribute" => settings.ignored_attribute = parse_optional_text(value)?,
            "unlisted_time_stamp" => settings.unlisted_time_stamp = parse_flag(value)?,
            "expire_all_tokens" => state.tokens.expire_all(),
            _ => {
                let options =
                    "token_life_ms, api_token_withdrawn, ignored_attribute, unlisted_time_stamp, expire_all_tokens";
                return Err(options.to_owned());
            }
        }
        Ok(())
    }
}

fn exchange_token(state: &mut State, request: &FakeRequest<'_>) -> FakeResponse {
    match request.bearer_token() {
        None => message_response(401, "Authorization has been denied for this request."),
        Some(token) if token != API_TOKEN || state.settings.api_token_withdrawn => {
            FakeResponse::json(200, &Value::Null)
        }
        Some(_) => {
            let (token, end) = state.issue_token();
            FakeResponse::json(200, &json!({ "RawToken": token, "LifeTime": end.to_string() }))
        }
    }
}

fn serve(state: &mut State, route: Route, request: &FakeRequest<'_>) -> Result<FakeResponse, Failure> {
    let body = || match request.json() {
        Some(Value::Object(body)) => Ok(body),
        _ => Err(Failure::BadBody),
    };
    Ok(match route {
        Route::Get(class, id, with_schema) => {
            let class = state.class(&class).ok_or(Failure::UnknownClass)?;
            let fragment = class.rows.get(&id).map_or(Value::Null, |row| Value::Object(row.to_map()));
            FakeResponse::json(200, &if with_schema { with_schema_info(class, &fragment) } else { fragment })
        }
        Route::List(class, with_schema) => {
            let class = state.class(&class).ok_or(Failure::UnknownClass)?;
            let page = Value::Array(list::select_page(class, request, !state.settings.unlisted_time_stamp)?);
            FakeResponse::json(200, &if with_schema { with_schema_info(class, &page) } else { page })
        }
        Route::Create(class) => FakeResponse::json(200, &Value::String(state.create(&class, &body()?)?)),
        Route::Update(class) => {
            state.update(&class, &body()?)?;
            FakeResponse::empty(204)
        }
        Route::Delete(class, id) => {
            state.delete(&class, &id)?;
            FakeResponse::empty(204)
        }
        Route::Classes => {
            FakeResponse::json(200, &state.classes.iter().map(|class| json!({ "Name": class.name })).collect())
        }
        Route::User | Route::Exchange | Route::WrongMethod | Route::Unknown => {
            FakeResponse::json(200, &json!({ "Name": "Sandbox, User" }))
        }
    })
}

fn with_schema_info(class: &class::Class, result: &Value) -> Value {
    json!({ "Result": result, "Schema": class.schema() })
}
