//! Pretectum's requests, responses and errors (docs.pretectum.io/api-reference), as pure functions.

use std::borrow::Cow;
use std::collections::HashSet;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::vendor_warnings::parse_warnings;
use crate::record::{
    FieldError, JsonObjectWriter, RawJson, RawObject, RecordId, Secret, VendorError, VendorErrorKind, VendorRecord,
    Version, percent_encode,
};
use crate::transport::{JSON, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, check_writable, fault_for_status, fault_from_response, first_byte, is_done, missing_version_error,
    parse_object, undocumented_response, unparseable_response, utf8,
};

/// The two token paths that the vendor's pages give; they contradict each other.
pub(super) const TOKEN_PATHS: [&str; 2] = ["/v1/oauth2/token", "/oauth2/token"];
const RESERVED_DETAIL: &str = "names that begin with _ are the vendor's own and cannot be set";

/// The credentials of an application client.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// The application client's id.
    pub(super) client_id: String,
    /// The application client's secret.
    pub(super) client_secret: Secret,
    /// The path of the token endpoint, which begins with `/`. If the vendor does not have it, its
    /// other path is tried.
    pub(super) token_path: String,
}

/// The canonical spelling of `{businessAreaId}:{schemaId}:{datasetId}`.
pub(super) fn parse_collection(raw: &str) -> Option<String> {
    let parts: Vec<_> = raw.split(':').collect();
    (parts.len() == 3 && parts.iter().all(|part| is_id(part))).then(|| raw.to_owned())
}

/// Every id in the vendor's samples is 17 digits and 30 of `[0-9a-z]`; the vendor does not document
/// the form.
pub(super) fn is_id(text: &str) -> bool {
    (20..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a member belongs to the vendor and not to the record's schema.
pub(super) fn is_reserved(member: &str) -> bool {
    member.starts_with('_')
}

/// Rejects names that no write may have.
pub(super) fn check_names<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<FieldError>> {
    check_writable(names, is_reserved, RESERVED_DETAIL)
}

/// Members of every record that are the gateway's business.
pub(super) fn is_hidden(member: &str) -> bool {
    matches!(member, "_dataObjectId" | "_version" | "_errors")
}

fn records_path(collection: &str) -> String {
    let mut parts = collection.split(':');
    let mut next = || percent_encode(parts.next().unwrap_or_default());
    format!("/v1/businessareas/{}/schemas/{}/datasets/{}/dataobjects", next(), next(), next())
}

fn record_path(id: &RecordId) -> String {
    format!("{}/{}", records_path(id.collection()), percent_encode(id.key()))
}

fn request(kind: VendorRequestKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(kind, method, path).header(ACCEPT, JSON)
}

fn json_request(
    kind: VendorRequestKind,
    method: Method,
    path: impl Into<String>,
    body: JsonObjectWriter,
) -> VendorRequest {
    request(kind, method, path).header(CONTENT_TYPE, JSON).body(body)
}

/// Requests a token. The body is JSON without a grant type, although the path says oauth2.
pub(super) fn sign_in_request(credentials: &Credentials, token_path: &str) -> VendorRequest {
    let body = JsonObjectWriter::new()
        .string("client_id", &credentials.client_id)
        .string("client_secret", credentials.client_secret.expose());
    json_request(VendorRequestKind::SignIn, Method::POST, token_path, body)
}

/// Requests a page of a dataset.
pub(super) fn list_request(kind: VendorRequestKind, collection: &str, page_key: Option<&str>) -> VendorRequest {
    let query = page_key.map(|key| format!("?pageKey={}", percent_encode(key))).unwrap_or_default();
    request(kind, Method::GET, records_path(collection) + &query)
}

/// `PUT` changes the members that it names and keeps the others. The vendor compares `_version`.
pub(super) fn update_request(
    id: &RecordId,
    members: &RawObject,
    expected: Option<&Version>,
) -> Result<VendorRequest, Vec<FieldError>> {
    let Some(Version::Sequence(version)) = expected else { return Err(missing_version_error(expected)) };
    check_names(members.names())?;
    let body = JsonObjectWriter::new().value("_version", &Value::from(*version)).raw_members(members.iter());
    Ok(json_request(VendorRequestKind::Update, Method::PUT, record_path(id), body))
}

/// `DELETE` marks the record as deleted. The request carries no version.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Delete, Method::DELETE, record_path(id))
}

/// `POST` creates a record even if values break the schema's rules.
pub(super) fn create_request(collection: &str, fields: &Map<String, Value>) -> Result<VendorRequest, Vec<FieldError>> {
    check_names(fields.keys().map(String::as_str))?;
    let body = JsonObjectWriter::new().members(fields);
    Ok(json_request(VendorRequestKind::Create, Method::POST, records_path(collection), body))
}

/// The error of a response; `None` for a success.
pub(super) fn classify(request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
    if !is_done(response) {
        return Some(classify_error(request, response));
    }
    let is_success = match request.kind {
        VendorRequestKind::Schema => matches!(first_byte(response), Some(b'{' | b'[')),
        // A 204 is documented. A login page or an error document may come with a 200, so that the
        // gateway reads the record after any other body than the record itself.
        VendorRequestKind::Update | VendorRequestKind::Delete => {
            response.status == 204 || first_byte(response).is_none() || parse_record(&response.body).is_ok()
        }
        _ => first_byte(response) == Some(b'{'),
    };
    (!is_success).then(|| {
        undocumented_response(request, response, "the vendor's response is not the JSON object that it documents")
    })
}

fn classify_error(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    let texts = ErrorTexts::from_response(request, response);
    let fault = |kind| fault_from_response(kind, request, response, &texts);
    match (request.kind, response.status) {
        (VendorRequestKind::SignIn, 400 | 401 | 403) => fault(VendorErrorKind::CredentialsRejected),
        (VendorRequestKind::SignIn, 404) => {
            undocumented_response(request, response, "the vendor has no token endpoint at this path")
        }
        (_, 401) => fault(VendorErrorKind::TokenRejected),
        // A stale `_version` or invalid values; the vendor does not document the text that
        // distinguishes them.
        (VendorRequestKind::Update, 400) => fault(VendorErrorKind::Ambiguous).without_effect(),
        // Not documented, but they have no other meaning for a request that carries a version.
        (VendorRequestKind::Update, 409 | 412) => fault(VendorErrorKind::Conflict),
        _ => fault_for_status(request, response, &texts),
    }
}

/// A page of records, which are not parsed yet.
pub(super) struct Listing {
    pub(super) items: Vec<RawJson>,
    /// The key of the next page. The vendor's page key may be absent, null or empty on the last
    /// page (INFERRED).
    pub(super) next_page_key: Option<String>,
}

impl Listing {
    /// Parses a page.
    pub(super) fn parse(body: &Bytes) -> Result<Self, VendorError> {
        #[derive(Deserialize)]
        struct Page<'r> {
            #[serde(borrow)]
            items: Vec<&'r RawValue>,
            #[serde(rename = "nextPageKey", default)]
            next_page_key: Option<String>,
        }
        let text = utf8(body)?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(unparseable_response)?;
        Ok(Self {
            items: page.items.into_iter().map(|item| RawJson::slice_of(&text, item)).collect(),
            next_page_key: page.next_page_key.filter(|key| !key.is_empty()),
        })
    }

    /// The records with these keys that are on the page.
    pub(super) fn find_records(&self, keys: &HashSet<&str>) -> Result<Vec<(String, VendorRecord)>, VendorError> {
        let mut found = Vec::new();
        for item in &self.items {
            if keys.contains(&*parse_item_id(item.as_str())?) {
                found.push(parse_item(item)?);
            }
        }
        Ok(found)
    }

    /// The record with this key, if it is on the page.
    pub(super) fn find_record(&self, key: &str) -> Result<Option<VendorRecord>, VendorError> {
        for item in &self.items {
            if parse_item_id(item.as_str())? == key {
                return parse_item(item).map(|(_, record)| Some(record));
            }
        }
        Ok(None)
    }
}

/// The `_dataObjectId` of a record, without parsing the rest of it.
pub(super) fn parse_item_id(text: &str) -> Result<Cow<'_, str>, VendorError> {
    #[derive(Deserialize)]
    struct ItemId<'r> {
        #[serde(rename = "_dataObjectId", borrow)]
        id: Cow<'r, str>,
    }
    serde_json::from_str::<ItemId<'_>>(text).map(|item| item.id).map_err(unparseable_response)
}

/// A record of a list: its key, and the record as callers see it.
pub(super) fn parse_item(item: &RawJson) -> Result<(String, VendorRecord), VendorError> {
    read_record(item.to_object().map_err(unparseable_response)?)
}

/// The record of a response to a create: its key, and the record as callers see it.
pub(super) fn parse_record(body: &Bytes) -> Result<(String, VendorRecord), VendorError> {
    read_record(parse_object(body)?)
}

fn read_record(mut members: RawObject) -> Result<(String, VendorRecord), VendorError> {
    let key = members
        .get("_dataObjectId")
        .and_then(RawJson::to_text)
        .ok_or_else(|| unparseable_response("a record without _dataObjectId"))?;
    let version = members
        .get("_version")
        .and_then(|value| value.as_str().parse().ok())
        .ok_or_else(|| unparseable_response("a record whose _version is not a whole number"))?;
    let warnings = members.get("_errors").and_then(RawJson::value).as_ref().map(parse_warnings).unwrap_or_default();
    members.retain(|name| !is_hidden(name));
    Ok((key, VendorRecord { fields: members, version: Some(Version::Sequence(version)), warnings }))
}

/// The time at the beginning of an id, `yyyyMMddHHmmssSSS` in UTC (INFERRED from every sample on
/// the vendor's pages).
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
