//! A scripted transport, and the golden files: requests and responses from the vendors' pages,
//! tested in both directions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::adapter::{Adapter, ListItem, PlannedRequest, UpdateInput, UpdateTerms};
use super::capabilities::Completion;
use crate::record::{RawObject, RecordId, Retry, SideEffect, VendorError, VendorErrorKind, VendorRecord, Version};
use crate::transport::{Token, Transport, VendorRequest, VendorResponse};

/// Responds to requests from a script, records them, and classifies responses as the real transport
/// does.
pub(super) struct ScriptedTransport<'a> {
    adapter: &'a dyn Adapter,
    responses: RefCell<VecDeque<VendorResponse>>,
    pub(super) calls: RefCell<Vec<VendorRequest>>,
}

impl<'a> ScriptedTransport<'a> {
    pub(super) fn new(adapter: &'a dyn Adapter, replies: impl IntoIterator<Item = VendorResponse>) -> Self {
        Self { adapter, responses: RefCell::new(replies.into_iter().collect()), calls: RefCell::default() }
    }

    /// `METHOD path` of every request.
    pub(super) fn request_lines(&self) -> Vec<String> {
        self.calls.borrow().iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }
}

#[async_trait(?Send)]
impl Transport for ScriptedTransport<'_> {
    async fn send(&self, mut call: VendorRequest) -> Result<VendorResponse, VendorError> {
        if call.needs_auth {
            let mut secret = HeaderValue::from_static("the-token");
            secret.set_sensitive(true);
            self.adapter.sign(&mut call, &Token { secret, expires: None });
        }
        self.calls.borrow_mut().push(call.clone());
        let response = self.responses.borrow_mut().pop_front().expect("the script has a response for every request");
        self.adapter.classify(&call, &response).map_or(Ok(response), Err)
    }
}

/// A response with this body.
pub(super) fn response(status: u16, body: &str) -> VendorResponse {
    let content_type = if body.is_empty() { "" } else { "application/json; charset=utf-8" };
    VendorResponse {
        status,
        content_type: content_type.to_owned(),
        retry_after: None,
        headers: Vec::new(),
        body: body.to_owned().into(),
        lone_surrogates: Vec::new(),
    }
}

/// A response with `Retry-After`.
pub(super) fn response_with_retry_after(status: u16, seconds: u64) -> VendorResponse {
    VendorResponse { retry_after: Some(Duration::from_secs(seconds)), ..response(status, "") }
}

/// Classifies a response to a request.
pub(super) fn classify_response(
    adapter: &dyn Adapter,
    call: &VendorRequest,
    status: u16,
    body: &str,
) -> Option<(VendorErrorKind, SideEffect)> {
    adapter.classify(call, &response(status, body)).map(|fault| (fault.kind, fault.effect))
}

/// The body of a request.
pub(super) fn body(call: &VendorRequest) -> &str {
    call.body.as_deref().map(|body| std::str::from_utf8(body).expect("UTF-8")).unwrap_or_default()
}

/// Parses an object.
pub(super) fn map(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("an object")
}

/// A record of a vendor without versions.
pub(super) fn unversioned_record(fields: &Map<String, Value>) -> VendorRecord {
    VendorRecord { fields: RawObject::from(fields), version: None, warnings: Vec::new() }
}

/// Runs every file of `tests/golden/{vendor}/`: the action `given` must send exactly `request` and,
/// with the response `response`, must result in `meaning`.
pub(super) async fn run_golden(vendor: &str, adapter: &dyn Adapter) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(vendor);
    let mut files: Vec<_> = folder.read_dir().expect("golden files").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.display().to_string();
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("text")).expect("JSON");
        let response = golden
            .get("response")
            .filter(|response| !response.is_null())
            .map(|response| parse_golden_response(response, adapter.kept_headers()));
        let transport = ScriptedTransport::new(adapter, response);
        let meaning = run_action(adapter, &transport, &golden["given"]).await;
        let requests: Vec<Value> = transport.calls.borrow().iter().map(golden_request).collect();
        let expected: Vec<Value> = golden.get("request").filter(|one| !one.is_null()).cloned().into_iter().collect();
        assert_eq!(json!(requests).to_string(), json!(expected).to_string(), "{name}: request");
        assert_eq!(meaning.to_string(), golden["meaning"].to_string(), "{name}: meaning");
    }
}

fn parse_golden_response(golden: &Value, kept_headers: &[&'static str]) -> VendorResponse {
    let body = match &golden["body"] {
        Value::Null => String::new(),
        Value::Object(text) if text.contains_key("$text") => text["$text"].as_str().expect("text").to_owned(),
        json => json.to_string(),
    };
    let header = |name: &str| {
        let headers = golden["headers"].as_object()?;
        headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    };
    VendorResponse {
        status: golden["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
        content_type: header("Content-Type").unwrap_or_default().to_owned(),
        retry_after: header("Retry-After").map(|after| Duration::from_secs(after.parse().expect("seconds"))),
        headers: kept_headers.iter().filter_map(|name| Some((*name, header(name)?.to_owned()))).collect(),
        body: body.into(),
        lone_surrogates: Vec::new(),
    }
}

fn golden_request(call: &VendorRequest) -> Value {
    let headers: Map<_, _> =
        call.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().expect("text")))).collect();
    let body: Value = call
        .body
        .as_deref()
        .map(|body| serde_json::from_slice(body).unwrap_or_else(|_| json!({ "$text": String::from_utf8_lossy(body) })))
        .unwrap_or_default();
    json!({"method": call.method.as_str(), "path": call.path, "headers": headers, "body": body})
}

async fn run_action(adapter: &dyn Adapter, transport: &ScriptedTransport<'_>, given: &Value) -> Value {
    let text = |name: &str| given[name].as_str().unwrap_or_default();
    let object = |name: &str| given[name].as_object().cloned().unwrap_or_default();
    let id = || {
        let (collection, key) = text("id").rsplit_once(':').expect("collection:key");
        RecordId::new(
            &adapter.parse_collection(collection).expect("a collection"),
            &adapter.parse_key(key).expect("a key"),
        )
    };
    match text("do") {
        "sign_in" => {
            let token = adapter.sign_in(transport).await;
            golden_outcome(token.map(|token| {
                let seconds = token.expires.map(|at| (at - Instant::now()).as_secs());
                json!({"token": token.secret.to_str().expect("text"), "seconds": seconds})
            }))
        }
        "read" => golden_outcome(adapter.read(transport, &id()).await.map(|stored| golden_record(&stored))),
        "list" => {
            let limit = given["limit"].as_u64().expect("a limit").try_into().expect("small");
            let page = adapter.list(transport, text("collection"), &[], limit, given["cursor"].as_str()).await;
            golden_outcome(page.map(
                |page| json!({"items": page.items.iter().map(golden_item).collect::<Vec<_>>(), "next": page.next}),
            ))
        }
        "create" => match adapter.plan_create(text("collection"), &object("fields")) {
            Ok(planned) => golden_outcome(transport.send(planned.request).await.and_then(|response| {
                let created = adapter.parse_created(text("collection"), &response)?;
                Ok(json!({"created": created.id.as_str(), "record": created.record.as_ref().map(golden_record)}))
            })),
            Err(invalid) => golden_errors(&invalid),
        },
        "update" => {
            let (fields, before, after) = (object("fields"), object("before"), object("after"));
            let change = if given.get("fields").is_some() {
                UpdateInput::Members(&RawObject::from(&fields))
            } else {
                UpdateInput::FullRecord { before: &before, after: &after }
            };
            run_write(transport, &id(), {
                let expected = parse_golden_version(&given["expected"]);
                let terms = UpdateTerms { expected: expected.as_ref(), return_record: given["return_record"] == true };
                adapter.plan_update(&id(), &change, &terms)
            })
            .await
        }
        "delete" => {
            let expected = parse_golden_version(&given["expected"]);
            let before = expected.is_none().then(|| unversioned_record(&object("before")));
            run_write(transport, &id(), adapter.plan_delete(&id(), before.as_ref(), expected.as_ref())).await
        }
        other => panic!("cannot do {other}"),
    }
}

async fn run_write(
    transport: &ScriptedTransport<'_>,
    id: &RecordId,
    planned: Result<PlannedRequest, Vec<crate::record::FieldError>>,
) -> Value {
    let planned = match planned {
        Ok(planned) => planned,
        Err(invalid) => return golden_errors(&invalid),
    };
    let losses: Vec<_> = planned.losses.iter().map(|loss| loss.name).collect();
    let done = if planned.completion == Completion::Now { "now" } else { "queued" };
    let mut meaning = json!({ "done": done, "losses": losses, "repeatable": planned.idempotent });
    golden_outcome(transport.send(planned.request).await.map(|response| {
        if let Some(record) = transport.adapter.parse_updated(id, &response).record {
            meaning["updated"] = golden_record(&record);
        }
        meaning
    }))
}

fn golden_errors(invalid: &[crate::record::FieldError]) -> Value {
    json!({"invalid": invalid.iter().map(|one| one.pointer.as_str()).collect::<Vec<_>>()})
}

fn golden_outcome(result: Result<Value, VendorError>) -> Value {
    result.unwrap_or_else(|fault| {
        let mut meaning = json!({"fault": format!("{:?}", fault.kind), "effect": format!("{:?}", fault.effect), "code": fault.code, "message": fault.message});
        if let Retry::After(pause) = fault.retry {
            meaning["retry_after"] = json!(pause.as_secs());
        }
        if !fault.invalid.is_empty() {
            meaning["invalid"] = golden_errors(&fault.invalid)["invalid"].take();
        }
        meaning
    })
}

fn golden_record(stored: &VendorRecord) -> Value {
    let warnings: Vec<_> =
        stored.warnings.iter().map(|one| json!({"pointer": one.pointer, "detail": one.detail})).collect();
    json!({"fields": stored.fields.to_map(), "version": stored.version.as_ref().map(golden_version), "warnings": warnings})
}

fn golden_item(item: &ListItem) -> Value {
    json!({"id": item.id.as_str(), "partial": item.partial, "record": golden_record(&item.record)})
}

fn golden_version(version: &Version) -> Value {
    match version {
        Version::Sequence(number) => json!(number),
        Version::Text(text) => json!({ "$text": text }),
        Version::RowVersion(bytes) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Version::Digest(bytes) => json!(const_hex::encode(bytes)),
    }
}

fn parse_golden_version(shown: &Value) -> Option<Version> {
    match shown {
        Value::Number(number) => number.as_u64().map(Version::Sequence),
        Value::String(text) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
            Some(Version::RowVersion(bytes.try_into().expect("8 bytes")))
        }
        Value::Object(text) => Some(Version::Text(text["$text"].as_str().expect("text").into())),
        _ => None,
    }
}
