//! Pretectum's stand-in: customer records under business area, schema and dataset.
//!
//! Traps it has, as the vendor has them: no Bearer before the token; two token paths; no route for one record; PUT is partial
//! and needs `_version`; a stale version and malformed JSON are both 400; invalid values are stored and flagged; no `_version`
//! in search hits; 204 without the new version; DELETE takes no version and only hides.
//!
//! Assumed where the vendor is silent: error bodies are `{"message"}` (the gateway in front of it is taken for AWS's: an unknown
//! route is 403 «Missing Authentication Token»); a field is cleared by `null` and then absent; unknown field names are dropped;
//! POST answers 201.

mod rules;
mod sample;
mod search;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::common::{lock, parse_flag, parse_number, parse_optional_text, set_members};
use super::{CallKind, Change, FakeRequest, FakeResponse, FakeVendor, VendorModel};
pub use sample::{
    ADA_ID, ALAN_ID, BUSINESS_AREA_ID, BUSINESS_AREA_NAME, CLIENT_ID, CLIENT_SECRET, DATASET_ID, DATASET_NAME, EMMY_ID,
    GRACE_ID, MARY_ID, SCHEMA_ID, SCHEMA_NAME,
};
pub use state::{LastKey, Object, Settings};
use state::{State, UpdateError};

/// Pretectum on a port.
pub type Vendor = FakeVendor<Pretectum>;

/// Pretectum's behaviour and state.
#[derive(Debug, Default)]
pub struct Pretectum(Mutex<State>);

impl Pretectum {
    /// Changes how it behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0).settings);
    }

    /// Makes every token issued so far invalid.
    pub fn expire_all_tokens(&self) {
        lock(&self.0).expire_tokens();
    }

    /// A record, deleted ones too.
    pub fn object(&self, id: &str) -> Option<Object> {
        lock(&self.0).objects.iter().find(|object| object.id == id).cloned()
    }

    /// Every record, deleted ones too, in the list's order.
    pub fn objects(&self) -> Vec<Object> {
        lock(&self.0).objects.clone()
    }

    /// A second writer straight at the vendor: changes the fields and counts the version up. `false` if there is no such record.
    pub fn write(&self, id: &str, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        lock(&self.0).write(id, change)
    }

    /// A second writer makes a record; gives its id.
    pub fn insert(&self, fields: &Map<String, Value>) -> String {
        lock(&self.0).create(fields).id
    }

    /// A second writer deletes a record. `false` if there is no such record.
    pub fn remove(&self, id: &str) -> bool {
        lock(&self.0).delete(id)
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

/// Where a request goes. Ids are as sent.
enum Route {
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

/// What a request is about: the route, and whether the ids in its path are the sample's.
fn route(request: &FakeRequest<'_>, settings: &Settings) -> Option<(Route, bool)> {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let known = |ids: &[&str]| [BUSINESS_AREA_ID, SCHEMA_ID, DATASET_ID].starts_with(ids);
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("POST", ["v1", "oauth2", "token"]) if settings.token_path_v1 => (Route::Token, true),
        ("POST", ["oauth2", "token"]) if settings.token_path_plain => (Route::Token, true),
        ("GET", ["v1", "my", "businessareas"]) => (Route::Areas, true),
        ("GET", ["dataobjects", "search"]) => (Route::Search, true),
        ("GET", ["v1", "businessareas", area, "schemas"]) => (Route::Schemas, known(&[area])),
        ("GET", ["v1", "businessareas", area, "schemas", schema]) => (Route::Schema, known(&[area, schema])),
        ("GET", ["v1", "businessareas", area, "schemas", schema, "datasets"]) => {
            (Route::Datasets, known(&[area, schema]))
        }
        (method, ["v1", "businessareas", area, "schemas", schema, "datasets", dataset, "dataobjects", rest @ ..]) => {
            let route = match (method, rest) {
                ("GET", []) => Route::List,
                ("POST", []) => Route::Create,
                ("PUT", [id]) => Route::Update((*id).to_owned()),
                ("DELETE", [id]) => Route::Delete((*id).to_owned()),
                _ => return None,
            };
            (route, known(&[area, schema, dataset]))
        }
        _ => return None,
    })
}

fn message_response(status: u16, text: &str) -> FakeResponse {
    FakeResponse::json(status, &json!({ "message": text }))
}

impl VendorModel for Pretectum {
    const NAME: &'static str = "pretectum";

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
        let Some((route, known)) = route(request, &state.settings) else {
            return message_response(403, "Missing Authentication Token");
        };
        if matches!(route, Route::Token) {
            return sign_in(&mut state, request);
        }
        if !request.header("authorization").is_some_and(|token| state.is_valid_token(token)) {
            return message_response(401, "Unauthorized");
        }
        if matches!(route, Route::Create | Route::Update(_)) && !request.is_json() {
            return message_response(415, "Unsupported Media Type: Content-Type must be application/json");
        }
        if !known {
            return message_response(404, "Resource not found or access denied");
        }
        match route {
            Route::Token => message_response(403, "Forbidden"),
            Route::Areas => FakeResponse::json(200, &json!([business_area_json()])),
            Route::Schemas => {
                FakeResponse::json(200, &json!({ "items": [schema_summary_json()], "nextPageKey": null }))
            }
            Route::Schema => FakeResponse::json(200, &schema_json()),
            Route::Datasets => {
                FakeResponse::json(200, &json!({ "items": [dataset_json(&state)], "nextPageKey": null }))
            }
            Route::List => list(&state, request),
            Route::Search => find(&state, request),
            Route::Create => match request.json() {
                Some(Value::Object(sent)) => FakeResponse::json(201, &Value::Object(state.create(&sent).to_map())),
                _ => message_response(400, "Malformed JSON in the request body"),
            },
            Route::Update(id) => update(&mut state, &id, request),
            Route::Delete(id) if state.delete(&id) => FakeResponse::empty(204),
            Route::Delete(_) => message_response(404, "Data object not found"),
        }
    }

    fn records(&self) -> Value {
        let object = |object: &Object| {
            let mut shown = object.to_map();
            shown.insert("deleted".to_owned(), json!(object.deleted));
            Value::Object(shown)
        };
        lock(&self.0).objects.iter().map(object).collect()
    }

    fn external_update(&self, path: &[String], members: &Map<String, Value>) -> bool {
        let [id] = path else { return false };
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
            "expire_all_tokens" => state.expire_tokens(),
            _ => {
                return Err(
                    "page_size, empty_page, token_life_ms, refuse_invalid, ignored_field, expire_all_tokens".into()
                );
            }
        }
        Ok(())
    }
}

fn sign_in(state: &mut State, request: &FakeRequest<'_>) -> FakeResponse {
    if !request.is_json() {
        return message_response(415, "Unsupported Media Type: Content-Type must be application/json");
    }
    let Some(sent) = request.json() else { return message_response(400, "Malformed JSON in the request body") };
    let member = |name: &str| sent.get(name).and_then(Value::as_str);
    if (member("client_id"), member("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
        return message_response(401, "Invalid client credentials");
    }
    let (token, life) = state.issue_token();
    FakeResponse::json(200, &json!({ "access_token": token, "expires_in": life.as_secs(), "token_type": "Bearer" }))
}

fn update(state: &mut State, id: &str, request: &FakeRequest<'_>) -> FakeResponse {
    let Some(Value::Object(sent)) = request.json() else {
        return message_response(400, "Malformed JSON in the request body");
    };
    if state.find_active(id).is_none() {
        return message_response(404, "Data object not found");
    }
    let Some(version) = sent.get("_version").filter(|version| version.is_u64()) else {
        return message_response(400, "Field _version is required and must be an integer");
    };
    match state.update(id, version, &sent) {
        Ok(()) => FakeResponse::empty(204),
        Err(UpdateError::Missing) => message_response(404, "Data object not found"),
        Err(UpdateError::Stale) => message_response(400, &state.settings.conflict_text),
        Err(UpdateError::Invalid) => message_response(400, "Validation failed for one or more fields"),
    }
}

/// A page is a run of stored records, the deleted left out afterwards: short and empty pages come about as they do at the vendor.
fn list(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
    let settings = &state.settings;
    let Some((offset, empty)) = request
        .query_param("pageKey")
        .filter(|key| !key.is_empty())
        .map_or(Some((0, false)), |idempotency_key| decode_page_key(&idempotency_key))
    else {
        return message_response(400, "Invalid pageKey");
    };
    let size = settings.page_size.max(1);
    let page = if empty { &[] } else { state.objects.get(offset..).unwrap_or_default() };
    let page = page.get(..size).unwrap_or(page);
    let end = if empty { offset } else { offset.saturating_add(page.len()) };
    let items: Vec<Value> =
        page.iter().filter(|object| !object.deleted).map(|object| Value::Object(object.to_map())).collect();
    let mut body = json!({ "items": items });
    let next = if settings.empty_page && offset == 0 && !empty {
        Some(encode_page_key(end, true))
    } else {
        (end < state.objects.len()).then(|| encode_page_key(end, false))
    };
    let next = match (next, settings.last_key) {
        (Some(key), _) => Some(json!(key)),
        (None, LastKey::Absent) => None,
        (None, LastKey::Null) => Some(Value::Null),
        (None, LastKey::Empty) => Some(json!("")),
    };
    if let (Some(key), Some(body)) = (next, body.as_object_mut()) {
        body.insert("nextPageKey".to_owned(), key);
    }
    FakeResponse::json(200, &body)
}

fn encode_page_key(offset: usize, empty: bool) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{offset};{empty}"))
}

fn decode_page_key(key: &str) -> Option<(usize, bool)> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
    let (offset, empty) = text.split_once(';')?;
    Some((offset.parse().ok()?, empty.parse().ok()?))
}

fn find(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
    let Some(query) = request.query_param("query").filter(|query| !query.is_empty()) else {
        return message_response(400, "Parameter query is required");
    };
    let names = [("businessArea", BUSINESS_AREA_NAME), ("schema", SCHEMA_NAME), ("dataSet", DATASET_NAME)];
    let in_scope = names.iter().all(|(parameter, name)| {
        request.query_param(parameter).is_none_or(|wanted| wanted.eq_ignore_ascii_case("all") || wanted == *name)
    });
    let hit = |object: &Object| {
        let mut hit = json!({
            "_dataObjectId": object.id, "_businessAreaName": BUSINESS_AREA_NAME, "_schemaName": SCHEMA_NAME,
            "_dataSetName": DATASET_NAME, "_businessAreaId": BUSINESS_AREA_ID, "_schemaId": SCHEMA_ID,
            "_dataSetId": DATASET_ID
        });
        if let Some(hit) = hit.as_object_mut() {
            hit.extend(object.fields.clone());
        }
        hit
    };
    let found = |object: &&Object| in_scope && !object.deleted && search::matches(&query, &object.fields);
    let hits: Vec<Value> = state.objects.iter().filter(found).map(hit).collect();
    FakeResponse::json(200, &json!({ "total": hits.len(), "hits": hits }))
}

fn business_area_json() -> Value {
    json!({ "businessAreaId": BUSINESS_AREA_ID, "name": BUSINESS_AREA_NAME, "description": "", "active": true,
            "createdBy": "sandbox", "updatedBy": "sandbox", "createdDate": "2024-01-15T10:30:00Z",
            "updatedDate": "2024-01-15T10:30:00Z", "version": 1 })
}

fn schema_summary_json() -> Value {
    json!({ "schemaId": SCHEMA_ID, "name": SCHEMA_NAME, "description": "", "businessAreaId": BUSINESS_AREA_ID,
            "businessAreaName": BUSINESS_AREA_NAME, "active": true, "state": "PUBLISHED",
            "fieldsCount": rules::describe().len(), "dataSetCount": 1, "version": 1, "deleted": false })
}

fn schema_json() -> Value {
    json!({ "schemaId": SCHEMA_ID, "name": SCHEMA_NAME, "description": "", "businessAreaId": BUSINESS_AREA_ID,
            "businessAreaName": BUSINESS_AREA_NAME, "version": 1, "createdBy": "sandbox", "updatedBy": "sandbox",
            "createdDate": "2024-01-15T10:45:00Z", "updatedDate": "2024-01-15T10:45:00Z", "fields": rules::describe() })
}

fn dataset_json(state: &State) -> Value {
    let live = || state.objects.iter().filter(|object| !object.deleted);
    json!({ "dataSetId": DATASET_ID, "dataSetName": DATASET_NAME, "dataSetDescription": "",
            "businessAreaId": BUSINESS_AREA_ID, "businessAreaName": BUSINESS_AREA_NAME, "schemaId": SCHEMA_ID,
            "schemaName": SCHEMA_NAME, "recordCount": live().count(),
            "erroredRecordsCount": live().filter(|object| !object.errors.is_empty()).count(), "runningJobsCount": 0,
            "version": 1, "deleted": false })
}
