//! BlueDolphin's requests, responses and errors (support.valueblue.nl, "Public API"), as pure
//! functions.

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::response_mapping;
use crate::record::{JsonObjectWriter, RawJson, RecordId, VendorError, VendorErrorKind, percent_encode};
use crate::transport::{JSON, VendorRequest, VendorRequestKind, VendorResponse};
use crate::vendors::common::{
    ErrorTexts, fault_for_status, fault_from_response, first_byte, is_done, parse_object, undocumented_response,
    unparseable_response, utf8,
};

/// The only collection.
pub(super) const DEFINITIONS: &str = "object-definitions";
const DEFINITIONS_PATH: &str = "/v1/object-definitions";

const BUSY_PHRASES: &[&str] = &["ongoing update"];
const MISSING_PHRASES: &[&str] = &[
    "could not be found",
    "cannot be found",
    "could not be loaded",
    "cannot be loaded",
    "unable to load bluedolphin object configuration",
    // MongoDB's text for an id of 24 characters that is not hexadecimal; no record has such an id.
    "24 digit hex",
];
/// One text for a definition that cannot be changed and for a missing one: only a read shows which.
const BUILT_IN_OR_MISSING_PHRASES: &[&str] = &["non-existing"];
/// Objects whose absence is an invalid value of the request and not a missing record.
const REFERRED_TO_PHRASES: &[&str] = &["questionnaire", "boem", "property", "role", "template"];

/// Whether a text has the form of an id: 24 digits and lower-case letters. The vendor says
/// hexadecimal, but one of its samples has a `g`.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

fn definition_path(id: &RecordId) -> String {
    format!("{DEFINITIONS_PATH}/{}", percent_encode(id.key()))
}

fn request(kind: VendorRequestKind, method: Method, path: impl Into<String>) -> VendorRequest {
    VendorRequest::new(kind, method, path).header(ACCEPT, JSON)
}

/// Requests one definition.
pub(super) fn read_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Read, Method::GET, definition_path(id))
}

/// Requests one questionnaire. A missing one is 404, other than a missing definition.
pub(super) fn questionnaire_request(id: &str) -> VendorRequest {
    request(VendorRequestKind::Schema, Method::GET, format!("/v1/questionnaires/{}", percent_encode(id)))
}

/// Requests a page of definitions, the disabled ones included.
pub(super) fn list_request(start: u64, take: usize) -> VendorRequest {
    let path = format!("{DEFINITIONS_PATH}?start={start}&take={take}&include_disabled=true");
    request(VendorRequestKind::List, Method::GET, path)
}

/// Enables or disables a definition. The vendor's calls have no body.
pub(super) fn status_request(id: &RecordId, active: bool) -> VendorRequest {
    let verb = if active { "enable" } else { "disable" };
    request(VendorRequestKind::Update, Method::POST, format!("{}/{verb}", definition_path(id)))
}

/// Replaces a definition. The vendor's page calls `id` mandatory and omits it from every example: a
/// body with it satisfies both.
pub(super) fn replace_request(id: &RecordId, body: &Map<String, Value>) -> VendorRequest {
    let body = JsonObjectWriter::new().string("id", id.key()).members(body);
    request(VendorRequestKind::Update, Method::PUT, definition_path(id)).header(CONTENT_TYPE, JSON).body(body)
}

/// Deletes a definition and every object based on it, permanently.
pub(super) fn delete_request(id: &RecordId) -> VendorRequest {
    request(VendorRequestKind::Delete, Method::DELETE, definition_path(id))
}

/// Creates a definition.
pub(super) fn create_request(fields: &Map<String, Value>) -> VendorRequest {
    let body = JsonObjectWriter::new().members(fields);
    request(VendorRequestKind::Create, Method::POST, DEFINITIONS_PATH).header(CONTENT_TYPE, JSON).body(body)
}

/// The error of a response; `None` for a success. The vendor queues a `PUT`, so that a 202 is one
/// too.
pub(super) fn classify(request: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
    let is_queued = request.kind == VendorRequestKind::Update && request.method == Method::PUT;
    let is_accepted = is_done(response) || (is_queued && response.status == 202);
    if !is_accepted {
        return Some(classify_error(request, response));
    }
    let is_success = match request.kind {
        // Whether a queued update is made, only a read shows. Other writes are done when the vendor
        // responds so: an empty 200 may come from a proxy.
        VendorRequestKind::Update | VendorRequestKind::Delete => {
            let may_be_empty = is_queued || response.status == 204;
            is_ok_body(response) || (may_be_empty && first_byte(response).is_none())
        }
        _ => first_byte(response) == Some(b'{'),
    };
    (!is_success).then(|| {
        undocumented_response(request, response, "the vendor's response is not the one that it documents for this call")
    })
}

/// Whether the body is `{"result":"OK"}`. The gateway reads the record after any other body.
fn is_ok_body(response: &VendorResponse) -> bool {
    #[derive(Deserialize)]
    struct OkBody {
        result: String,
    }
    serde_json::from_slice::<OkBody>(&response.body).is_ok_and(|body| body.result.eq_ignore_ascii_case("ok"))
}

fn classify_error(request: &VendorRequest, response: &VendorResponse) -> VendorError {
    let texts = ErrorTexts::from_response(request, response);
    let is_write = !request.kind.is_safe();
    let kind = match response.status {
        // An API key cannot be refreshed, so a second attempt is useless.
        401 => Some(VendorErrorKind::CredentialsRejected),
        400 if texts.mentions(BUSY_PHRASES) => Some(VendorErrorKind::Busy),
        400 if texts.mentions(MISSING_PHRASES) && !is_foreign_reference(request, &texts) => {
            Some(VendorErrorKind::NotFound)
        }
        400 if is_write && request.kind != VendorRequestKind::Create && texts.mentions(BUILT_IN_OR_MISSING_PHRASES) => {
            return VendorError {
                code: trace_id(response),
                ..fault_from_response(VendorErrorKind::Ambiguous, request, response, &texts).without_effect()
            };
        }
        400 if is_write => Some(VendorErrorKind::Rejected),
        _ => None,
    };
    let mut fault = kind.map_or_else(
        || fault_for_status(request, response, &texts),
        |kind| fault_from_response(kind, request, response, &texts),
    );
    fault.code = trace_id(response);
    fault
}

fn is_foreign_reference(request: &VendorRequest, texts: &ErrorTexts) -> bool {
    request.kind == VendorRequestKind::Create
        || (request.kind == VendorRequestKind::Update && texts.mentions(REFERRED_TO_PHRASES))
}

/// The trace id, which the vendor's support needs.
fn trace_id(response: &VendorResponse) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    let id = body.get("traceId")?.as_str()?;
    let is_plain = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then(|| id.to_owned())
}

/// A page of definitions, which are not parsed yet.
pub(super) struct Listing {
    pub(super) items: Vec<RawJson>,
    pub(super) total_items: Option<u64>,
}

impl Listing {
    /// Parses a page.
    pub(super) fn parse(body: &Bytes) -> Result<Self, VendorError> {
        #[derive(Deserialize)]
        struct Page<'r> {
            #[serde(borrow)]
            items: Vec<&'r RawValue>,
            total_items: Option<u64>,
        }
        let text = utf8(body)?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(unparseable_response)?;
        let items = page.items.into_iter().map(|item| RawJson::slice_of(&text, item)).collect();
        Ok(Self { items, total_items: page.total_items })
    }
}

/// The id in the response to a create.
pub(super) fn parse_created_id(response: &VendorResponse) -> Option<String> {
    let (id, _) = response_mapping::to_fields(&parse_object(&response.body).ok()?, false).ok()?;
    id.filter(|id| is_id(id))
}
