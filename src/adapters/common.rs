//! What the dialects share: how paths and bodies are written, what a failing vendor says, and the one table of statuses that
//! mean the same everywhere. Each dialect looks at its own rows first.

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::record::{
    Difference, Effect, Fault, FaultKind, Invalid, Members, Retry, Version, holds, pointer_below, push_json,
    push_json_string,
};
use crate::transport::{Call, Reply, before_stack, clean_text};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// An error body longer than this is not looked into.
const LONGEST_ERROR: usize = 256 * 1024;
/// Members of an error body that say nothing a caller may see, or nothing at all.
const UNSAID: [&str; 6] = ["stacktrace", "exceptiontype", "type", "status", "traceid", "instance"];
/// Members of an error body that say most, the most telling first; others come after.
const TELLING: [&str; 5] = ["errors", "exceptionmessage", "message", "detail", "title"];

/// One path segment or query value.
pub(super) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// A JSON Pointer to a member of `fields`.
pub(super) fn pointer_to(member: &str) -> String {
    pointer_below("/fields", &[member])
}

/// A finding about a member of `fields`.
pub(super) fn wrong(member: &str, detail: impl Into<String>) -> Invalid {
    Invalid::at(pointer_to(member), detail)
}

/// A secret as a header value that `Debug` does not show; `None` if it holds a character that no header can carry.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}

/// A create was answered, and nobody can tell what it made.
pub(super) fn nameless(reply: &Reply) -> Fault {
    Fault::protocol("the vendor's answer to the create names no record").status(reply.status)
}

/// A JSON object being written. Numbers keep their form.
pub(super) struct ObjectText(String);

impl ObjectText {
    /// An empty object.
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(1024);
        text.push('{');
        Self(text)
    }

    /// An empty object with room for these members and a few more.
    pub(super) fn about(members: &Members) -> Self {
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
        push_json_string(&mut self.0, value);
        self
    }

    /// Adds members.
    pub(super) fn members(self, members: &Map<String, Value>) -> Self {
        members.iter().fold(self, |mut object, (name, value)| {
            object.name(name);
            push_json(&mut object.0, value);
            object
        })
    }

    /// Adds members as they came.
    pub(super) fn unchanged(self, members: &Members) -> Self {
        members.iter().fold(self, |mut object, (name, value)| {
            object.name(name);
            object.0.push_str(value.as_str());
            object
        })
    }

    /// The text.
    pub(super) fn done(mut self) -> Bytes {
        self.0.push('}');
        self.0.into()
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_json_string(&mut self.0, name);
        self.0.push(':');
    }
}

/// The first byte of a body that is not white space: enough to tell an object from a list, `null` and a login page.
pub(super) fn first_byte(reply: &Reply) -> Option<u8> {
    reply.body.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether the body is the literal `null`.
pub(super) fn is_null(reply: &Reply) -> bool {
    reply.body.trim_ascii() == b"null"
}

/// What a failing vendor says, in its own words.
pub(super) struct Said {
    texts: Vec<String>,
}

impl Said {
    /// Collects every text of an error body, whatever its shape: JSON of any form, plain text, markup. Stack traces and the
    /// secrets of the call itself (some gateways quote the header they do not like) are left out.
    pub(super) fn of(call: &Call, reply: &Reply) -> Self {
        let mut ranked = Vec::new();
        if reply.body.len() <= LONGEST_ERROR {
            match serde_json::from_slice::<Value>(&reply.body) {
                Ok(value) => collect(&value, TELLING.len(), &mut ranked),
                Err(_) => ranked.push((0, String::from_utf8_lossy(&reply.body).into_owned())),
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let texts = ranked.into_iter().map(|(_, text)| without_secrets(call, before_stack(&text))).collect();
        Self { texts }
    }

    /// Whether any text holds any of these (lower-case) words.
    pub(super) fn speaks_of(&self, words: &[&str]) -> bool {
        self.texts.iter().any(|text| {
            let text = text.to_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    }

    /// The texts as one, fit for a caller.
    pub(super) fn message(&self) -> Option<String> {
        let mut cleaned: Vec<String> = Vec::new();
        for text in self.texts.iter().filter_map(|text| clean_text(text)) {
            if !cleaned.contains(&text) {
                cleaned.push(text);
            }
        }
        clean_text(&cleaned.join("; "))
    }
}

fn collect(value: &Value, rank: usize, into: &mut Vec<(usize, String)>) {
    match value {
        Value::String(text) => into.push((rank, text.clone())),
        Value::Array(values) => values.iter().for_each(|value| collect(value, rank, into)),
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                if !UNSAID.contains(&name.as_str()) {
                    let own = TELLING.iter().position(|telling| *telling == name).unwrap_or(rank);
                    collect(value, own.min(rank), into);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without_secrets(call: &Call, text: &str) -> String {
    let secrets =
        call.headers.iter().filter(|(_, value)| value.is_sensitive()).filter_map(|(_, value)| value.to_str().ok());
    secrets
        .map(|secret| secret.strip_prefix("Bearer ").unwrap_or(secret))
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// A fault of a kind, with the vendor's status and words. A call that changes nothing leaves no doubt about its effect.
pub(super) fn fault(kind: FaultKind, call: &Call, reply: &Reply, said: &Said) -> Fault {
    let mut fault = Fault::new(kind).status(reply.status);
    fault.message = said.message();
    if call.name.is_safe() { fault.without_effect() } else { fault }
}

/// An answer that the vendor's documentation does not allow for.
pub(super) fn not_documented(call: &Call, reply: &Reply, what: &str) -> Fault {
    let fault = Fault::protocol(what).status(reply.status);
    if call.name.is_safe() { fault.without_effect() } else { fault }
}

/// What a status means where the vendor's documentation says nothing else: the rows all vendors share.
pub(super) fn by_status(call: &Call, reply: &Reply, said: &Said) -> Fault {
    let of = |kind| fault(kind, call, reply, said);
    let is_write = !call.name.is_safe();
    let wait = reply.retry_after.map_or(Retry::Soon, Retry::After);
    match reply.status {
        403 => of(FaultKind::Forbidden),
        404 | 410 => of(FaultKind::NotFound),
        429 => of(FaultKind::RateLimited).retry(wait),
        503 => {
            let mut fault = of(FaultKind::Unavailable).retry(wait);
            // Without Retry-After it may be a proxy that lost the answer of a write that was done.
            if is_write && reply.retry_after.is_none() {
                fault.effect = Effect::Unknown;
            }
            fault
        }
        // A proxy's 408 does not say how far the call came.
        408 | 500..=599 => of(FaultKind::VendorError),
        400..=499 if is_write => of(FaultKind::Rejected),
        400..=499 => of(FaultKind::VendorError).retry(Retry::Never),
        200..=299 => {
            not_documented(call, reply, "the vendor answered with a success that it does not document for this call")
        }
        300..=399 => not_documented(call, reply, "the vendor answered with a redirect, which is never followed"),
        _ => not_documented(call, reply, "the vendor answered with a status that HTTP does not know here"),
    }
}

/// The fault of a read whose answer could not be understood.
pub(super) fn unreadable(what: impl std::fmt::Display) -> Fault {
    Fault::protocol(format!("the vendor's answer could not be read: {what}")).without_effect()
}

/// The fault of a cursor that is none of the adapter's.
pub(super) fn bad_cursor() -> Fault {
    Fault::new(FaultKind::Rejected).message("the cursor is none that this list gave out, or belongs to another limit")
}

/// The changes that `fields` are to an empty record: what a created record must show.
pub(super) fn all_of(fields: &Map<String, Value>) -> Vec<Difference> {
    fields.iter().map(|(name, value)| Difference::of_member(name, Some(value.clone()))).collect()
}

/// Looks for the records that show everything wanted.
pub(super) struct AllThatFit<'w, K> {
    wanted: &'w [Difference],
    found: Vec<K>,
}

impl<'w, K> AllThatFit<'w, K> {
    /// Nothing seen yet.
    pub(super) fn new(wanted: &'w [Difference]) -> Self {
        Self { wanted, found: Vec::new() }
    }

    /// Looks at one record. A wish for nothing fits every record and so finds none.
    pub(super) fn look_at(&mut self, key: K, fields: &Map<String, Value>) {
        if !self.wanted.is_empty() && holds(self.wanted, fields) {
            self.found.push(key);
        }
    }

    /// Those that fit.
    pub(super) fn found(self) -> Vec<K> {
        self.found
    }
}

/// The finding about a native vendor's update without the version it must be bound to. The gateway never asks for one.
pub(super) fn unbound(expected: Option<&Version>) -> Vec<Invalid> {
    let what = if expected.is_some() {
        "the version is not one of this vendor's"
    } else {
        "an update needs the version it is bound to"
    };
    vec![Invalid::at("", what)]
}
