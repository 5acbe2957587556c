//! Pretectum's URLs, bodies, replies and errors (docs.pretectum.io/api-reference). Pure functions.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Credentials;
use crate::record::{
    FieldError, RawFields, RawObject, RecordId, VendorError, VendorErrorKind, VendorRecord, Version, Warning,
    WarningCode, parse_raw_members,
};
use crate::transport::{JSON, VendorCallKind, VendorRequest, VendorResponse, sanitize_text};
use crate::vendors::common::{
    ErrorTexts, JsonObjectWriter, fault_for_status, fault_from_response, field_error, first_byte, member_pointer,
    missing_version_error, percent_encode, secret_header, undocumented_response, unparseable_response,
};

/// The two token paths that the vendor's own pages name, in contradiction.
pub(super) const TOKEN_PATHS: [&str; 2] = ["/v1/oauth2/token", "/oauth2/token"];
/// How long a token is trusted whose answer does not say it: the vendor's sample says an hour.
const DEFAULT_TTL: Duration = Duration::from_mins(5);
/// No token is trusted longer, whatever it says.
const MAX_TTL: Duration = Duration::from_hours(24);

/// `{businessAreaId}:{schemaId}:{datasetId}`.
pub(super) fn parse_collection(raw: &str) -> Option<String> {
    let parts: Vec<_> = raw.split(':').collect();
    (parts.len() == 3 && parts.iter().all(|part| is_id(part))).then(|| raw.to_owned())
}

/// Every id of the samples is 17 digits and 30 of `[0-9a-z]`; nothing says that all are.
pub(super) fn is_id(text: &str) -> bool {
    (20..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a member is the vendor's or the gateway's business.
pub(super) fn is_reserved(member: &str) -> bool {
    member.starts_with('_')
}

fn records_path(collection: &str) -> String {
    let mut parts = collection.split(':');
    let mut next = || percent_encode(parts.next().unwrap_or_default());
    format!("/v1/businessareas/{}/schemas/{}/datasets/{}/dataobjects", next(), next(), next())
}

fn record_path(id: &RecordId) -> String {
    format!("{}/{}", records_path(id.collection()), percent_encode(id.key()))
}

fn request(name: VendorCallKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(name, method, path).header(ACCEPT, JSON)
}

fn json_request(
    name: VendorCallKind,
    method: Method,
    path: impl Into<String>,
    body: JsonObjectWriter,
) -> VendorRequest {
    request(name, method, path).header(CONTENT_TYPE, JSON).body(body.finish())
}

/// Asks for a token. JSON, not a form, and no grant type, although it is called oauth2.
pub(super) fn sign_in_request(credentials: &Credentials, token_path: &str) -> VendorRequest {
    let body = JsonObjectWriter::new()
        .text("client_id", &credentials.client_id)
        .text("client_secret", credentials.client_secret.expose());
    json_request(VendorCallKind::SignIn, Method::POST, token_path, body)
}

/// Asks for a page of a dataset.
pub(super) fn list_request(name: VendorCallKind, collection: &str, page_key: Option<&str>) -> VendorRequest {
    let query = page_key.map(|key| format!("?pageKey={}", percent_encode(key))).unwrap_or_default();
    request(name, Method::GET, records_path(collection) + &query)
}

/// `PUT` changes the members it names and leaves the others alone; `_version` is compared by the vendor.
pub(super) fn update_request(
    id: &RecordId,
    members: &RawObject,
    expected: Option<&Version>,
) -> Result<VendorRequest, Vec<FieldError>> {
    let Some(Version::Sequence(version)) = expected else { return Err(missing_version_error(expected)) };
    check_writable(members.names())?;
    let body = JsonObjectWriter::new().member("_version", version).raw_members(members);
    Ok(json_request(VendorCallKind::Update, Method::PUT, record_path(id), body))
}

/// `DELETE` marks the record as deleted. It carries no version.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorCallKind::Delete, Method::DELETE, record_path(id))
}

/// `POST` makes a record even of values that break the rules.
pub(super) fn create_request(collection: &str, fields: &Map<String, Value>) -> Result<VendorRequest, Vec<FieldError>> {
    check_writable(fields.keys().map(String::as_str))?;
    let body = JsonObjectWriter::new().members(fields);
    Ok(json_request(VendorCallKind::Create, Method::POST, records_path(collection), body))
}

fn check_writable<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<FieldError>> {
    let reserved = names.filter(|name| is_reserved(name));
    let found: Vec<_> = reserved
        .map(|name| field_error(name, "names that begin with _ are the vendor's own and cannot be set"))
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The error table.
pub(super) fn classify(call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
    let documented = match (call.kind, reply.status) {
        (VendorCallKind::SignIn | VendorCallKind::Read | VendorCallKind::List, 200)
        | (VendorCallKind::Create, 200 | 201) => first_byte(reply) == Some(b'{'),
        (VendorCallKind::Update | VendorCallKind::Delete, 204) => true,
        _ => return Some(classify_error(call, reply)),
    };
    (!documented).then(|| undocumented_response(call, reply, "the vendor's answer is not the JSON object it documents"))
}

fn classify_error(call: &VendorRequest, reply: &VendorResponse) -> VendorError {
    let said = ErrorTexts::from_response(call, reply);
    let of = |kind| fault_from_response(kind, call, reply, &said);
    match (call.kind, reply.status) {
        (VendorCallKind::SignIn, 400 | 401 | 403) => of(VendorErrorKind::CredentialsRejected),
        (VendorCallKind::SignIn, 404) => {
            undocumented_response(call, reply, "the vendor has no token endpoint at this path")
        }
        (_, 401) => of(VendorErrorKind::TokenRejected),
        // One status for a stale `_version` and for bad values; the text that would tell is documented nowhere.
        (VendorCallKind::Update, 400) => of(VendorErrorKind::Ambiguous).without_effect(),
        // Never documented, but nothing else could be meant of a call that carries a version.
        (VendorCallKind::Update, 409 | 412) => of(VendorErrorKind::Conflict),
        _ => fault_for_status(call, reply, &said),
    }
}

/// A token and how long it lives.
///
/// # Errors
/// `CredentialsRejected` when the answer holds words but no token.
pub(super) fn read_token(body: &[u8]) -> Result<(HeaderValue, Duration), VendorError> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(unparseable_response)?;
    let Some(token) = members.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty()) else {
        let words = members.get("message").and_then(Value::as_str).and_then(sanitize_text);
        return Err(words.map_or_else(
            || unparseable_response("no access_token in it"),
            |words| VendorError::new(VendorErrorKind::CredentialsRejected).message(words),
        ));
    };
    let token = secret_header(token).ok_or_else(|| unparseable_response("an access_token that no header can carry"))?;
    Ok((token, token_lifetime(members.get("expires_in"))))
}

fn token_lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(seconds) = seconds else { return DEFAULT_TTL };
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_TTL.as_secs_f64())).unwrap_or(DEFAULT_TTL)
}

/// A page of records, each still as text.
#[derive(Deserialize)]
pub(super) struct Listing<'r> {
    #[serde(borrow)]
    pub(super) items: Vec<&'r RawValue>,
    #[serde(rename = "nextPageKey", default)]
    next_page_key: Option<String>,
}

/// What tells a record from another, without looking at the rest of it.
#[derive(Deserialize)]
struct ItemId<'r> {
    #[serde(rename = "_dataObjectId", borrow)]
    id: Cow<'r, str>,
}

impl<'r> Listing<'r> {
    /// Reads a page.
    pub(super) fn parse(body: &'r [u8]) -> Result<Self, VendorError> {
        let text = std::str::from_utf8(body).map_err(unparseable_response)?;
        serde_json::from_str(text).map_err(unparseable_response)
    }

    /// The key of the next page; absent, null and empty all mean that there is none.
    pub(super) fn next_page_key(&self) -> Option<&str> {
        self.next_page_key.as_deref().filter(|key| !key.is_empty())
    }

    /// The record of a key, if it is on this page.
    pub(super) fn find_record(&self, key: &str) -> Result<Option<VendorRecord>, VendorError> {
        for item in &self.items {
            if parse_item_id(item)? == key {
                return read_record(item.get().as_bytes()).map(|(_, stored)| Some(stored));
            }
        }
        Ok(None)
    }
}

/// The `_dataObjectId` of a record.
pub(super) fn parse_item_id(item: &RawValue) -> Result<Cow<'_, str>, VendorError> {
    serde_json::from_str::<ItemId<'_>>(item.get()).map(|named| named.id).map_err(unparseable_response)
}

/// A record as lists and the answer to a create show it: its key and what callers see of it.
pub(super) fn read_record(text: &[u8]) -> Result<(String, VendorRecord), VendorError> {
    let members = parse_raw_members(text).map_err(unparseable_response)?;
    let find = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let key: String = find("_dataObjectId")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| unparseable_response("a record without _dataObjectId"))?;
    let version = find("_version")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| unparseable_response("a record whose _version is not a whole number"))?;
    let warnings = find("_errors").and_then(|text| serde_json::from_str(text).ok()).as_ref().map(parse_warnings);
    let shown = members.iter().filter(|(name, _)| !matches!(name.as_ref(), "_dataObjectId" | "_version" | "_errors"));
    let fields = RawFields::from_raw_members(shown.map(|(name, value)| (name.as_ref(), *value)));
    Ok((
        key,
        VendorRecord { fields, version: Some(Version::Sequence(version)), warnings: warnings.unwrap_or_default() },
    ))
}

/// What `_errors` says, whatever its shape: two are documented, `{name, errors}` and `{}`.
fn parse_warnings(errors: &Value) -> Vec<Warning> {
    match errors {
        Value::Array(entries) => entries.iter().map(parse_warning).collect(),
        Value::Object(by_name) => by_name.iter().map(|(name, errors)| build_warning(Some(name), errors)).collect(),
        Value::String(text) if !text.is_empty() => vec![parse_warning(errors)],
        _ => Vec::new(),
    }
}

fn parse_warning(entry: &Value) -> Warning {
    match entry {
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str);
            let told = members.get("errors").or_else(|| members.get("message"));
            build_warning(name, told.unwrap_or(&Value::Null))
        }
        other => build_warning(None, other),
    }
}

fn build_warning(field: Option<&str>, errors: &Value) -> Warning {
    let mut texts = Vec::new();
    collect_texts(errors, &mut texts);
    let told = sanitize_text(&texts.join("; "));
    Warning {
        code: WarningCode::InvalidField,
        pointer: field.map_or_else(|| "/fields".to_owned(), member_pointer),
        detail: told
            .unwrap_or_else(|| "the vendor marks the value as breaking a rule and does not say which".to_owned()),
    }
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(members) => members.values().for_each(|value| collect_texts(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The time an id begins with, `yyyyMMddHHmmssSSS` in UTC (every sample on the vendor's pages; INFERRED).
pub(super) fn created_at(key: &str) -> Option<Timestamp> {
    let digits = key.get(..17).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14),
        part(14..17)
    );
    text.parse().ok()
}
