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

use crate::adapters::common::{
    ObjectText, Said, by_status, encoded, fault, first_byte, is_null, not_documented, unbound, unreadable, wrong,
};
use crate::record::{
    Fault, FaultKind, Fields, Invalid, Members, RecordId, Retry, Stored, Version, check_strict, raw_members,
};
use crate::transport::{Call, CallName, JSON, Reply};

const FRAGMENTS: &str = "/m42Services/api/data/fragments";
const SIGN_IN: &str = "/m42Services/api/ApiToken/GenerateAccessTokenFromApiToken/";
/// Chooses the language of messages; without it they come in the language of the token's owner. `Accept-Language` is ignored.
const LANGUAGE: HeaderName = HeaderName::from_static("explicit-language");
const ENGLISH: HeaderValue = HeaderValue::from_static("en");
const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// Comes in lists by itself, and must not be asked for.
const UNASKED: &str = "DisplayString";

/// «Concurrency. The object you want to update has been updated by another process.»
const CONFLICT: &[&str] = &["updated by another process", "concurrency"];
const DEFINITIONS: &[&str] = &["definition", "class ", "entity", "fragment"];
const MISSING: &[&str] =
    &["not found", "not exist", "doesn't exist", "not defined", "cannot be found", "could not be found", "unknown"];
const BAD_COLUMN: &[&str] = &["attribute", "expressionparser"];

/// A Data Definition's technical name.
pub(super) fn is_definition(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A GUID in any case, in lower case.
pub(super) fn guid(text: &str) -> Option<String> {
    // Of the forms that UUIDs have this is the only one of this length.
    let is_guid = text.len() == "00000000-0000-0000-0000-000000000000".len() && Uuid::try_parse(text).is_ok();
    is_guid.then(|| text.to_ascii_lowercase())
}

/// Whether a member is the gateway's business. The vendor reads names in any case.
pub(super) fn is_reserved(member: &str) -> bool {
    member.eq_ignore_ascii_case("ID") || member.eq_ignore_ascii_case("TimeStamp")
}

fn call(name: CallName, method: Method, path: impl Into<String>) -> Call {
    Call::new(name, method, path).header(LANGUAGE, ENGLISH)
}

fn fragments_path(definition: &str) -> String {
    [FRAGMENTS, "/", &Cow::from(encoded(definition))].concat()
}

fn fragment_path(id: &RecordId) -> String {
    fragments_path(id.collection()) + "/" + &encoded(id.key()).to_string()
}

/// Exchanges the API token for a token that the data services take.
pub(super) fn sign_in_call(api_token: &HeaderValue) -> Call {
    let mut call = call(CallName::SignIn, Method::POST, SIGN_IN).header(CONTENT_TYPE, JSON).body("{}");
    call.headers.push((AUTHORIZATION, api_token.clone()));
    call
}

/// Asks for one fragment.
pub(super) fn read_call(name: CallName, id: &RecordId) -> Call {
    call(name, Method::GET, fragment_path(id))
}

/// Asks for one fragment with the description of its columns.
pub(super) fn schema_call(id: &RecordId) -> Call {
    call(CallName::Schema, Method::GET, fragment_path(id) + "/schema-info")
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
pub(super) fn refuses_versions(fault: &Fault) -> bool {
    let says = |text: &String| text.contains("does not contain attribute TimeStamp");
    fault.kind == FaultKind::Rejected && fault.message.as_ref().is_some_and(says)
}

/// Asks for a page, counted from zero. `ID` must be among the columns, because it is what the page is sorted by.
/// Identifiers stand in brackets (a bare reserved word is a syntax error), but not in `sort`.
pub(super) fn list_call(definition: &str, columns: &Columns<'_>, page: u64, size: usize) -> Call {
    let mut asked = String::from(if columns.versions { "[ID],[TimeStamp]" } else { "[ID]" });
    for column in columns.names.iter().filter(|column| *column != UNASKED) {
        asked.push_str(",[");
        asked.push_str(column);
        asked.push(']');
    }
    let path =
        format!("{}?columns={}&sort=ID&pagesize={size}&pagenumber={page}", fragments_path(definition), encoded(&asked));
    call(CallName::List, Method::GET, path)
}

/// A page of the fragments that have these texts: the same list, narrowed as far as A-SQL can do it safely. What it lets
/// through is compared again.
pub(super) fn search_call(
    definition: &str,
    columns: &Columns<'_>,
    fields: &Map<String, Value>,
    page: u64,
    size: usize,
) -> Call {
    const LONGEST: usize = 200;
    let mut call = list_call(definition, columns, page, size);
    let texts = fields.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    let plain = texts.filter(|(_, text)| !text.is_empty() && text.len() <= LONGEST && !text.contains(char::is_control));
    // In single quotes, the quote doubled; names were checked to be identifiers and are bracketed.
    let conditions: Vec<String> =
        plain.map(|(name, text)| format!("[{name}] = '{}'", text.replace('\'', "''"))).collect();
    if !conditions.is_empty() {
        call.path.push_str("&where=");
        call.path.push_str(&encoded(&conditions.join(" AND ")).to_string());
    }
    call
}

/// Changes the attributes it names; the id stands in the body. Without `TimeStamp` the vendor would overwrite blindly, so
/// there is no such call.
pub(super) fn update_call(id: &RecordId, members: &Members, expected: Option<&Version>) -> Result<Call, Vec<Invalid>> {
    let Some(Version::Row(row)) = expected else { return Err(unbound(expected)) };
    not_reserved(members.names())?;
    let body =
        ObjectText::about(members).text("ID", id.key()).text("TimeStamp", &BASE64.encode(row)).unchanged(members);
    Ok(call(CallName::Update, Method::PUT, fragments_path(id.collection()))
        .header(CONTENT_TYPE, JSON_UTF8)
        .body(body.done()))
}

/// Deletes a fragment for good. It carries no version.
pub(super) fn delete_call(id: &RecordId) -> Call {
    call(CallName::Delete, Method::DELETE, fragment_path(id))
}

/// Makes a fragment.
pub(super) fn create_call(definition: &str, fields: &Map<String, Value>) -> Result<Call, Vec<Invalid>> {
    not_reserved(fields.keys().map(String::as_str))?;
    let path = fragments_path(definition);
    let body = ObjectText::new().members(fields).done();
    Ok(call(CallName::Create, Method::POST, path).header(CONTENT_TYPE, JSON_UTF8).body(body))
}

fn not_reserved<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Vec<Invalid>> {
    let reserved = names.filter(|name| is_reserved(name));
    let found: Vec<_> = reserved.map(|name| wrong(name, "ID and TimeStamp, in any case, cannot be set")).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The error table.
pub(super) fn judge(call: &Call, reply: &Reply) -> Option<Fault> {
    let documented = match (call.name, reply.status) {
        (CallName::SignIn | CallName::Read | CallName::Schema, 200) if is_null(reply) => {
            return Some(hidden_in_null(call, reply));
        }
        (CallName::SignIn | CallName::Read | CallName::Schema, 200) => first_byte(reply) == Some(b'{'),
        (CallName::List, 200) => first_byte(reply) == Some(b'['),
        (CallName::Create, 200 | 201) => new_guid(reply).is_some(),
        // The codes of delete are documented nowhere; login pages and error documents come with 200 as well. What is not
        // believed here is found out by reading.
        (CallName::Update | CallName::Delete, 200 | 204) => matches!(reply.body.trim_ascii(), b"" | b"null" | b"true"),
        _ => return Some(failure(call, reply)),
    };
    (!documented).then(|| not_documented(call, reply, "the vendor's answer is not the JSON it documents for this call"))
}

/// 200 and `null`: there is no such fragment (or the account may not see it), or no token for such credentials.
fn hidden_in_null(call: &Call, reply: &Reply) -> Fault {
    let (kind, words) = match call.name {
        CallName::SignIn => (FaultKind::CredentialsRejected, "the API token is invalid or has expired"),
        _ => (FaultKind::NotFound, "the fragment does not exist, or the account may not see it"),
    };
    Fault::new(kind).status(reply.status).message(words)
}

fn failure(call: &Call, reply: &Reply) -> Fault {
    let said = Said::of(call, reply);
    let of = |kind| fault(kind, call, reply, &said);
    match (call.name, reply.status) {
        (CallName::SignIn, 404) => not_documented(call, reply, "the vendor has no token service at this address"),
        // 406 on data calls is what a raw API token gets that was never exchanged.
        (CallName::SignIn, 401 | 403) | (_, 406) => of(FaultKind::CredentialsRejected),
        (_, 401) => of(FaultKind::TokenRefused),
        (CallName::Update, 409 | 412) => of(FaultKind::Conflict),
        (CallName::Update, 500) if said.speaks_of(CONFLICT) => of(FaultKind::Conflict),
        // Not found, bad values, a fault of the server, or one that came after the commit: only reading tells.
        (CallName::Create | CallName::Update | CallName::Delete, 500) => of(FaultKind::Ambiguous),
        (CallName::List, 414) => of(FaultKind::Rejected),
        (CallName::List, 500) if said.speaks_of(BAD_COLUMN) => of(FaultKind::Rejected),
        (CallName::Read | CallName::List | CallName::Schema, 500)
            if said.speaks_of(DEFINITIONS) && said.speaks_of(MISSING) =>
        {
            of(FaultKind::NotFound).retry(Retry::Never)
        }
        _ => by_status(call, reply, &said),
    }
}

/// The new fragment's GUID: a JSON string; some servers answer the bare text.
pub(super) fn new_guid(reply: &Reply) -> Option<String> {
    let text = std::str::from_utf8(&reply.body).ok()?.trim();
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    guid(unquoted)
}

/// A fragment as the vendor shows it.
pub(super) struct Fragment {
    /// `ID`, in lower case.
    pub(super) id: Option<String>,
    /// The rest; without a version where the answer holds no `TimeStamp`.
    pub(super) stored: Stored,
    /// How many members `fields` has.
    pub(super) members: usize,
}

/// Reads a fragment; of a list item only the members in `keep` are the fragment's own.
pub(super) fn read_fragment(text: &[u8], keep: Option<&[String]>) -> Result<Fragment, Fault> {
    let members = raw_members(text).map_err(unreadable)?;
    let (mut id, mut version) = (None, None);
    for (name, value) in &members {
        if name.eq_ignore_ascii_case("ID") {
            set_once(&mut id, guid_in(value)?)?;
        } else if name.eq_ignore_ascii_case("TimeStamp") && value.get() != "null" {
            set_once(&mut version, Version::Row(row(value)?))?;
        }
    }
    let kept = |name: &str| !is_reserved(name) && keep.is_none_or(|keep| keep.iter().any(|column| column == name));
    let shown: Vec<_> =
        members.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.as_ref(), *value)).collect();
    let count = shown.len();
    Ok(Fragment {
        id,
        stored: Stored { fields: Fields::from_members(shown), version, warnings: Vec::new() },
        members: count,
    })
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), Fault> {
    if place.replace(value).is_some() {
        return Err(unreadable("ID or TimeStamp stands twice in one fragment"));
    }
    Ok(())
}

fn guid_in(value: &RawValue) -> Result<String, Fault> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    text.and_then(|text| guid(&text)).ok_or_else(|| unreadable("an ID that is no GUID"))
}

/// `TimeStamp`: a row version of SQL Server, 8 bytes in base64. Opaque.
fn row(value: &RawValue) -> Result<[u8; 8], Fault> {
    let text: Option<String> = serde_json::from_str(value.get()).ok();
    let bytes = text.and_then(|text| BASE64.decode(text).ok()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| unreadable("a TimeStamp that is not 8 bytes in base64"))
}

/// A page: a bare array of fragments.
pub(super) fn read_page(body: &[u8], keep: Option<&[String]>) -> Result<Vec<Fragment>, Fault> {
    let text = check_strict(body).map_err(unreadable)?;
    let rows: Vec<&RawValue> = serde_json::from_str(text).map_err(unreadable)?;
    rows.iter().map(|row| read_fragment(row.get().as_bytes(), keep)).collect()
}

/// The members that GET shows of a fragment, from an answer of `schema-info` (`{Result: {…}, Schema: […]}`) or of GET itself.
/// `None` if a name among them cannot be asked for as a column.
pub(super) fn column_names(body: &[u8]) -> Result<Option<Vec<String>>, Fault> {
    let members = raw_members(body).map_err(unreadable)?;
    let find = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let names: Vec<String> = match (find("Result"), find("Schema")) {
        (Some(result), Some(_)) if result.starts_with('{') => names_in(result.as_bytes())?,
        (_, Some(schema)) if find("Result").is_some() => {
            let columns: Vec<Map<String, Value>> = serde_json::from_str(schema).map_err(unreadable)?;
            columns.iter().filter_map(|column| column.get("ColumnName")?.as_str().map(str::to_owned)).collect()
        }
        _ => names_in(body)?,
    };
    let names: Vec<String> = names.into_iter().filter(|name| !is_reserved(name)).collect();
    Ok((names.iter().all(|name| is_column(name)) && !names.is_empty()).then_some(names))
}

fn names_in(object: &[u8]) -> Result<Vec<String>, Fault> {
    Ok(raw_members(object).map_err(unreadable)?.into_iter().map(|(name, _)| name.into_owned()).collect())
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
        let cursor =
            Self { page: page.parse().ok()?, size: size.parse().ok()?, first: guid(first)?, last: guid(last)? };
        (cursor.size > 0).then_some(cursor)
    }

    /// What is new on the page this cursor asked for, and the cursor after it. There is no total: a page that is not full is
    /// the last one. A page that is the one before over again has nothing new and ends a server's endless list.
    pub(super) fn turn(&self, page: Vec<Fragment>) -> Result<(Vec<Fragment>, Option<Self>), Fault> {
        if page.len() > self.size {
            return Err(unreadable("more fragments than asked for"));
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
