//! The body of `POST /batch` (contract 4.10): pure parsing, and every check that concerns the batch
//! as a whole.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;

use super::routes::ItemRoutes;
use crate::http::headers::{WriteHeaders, names};
use crate::http::item_request::{PathParams, segment};
use crate::http::request_target::percent_decode;
use crate::http::route::Route;
use crate::http::write_request::own_key;
use crate::problem::{Problem, ProblemKind};
use crate::record::{FieldError, JsonError, RawJson, RawObject, json_pointer};

/// The largest `concurrency` of a batch.
const MAX_CONCURRENCY: u64 = 32;
const DEFAULT_CONCURRENCY: usize = 8;
const MAX_ID_LEN: usize = 64;

/// The levels around the body of an item, which nests as deep as that of the request alone: the
/// batch, its items, and the item.
pub(super) const LEVELS_AROUND_BODY: usize = 3;

/// A batch as an object.
///
/// # Errors
/// It is none, or it is ambiguous.
pub(super) fn parse_members(body: &Bytes) -> Result<RawObject, JsonError> {
    RawObject::parse_deeper(body, LEVELS_AROUND_BODY)
}

/// An item of a batch as an object.
///
/// # Errors
/// It is none, or it is ambiguous.
pub(super) fn item_members(item: &RawJson) -> Result<RawObject, JsonError> {
    item.to_deeper_object(1)
}

/// The headers of an item.
const ITEM_HEADERS: [HeaderName; 8] = [
    IF_MATCH,
    IF_NONE_MATCH,
    names::PREFER,
    names::ACCEPT_LOSS,
    names::REQUIRE_GUARANTEE,
    names::IDEMPOTENCY_KEY,
    names::IF_PLAN,
    CONTENT_TYPE,
];

fn item_header_names() -> String {
    ITEM_HEADERS.each_ref().map(HeaderName::as_str).join(", ")
}

/// A parsed batch.
pub(in crate::http) struct BatchRequest {
    pub(in crate::http) items: Vec<BatchItem>,
    /// `on_failure` is `stop`: after a failure no further item begins.
    pub(super) stop_on_failure: bool,
    /// How many items run at once.
    pub(super) concurrency: usize,
}

/// An item as it was sent, with the defaults of its batch.
#[derive(Clone)]
pub(in crate::http) struct BatchItem {
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) route: Rc<Route>,
    /// The segments of the path that its route names, as they were sent.
    pub(super) params: PathParams,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The items that must have succeeded before, by their positions.
    pub(super) depends_on: Vec<usize>,
    /// The item whose record the path names.
    pub(super) record_of: Option<usize>,
    /// The item whose tag is the `If-Match`.
    pub(super) tag_of: Option<usize>,
}

/// What a batch does after the first failure.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum OnFailure {
    /// The other items run.
    #[default]
    Continue,
    /// No further item begins.
    Stop,
}

/// What limits a batch as a whole.
#[derive(Clone, Copy)]
pub(in crate::http) struct BatchBounds {
    pub(in crate::http) max_items: usize,
    pub(in crate::http) max_concurrency: usize,
}

impl BatchRequest {
    /// # Errors
    /// 400 for what is malformed, then 422 for what cannot be.
    pub(in crate::http) fn parse(body: &Bytes, routes: &ItemRoutes, bounds: BatchBounds) -> Result<Self, Problem> {
        let members = parse_members(body).map_err(|JsonError(detail)| malformed("", &detail))?;
        check_names("", &members, &["items", "headers", "on_failure", "concurrency"])?;
        let defaults = match members.get("headers") {
            Some(headers) => parse_headers("/headers", headers)?,
            None => HeaderMap::new(),
        };
        let on_failure = members.get("on_failure").map(|raw| serde_json::from_str::<OnFailure>(raw.as_str()));
        let on_failure = on_failure.transpose();
        let on_failure = on_failure.map_err(|_| malformed("/on_failure", "must be \"continue\" or \"stop\""))?;
        let stop_on_failure = on_failure.unwrap_or_default() == OnFailure::Stop;
        let concurrency = match members.get("concurrency").map(|raw| raw.as_str().parse::<u64>()) {
            None => DEFAULT_CONCURRENCY,
            Some(Ok(number @ 1..=MAX_CONCURRENCY)) => usize::try_from(number).unwrap_or(DEFAULT_CONCURRENCY),
            Some(_) => return Err(malformed("/concurrency", "must be an integer from 1 to 32")),
        };
        let items = members.get("items").ok_or_else(|| malformed("/items", "is missing"))?;
        let items = items.elements().map_err(|_| malformed("/items", "must be an array"))?;
        let mut positions = HashMap::with_capacity(items.len());
        let mut parsed = Vec::with_capacity(items.len().min(bounds.max_items));
        for (index, item) in items.iter().enumerate() {
            let item = RawItem::parse(index, item, &defaults, routes)?;
            if positions.insert(item.item.id.clone(), index).is_some() {
                return Err(malformed(&format!("/items/{index}/id"), "is the id of an earlier item, too"));
            }
            // The items of a batch that has too many are checked and not kept.
            if index < bounds.max_items {
                parsed.push(item);
            }
        }
        if items.is_empty() || items.len() > bounds.max_items {
            let detail = format!("a batch has 1 to {} items, and this one has {}", bounds.max_items, items.len());
            return Err(rejected(vec![FieldError::new("/items", detail)]));
        }
        let items = link(parsed, &positions)?;
        Ok(Self { items, stop_on_failure, concurrency: concurrency.min(bounds.max_concurrency) })
    }
}

impl BatchRequest {
    /// The systems that its items name, each once, however the path spells them.
    pub(in crate::http) fn systems(&self) -> Vec<String> {
        let named = self.items.iter().filter_map(|item| percent_decode(segment(&item.params, "system")?, "path").ok());
        named.map(Cow::into_owned).collect::<BTreeSet<String>>().into_iter().collect()
    }
}

impl BatchItem {
    /// The idempotency key of an item that writes; `prefix` is that of the batch's own keys.
    pub(super) fn write_key(&self, prefix: &str) -> Option<String> {
        let own = || own_item_key(&self.method, &self.headers).unwrap_or_else(|| [prefix, &self.id].concat());
        (self.method != Method::GET).then(own)
    }
}

/// The idempotency key that a caller gave to an item.
pub(super) fn own_item_key(method: &Method, headers: &HeaderMap) -> Option<String> {
    own_key(&WriteHeaders::parse(headers).ok()?, method == Method::POST)
}

/// An item before its references are resolved.
struct RawItem {
    item: BatchItem,
    depends_on: Vec<String>,
}

impl RawItem {
    fn parse(index: usize, raw: &RawJson, defaults: &HeaderMap, routes: &ItemRoutes) -> Result<Self, Problem> {
        let at = format!("/items/{index}");
        let members = item_members(raw).map_err(|_| malformed(&at, "must be an object"))?;
        check_names(&at, &members, &["id", "method", "path", "headers", "body", "depends_on"])?;
        let text = |name: &str| -> Result<Option<String>, Problem> {
            let Some(raw) = members.get(name) else { return Ok(None) };
            raw.to_text().map(Some).ok_or_else(|| malformed(&format!("{at}/{name}"), "must be a string"))
        };
        let id = text("id")?.unwrap_or_else(|| index.to_string());
        if !is_item_id(&id) {
            return Err(malformed(&format!("{at}/id"), "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"));
        }
        let method = match text("method")?.as_deref() {
            Some("GET") => Method::GET,
            Some("POST") => Method::POST,
            Some("PATCH") => Method::PATCH,
            Some("DELETE") => Method::DELETE,
            _ => return Err(malformed(&format!("{at}/method"), "must be GET, POST, PATCH or DELETE")),
        };
        let path = text("path")?.unwrap_or_default();
        let found = routes.find(&path).ok_or_else(|| {
            malformed(&format!("{at}/path"), "must be a path of a record or of a system's records, without a query")
        });
        let (route, params) = found?;
        let mut headers = match members.get("headers") {
            Some(headers) => parse_headers(&format!("{at}/headers"), headers)?,
            None => HeaderMap::new(),
        };
        for (name, value) in defaults {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if let Some(media_type) = default_media_type(&method).filter(|_| !headers.contains_key(CONTENT_TYPE)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        let depends_on = match members.get("depends_on") {
            Some(raw) => serde_json::from_str::<Vec<String>>(raw.as_str())
                .map_err(|_| malformed(&format!("{at}/depends_on"), "must be an array of ids of items"))?,
            None => Vec::new(),
        };
        let body = members.get("body").map(|body| Bytes::copy_from_slice(body.as_str().as_bytes()));
        let item = BatchItem {
            id,
            method,
            path,
            route,
            params,
            headers,
            body: body.unwrap_or_default(),
            depends_on: Vec::new(),
            record_of: None,
            tag_of: None,
        };
        Ok(Self { item, depends_on })
    }
}

/// Resolves the names of other items, whose positions are given; all errors at once.
///
/// # Errors
/// 422 for a dependency that cannot be.
fn link(items: Vec<RawItem>, positions: &HashMap<String, usize>) -> Result<Vec<BatchItem>, Problem> {
    let mut errors = Vec::new();
    let mut linked = Vec::with_capacity(items.len());
    for (index, RawItem { mut item, depends_on }) in items.into_iter().enumerate() {
        for (at, name) in depends_on.iter().enumerate() {
            match positions.get(name) {
                Some(earlier) if *earlier < index => item.depends_on.push(*earlier),
                found => {
                    let detail = if found.is_some() { "names no earlier item" } else { "names no item of this batch" };
                    errors.push(FieldError::new(format!("/items/{index}/depends_on/{at}"), detail));
                }
            }
        }
        let mut resolve = |name: &str, pointer: &str| {
            let found = positions.get(name).copied().filter(|earlier| item.depends_on.contains(earlier));
            if found.is_none() {
                let detail = format!("{{{name}}} needs {name} in depends_on");
                errors.push(FieldError::new(format!("/items/{index}{pointer}"), detail));
            }
            found
        };
        item.record_of = item
            .params
            .iter()
            .find(|(name, _)| *name == "id")
            .and_then(|(_, id)| reference(id))
            .and_then(|name| resolve(name, "/path"));
        let if_match = item.headers.get(IF_MATCH).and_then(|value| value.to_str().ok()).and_then(reference);
        item.tag_of = if_match.and_then(|name| resolve(name, "/headers/If-Match"));
        linked.push(item);
    }
    if errors.is_empty() { Ok(linked) } else { Err(rejected(errors)) }
}

/// The id in `{id}`.
fn reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    is_item_id(inner).then_some(inner)
}

fn is_item_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID_LEN).contains(&id.len()) && id.bytes().all(allowed)
}

fn default_media_type(method: &Method) -> Option<&'static str> {
    match *method {
        Method::PATCH => Some("application/merge-patch+json"),
        Method::POST => Some("application/json"),
        _ => None,
    }
}

/// The headers of an item, or those that are the defaults of all items.
fn parse_headers(at: &str, raw: &RawJson) -> Result<HeaderMap, Problem> {
    let members = raw.to_object().map_err(|_| malformed(at, "must be an object"))?;
    let mut headers = HeaderMap::with_capacity(members.len());
    for (name, value) in members.iter() {
        let at = json_pointer(at, &[name]);
        let lower = name.to_ascii_lowercase();
        if ITEM_HEADERS.iter().all(|known| known.as_str() != lower) {
            return Err(malformed(&at, &format!("is no header of an item; those are {}", item_header_names())));
        }
        let text = value.to_text().ok_or_else(|| malformed(&at, "must be a string"))?;
        let value = HeaderValue::from_str(&text).map_err(|_| malformed(&at, "is no value of a header"))?;
        let name = HeaderName::try_from(lower).map_err(|_| malformed(&at, "is no name of a header"))?;
        if headers.contains_key(&name) {
            return Err(malformed(&at, "occurs twice"));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

fn check_names(at: &str, members: &RawObject, known: &[&str]) -> Result<(), Problem> {
    let Some(unknown) = members.names().find(|name| !known.contains(name)) else { return Ok(()) };
    let detail = format!("is unknown here; known members are {}", known.join(", "));
    Err(malformed(&json_pointer(at, &[unknown]), &detail))
}

fn malformed(pointer: &str, detail: &str) -> Problem {
    let separator = if pointer.is_empty() { "" } else { " " };
    ProblemKind::MalformedRequest.with_detail(format!("{pointer}{separator}{detail}"))
}

fn rejected(errors: Vec<FieldError>) -> Problem {
    ProblemKind::Rejected.with_detail("the batch cannot run as it is; nothing was sent").errors(errors)
}

#[cfg(test)]
mod tests;
