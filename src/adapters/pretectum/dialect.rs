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
use crate::adapters::common::{
    ObjectText, Said, by_status, encoded, fault, first_byte, not_documented, pointer_to, secret_header, unbound,
    unreadable, wrong,
};
use crate::record::{
    Fault, FaultKind, Fields, Invalid, Members, RecordId, Stored, Version, Warning, WarningCode, raw_members,
};
use crate::transport::{Call, CallName, JSON, Reply, clean_text};

/// The two token paths that the vendor's own pages name, in contradiction.
pub(super) const TOKEN_PATHS: [&str; 2] = ["/v1/oauth2/token", "/oauth2/token"];
/// How long a token is trusted whose answer does not say it: the vendor's sample says an hour.
const CAUTIOUS_LIFE: Duration = Duration::from_mins(5);
/// No token is trusted longer, whatever it says.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// `{businessAreaId}:{schemaId}:{datasetId}`.
pub(super) fn collection(raw: &str) -> Option<String> {
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
    let mut next = || encoded(parts.next().unwrap_or_default());
    format!("/v1/businessareas/{}/schemas/{}/datasets/{}/dataobjects", next(), next(), next())
}

fn record_path(id: &RecordId) -> String {
    format!("{}/{}", records_path(id.collection()), encoded(id.key()))
}

fn call(name: CallName, method: Method, path: impl Into<String>) -> Call {
    Call::new(name, method, path).header(ACCEPT, JSON)
}

fn json_call(name: CallName, method: Method, path: impl Into<String>, body: ObjectText) -> Call {
    call(name, method, path).header(CONTENT_TYPE, JSON).body(body.done())
}

/// Asks for a token. JSON, not a form, and no grant type, although it is called oauth2.
pub(super) fn sign_in_call(credentials: &Credentials, token_path: &str) -> Call {
    let body = ObjectText::new()
        .text("client_id", &credentials.client_id)
        .text("client_secret", credentials.client_secret.expose());
    json_call(CallName::SignIn, Method::POST, token_path, body)
}

/// Asks for a page of a dataset.
pub(super) fn list_call(name: CallName, collection: &str, page_key: Option<&str>) -> Call {
    let query = page_key.map(|key| format!("?pageKey={}", encoded(key))).unwrap_or_default();
    call(name, Method::GET, records_path(collection) + &query)
}

/// `PUT` changes the members it names and leaves the others alone; `_version` is compared by the vendor.
pub(super) fn update_call(id: &RecordId, members: &Members, expected: Option<&Version>) -> Result<Call, Vec<Invalid>> {
    let Some(Version::Counter(version)) = expected else { return Err(unbound(expected)) };
    not_reserved(members.names())?;
    let body = ObjectText::new().member("_version", version).unchanged(members);
    Ok(json_call(CallName::Update, Method::PUT, record_path(id), body))
}

/// `DELETE` marks the record as deleted. It carries no version.
pub(super) fn delete_call(id: &RecordId) -> Call {
    call(CallName::Delete, Method::DELETE, record_path(id))
}

/// `POST` makes a record even of values that break the rules.
pub(super) fn create_call(collection: &str, fields: &Map<String, Value>) -> Result<Call, Vec<Invalid>> {
    not_reserved(fields.keys().map(String::as_str))?;
    let body = ObjectText::new().members(fields);
    Ok(json_call(CallName::Create, Method::POST, records_path(collection), body))
}

fn not_reserved<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<Invalid>> {
    let reserved = names.filter(|name| is_reserved(name));
    let found: Vec<_> =
        reserved.map(|name| wrong(name, "names that begin with _ are the vendor's own and cannot be set")).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The error table.
pub(super) fn judge(call: &Call, reply: &Reply) -> Option<Fault> {
    let documented = match (call.name, reply.status) {
        (CallName::SignIn | CallName::Read | CallName::List, 200) | (CallName::Create, 200 | 201) => {
            first_byte(reply) == Some(b'{')
        }
        (CallName::Update | CallName::Delete, 204) => true,
        _ => return Some(failure(call, reply)),
    };
    (!documented).then(|| not_documented(call, reply, "the vendor's answer is not the JSON object it documents"))
}

fn failure(call: &Call, reply: &Reply) -> Fault {
    let said = Said::of(call, reply);
    let of = |kind| fault(kind, call, reply, &said);
    match (call.name, reply.status) {
        (CallName::SignIn, 400 | 401 | 403) => of(FaultKind::CredentialsRejected),
        (CallName::SignIn, 404) => not_documented(call, reply, "the vendor has no token endpoint at this path"),
        (_, 401) => of(FaultKind::TokenRefused),
        // One status for a stale `_version` and for bad values; the text that would tell is documented nowhere.
        (CallName::Update, 400) => of(FaultKind::Ambiguous).without_effect(),
        // Never documented, but nothing else could be meant of a call that carries a version.
        (CallName::Update, 409 | 412) => of(FaultKind::Conflict),
        _ => by_status(call, reply, &said),
    }
}

/// A token and how long it lives.
///
/// # Errors
/// `CredentialsRejected` when the answer holds words but no token.
pub(super) fn read_token(body: &[u8]) -> Result<(HeaderValue, Duration), Fault> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(token) = members.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty()) else {
        let words = members.get("message").and_then(Value::as_str).and_then(clean_text);
        return Err(words.map_or_else(
            || unreadable("no access_token in it"),
            |words| Fault::new(FaultKind::CredentialsRejected).message(words),
        ));
    };
    let token = secret_header(token).ok_or_else(|| unreadable("an access_token that no header can carry"))?;
    Ok((token, life(members.get("expires_in"))))
}

fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(seconds) = seconds else { return CAUTIOUS_LIFE };
    Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64())).unwrap_or(CAUTIOUS_LIFE)
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
struct Named<'r> {
    #[serde(rename = "_dataObjectId", borrow)]
    id: Cow<'r, str>,
}

impl<'r> Listing<'r> {
    /// Reads a page.
    pub(super) fn read(body: &'r [u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(unreadable)?;
        serde_json::from_str(text).map_err(unreadable)
    }

    /// The key of the next page; absent, null and empty all mean that there is none.
    pub(super) fn next(&self) -> Option<&str> {
        self.next_page_key.as_deref().filter(|key| !key.is_empty())
    }

    /// The record of a key, if it is on this page.
    pub(super) fn find(&self, key: &str) -> Result<Option<Stored>, Fault> {
        for item in &self.items {
            if key_of(item)? == key {
                return read_record(item.get().as_bytes()).map(|(_, stored)| Some(stored));
            }
        }
        Ok(None)
    }
}

/// The `_dataObjectId` of a record.
pub(super) fn key_of(item: &RawValue) -> Result<Cow<'_, str>, Fault> {
    serde_json::from_str::<Named<'_>>(item.get()).map(|named| named.id).map_err(unreadable)
}

/// A record as lists and the answer to a create show it: its key and what callers see of it.
pub(super) fn read_record(text: &[u8]) -> Result<(String, Stored), Fault> {
    let members = raw_members(text).map_err(unreadable)?;
    let find = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let key: String = find("_dataObjectId")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| unreadable("a record without _dataObjectId"))?;
    let version = find("_version")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| unreadable("a record whose _version is not a whole number"))?;
    let warnings = find("_errors").and_then(|text| serde_json::from_str(text).ok()).as_ref().map(warnings);
    let shown = members.iter().filter(|(name, _)| !matches!(name.as_ref(), "_dataObjectId" | "_version" | "_errors"));
    let fields = Fields::from_members(shown.map(|(name, value)| (name.as_ref(), *value)));
    Ok((key, Stored { fields, version: Some(Version::Counter(version)), warnings: warnings.unwrap_or_default() }))
}

/// What `_errors` says, whatever its shape: two are documented, `{name, errors}` and `{}`.
fn warnings(errors: &Value) -> Vec<Warning> {
    match errors {
        Value::Array(entries) => entries.iter().map(warning).collect(),
        Value::Object(by_name) => by_name.iter().map(|(name, errors)| warning_of(Some(name), errors)).collect(),
        Value::String(text) if !text.is_empty() => vec![warning(errors)],
        _ => Vec::new(),
    }
}

fn warning(entry: &Value) -> Warning {
    match entry {
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str);
            let told = members.get("errors").or_else(|| members.get("message"));
            warning_of(name, told.unwrap_or(&Value::Null))
        }
        other => warning_of(None, other),
    }
}

fn warning_of(field: Option<&str>, errors: &Value) -> Warning {
    let mut texts = Vec::new();
    texts_in(errors, &mut texts);
    let told = clean_text(&texts.join("; "));
    Warning {
        code: WarningCode::InvalidField,
        pointer: field.map_or_else(|| "/fields".to_owned(), pointer_to),
        detail: told
            .unwrap_or_else(|| "the vendor marks the value as breaking a rule and does not say which".to_owned()),
    }
}

fn texts_in(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts_in(value, texts)),
        Value::Object(members) => members.values().for_each(|value| texts_in(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The time an id begins with, `yyyyMMddHHmmssSSS` in UTC (every sample on the vendor's pages; INFERRED).
pub(super) fn made_at(key: &str) -> Option<Timestamp> {
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
