//! BlueDolphin's URLs, bodies, replies and errors (support.valueblue.nl, «Public API»). Pure functions.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::definition;
use crate::adapters::common::{ObjectText, Said, by_status, encoded, fault, first_byte, not_documented, unreadable};
use crate::record::{Fault, FaultKind, RecordId};
use crate::transport::{Call, CallName, JSON, Reply};

/// The one collection there is so far.
pub(super) const DEFINITIONS: &str = "object-definitions";

const BUSY: &[&str] = &["ongoing update"];
const MISSING: &[&str] = &[
    "could not be found",
    "cannot be found",
    "could not be loaded",
    "cannot be loaded",
    "unable to load bluedolphin object configuration",
    // MongoDB's own words for an id that is 24 characters and not hexadecimal: no record can have it.
    "24 digit hex",
];
/// One text for a definition that may not be changed and for one that is not there: only reading tells.
const BUILT_IN_OR_MISSING: &[&str] = &["non-existing"];
/// Things whose absence is a wrong value in the request and not a missing record.
const REFERRED_TO: &[&str] = &["questionnaire", "boem", "property", "role", "template"];

/// 24 lower-case hexadecimal digits; one of the vendor's own samples has a `g`, so only the form is checked.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

fn path(id: &RecordId) -> String {
    format!("/v1/object-definitions/{}", encoded(id.key()))
}

fn call(name: CallName, method: Method, path: impl Into<String>) -> Call {
    Call::new(name, method, path).header(ACCEPT, JSON)
}

/// Asks for one definition.
pub(super) fn read_call(id: &RecordId) -> Call {
    call(CallName::Read, Method::GET, path(id))
}

/// Asks for a page of definitions; disabled ones are hidden unless asked for.
pub(super) fn list_call(start: u64, take: usize) -> Call {
    let query = format!("/v1/object-definitions?start={start}&take={take}&include_disabled=true");
    call(CallName::List, Method::GET, query)
}

/// The vendor's enable and disable calls have no body.
pub(super) fn status_call(id: &RecordId, active: bool) -> Call {
    let verb = if active { "enable" } else { "disable" };
    call(CallName::Update, Method::POST, format!("{}/{verb}", path(id)))
}

/// Replaces a definition. The page calls `id` mandatory and leaves it out of every example: both readings take it.
pub(super) fn replace_call(id: &RecordId, body: &Map<String, Value>) -> Call {
    with_body(
        call(CallName::Update, Method::PUT, path(id)),
        ObjectText::new().text("id", id.key()).members(body).done(),
    )
}

/// Deletes a definition and every object based on it, for good.
pub(super) fn delete_call(id: &RecordId) -> Call {
    call(CallName::Delete, Method::DELETE, path(id))
}

/// Makes a definition.
pub(super) fn create_call(fields: &Map<String, Value>) -> Call {
    let body = ObjectText::new().members(fields).done();
    with_body(call(CallName::Create, Method::POST, "/v1/object-definitions"), body)
}

fn with_body(call: Call, body: Bytes) -> Call {
    call.header(CONTENT_TYPE, JSON).body(body)
}

/// The error table.
pub(super) fn judge(call: &Call, reply: &Reply) -> Option<Fault> {
    let documented = match (call.name, reply.status) {
        (CallName::Read | CallName::List, 200) | (CallName::Create, 201) => first_byte(reply) == Some(b'{'),
        (CallName::Update, 202) => call.method == Method::PUT && says_ok(reply),
        (CallName::Update, 200) => call.method == Method::POST && says_ok(reply),
        (CallName::Delete, 200) => says_ok(reply),
        _ => return Some(failure(call, reply)),
    };
    (!documented).then(|| not_documented(call, reply, "the vendor's answer is not the one it documents for this call"))
}

/// `{"result":"OK"}`, and nothing less: what another answer means is found out by reading.
fn says_ok(reply: &Reply) -> bool {
    #[derive(Deserialize)]
    struct Said {
        result: String,
    }
    serde_json::from_slice::<Said>(&reply.body).is_ok_and(|said| said.result.eq_ignore_ascii_case("ok"))
}

fn failure(call: &Call, reply: &Reply) -> Fault {
    let said = Said::of(call, reply);
    let is_write = !call.name.is_safe();
    let kind = match reply.status {
        // A key does not expire in mid-flight: another try with the same one is of no use.
        401 => Some(FaultKind::CredentialsRejected),
        400 if said.speaks_of(BUSY) => Some(FaultKind::Busy),
        400 if said.speaks_of(MISSING) && !refers_to_something_else(call, &said) => Some(FaultKind::NotFound),
        400 if is_write && call.name != CallName::Create && said.speaks_of(BUILT_IN_OR_MISSING) => {
            return Fault { code: trace_id(reply), ..fault(FaultKind::Ambiguous, call, reply, &said).without_effect() };
        }
        400 if is_write => Some(FaultKind::Rejected),
        _ => None,
    };
    let mut fault = kind.map_or_else(|| by_status(call, reply, &said), |kind| fault(kind, call, reply, &said));
    fault.code = trace_id(reply);
    fault
}

fn refers_to_something_else(call: &Call, said: &Said) -> bool {
    call.name == CallName::Create || (call.name == CallName::Update && said.speaks_of(REFERRED_TO))
}

/// The number the vendor's support asks for.
fn trace_id(reply: &Reply) -> Option<String> {
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    let id = body.get("traceId")?.as_str()?;
    let is_plain = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then(|| id.to_owned())
}

/// A page of definitions, each still as text.
#[derive(Deserialize)]
pub(super) struct Listing<'r> {
    #[serde(borrow)]
    pub(super) items: Vec<&'r RawValue>,
    pub(super) total_items: Option<u64>,
}

impl<'r> Listing<'r> {
    /// Reads a page.
    pub(super) fn read(body: &'r [u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(unreadable)?;
        serde_json::from_str(text).map_err(unreadable)
    }
}

/// The id in the answer to a create.
pub(super) fn created_id(reply: &Reply) -> Option<String> {
    let (id, _) = definition::shown(&reply.body, false).ok()?;
    id.filter(|id| is_id(id))
}
