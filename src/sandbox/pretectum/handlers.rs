//! The handlers of the data objects API.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::sample::{
    BUSINESS_AREA_ID, BUSINESS_AREA_NAME, CLIENT_ID, CLIENT_SECRET, DATASET_ID, DATASET_NAME, SCHEMA_ID, SCHEMA_NAME,
};
use super::search::matches;
use super::state::{LastKey, Object, State, UpdateError};
use crate::sandbox::common::http::{FakeRequest, FakeResponse};

pub(super) fn message_response(status: u16, text: &str) -> FakeResponse {
    FakeResponse::json(status, &json!({ "message": text }))
}

pub(super) fn sign_in(state: &mut State, request: &FakeRequest<'_>) -> FakeResponse {
    if !request.is_json() {
        return message_response(415, "Unsupported Media Type: Content-Type must be application/json");
    }
    let Some(body) = request.json() else { return message_response(400, "Malformed JSON in the request body") };
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    if (member("client_id"), member("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
        return message_response(401, "Invalid client credentials");
    }
    let (token, lifetime) = state.issue_token();
    FakeResponse::json(200, &json!({ "access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer" }))
}

pub(super) fn update(state: &mut State, id: &str, request: &FakeRequest<'_>) -> FakeResponse {
    let Some(Value::Object(body)) = request.json() else {
        return message_response(400, "Malformed JSON in the request body");
    };
    if state.find_active(id).is_none() {
        return message_response(404, "Data object not found");
    }
    let Some(version) = body.get("_version").filter(|version| version.is_u64()) else {
        return message_response(400, "Field _version is required and must be an integer");
    };
    match state.update(id, version, &body) {
        Ok(()) => FakeResponse::empty(204),
        Err(UpdateError::Missing) => message_response(404, "Data object not found"),
        Err(UpdateError::Stale) => message_response(400, &state.settings.conflict_text),
        Err(UpdateError::Invalid) => message_response(400, "Validation failed for one or more fields"),
    }
}

/// A page is a range of stored records, from which deleted ones are removed afterwards. So pages
/// can be short or empty, as the vendor's are.
pub(super) fn list(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
    let settings = &state.settings;
    let Some((offset, empty)) = request
        .query_param("pageKey")
        .filter(|key| !key.is_empty())
        .map_or(Some((0, false)), |key| decode_page_key(&key))
    else {
        return message_response(400, "Invalid pageKey");
    };
    let size = settings.page_size.max(1);
    let stored: Vec<&Object> = state.objects.iter().filter(|object| !settings.moves_up || !object.deleted).collect();
    let page = if empty { &[] } else { stored.get(offset..).unwrap_or_default() };
    let page = page.get(..size).unwrap_or(page);
    let end = if empty { offset } else { offset.saturating_add(page.len()) };
    let items: Vec<Value> =
        page.iter().filter(|object| !object.deleted).map(|object| Value::Object(object.to_map())).collect();
    let mut body = json!({ "items": items });
    let next = if settings.empty_page && offset == 0 && !empty {
        Some(encode_page_key(end, true))
    } else {
        (end < stored.len()).then(|| encode_page_key(end, false))
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

pub(super) fn search(state: &State, request: &FakeRequest<'_>) -> FakeResponse {
    let Some(query) = request.query_param("query").filter(|query| !query.is_empty()) else {
        return message_response(400, "Parameter query is required");
    };
    let names = [("businessArea", BUSINESS_AREA_NAME), ("schema", SCHEMA_NAME), ("dataSet", DATASET_NAME)];
    let in_scope = names.iter().all(|(parameter, name)| {
        request.query_param(parameter).is_none_or(|value| value.eq_ignore_ascii_case("all") || value == *name)
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
    let found = |object: &&Object| in_scope && !object.deleted && matches(&query, &object.fields);
    let hits: Vec<Value> = state.objects.iter().filter(found).map(hit).collect();
    FakeResponse::json(200, &json!({ "total": hits.len(), "hits": hits }))
}
