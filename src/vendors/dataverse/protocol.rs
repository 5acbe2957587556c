//! Dataverse's requests and errors (learn.microsoft.com, "Use the Microsoft Dataverse Web API"), as
//! pure functions.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde::Deserialize;

use crate::record::{FieldError, JsonObjectWriter, RecordId, VendorError, VendorErrorKind, Version, percent_encode};
use crate::transport::{JSON, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, MAX_ERROR_BODY, fault_for_status, fault_from_response, first_byte, is_done, missing_version_error,
    parse_guid, undocumented_response,
};

/// Where the Web API begins.
pub(super) const API: &str = "/api/data/v9.2/";
/// The response header with the address of the row that was written.
pub(super) const ENTITY_ID: &str = "odata-entityid";

const MAX_VERSION: HeaderName = HeaderName::from_static("odata-maxversion");
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const ODATA_V4: HeaderValue = HeaderValue::from_static("4.0");
/// The vendor's own way to pass caches.
const NO_CACHE: HeaderValue = HeaderValue::from_static("null");
const ANY_VERSION: HeaderValue = HeaderValue::from_static("*");
const REPRESENTATION: HeaderValue = HeaderValue::from_static("return=representation");

/// The row has another version than `If-Match` names.
const STALE: &str = "0x80060882";
/// The table has no optimistic concurrency.
const NOT_COMPARED: &str = "0x80060883";
/// The row, or a row that the body refers to, does not exist.
const MISSING: &str = "0x80040217";
/// What every row has.
const ETAG: &[u8] = b"@odata.etag";

/// Whether a text has the form of an entity set's name: lower-case letters, digits and underscores
/// (INFERRED from the sets of all standard tables). Resources of other names, such as
/// `EntityDefinitions`, are no records.
pub(super) fn is_set(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && text.bytes().all(is_inner)
}

/// Whether a text has the form of a column's or a navigation property's name.
pub(super) fn is_property(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && text.bytes().all(is_inner)
}

fn request(kind: VendorRequestKind, method: Method, path: String) -> VendorRequest {
    VendorRequest::new(kind, method, path)
        .header(ACCEPT, JSON)
        .header(MAX_VERSION, ODATA_V4)
        .header(ODATA_VERSION, ODATA_V4)
}

fn row_path(id: &RecordId) -> String {
    [API, id.collection(), "(", id.key(), ")"].concat()
}

/// Requests one row.
pub(super) fn read_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Read, Method::GET, row_path(id)).header(IF_NONE_MATCH, NO_CACHE)
}

/// Requests a page of at most `size` rows. `path` is that of the list or of a next link.
pub(super) fn list_request(path: String, size: usize) -> VendorRequest {
    let page_size = HeaderValue::try_from(format!("odata.maxpagesize={size}"));
    let call = request(VendorRequestKind::List, Method::GET, path).header(IF_NONE_MATCH, NO_CACHE);
    match page_size {
        Ok(page_size) => call.header(PREFER, page_size),
        Err(_) => call,
    }
}

/// The path of a list.
pub(super) fn list_path(set: &str) -> String {
    [API, set].concat()
}

/// The path of the rows that have these values: pairs of column and literal.
pub(super) fn search_path(set: &str, conditions: &[String]) -> String {
    let filter = conditions.join(" and ");
    format!("{API}{set}?$filter={}", percent_encode(&filter))
}

/// Requests metadata. `resource` stands below the Web API.
pub(super) fn metadata_request(resource: &str) -> VendorRequest {
    request(VendorRequestKind::Schema, Method::GET, [API, resource].concat()).header(IF_NONE_MATCH, NO_CACHE)
}

/// `PATCH` changes the columns that it names. It always has `If-Match`: without one it would create
/// a row that does not exist. `*` compares no version, for a table without optimistic concurrency.
pub(super) fn update_request(
    id: &RecordId,
    body: JsonObjectWriter,
    expected: Option<&Version>,
    return_record: bool,
) -> Result<VendorRequest, Vec<FieldError>> {
    let call = request(VendorRequestKind::Update, Method::PATCH, row_path(id));
    let call = call.header(IF_MATCH, if_match(expected)?).header(CONTENT_TYPE, JSON).body(body);
    Ok(if return_record { call.header(PREFER, REPRESENTATION) } else { call })
}

/// `DELETE` compares the version, if it names one.
pub(super) fn delete_request(id: &RecordId, expected: Option<&Version>) -> Result<VendorRequest, Vec<FieldError>> {
    Ok(request(VendorRequestKind::Delete, Method::DELETE, row_path(id)).header(IF_MATCH, if_match(expected)?))
}

/// `POST` creates a row, which the response shows.
pub(super) fn create_request(set: &str, body: JsonObjectWriter) -> VendorRequest {
    request(VendorRequestKind::Create, Method::POST, list_path(set))
        .header(CONTENT_TYPE, JSON)
        .header(PREFER, REPRESENTATION)
        .body(body)
}

fn if_match(expected: Option<&Version>) -> Result<HeaderValue, Vec<FieldError>> {
    match expected {
        None => Ok(ANY_VERSION),
        Some(Version::Text(etag)) => HeaderValue::from_str(etag).map_err(|_| missing_version_error(expected)),
        Some(_) => Err(missing_version_error(expected)),
    }
}

/// The error of a response; `None` for a success. Every 2xx that can mean "done" or "here it is" is
/// one, whatever the vendor's pages name for this call.
pub(super) fn classify(request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
    if !is_done(response) {
        return Some(classify_error(request, response));
    }
    let is_object = first_byte(response) == Some(b'{');
    let is_success = match request.kind {
        VendorRequestKind::Create => is_object || response.header(ENTITY_ID).is_some(),
        // The row; a login page or another document may come with the same status.
        VendorRequestKind::Update => {
            first_byte(response).is_none() || (is_object && memchr::memmem::find(&response.body, ETAG).is_some())
        }
        VendorRequestKind::Delete => first_byte(response).is_none(),
        _ => is_object,
    };
    (!is_success).then(|| {
        undocumented_response(request, response, "the vendor's response is not the one that it documents for this call")
    })
}

/// `{"error": {"code": "0x…", "message": "…"}}`.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetails,
}

#[derive(Deserialize)]
struct ErrorDetails {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn classify_error(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    if request.kind == VendorRequestKind::SignIn {
        return classify_sign_in_error(request, response);
    }
    let parsed = if response.body.len() <= MAX_ERROR_BODY {
        serde_json::from_slice::<ErrorBody>(&response.body).ok()
    } else {
        None
    };
    let (code, message) = parsed.map(|body| (body.error.code, body.error.message)).unwrap_or_default();
    let texts = if message.is_empty() {
        ErrorTexts::from_response(request, response)
    } else {
        ErrorTexts::from_text(request, &message)
    };
    let fault = |kind| fault_from_response(kind, request, response, &texts);
    let is_change = matches!(request.kind, VendorRequestKind::Update | VendorRequestKind::Delete);
    let mut fault = match (response.status, code.as_str()) {
        (401, _) => fault(VendorErrorKind::TokenRejected),
        (412, STALE) if is_change => return fault(VendorErrorKind::Conflict).code(code),
        // A read shows whether the record has moved; a key that exists is an invalid value.
        (412, _) => fault(VendorErrorKind::Rejected),
        (400, NOT_COMPARED) if is_change => fault(VendorErrorKind::NotCompared),
        (404, MISSING) if !request.kind.is_safe() && names_another_row(request, &message) => {
            fault(VendorErrorKind::Rejected)
        }
        _ => fault_for_status(request, response, &texts),
    };
    if fault.kind == VendorErrorKind::Rejected {
        fault.invalid.extend(unknown_property(&message));
    }
    if code.is_empty() { fault } else { fault.code(code) }
}

/// Whether a text names a key and not that of the request's row: a reference to a row that does not
/// exist.
fn names_another_row(request: &VendorRequest, message: &str) -> bool {
    let keys = message.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter_map(parse_guid);
    let keys: Vec<String> = keys.collect();
    !keys.is_empty() && !keys.iter().any(|key| request.path.contains(key.as_str()))
}

/// `Could not find a property named 'x' on type …` (the text is INFERRED from reports of clients).
fn unknown_property(message: &str) -> Option<FieldError> {
    let name = message.split_once("property named '")?.1.split('\'').next()?;
    is_property(name).then(|| FieldError::unknown_member(name, std::iter::empty()))
}

/// `{"error", "error_description", …}`. The description ends in the ids of the request's trace,
/// which are of no use to callers.
fn classify_sign_in_error(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    #[derive(Deserialize)]
    struct SignInError {
        #[serde(default)]
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let parsed: Option<SignInError> = serde_json::from_slice(&response.body).ok();
    let (code, description) = parsed.map(|error| (error.error, error.error_description)).unwrap_or_default();
    let text = description.split_once("Trace ID:").map_or(description.as_str(), |(text, _)| text);
    let texts = match text {
        "" => ErrorTexts::from_response(request, response),
        text => ErrorTexts::from_text(request, text),
    };
    let fault = match response.status {
        400 | 401 | 403 => fault_from_response(VendorErrorKind::CredentialsRejected, request, response, &texts),
        404 => undocumented_response(request, response, "there is no token service at this address"),
        _ => fault_for_status(request, response, &texts),
    };
    if code.is_empty() { fault } else { fault.code(code) }
}

/// The key in an address such as `https://…/accounts(00aa00aa-…)`.
pub(super) fn parse_entity_id(address: &str) -> Option<String> {
    parse_guid(address.trim().strip_suffix(')')?.rsplit_once('(')?.1)
}

/// The set in the path of a request for one row.
pub(super) fn set_of(request: &VendorRequest) -> Option<&str> {
    request.path.strip_prefix(API)?.split('(').next().filter(|set| is_set(set))
}
