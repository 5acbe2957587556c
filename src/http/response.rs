//! Successful responses: the headers that they share, and conditional reads (RFC 9110 §13.2.2).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, VARY,
};
use bytes::Bytes;
use serde::Serialize;

use super::error::HandlerResult;
use super::headers;
use crate::problem::{Problem, ProblemKind};
use crate::record::{EntityTag, JsonObjectWriter, Precondition, percent_encode_id};
use crate::system::System;
use crate::system::{RecordPage, RecordView};
use crate::transport::JSON;

pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// Responses to writes and problems are not stored by caches.
pub(super) const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// Records are revalidated each time, and never transformed: a weakened tag could not be sent back
/// (http-rules 13, 112).
const CACHE_REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache, no-transform");
/// A schema changes seldom.
const CACHE_SHORTLY: HeaderValue = HeaderValue::from_static("private, max-age=60");
const SCHEMA_JSON: HeaderValue = HeaderValue::from_static("application/schema+json");
const VARY_READ: HeaderValue = HeaderValue::from_static("Authorization, Prefer");
pub(super) const ACCEPT_PATCH: &str = "application/merge-patch+json, application/json-patch+json";
/// When to poll an operation that runs again, in seconds.
pub(super) const POLL_INTERVAL_SECS: u64 = 1;

/// Appends a header; a value that no header can hold, which none of ours is, is left out.
pub(super) fn append_header(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.append(name, value);
    }
}

/// A JSON response that caches do not store.
pub(super) fn no_store_json(status: StatusCode, json: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::build(status).insert_header(NO_STORE).content_type(JSON).body(json.into())
}

/// The path of a record.
pub(super) fn record_path(system: &str, id: &str) -> String {
    format!("/records/{}/{}", percent_encode_id(system), percent_encode_id(id))
}

/// The path of a collection's records.
pub(super) fn list_path(system: &str, collection: &str) -> String {
    format!("/records/{}?collection={}", percent_encode_id(system), percent_encode_id(collection))
}

/// `Link` from a record to the schema of its fields, where there is one.
pub(super) fn describedby_link(system: &System, id: &str) -> Option<String> {
    let (collection, _) = id.rsplit_once(':')?;
    system.catalog.schema_path(collection).map(|path| ["<", &path, ">; rel=\"describedby\""].concat())
}

/// The response's body, which counts among the large bodies of its system until it has been read.
///
/// # Errors
/// 503.
pub(super) fn hold_body(system: &System, json: Bytes) -> Result<Bytes, Problem> {
    system.transport.hold_response_body(json).ok_or_else(|| {
        let detail = "the responses that are being sent for this system fill the memory for them";
        ProblemKind::Overloaded.with_detail(detail).system(system.name.as_str())
    })
}

/// The preconditions of a GET or HEAD.
pub(super) struct ReadPreconditions {
    if_match: Option<Precondition>,
    if_none_match: Option<Precondition>,
}

impl ReadPreconditions {
    /// # Errors
    /// 400 for a malformed `If-Match` or `If-None-Match`.
    pub(super) fn parse(fields: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: headers::parse_precondition(fields, &IF_MATCH)?,
            if_none_match: headers::parse_precondition(fields, &IF_NONE_MATCH)?,
        })
    }

    /// The response to a GET or HEAD whose representation is `json`, with its tag if it has one.
    ///
    /// # Errors
    /// 412.
    pub(super) fn respond(&self, json: Bytes, etag: Option<&str>, link: Option<String>) -> HandlerResult {
        let holds = |condition: &Precondition, matches: fn(&EntityTag, &EntityTag) -> bool| match condition {
            Precondition::Exists => true,
            Precondition::AnyOf(tags) => {
                let tag = etag.and_then(headers::parse_own_etag);
                tag.is_some_and(|tag| tags.iter().any(|one| matches(one, &tag)))
            }
        };
        if self.if_match.as_ref().is_some_and(|condition| !holds(condition, EntityTag::matches_strongly)) {
            let mut problem = ProblemKind::PreconditionFailed.with_detail(self.failure_detail());
            problem.current_etag = etag.map(str::to_owned);
            return Err(problem.into());
        }
        let is_known = self.if_none_match.as_ref().is_some_and(|condition| holds(condition, EntityTag::matches_weakly));
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header((CACHE_CONTROL, CACHE_REVALIDATE)).insert_header((VARY, VARY_READ));
        if let Some(etag) = etag {
            response.insert_header((ETAG, etag));
        }
        if is_known {
            // actix-http announces an empty body on HTTP/2 (`src/h2/dispatcher.rs`), and a 304 has
            // none (RFC 9110 §8.6).
            return Ok(response.finish().set_body(actix_web::body::None::new()).map_into_boxed_body());
        }
        if let Some(link) = link {
            response.insert_header((LINK, link));
        }
        Ok(response.content_type(JSON).body(json))
    }

    /// Why `If-Match` is false.
    fn failure_detail(&self) -> &'static str {
        match &self.if_match {
            Some(Precondition::AnyOf(tags)) if tags.iter().all(EntityTag::is_weak) => {
                "A weak tag never matches in If-Match. Send the strong ETag of a GET, without W/."
            }
            _ => "The current tag is not one of those in If-Match.",
        }
    }
}

/// The response to a GET or HEAD of a JSON Schema, with its tag.
///
/// # Errors
/// 412.
pub(super) fn schema_response(preconditions: &ReadPreconditions, text: Bytes, etag: &str) -> HandlerResult {
    let mut response = preconditions.respond(text, Some(etag), None)?;
    response.headers_mut().insert(CACHE_CONTROL, CACHE_SHORTLY);
    if response.headers().contains_key(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, SCHEMA_JSON);
    }
    Ok(response)
}

/// The JSON text of a value whose keys are strings.
pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    // Values whose keys are strings always serialize.
    serde_json::to_vec(value).map_or(Bytes::from_static(b"null"), Bytes::from)
}

/// The JSON text of a record, as serde writes it. Serde would parse `fields` once more before it
/// writes them, which is a tenth of the work of a list.
pub(super) fn record_json(record: &RecordView) -> String {
    append_record(String::with_capacity(record_size(record)), record)
}

/// About as many bytes as the JSON text of a record has.
fn record_size(record: &RecordView) -> usize {
    record.fields.json_size() + 384
}

fn append_record(text: String, record: &RecordView) -> String {
    let RecordView { system, id, etag, fields, read_only, warnings, pending_operation, partial } = record;
    let mut object = JsonObjectWriter::append_to(text)
        .string("system", system)
        .string("id", id)
        .serialized("etag", etag)
        .raw_object("fields", fields.iter())
        .serialized("read_only", read_only);
    if !warnings.is_empty() {
        object = object.serialized("warnings", warnings);
    }
    if let Some(operation) = pending_operation {
        object = object.string("pending_operation", operation);
    }
    if *partial {
        object = object.raw("partial", "true");
    }
    object.finish()
}

/// The JSON text of a page of records.
pub(super) fn page_json(page: &RecordPage) -> String {
    let mut text = String::with_capacity(page.items.iter().map(record_size).sum::<usize>() + 128);
    text.push_str(r#"{"items":["#);
    for (index, record) in page.items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text = append_record(text, record);
    }
    text.push_str(r#"],"next":"#);
    text.push_str(&serde_json::to_string(&page.next).unwrap_or_else(|_| "null".to_owned()));
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    fn status(fields: &[(HeaderName, &'static str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        match ReadPreconditions::parse(&headers).expect("well-formed").respond("{}".into(), Some("\"a\""), None) {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.problem.kind.spec().status,
        }
    }

    #[test]
    fn the_preconditions_of_a_read_are_checked_in_rfc_order() {
        for (fields, expected) in [
            (&[][..], 200),
            (&[(IF_MATCH, "\"a\"")], 200),
            (&[(IF_MATCH, "*")], 200),
            (&[(IF_MATCH, "\"b\"")], 412),
            (&[(IF_MATCH, "W/\"a\"")], 412),
            (&[(IF_NONE_MATCH, "\"a\"")], 304),
            (&[(IF_NONE_MATCH, "W/\"a\"")], 304),
            (&[(IF_NONE_MATCH, "*")], 304),
            (&[(IF_NONE_MATCH, "\"b\"")], 200),
            (&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "\"a\"")], 304),
            (&[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")], 412),
        ] {
            assert_eq!(status(fields), expected, "{fields:?}");
        }
    }

    fn record(more: &str) -> RecordView {
        let text = r#"{"system":"crm","id":"a:\"b\"","etag":"\"c7.x\"","fields":{"n":12345678901234567890,"d":1.10},"read_only":[]"#;
        serde_json::from_str(&format!("{text}{more}}}")).expect("a record")
    }

    #[test]
    fn a_record_keeps_its_numbers_and_omits_empty_members() {
        assert_eq!(
            record_json(&record("")),
            r#"{"system":"crm","id":"a:\"b\"","etag":"\"c7.x\"","fields":{"n":12345678901234567890,"d":1.10},"read_only":[]}"#
        );
    }

    #[test]
    fn a_page_shows_every_member_that_is_set() {
        let warnings = r#","warnings":[{"code":"not-applied","pointer":"/fields/n","detail":"x"}]"#;
        let full = record(&format!(r#"{warnings},"pending_operation":"/operations/1","partial":true"#));
        let page = RecordPage { items: vec![record(""), full], next: Some("n".to_owned()) };
        let json = page_json(&page);
        assert_eq!(json, serde_json::to_string(&page).expect("JSON"), "serde writes the same");
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let last = &value["items"][1];
        assert_eq!(last["warnings"][0]["code"], "not-applied");
        assert_eq!(last["partial"], true);
        assert_eq!(last["pending_operation"], "/operations/1");
        assert_eq!(value["next"], "n");
    }

    #[test]
    fn an_id_is_one_path_segment() {
        assert_eq!(record_path("crm", "a:b/c d%\r\n"), "/records/crm/a:b%2Fc%20d%25%0D%0A");
    }
}
