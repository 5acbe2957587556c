//! Matrix42's requests and errors (help.matrix42.com, "Fragments Data Service"), as pure functions.

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::record::{
    FieldError, JsonObjectWriter, RawObject, RecordId, Retry, VendorError, VendorErrorKind, Version, percent_encode,
};
use crate::transport::{JSON, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, check_writable, fault_for_status, fault_from_response, first_byte, is_done, is_null,
    missing_version_error, parse_guid, undocumented_response,
};
use crate::vendors::filter::{FieldFilter, ValueForm};

const FRAGMENTS: &str = "/m42Services/api/data/fragments";
const SIGN_IN: &str = "/m42Services/api/ApiToken/GenerateAccessTokenFromApiToken/";
/// Selects the language of messages; the default is the language of the token's owner. The vendor
/// ignores `Accept-Language`.
const LANGUAGE: HeaderName = HeaderName::from_static("explicit-language");
const ENGLISH: HeaderValue = HeaderValue::from_static("en");
const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
const RESERVED_DETAIL: &str = "ID and TimeStamp, in any case, cannot be set";
/// Lists include this column always, and reject a request for it.
pub(super) const IMPLICIT_COLUMN: &str = "DisplayString";

/// "Concurrency. The object you want to update has been updated by another process."
const CONFLICT_PHRASES: &[&str] = &["updated by another process", "concurrency"];
const DEFINITION_PHRASES: &[&str] = &["definition", "class ", "entity", "fragment"];
const MISSING_PHRASES: &[&str] =
    &["not found", "not exist", "doesn't exist", "not defined", "cannot be found", "could not be found", "unknown"];
/// The vendor found a value wrong and did nothing: "The value of the attribute X cannot be
/// converted.", "Class X does not contain attribute Y", "The mandatory attribute X is missing."
const INVALID_VALUE_PHRASES: &[&str] =
    &["cannot be converted", "does not contain attribute", "unknown attribute", "mandatory attribute"];
const BAD_COLUMN_PHRASES: &[&str] = &["attribute", "expressionparser"];

/// Whether a bracketed name is an identifier in an A-SQL expression and nothing else.
pub(super) fn is_column(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a text has the form of a Data Definition's technical name.
pub(super) fn is_definition(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a member carries the id or the version. The vendor ignores the case of names.
pub(super) fn is_reserved(member: &str) -> bool {
    member.eq_ignore_ascii_case("ID") || member.eq_ignore_ascii_case("TimeStamp")
}

/// Rejects names that no write may have.
pub(super) fn check_names<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<FieldError>> {
    check_writable(names, is_reserved, RESERVED_DETAIL)
}

fn request(kind: VendorRequestKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(kind, method, path).header(LANGUAGE, ENGLISH)
}

fn fragments_path(definition: &str) -> String {
    [FRAGMENTS, "/", &Cow::from(percent_encode(definition))].concat()
}

fn fragment_path(id: &RecordId) -> String {
    [&fragments_path(id.collection()), "/", &Cow::from(percent_encode(id.key()))].concat()
}

/// Exchanges the API token for a token that the data services accept.
pub(super) fn sign_in_request(api_token: &HeaderValue) -> VendorRequest {
    let mut call = request(VendorRequestKind::SignIn, Method::POST, SIGN_IN).header(CONTENT_TYPE, JSON).body("{}");
    call.headers.push((AUTHORIZATION, api_token.clone()));
    call
}

/// Requests one fragment.
pub(super) fn read_request(kind: VendorRequestKind, id: &RecordId) -> VendorRequest {
    request(kind, Method::GET, fragment_path(id))
}

/// Requests one fragment with a description of its columns.
pub(super) fn schema_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Schema, Method::GET, fragment_path(id) + "/schema-info")
}

/// Requests one fragment of a list with a description of its columns.
pub(super) fn schema_list_request(definition: &str) -> VendorRequest {
    let path = fragments_path(definition) + "/schema-info?pagesize=1&pagenumber=0";
    request(VendorRequestKind::Schema, Method::GET, path)
}

/// Requests the names of the Data Definitions.
pub(super) fn class_list_request() -> VendorRequest {
    request(VendorRequestKind::Schema, Method::GET, "/m42Services/api/Schema/classes")
}

/// The columns of a list, in addition to `ID`.
pub(super) struct Columns<'n> {
    /// The names of attributes.
    pub(super) names: &'n [String],
    /// Whether to request `TimeStamp`.
    pub(super) versions: bool,
}

/// Whether a list was rejected because of its `TimeStamp` column. No vendor page says that lists
/// accept this column; they reject other attributes with this text (INFERRED).
pub(super) fn rejects_version_column(fault: &VendorError) -> bool {
    let message = fault.message.as_deref().unwrap_or_default();
    fault.kind == VendorErrorKind::Rejected && message.contains("does not contain attribute TimeStamp")
}

/// Requests a page; the first page has number 0. The columns must include `ID`, because the list is
/// sorted by it. Identifiers are bracketed, because a bare reserved word is a syntax error, but not
/// in `sort`.
pub(super) fn list_request(definition: &str, columns: &Columns<'_>, page: u64, size: usize) -> VendorRequest {
    let mut names = String::from(if columns.versions { "[ID],[TimeStamp]" } else { "[ID]" });
    for column in columns.names.iter().filter(|column| *column != IMPLICIT_COLUMN) {
        names.push_str(",[");
        names.push_str(column);
        names.push(']');
    }
    let path = format!(
        "{}?columns={}&sort=ID&pagesize={size}&pagenumber={page}",
        fragments_path(definition),
        percent_encode(&names)
    );
    request(VendorRequestKind::List, Method::GET, path)
}

/// Requests a page of the fragments that have these texts. The condition is only as narrow as A-SQL
/// allows safely, so the adapter compares the fragments again.
pub(super) fn search_request(
    definition: &str,
    columns: &Columns<'_>,
    fields: &Map<String, Value>,
    page: u64,
    size: usize,
) -> VendorRequest {
    let call = list_request(definition, columns, page, size);
    add_conditions(call, fields.iter().filter_map(|(name, value)| text_condition(name, value)))
}

/// Adds the conditions of a filter to a list, as far as A-SQL allows safely: the adapter compares
/// the fragments again.
pub(super) fn filter_list(call: VendorRequest, filters: &[FieldFilter]) -> VendorRequest {
    let named = filters.iter().filter(|filter| is_column(&filter.field));
    let condition = |filter: &FieldFilter| match (&filter.value, filter.form) {
        // An exponent would make it an approximate number.
        (Value::Number(_), _) => filter.plain_number().map(|number| format!("[{}] = {number}", filter.field)),
        // In which zone the vendor reads a time is not documented.
        (_, ValueForm::Time) => None,
        (value, _) => text_condition(&filter.field, value),
    };
    add_conditions(call, named.filter_map(condition))
}

/// A text is in single quotes, with quotes doubled. The name is checked to be an identifier and is
/// bracketed.
fn text_condition(name: &str, value: &Value) -> Option<String> {
    const MAX_TEXT_LEN: usize = 200;
    let text = value.as_str()?;
    let is_plain = !text.is_empty() && text.len() <= MAX_TEXT_LEN && !text.contains(char::is_control);
    is_plain.then(|| format!("[{name}] = '{}'", text.replace('\'', "''")))
}

fn add_conditions(mut call: VendorRequest, conditions: impl Iterator<Item = String>) -> VendorRequest {
    let conditions: Vec<String> = conditions.collect();
    if !conditions.is_empty() {
        call.path.push_str("&where=");
        call.path.push_str(&percent_encode(&conditions.join(" AND ")).to_string());
    }
    call
}

/// `PUT` changes the attributes that it names; the id is in the body. Without `TimeStamp` the
/// vendor would overwrite blindly, so the gateway never omits it.
pub(super) fn update_request(
    id: &RecordId,
    members: &RawObject,
    expected: Option<&Version>,
) -> Result<VendorRequest, Vec<FieldError>> {
    let Some(Version::RowVersion(row)) = expected else { return Err(missing_version_error(expected)) };
    check_names(members.names())?;
    let body = JsonObjectWriter::new()
        .string("ID", id.key())
        .string("TimeStamp", &BASE64.encode(row))
        .raw_members(members.iter());
    Ok(request(VendorRequestKind::Update, Method::PUT, fragments_path(id.collection()))
        .header(CONTENT_TYPE, JSON_UTF8)
        .body(body))
}

/// Deletes a fragment permanently. The request carries no version.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Delete, Method::DELETE, fragment_path(id))
}

/// Creates a fragment.
pub(super) fn create_request(definition: &str, fields: &Map<String, Value>) -> Result<VendorRequest, Vec<FieldError>> {
    check_names(fields.keys().map(String::as_str))?;
    let body = JsonObjectWriter::new().members(fields);
    Ok(request(VendorRequestKind::Create, Method::POST, fragments_path(definition))
        .header(CONTENT_TYPE, JSON_UTF8)
        .body(body))
}

/// The error of a response; `None` for a success.
pub(super) fn classify(request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
    if !is_done(response) {
        return Some(classify_error(request, response));
    }
    let is_success = match request.kind {
        VendorRequestKind::SignIn | VendorRequestKind::Read | VendorRequestKind::Schema if is_null(response) => {
            return Some(classify_null_body(request, response));
        }
        VendorRequestKind::SignIn | VendorRequestKind::Read => first_byte(response) == Some(b'{'),
        VendorRequestKind::Schema => matches!(first_byte(response), Some(b'{' | b'[')),
        VendorRequestKind::List => first_byte(response) == Some(b'['),
        VendorRequestKind::Create => parse_new_guid(response).is_some(),
        // The statuses of a delete are not documented, and login pages and error documents also
        // come with 200. The gateway reads the record after any other body.
        VendorRequestKind::Update | VendorRequestKind::Delete => {
            matches!(response.body.trim_ascii(), b"" | b"null" | b"true")
        }
    };
    (!is_success).then(|| {
        undocumented_response(
            request,
            response,
            "the vendor's response is not the JSON that it documents for this call",
        )
    })
}

/// 200 with `null`: the fragment does not exist, or the account may not see it; or the API token is
/// not valid.
fn classify_null_body(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    let (kind, message) = match request.kind {
        VendorRequestKind::SignIn => (VendorErrorKind::CredentialsRejected, "the API token is invalid or has expired"),
        _ => (VendorErrorKind::NotFound, "the fragment does not exist, or the account may not see it"),
    };
    VendorError::new(kind).status(response.status).message(message)
}

fn classify_error(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    let texts = ErrorTexts::from_response(request, response);
    let fault = |kind| fault_from_response(kind, request, response, &texts);
    match (request.kind, response.status) {
        (VendorRequestKind::SignIn, 404) => {
            undocumented_response(request, response, "the vendor has no token service at this address")
        }
        // Data calls respond with 406 to an API token that was not exchanged.
        (VendorRequestKind::SignIn, 401 | 403) | (_, 406) => fault(VendorErrorKind::CredentialsRejected),
        (_, 401) => fault(VendorErrorKind::TokenRejected),
        (VendorRequestKind::Update, 409 | 412) => fault(VendorErrorKind::Conflict),
        (VendorRequestKind::Update, 500) if texts.mentions(CONFLICT_PHRASES) => fault(VendorErrorKind::Conflict),
        (VendorRequestKind::Create | VendorRequestKind::Update, 500) if texts.mentions(INVALID_VALUE_PHRASES) => {
            fault(VendorErrorKind::Rejected)
        }
        // A missing fragment, or a failure before or after the commit: only a read shows which.
        (VendorRequestKind::Create | VendorRequestKind::Update | VendorRequestKind::Delete, 500) => {
            fault(VendorErrorKind::Ambiguous)
        }
        (VendorRequestKind::List, 414) => fault(VendorErrorKind::Rejected),
        (VendorRequestKind::List, 500) if texts.mentions(BAD_COLUMN_PHRASES) => fault(VendorErrorKind::Rejected),
        (VendorRequestKind::Read | VendorRequestKind::List | VendorRequestKind::Schema, 500)
            if texts.mentions(DEFINITION_PHRASES) && texts.mentions(MISSING_PHRASES) =>
        {
            fault(VendorErrorKind::NotFound).retry(Retry::Never)
        }
        _ => fault_for_status(request, response, &texts),
    }
}

/// The new fragment's GUID: a JSON string, or the bare text from some servers.
pub(super) fn parse_new_guid(response: &VendorResponse) -> Option<String> {
    let text = std::str::from_utf8(&response.body).ok()?.trim();
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    parse_guid(unquoted)
}
