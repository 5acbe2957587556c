//! BlueDolphin's URLs, bodies, replies and errors (support.valueblue.nl, «Public API»). Pure functions.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::response_mapping;
use crate::record::{RecordId, VendorError, VendorErrorKind};
use crate::transport::{JSON, VendorCallKind, VendorRequest, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, JsonObjectWriter, fault_for_status, fault_from_response, first_byte, percent_encode,
    undocumented_response, unparseable_response,
};

/// The one collection there is so far.
pub(super) const DEFINITIONS: &str = "object-definitions";

const BUSY_PHRASES: &[&str] = &["ongoing update"];
const MISSING_PHRASES: &[&str] = &[
    "could not be found",
    "cannot be found",
    "could not be loaded",
    "cannot be loaded",
    "unable to load bluedolphin object configuration",
    // MongoDB's own words for an id that is 24 characters and not hexadecimal: no record can have it.
    "24 digit hex",
];
/// One text for a definition that may not be changed and for one that is not there: only reading tells.
const BUILT_IN_OR_MISSING_PHRASES: &[&str] = &["non-existing"];
/// Things whose absence is a wrong value in the request and not a missing record.
const REFERRED_TO_PHRASES: &[&str] = &["questionnaire", "boem", "property", "role", "template"];

/// 24 lower-case hexadecimal digits; one of the vendor's own samples has a `g`, so only the form is checked.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

fn path(id: &RecordId) -> String {
    format!("/v1/object-definitions/{}", percent_encode(id.key()))
}

fn request(name: VendorCallKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(name, method, path).header(ACCEPT, JSON)
}

/// Asks for one definition.
pub(super) fn read_request(id: &RecordId) -> VendorRequest {
    request(VendorCallKind::Read, Method::GET, path(id))
}

/// Asks for a page of definitions; disabled ones are hidden unless asked for.
pub(super) fn list_request(start: u64, take: usize) -> VendorRequest {
    let query = format!("/v1/object-definitions?start={start}&take={take}&include_disabled=true");
    request(VendorCallKind::List, Method::GET, query)
}

/// The vendor's enable and disable calls have no body.
pub(super) fn status_request(id: &RecordId, active: bool) -> VendorRequest {
    let verb = if active { "enable" } else { "disable" };
    request(VendorCallKind::Update, Method::POST, format!("{}/{verb}", path(id)))
}

/// Replaces a definition. The page calls `id` mandatory and leaves it out of every example: both readings take it.
pub(super) fn replace_request(id: &RecordId, body: &Map<String, Value>) -> VendorRequest {
    with_body(
        request(VendorCallKind::Update, Method::PUT, path(id)),
        JsonObjectWriter::new().text("id", id.key()).members(body).finish(),
    )
}

/// Deletes a definition and every object based on it, for good.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorCallKind::Delete, Method::DELETE, path(id))
}

/// Makes a definition.
pub(super) fn create_request(fields: &Map<String, Value>) -> VendorRequest {
    let body = JsonObjectWriter::new().members(fields).finish();
    with_body(request(VendorCallKind::Create, Method::POST, "/v1/object-definitions"), body)
}

fn with_body(call: VendorRequest, body: Bytes) -> VendorRequest {
    call.header(CONTENT_TYPE, JSON).body(body)
}

/// The error table.
pub(super) fn classify(call: &VendorRequest, reply: &VendorResponse) -> Option<VendorError> {
    let documented = match (call.kind, reply.status) {
        (VendorCallKind::Read | VendorCallKind::List, 200) | (VendorCallKind::Create, 201) => {
            first_byte(reply) == Some(b'{')
        }
        (VendorCallKind::Update, 202) => call.method == Method::PUT && is_ok_body(reply),
        (VendorCallKind::Update, 200) => call.method == Method::POST && is_ok_body(reply),
        (VendorCallKind::Delete, 200) => is_ok_body(reply),
        _ => return Some(classify_error(call, reply)),
    };
    (!documented)
        .then(|| undocumented_response(call, reply, "the vendor's answer is not the one it documents for this call"))
}

/// `{"result":"OK"}`, and nothing less: what another answer means is found out by reading.
fn is_ok_body(reply: &VendorResponse) -> bool {
    #[derive(Deserialize)]
    struct OkBody {
        result: String,
    }
    serde_json::from_slice::<OkBody>(&reply.body).is_ok_and(|said| said.result.eq_ignore_ascii_case("ok"))
}

fn classify_error(call: &VendorRequest, reply: &VendorResponse) -> VendorError {
    let said = ErrorTexts::from_response(call, reply);
    let is_write = !call.kind.is_safe();
    let kind = match reply.status {
        // A key does not expire in mid-flight: another try with the same one is of no use.
        401 => Some(VendorErrorKind::CredentialsRejected),
        400 if said.mentions(BUSY_PHRASES) => Some(VendorErrorKind::Busy),
        400 if said.mentions(MISSING_PHRASES) && !is_foreign_reference(call, &said) => Some(VendorErrorKind::NotFound),
        400 if is_write && call.kind != VendorCallKind::Create && said.mentions(BUILT_IN_OR_MISSING_PHRASES) => {
            return VendorError {
                code: trace_id(reply),
                ..fault_from_response(VendorErrorKind::Ambiguous, call, reply, &said).without_effect()
            };
        }
        400 if is_write => Some(VendorErrorKind::Rejected),
        _ => None,
    };
    let mut fault =
        kind.map_or_else(|| fault_for_status(call, reply, &said), |kind| fault_from_response(kind, call, reply, &said));
    fault.code = trace_id(reply);
    fault
}

fn is_foreign_reference(call: &VendorRequest, said: &ErrorTexts) -> bool {
    call.kind == VendorCallKind::Create || (call.kind == VendorCallKind::Update && said.mentions(REFERRED_TO_PHRASES))
}

/// The number the vendor's support asks for.
fn trace_id(reply: &VendorResponse) -> Option<String> {
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
    pub(super) fn parse(body: &'r [u8]) -> Result<Self, VendorError> {
        let text = std::str::from_utf8(body).map_err(unparseable_response)?;
        serde_json::from_str(text).map_err(unparseable_response)
    }
}

/// The id in the answer to a create.
pub(super) fn parse_created_id(reply: &VendorResponse) -> Option<String> {
    let (id, _) = response_mapping::to_fields(&reply.body, false).ok()?;
    id.filter(|id| is_id(id))
}
