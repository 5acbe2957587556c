//! What the dialects share: how paths and bodies are written, what a failing vendor says, and the one table of statuses that
//! mean the same everywhere. Each dialect looks at its own rows first.

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::record::{
    FieldChange, FieldError, RawObject, Retry, SideEffect, VendorError, VendorErrorKind, Version, all_applied,
    json_pointer, write_json, write_json_string,
};
use crate::transport::{VendorRequest, VendorResponse, sanitize_text, strip_stack_trace};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// An error body longer than this is not looked into.
const MAX_ERROR_BODY: usize = 256 * 1024;
/// Members of an error body that say nothing a caller may see, or nothing at all.
const IGNORED_KEYS: [&str; 6] = ["stacktrace", "exceptiontype", "type", "status", "traceid", "instance"];
/// Members of an error body that say most, the most telling first; others come after.
const PREFERRED_KEYS: [&str; 5] = ["errors", "exceptionmessage", "message", "detail", "title"];

/// One path segment or query value.
pub(super) fn percent_encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// A JSON Pointer to a member of `fields`.
pub(super) fn member_pointer(member: &str) -> String {
    json_pointer("/fields", &[member])
}

/// A finding about a member of `fields`.
pub(super) fn field_error(member: &str, detail: impl Into<String>) -> FieldError {
    FieldError::new(member_pointer(member), detail)
}

/// A secret as a header value that `Debug` does not show; `None` if it holds a character that no header can carry.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

/// A create was answered, and nobody can tell what it made.
pub(super) fn missing_id_fault(reply: &VendorResponse) -> VendorError {
    VendorError::invalid_response("the vendor's answer to the create names no record").status(reply.status)
}

/// A JSON object being written. Numbers keep their form.
pub(super) struct JsonObjectWriter(String);

impl JsonObjectWriter {
    /// An empty object.
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(1024);
        text.push('{');
        Self(text)
    }

    /// An empty object with room for these members and a few more.
    pub(super) fn with_capacity_for(members: &RawObject) -> Self {
        let room: usize = members.iter().map(|(name, value)| name.len() + value.as_str().len() + 4).sum();
        let mut text = String::with_capacity(room + 256);
        text.push('{');
        Self(text)
    }

    /// Adds a member.
    pub(super) fn member<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.name(name);
        // Strings and numbers can always be written.
        self.0.push_str(&serde_json::to_string(value).unwrap_or_default());
        self
    }

    /// Adds a member that is a string.
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        write_json_string(&mut self.0, value);
        self
    }

    /// Adds members.
    pub(super) fn members(self, members: &Map<String, Value>) -> Self {
        members.iter().fold(self, |mut object, (name, value)| {
            object.name(name);
            write_json(&mut object.0, value);
            object
        })
    }

    /// Adds members as they came.
    pub(super) fn raw_members(self, members: &RawObject) -> Self {
        members.iter().fold(self, |mut object, (name, value)| {
            object.name(name);
            object.0.push_str(value.as_str());
            object
        })
    }

    /// The text.
    pub(super) fn finish(mut self) -> Bytes {
        self.0.push('}');
        self.0.into()
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write_json_string(&mut self.0, name);
        self.0.push(':');
    }
}

/// The first byte of a body that is not white space: enough to tell an object from a list, `null` and a login page.
pub(super) fn first_byte(reply: &VendorResponse) -> Option<u8> {
    reply.body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether the body is the literal `null`.
pub(super) fn is_null(reply: &VendorResponse) -> bool {
    reply.body.trim_ascii() == b"null"
}

/// What a failing vendor says, in its own words.
pub(super) struct ErrorTexts {
    texts: Vec<String>,
}

impl ErrorTexts {
    /// Collects every text of an error body, whatever its shape: JSON of any form, plain text, markup. Stack traces and the
    /// secrets of the call itself (some gateways quote the header they do not like) are left out.
    pub(super) fn from_response(call: &VendorRequest, reply: &VendorResponse) -> Self {
        let mut ranked = Vec::new();
        if reply.body.len() <= MAX_ERROR_BODY {
            match serde_json::from_slice::<Value>(&reply.body) {
                Ok(value) => collect_texts(&value, PREFERRED_KEYS.len(), &mut ranked),
                Err(_) => ranked.push((0, String::from_utf8_lossy(&reply.body).into_owned())),
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let texts = ranked.into_iter().map(|(_, text)| redact_secrets(call, strip_stack_trace(&text))).collect();
        Self { texts }
    }

    /// Whether any text holds any of these (lower-case) words.
    pub(super) fn mentions(&self, words: &[&str]) -> bool {
        self.texts.iter().any(|text| {
            let text = text.to_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }

    /// The texts as one, fit for a caller.
    pub(super) fn message(&self) -> Option<String> {
        let mut cleaned: Vec<String> = Vec::new();
        for text in self.texts.iter().filter_map(|text| sanitize_text(text)) {
            if !cleaned.contains(&text) {
                cleaned.push(text);
            }
        }
        sanitize_text(&cleaned.join("; "))
    }
}

fn collect_texts(value: &Value, rank: usize, into: &mut Vec<(usize, String)>) {
    match value {
        Value::String(text) => into.push((rank, text.clone())),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, rank, into)),
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                if !IGNORED_KEYS.contains(&name.as_str()) {
                    let own = PREFERRED_KEYS.iter().position(|telling| *telling == name).unwrap_or(rank);
                    collect_texts(value, own.min(rank), into);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn redact_secrets(call: &VendorRequest, text: &str) -> String {
    let secrets =
        call.headers.iter().filter(|(_, value)| value.is_sensitive()).filter_map(|(_, value)| value.to_str().ok());
    secrets
        .map(|secret| secret.strip_prefix("Bearer ").unwrap_or(secret))
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// A fault of a kind, with the vendor's status and words. A call that changes nothing leaves no doubt about its effect.
pub(super) fn fault_from_response(
    kind: VendorErrorKind,
    call: &VendorRequest,
    reply: &VendorResponse,
    said: &ErrorTexts,
) -> VendorError {
    let mut fault = VendorError::new(kind).status(reply.status);
    fault.message = said.message();
    if call.kind.is_safe() { fault.without_effect() } else { fault }
}

/// An answer that the vendor's documentation does not allow for.
pub(super) fn undocumented_response(call: &VendorRequest, reply: &VendorResponse, what: &str) -> VendorError {
    let fault = VendorError::invalid_response(what).status(reply.status);
    if call.kind.is_safe() { fault.without_effect() } else { fault }
}

/// What a status means where the vendor's documentation says nothing else: the rows all vendors share.
pub(super) fn fault_for_status(call: &VendorRequest, reply: &VendorResponse, said: &ErrorTexts) -> VendorError {
    let of = |kind| fault_from_response(kind, call, reply, said);
    let is_write = !call.kind.is_safe();
    let wait = reply.retry_after.map_or(Retry::Soon, Retry::After);
    match reply.status {
        403 => of(VendorErrorKind::Forbidden),
        404 | 410 => of(VendorErrorKind::NotFound),
        429 => of(VendorErrorKind::RateLimited).retry(wait),
        503 => {
            let mut fault = of(VendorErrorKind::Unavailable).retry(wait);
            // Without Retry-After it may be a proxy that lost the answer of a write that was done.
            if is_write && reply.retry_after.is_none() {
                fault.effect = SideEffect::Unknown;
            }
            fault
        }
        // A proxy's 408 does not say how far the call came.
        408 | 500..=599 => of(VendorErrorKind::ServerError),
        400..=499 if is_write => of(VendorErrorKind::Rejected),
        400..=499 => of(VendorErrorKind::ServerError).retry(Retry::Never),
        200..=299 => undocumented_response(
            call,
            reply,
            "the vendor answered with a success that it does not document for this call",
        ),
        300..=399 => undocumented_response(call, reply, "the vendor answered with a redirect, which is never followed"),
        _ => undocumented_response(call, reply, "the vendor answered with a status that HTTP does not know here"),
    }
}

/// The fault of a read whose answer could not be understood.
pub(super) fn unparseable_response(what: impl std::fmt::Display) -> VendorError {
    VendorError::invalid_response(format!("the vendor's answer could not be read: {what}")).without_effect()
}

/// The fault of a cursor that is none of the adapter's.
pub(super) fn invalid_cursor_fault() -> VendorError {
    VendorError::new(VendorErrorKind::Rejected)
        .message("the cursor is none that this list gave out, or belongs to another limit")
}

/// The changes that `fields` are to an empty record: what a created record must show.
pub(super) fn as_changes(fields: &Map<String, Value>) -> Vec<FieldChange> {
    fields.iter().map(|(name, value)| FieldChange::for_member(name, Some(value.clone()))).collect()
}

/// Looks for the records that show everything wanted.
pub(super) struct MatchCollector<'w, K> {
    expected: &'w [FieldChange],
    matches: Vec<K>,
}

impl<'w, K> MatchCollector<'w, K> {
    /// Nothing seen yet.
    pub(super) fn new(wanted: &'w [FieldChange]) -> Self {
        Self { expected: wanted, matches: Vec::new() }
    }

    /// Looks at one record. A wish for nothing fits every record and so finds none.
    pub(super) fn push_if_matching(&mut self, key: K, fields: &Map<String, Value>) {
        if !self.expected.is_empty() && all_applied(self.expected, fields) {
            self.matches.push(key);
        }
    }

    /// Those that fit.
    pub(super) fn into_matches(self) -> Vec<K> {
        self.matches
    }
}

/// The finding about a native vendor's update without the version it must be bound to. The gateway never asks for one.
pub(super) fn missing_version_error(expected: Option<&Version>) -> Vec<FieldError> {
    let what = if expected.is_some() {
        "the version is not one of this vendor's"
    } else {
        "an update needs the version it is bound to"
    };
    vec![FieldError::new("", what)]
}
