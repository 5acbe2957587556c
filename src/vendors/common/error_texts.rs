//! The texts of a vendor's error response.

use serde_json::Value;

use crate::record::hide_secret;
use crate::transport::{VendorRequest, VendorResponse, sanitize_text, strip_stack_trace};

/// A larger error body is not parsed.
pub(crate) const MAX_ERROR_BODY: usize = 256 * 1024;
/// Members of an error body that are useless to callers or must not reach them.
const IGNORED_KEYS: [&str; 6] = ["stacktrace", "exceptiontype", "type", "status", "traceid", "instance"];
/// Members of an error body in the order of their value to callers; all others come after them.
const PREFERRED_KEYS: [&str; 5] = ["errors", "exceptionmessage", "message", "detail", "title"];

/// Parts of texts by which vendors report other writers. Any other text of a conflict names what is
/// wrong with the write itself.
const OTHER_WRITER_PHRASES: &[&str] =
    &["busy", "lock", "in use", "in progress", "ongoing", "concurr", "conflict", "changed", "modified", "version"];

/// Whether a vendor's message about a conflict is about another writer of the record.
#[must_use]
pub fn reports_other_writer(message: &str) -> bool {
    contains_any(message, OTHER_WRITER_PHRASES)
}

/// Whether a text contains one of these lower-case phrases.
fn contains_any(text: &str, phrases: &[&str]) -> bool {
    let text = text.to_lowercase();
    phrases.iter().any(|phrase| text.contains(phrase))
}

/// The texts of an error response, most valuable first, without stack traces and without the
/// secrets of the request.
pub(crate) struct ErrorTexts {
    texts: Vec<String>,
}

impl ErrorTexts {
    /// Collects the texts of a body of any shape: JSON, plain text or markup.
    pub(crate) fn from_response(request: &VendorRequest, response: &VendorResponse) -> Self {
        let mut ranked = Vec::new();
        if response.body.len() <= MAX_ERROR_BODY {
            match serde_json::from_slice::<Value>(&response.body) {
                Ok(value) => collect_texts(&value, PREFERRED_KEYS.len(), &mut ranked),
                Err(_) => ranked.push((0, String::from_utf8_lossy(&response.body).into_owned())),
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let texts = ranked.into_iter().map(|(_, text)| hide_secrets(request, strip_stack_trace(&text))).collect();
        Self { texts }
    }

    /// The one text that an adapter has found in a body.
    pub(crate) fn from_text(request: &VendorRequest, text: &str) -> Self {
        Self { texts: vec![hide_secrets(request, strip_stack_trace(text))] }
    }

    /// Whether a text contains one of these lower-case phrases.
    pub(crate) fn mentions(&self, phrases: &[&str]) -> bool {
        self.texts.iter().any(|text| contains_any(text, phrases))
    }

    /// One sanitized text for callers.
    pub(crate) fn message(&self) -> Option<String> {
        let mut sanitized: Vec<String> = Vec::new();
        for text in self.texts.iter().filter_map(|text| sanitize_text(text)) {
            if !sanitized.contains(&text) {
                sanitized.push(text);
            }
        }
        sanitize_text(&sanitized.join("; "))
    }
}

fn collect_texts(value: &Value, rank: usize, texts: &mut Vec<(usize, String)>) {
    match value {
        Value::String(text) => texts.push((rank, text.clone())),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, rank, texts)),
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                if !IGNORED_KEYS.contains(&name.as_str()) {
                    let own = PREFERRED_KEYS.iter().position(|preferred| *preferred == name).unwrap_or(rank);
                    collect_texts(value, own.min(rank), texts);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Some API gateways quote the header that they reject. This comes before the text is cut, so that
/// no half of a secret stays.
fn hide_secrets(request: &VendorRequest, text: &str) -> String {
    let secrets = request.headers.iter().filter(|(_, value)| value.is_sensitive());
    secrets
        .filter_map(|(_, value)| value.to_str().ok())
        .fold(text.to_owned(), |text, secret| hide_secret(&text, secret))
}
