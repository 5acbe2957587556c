//! Matrix42's URLs, bodies, replies and errors (help.matrix42.com, «Fragments Data Service»). Pure functions.

use std::borrow::Cow;
use std::collections::HashSet;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::record::{
    FieldError, RawFields, RawObject, RecordId, Retry, VendorError, VendorErrorKind, VendorRecord, Version,
    parse_raw_members, validate_strict,
};
use crate::transport::{JSON, VendorCallKind, VendorRequest, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, JsonObjectWriter, fault_for_status, fault_from_response, field_error, first_byte, is_null,
    missing_version_error, percent_encode, undocumented_response, unparseable_response,
};

const FRAGMENTS: &str = "/m42Services/api/data/fragments";
const SIGN_IN: &str = "/m42Services/api/ApiToken/GenerateAccessTokenFromApiToken/";
/// Chooses the language of messages; without it they come in the language of the token's owner. `Accept-Language` is ignored.
const LANGUAGE: HeaderName = HeaderName::from_static("explicit-language");
const ENGLISH: HeaderValue = HeaderValue::from_static("en");
const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// Comes in lists by itself, and must not be asked for.
const IMPLICIT_COLUMN: &str = "DisplayString";

/// «Concurrency. The object you want to update has been updated by another process.»
const CONFLICT_PHRASES: &[&str] = &["updated by another process", "concurrency"];
const DEFINITION_PHRASES: &[&str] = &["definition", "class ", "entity", "fragment"];
const MISSING_PHRASES: &[&str] =
    &["not found", "not exist", "doesn't exist", "not defined", "cannot be found", "could not be found", "unknown"];
const BAD_COLUMN_PHRASES: &[&str] = &["attribute", "expressionparser"];

/// A Data Definition's technical name.
pub(super) fn is_definition(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A GUID in any case, in lower case.
pub(super) fn parse_guid(text: &str) -> Option<String> {
    // Of the forms that UUIDs have this is the only one of this length.
    let is_guid = text.len() == "00000000-0000-0000-0000-000000000000".len() && Uuid::try_parse(text).is_ok();
    is_guid.then(|| text.to_ascii_lowercase())
}

/// Whether a member is the gateway's business. The vendor reads names in any case.
pub(super) fn is_reserved(member: &str) -> bool {
    member.eq_ignore_ascii_case("ID") || member.eq_ignore_ascii_case("TimeStamp")
}

fn request(name: VendorCallKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(name, method, path).header(LANGUAGE, ENGLISH)
}

fn fragments_path(definition: &str) -> String {
    [FRAGMENTS, "/", &Cow::from(percent_encode(definition))].concat()
}

fn fragment_path(id: &RecordId) -> String {
    fragments_path(id.collection()) + "/" + &percent_encode(id.key()).to_string()
}

/// Exchanges the API token for a token that the data services take.
pub(super) fn sign_in_request(api_token: &HeaderValue) -> VendorRequest {
    let mut call = request(VendorCallKind::SignIn, Method::POST, SIGN_IN).header(CONTENT_TYPE, JSON).body("{}");
    call.headers.push((AUTHORIZATION, api_token.clone()));
    call
}

/// Asks for one fragment.
pub(super) fn read_request(name: VendorCallKind, id: &RecordId) -> VendorRequest {
    request(name, Method::GET, fragment_path(id))
}

/// Asks for one fragment with the description of its columns.
pub(super) fn schema_request(id: &RecordId) -> VendorRequest {
    request(VendorCallKind::Schema, Method::GET, fragment_path(id) + "/schema-info")
}

/// What a list is asked for, besides ids.
pub(super) struct Columns<'n> {
    /// Attributes.
    pub(super) names: &'n [String],
    /// Whether `TimeStamp` is among the columns too.
    pub(super) versions: bool,
}

/// Whether a list was refused because of its `TimeStamp` column. No vendor page says that it can be asked for, and other attributes
/// are refused in these words.
pub(super) fn rejects_version_column(fault: &VendorError) -> bool {
    let says = |text: &String| text.contains("does not contain attribute TimeStamp");
    fault.kind == VendorErrorKind::Rejected && fault.message.as_ref().is_some_and(says)
}

/// Asks for a page, counted from zero. `ID` must be among the columns, because it is what the page is sorted by.
/// Identifiers stand in brackets (a bare reserved word is a syntax error), but not in `sort`.
pub(super) fn list_request(definition: &str, columns: &Columns<'_>, page: u64, size: usize) -> VendorRequest {
    let mut asked = String::from(if columns.versions { "[ID],[TimeStamp]" } else { "[ID]" });
    for column in columns.names.iter().filter(|column| *column != IMPLICIT_COLUMN) {
        asked.push_str(",[");
        asked.push_str(column);
        asked.push(']');
    }
    let path = format!(
        "{}?columns={}&sort=ID&pagesize={size}&pagenumber={page}",
        fragments_path(definition),
        percent_encode(&asked)
    );
    request(VendorCallKind::List, Method::GET, path)
}

/// A page of the fragments that have these texts: the same list, narrowed as far as A-SQL can do it safely. What it lets
/// through is compared again.
pub(super) fn search_request(
    definition: &str,
    columns: &Columns<'_>,
    fields: &Map<String, Value>,
    page: u64,
    size: usize,
) -> VendorRequest {
    const MAX_TEXT_LEN: usize = 200;
    let mut call = list_request(definition, columns, page, size);
    let texts = fields.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    let plain =
        texts.filter(|(_, text)| !text.is_empty() && text.len() <= MAX_TEXT_LEN && !text.contains(char::is_control));
    // In single quotes, the quote doubled; names were checked to be identifiers and are bracketed.
    let conditions: Vec<String> =
        plain.map(|(name, text)| format!("[{name}] = '{}'", text.replace('\'', "''"))).collect();
    if !conditions.is_empty() {
        call.path.push_str("&where=");
        call.path.push_str(&percent_encode(&conditions.join(" AND ")).to_string());
    }
    call
}

/// Changes the attributes it names; the id stands in the body. Without `TimeStamp` the vendor would overwrite blindly, so
/// there is no such call.
pub(super) fn update_request(
    id: &RecordId,
    members: &RawObject,
    expected: Option<&Version>,
) -> Result<VendorRequest, Vec<FieldError>> {
    let Some(Version::RowVersion(row)) = expected else { return Err(missing_version_error(expected)) };
    check_writable(members.names())?;
    let body = JsonObjectWriter::with_capacity_for(members)
        .text("ID", id.key())
        .text("TimeStamp", &BASE64.encode(row))
        .raw_members(members);
    Ok(request(VendorCallKind::Update, Method::PUT, fragments_path(id.collection()))
        .header(CONTENT_TYPE, JSON_UTF8)
        .body(body.finish()))
}

/// Deletes a fragment for good. It carries no version.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorCallKind::Delete, Method::DELETE, fragment_path(id))
}

/// Makes a fragment.
pub(super) fn create_request(definition: &str, fields: &Map<String, Value>) -> Result<VendorRequest, Vec<FieldError>> {
    check_writable(fields.keys().map(String::as_str))?;
    let path = fragments_path(definition);
    let body = JsonObjectWriter::new().members(fields).finish();
    Ok(request(VendorCallKind::Create, Method::POST, path).header(CONTENT_TYPE, JSON_UTF8).body(body))
}

fn check_writable<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<FieldError>> {
    let reserved = names.filter(|name| is_reserved(name));
    let found: Vec<_> =
        reserved.map(|name| field_error(name, "ID and TimeStamp, in any case, cannot be set")).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The error table.
pub(super) fn classify(call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
    let documented = match (call.kind, reply.status) {
        (VendorCallKind::SignIn | VendorCallKind::Read | VendorCallKind::Schema, 200) if is_null(reply) => {
            return Some(classify_null_body(call, reply));
        }
        (VendorCallKind::SignIn | VendorCallKind::Read | VendorCallKind::Schema, 200) => {
            first_byte(reply) == Some(b'{')
        }
        (VendorCallKind::List, 200) => first_byte(reply) == Some(b'['),
        (VendorCallKind::Create, 200 | 201) => parse_new_guid(reply).is_some(),
        // The codes of delete are documented nowhere; login pages and error documents come with 200 as well. What is not
        // believed here is found out by reading.
        (VendorCallKind::Update | VendorCallKind::Delete, 200 | 204) => {
            matches!(reply.body.trim_ascii(), b"" | b"null" | b"true")
        }
        _ => return Some(classify_error(call, reply)),
    };
    (!documented)
        .then(|| undocumented_response(call, reply, "the vendor's answer is not the JSON it documents for this call"))
}

/// 200 and `null`: there is no such fragment (or the account may not see it), or no token for such credentials.
fn classify_null_body(call: &VendorRequest, reply: &VendorResponse) -> VendorError {
    let (kind, words) = match call.kind {
        VendorCallKind::SignIn => (VendorErrorKind::CredentialsRejected, "the API token is invalid or has expired"),
        _ => (VendorErrorKind::NotFound, "the fragment does not exist, or the account may not see it"),
    };
    VendorError::new(kind).status(reply.status).message(words)
}

fn classify_error(call: &VendorRequest, reply: &VendorResponse) -> VendorError {
    let said = ErrorTexts::from_response(call, reply);
    let of = |kind| fault_from_response(kind, call, reply, &said);
    match (call.kind, reply.status) {
        (VendorCallKind::SignIn, 404) => {
            undocumented_response(call, reply, "the vendor has no token service at this address")
        }
        // 406 on data calls is what a raw API token gets that was never exchanged.
        (VendorCallKind::SignIn, 401 | 403) | (_, 406) => of(VendorErrorKind::CredentialsRejected),
        (_, 401) => of(VendorErrorKind::TokenRejected),
        (VendorCallKind::Update, 409 | 412) => of(VendorErrorKind::Conflict),
        (VendorCallKind::Update, 500) if said.mentions(CONFLICT_PHRASES) => of(VendorErrorKind::Conflict),
        // Not found, bad values, a fault of the server, or one that came after the commit: only reading tells.
        (VendorCallKind::Create | VendorCallKind::Update | VendorCallKind::Delete, 500) => {
            of(VendorErrorKind::Ambiguous)
        }
        (VendorCallKind::List, 414) => of(VendorErrorKind::Rejected),
        (VendorCallKind::List, 500) if said.mentions(BAD_COLUMN_PHRASES) => of(VendorErrorKind::Rejected),
        (VendorCallKind::Read | VendorCallKind::List | VendorCallKind::Schema, 500)
            if said.mentions(DEFINITION_PHRASES) && said.mentions(MISSING_PHRASES) =>
        {
            of(VendorErrorKind::NotFound).retry(Retry::Never)
        }
        _ => fault_for_status(call, reply, &said),
    }
}

/// The new fragment's GUID: a JSON string; some servers answer the bare text.
pub(super) fn parse_new_guid(reply: &VendorResponse) -> Option<String> {
    let text = std::str::from_utf8(&reply.body).ok()?.trim();
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    parse_guid(unquoted)
}

/// A fragment as the vendor shows it.
pub(super) struct Fragment {
    /// `ID`, in lower case.
    pub(super) id: Option<String>,
    /// The rest; without a version where the answer holds no `TimeStamp`.
    pub(super) record: VendorRecord,
    /// How many members `fields` has.
    pub(super) member_count: usize,
}

/// Reads a fragment; of a list item only the members in `keep` are the fragment's own.
pub(super) fn read_fragment(text: &[u8], keep: Option<&[String]>) -> Result<Fragment, VendorError> {
    let members = parse_raw_members(text).map_err(unparseable_response)?;
    let (mut id, mut version) = (None, None);
    for (name, value) in &members {
        if name.eq_ignore_ascii_case("ID") {
            set_once(&mut id, guid_from_json(value)?)?;
        } else if name.eq_ignore_ascii_case("TimeStamp") && value.get() != "null" {
            set_once(&mut version, Version::RowVersion(parse_row_version(value)?))?;
        }
    }
    let kept = |name: &str| !is_reserved(name) && keep.is_none_or(|keep| keep.iter().any(|column| column == name));
    let shown: Vec<_> =
        members.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.as_ref(), *value)).collect();
    let count = shown.len();
    Ok(Fragment {
        id,
        record: VendorRecord { fields: RawFields::from_raw_members(shown), version, warnings: Vec::new() },
        member_count: count,
    })
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), VendorError> {
    if place.replace(value).is_some() {
        return Err(unparseable_response("ID or TimeStamp stands twice in one fragment"));
    }
    Ok(())
}

fn guid_from_json(value: &RawValue) -> Result<String, VendorError> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    text.and_then(|text| parse_guid(&text)).ok_or_else(|| unparseable_response("an ID that is no GUID"))
}

/// `TimeStamp`: a row version of SQL Server, 8 bytes in base64. Opaque.
fn parse_row_version(value: &RawValue) -> Result<[u8; 8], VendorError> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let bytes = text.and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| unparseable_response("a TimeStamp that is not 8 bytes in base64"))
}

/// A page: a bare array of fragments.
pub(super) fn read_page(body: &[u8], keep: Option<&[String]>) -> Result<Vec<Fragment>, VendorError> {
    let text = validate_strict(body).map_err(unparseable_response)?;
    let rows: Vec<&RawValue> = serde_json::from_str(text).map_err(unparseable_response)?;
    rows.iter().map(|row| read_fragment(row.get().as_bytes(), keep)).collect()
}

/// The members that GET shows of a fragment, from an answer of `schema-info` (`{Result: {…}, Schema: […]}`) or of GET itself.
/// `None` if a name among them cannot be asked for as a column.
pub(super) fn parse_column_names(body: &[u8]) -> Result<Option<Vec<String>>, VendorError> {
    let members = parse_raw_members(body).map_err(unparseable_response)?;
    let find = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let names: Vec<String> = match (find("Result"), find("Schema")) {
        (Some(result), Some(_)) if result.starts_with('{') => member_names(result.as_bytes())?,
        (_, Some(schema)) if find("Result").is_some() => {
            let columns: Vec<Map<String, Value>> = serde_json::from_str(schema).map_err(unparseable_response)?;
            columns.iter().filter_map(|column| column.get("ColumnName")?.as_str().map(str::to_owned)).collect()
        }
        _ => member_names(body)?,
    };
    let names: Vec<String> = names.into_iter().filter(|name| !is_reserved(name)).collect();
    Ok((names.iter().all(|name| is_column(name)) && !names.is_empty()).then_some(names))
}

fn member_names(object: &[u8]) -> Result<Vec<String>, VendorError> {
    Ok(parse_raw_members(object)
        .map_err(unparseable_response)?
        .into_iter()
        .map(|(name, _)| name.into_owned())
        .collect())
}

/// A name that can stand in brackets in an A-SQL expression and means nothing but itself.
pub(super) fn is_column(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Where a list goes on. The first and last id given out show a server that repeats its page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) page: u64,
    pub(super) size: usize,
    pub(super) first: String,
    pub(super) last: String,
}

impl Cursor {
    /// Reads what `Display` wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let [page, size, first, last] = parts.as_slice() else { return None };
        let cursor = Self {
            page: page.parse().ok()?,
            size: size.parse().ok()?,
            first: parse_guid(first)?,
            last: parse_guid(last)?,
        };
        (cursor.size > 0).then_some(cursor)
    }

    /// What is new on the page this cursor asked for, and the cursor after it. There is no total: a page that is not full is
    /// the last one. A page that is the one before over again has nothing new and ends a server's endless list.
    pub(super) fn next_page(&self, page: Vec<Fragment>) -> Result<(Vec<Fragment>, Option<Self>), VendorError> {
        if page.len() > self.size {
            return Err(unparseable_response("more fragments than asked for"));
        }
        let id_at = |fragment: Option<&Fragment>| fragment.and_then(|fragment| fragment.id.clone()).unwrap_or_default();
        let (first, last) = (id_at(page.first()), id_at(page.last()));
        if first == self.first && last == self.last {
            return Ok((Vec::new(), None));
        }
        let next = Self { page: self.page.saturating_add(1), size: self.size, first, last };
        let next = (page.len() == self.size).then_some(next);
        let mut seen: HashSet<String> = [self.last.clone()].into();
        let new = page.into_iter().filter(|fragment| fragment.id.clone().is_none_or(|id| seen.insert(id)));
        Ok((new.collect(), next))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}.{}", self.page, self.size, self.first, self.last)
    }
}
