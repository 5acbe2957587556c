//! Response headers, and the links between operations.

use std::collections::BTreeMap;

use utoipa::Modify;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use super::operations::operations_mut;

/// Every response header that means something to a caller.
const RESPONSE_HEADERS: &[(&str, &str)] = &[
    ("X-Request-Id", "The request's id: the caller's, or a new one"),
    ("ETag", "The record's strong tag, to be sent back as `If-Match`"),
    ("Location", "Where the new record, or the operation, is"),
    ("Content-Location", "The record that the body shows"),
    ("Operation", "`/operations/{id}`: the outcome of this write"),
    (
        "Concurrency-Guarantee",
        "`native`: the vendor compared and swapped; `guarded`: the gateway compared under a lease",
    ),
    ("Preference-Applied", "The preference that was honoured (RFC 7240)"),
    ("Idempotency-Replayed", "`true`: the stored response to an earlier request with this `Idempotency-Key`"),
    ("Retry-After", "When to try again, in seconds"),
    ("RateLimit", "What is left of the caller's limit, where it has one"),
    ("RateLimit-Policy", "The caller's limit, where it has one"),
    ("Cache-Control", "Records are revalidated each time; problems and responses to writes are not stored"),
    ("Vary", "The request headers that the response depends on"),
    ("Link", "`rel=\"next\"`: the next page; `rel=\"describedby\"`: the schema of the record's fields"),
    ("Allow", "The methods the path takes"),
    ("Accept-Patch", "The media types of patches (RFC 5789)"),
    ("Accept-Post", "The media type of the bodies of a POST"),
    ("WWW-Authenticate", "The challenge (RFC 6750)"),
];

const READ_HEADERS: &[&str] = &["ETag", "Cache-Control", "Vary"];
const RECORD_HEADERS: &[&str] = &["ETag", "Cache-Control", "Vary", "Link"];
const WRITE_HEADERS: &[&str] = &["Operation", "Concurrency-Guarantee", "Idempotency-Replayed", "Cache-Control", "Vary"];

/// Adds the headers to the responses that carry them.
pub(super) struct ResponseHeaders;

impl Modify for ResponseHeaders {
    fn modify(&self, document: &mut OpenApi) {
        for operation in operations_mut(document) {
            let id = operation.operation_id.clone().unwrap_or_default();
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    let names = headers_for(&id, status);
                    response.headers.extend(names.map(|name| (name.to_owned(), header_ref(name))));
                }
            }
            add_links(operation, &id);
        }
        let components = document.components.get_or_insert_default();
        for (name, description) in RESPONSE_HEADERS {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            let header = HeaderBuilder::new().schema(Some(text)).description(Some(*description)).build();
            components.headers.insert((*name).to_owned(), RefOr::T(header));
        }
    }
}

/// A reference to one of [`RESPONSE_HEADERS`].
pub(super) fn header_ref<T>(name: &str) -> RefOr<T> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

fn headers_for(id: &str, status: &str) -> impl Iterator<Item = &'static str> {
    let (first, more): (&[_], &[_]) = match (id, status) {
        ("getRecord", _) => (RECORD_HEADERS, &[]),
        ("getSchema" | "getModelSchema", _) => (READ_HEADERS, &[]),
        ("listRecords" | "listOperations" | "listLedger" | "listCollections", "200") => {
            (&["Link"], &["Cache-Control", "Vary"])
        }
        ("getOperation", "200") => (&["Retry-After"], &["Cache-Control", "Vary"]),
        ("createRecord", "201") => (WRITE_HEADERS, &["Location", "ETag", "Link"]),
        ("runBatch", "202") => (&["Location", "Retry-After"], &["Idempotency-Replayed", "Cache-Control"]),
        ("cancelBatch", "202") => (&["Location", "Retry-After"], &["Cache-Control"]),
        (_, "202") => (WRITE_HEADERS, &["Location", "Retry-After"]),
        ("updateRecord", "200") => (WRITE_HEADERS, &["ETag", "Content-Location", "Preference-Applied", "Link"]),
        ("updateRecord" | "deleteRecord", "204") => (WRITE_HEADERS, &["Preference-Applied"]),
        _ => (&[], &[]),
    };
    std::iter::once("X-Request-Id").chain(first.iter().copied()).chain(more.iter().copied())
}

/// Possible next requests: a new record can be read, changed and deleted; an operation or a batch
/// can be polled.
fn add_links(operation: &mut Operation, id: &str) {
    let record = BTreeMap::from([
        ("system".to_owned(), "$response.body#/system".into()),
        ("id".to_owned(), "$response.body#/id".into()),
    ]);
    let mut tagged = record.clone();
    tagged.insert("header.If-Match".to_owned(), "$response.header.ETag".into());
    let follow = BTreeMap::from([("id".to_owned(), "$response.body#/id".into())]);
    let next: &[(&str, &str, &BTreeMap<_, _>)] = match id {
        "createRecord" => {
            &[("read", "getRecord", &record), ("change", "updateRecord", &tagged), ("delete", "deleteRecord", &tagged)]
        }
        "getRecord" => &[("change", "updateRecord", &tagged), ("delete", "deleteRecord", &tagged)],
        _ => &[],
    };
    let done = if id == "createRecord" { "201" } else { "200" };
    for (name, target, parameters) in next {
        add_link(operation, done, name, target, parameters);
    }
    let followed = if matches!(id, "runBatch" | "cancelBatch") { "getBatch" } else { "getOperation" };
    add_link(operation, "202", "follow", followed, &follow);
}

fn add_link(
    operation: &mut Operation,
    status: &str,
    name: &str,
    target: &str,
    parameters: &BTreeMap<String, serde_json::Value>,
) {
    if let Some(RefOr::T(Response { links, .. })) = operation.responses.responses.get_mut(status) {
        let mut link = Link::builder().operation_id(target).build();
        link.parameters.clone_from(parameters);
        links.insert(name.to_owned(), RefOr::T(link));
    }
}
