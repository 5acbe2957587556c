//! Matrix42's stand-in: the Fragments service of the generic data service.
//!
//! Traps it has, as the vendor has them: the token exchange answers 200 `null` to a bad API token; a raw API token on data is
//! 406; a missing fragment is 200 `null`; stale, missing and wrong are all 500, in German unless `Explicit-Language: en`; PUT has
//! its id in the body and compares `TimeStamp` only if it is sent; pages count from 0 without a total; `ID` must be selected.
//!
//! Assumed where the vendor is silent: ASP.NET's error body; DELETE answers 204 and, repeated, 500; an id that is no GUID is 404;
//! an attribute that was reset is shown as `null`; malformed JSON is a 500 that says nothing.

mod failure;
mod list;
mod sample;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::common::{lock, parse_flag, parse_number, parse_optional_text};
use super::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
use failure::Failure;
pub use sample::{
    ACTIVITY_CLASS, API_TOKEN, CATEGORY_CLASS, FACILITY_ID, FACILITY_TIMESTAMP, HARDWARE_ID, PRINTER_ID, SOFTWARE_ID,
};
use state::State;
pub use state::{Fragment, Settings};

/// Matrix42 on a port.
pub type Vendor = FakeVendor<Matrix42>;

/// Matrix42's behaviour and state.
#[derive(Debug, Default)]
pub struct Matrix42(Mutex<State>);

impl Matrix42 {
    /// Changes how it behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).settings);
    }

    /// Makes every access token issued so far invalid.
    pub fn expire_all_tokens(&self) {
        lock(&self.0).expire_tokens();
    }

    /// A fragment; its id in lower case.
    pub fn fragment(&self, class: &str, id: &str) -> Option<Fragment> {
        lock(&self.0).class(class)?.rows.get(id).cloned()
    }

    /// Every fragment of a class, by id.
    pub fn fragments(&self, class: &str) -> Vec<Fragment> {
        lock(&self.0).class(class).map(|class| class.rows.values().cloned().collect()).unwrap_or_default()
    }

    /// A second writer straight at the vendor: changes the attributes and moves the `TimeStamp`. `false` if there is no such
    /// fragment.
    pub fn write(&self, class: &str, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        lock(&self.0).write(class, id, change)
    }

    /// A second writer makes a fragment; gives its id, or `None` if the vendor would refuse it.
    pub fn insert(&self, class: &str, attributes: &Map<String, Value>) -> Option<String> {
        lock(&self.0).create(class, attributes).ok()
    }

    /// A second writer deletes a fragment. `false` if there is no such fragment.
    pub fn remove(&self, class: &str, id: &str) -> bool {
        lock(&self.0).delete(class, id).is_ok()
    }

    /// From now on changes of records are kept.
    pub fn record_changes(&self) {
        lock(&self.0).changes.enable();
    }

    /// Every change of a record that took effect since then, whoever made it, in order.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.0).changes.all()
    }
}

enum Route {
    Exchange,
    Get(String, String, bool),
    List(String, bool),
    Create(String),
    Update(String),
    Delete(String, String),
    Classes,
    User,
    /// The path is known, the method is not.
    WrongMethod,
    Unknown,
}

/// IIS does not tell cases apart in paths, and a trailing slash means nothing.
fn route(request: &FakeRequest<'_>) -> Route {
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
        ("GET" | "DELETE", [id]) => match (state::parse_guid(id), method) {
            (None, _) => Route::Unknown,
            (Some(id), "GET") => Route::Get(class, id, false),
            (Some(id), _) => Route::Delete(class, id),
        },
        ("GET", [id, word]) if word.eq_ignore_ascii_case("schema-info") => match state::parse_guid(id) {
            None => Route::Unknown,
            Some(id) => Route::Get(class, id, true),
        },
        (_, [] | [_]) => Route::WrongMethod,
        _ => Route::Unknown,
    }
}

fn message_response(status: u16, text: &str) -> FakeResponse {
    FakeResponse::json(status, &json!({ "Message": text }))
}

impl VendorModel for Matrix42 {
    const NAME: &'static str = "matrix42";

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
            Route::Unknown => return message_response(404, "No HTTP resource was found that matches the request URI."),
            Route::WrongMethod => {
                return message_response(405, "The requested resource does not support this http method.");
            }
            Route::Exchange => return exchange_token(&mut lock(&self.0), request),
            _ => {}
        }
        let mut state = lock(&self.0);
        match request.bearer_token() {
            Some(API_TOKEN) => return message_response(406, "The presented token was not accepted."),
            Some(token) if state.is_valid_token(token) => {}
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
        let rows = |class: &state::Class| {
            let rows: Vec<Value> = class.rows.values().map(|row| Value::Object(row.to_map())).collect();
            (class.name.to_owned(), json!(rows))
        };
        Value::Object(state.classes.iter().map(rows).collect())
    }

    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [class, id] = path else { return false };
        // A reset attribute stays, as `null`.
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
            "expire_all_tokens" => state.expire_tokens(),
            _ => {
                let known =
                    "token_life_ms, api_token_withdrawn, ignored_attribute, unlisted_time_stamp, expire_all_tokens";
                return Err(known.to_owned());
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
            let found = class.rows.get(&id).map_or(Value::Null, |row| Value::Object(row.to_map()));
            FakeResponse::json(200, &if with_schema { with_schema_info(class, &found) } else { found })
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

fn with_schema_info(class: &state::Class, result: &Value) -> Value {
    json!({ "Result": result, "Schema": class.schema() })
}
