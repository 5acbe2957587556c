//! A scripted transport, and the golden pairs: requests and replies copied from the vendors' pages, run in both directions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Adapter, Change, Completion, Item, Planned};
use crate::record::{Effect, Fault, FaultKind, Fields, Members, RecordId, Stored, Version};
use crate::transport::{Call, Reply, Token, Transport};

/// Answers calls from a script and keeps them; judges replies as the real transport does.
pub(super) struct Scripted<'a> {
    adapter: &'a dyn Adapter,
    replies: RefCell<VecDeque<Reply>>,
    pub(super) calls: RefCell<Vec<Call>>,
}

impl<'a> Scripted<'a> {
    pub(super) fn new(adapter: &'a dyn Adapter, replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { adapter, replies: RefCell::new(replies.into_iter().collect()), calls: RefCell::default() }
    }

    /// `METHOD path` of every call so far.
    pub(super) fn sent(&self) -> Vec<String> {
        self.calls.borrow().iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }
}

#[async_trait(?Send)]
impl Transport for Scripted<'_> {
    async fn send(&self, mut call: Call) -> Result<Reply, Fault> {
        if call.signed {
            let mut secret = HeaderValue::from_static("the-token");
            secret.set_sensitive(true);
            self.adapter.sign(&mut call, &Token { secret, expires: None });
        }
        self.calls.borrow_mut().push(call.clone());
        let reply = self.replies.borrow_mut().pop_front().expect("one more call than the script has replies");
        self.adapter.fault(&call, &reply).map_or(Ok(reply), Err)
    }
}

/// A reply with a JSON (or any) body.
pub(super) fn reply(status: u16, body: &str) -> Reply {
    let content_type = if body.is_empty() { "" } else { "application/json; charset=utf-8" };
    Reply { status, content_type: content_type.to_owned(), retry_after: None, body: body.to_owned().into() }
}

/// A reply with `Retry-After`.
pub(super) fn reply_later(status: u16, seconds: u64) -> Reply {
    Reply { retry_after: Some(Duration::from_secs(seconds)), ..reply(status, "") }
}

/// Judges a reply to a planned call.
pub(super) fn judged(adapter: &dyn Adapter, call: &Call, status: u16, body: &str) -> Option<(FaultKind, Effect)> {
    adapter.fault(call, &reply(status, body)).map(|fault| (fault.kind, fault.effect))
}

/// A body as text.
pub(super) fn body(call: &Call) -> &str {
    call.body.as_deref().map(|body| std::str::from_utf8(body).expect("UTF-8")).unwrap_or_default()
}

/// An object from its text.
pub(super) fn map(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("an object")
}

/// A record as read, of a vendor without versions.
pub(super) fn unversioned(fields: &Map<String, Value>) -> Stored {
    Stored { fields: Fields::from_map(fields), version: None, warnings: Vec::new() }
}

/// Runs every file of `tests/golden/{vendor}/`: `given` is done, must send exactly `request` and, when answered with `reply`,
/// must come to `meaning`.
pub(super) async fn run_golden(vendor: &str, adapter: &dyn Adapter) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(vendor);
    let mut files: Vec<_> = folder.read_dir().expect("golden files").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.display().to_string();
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("text")).expect("JSON");
        let given_reply = golden.get("reply").filter(|reply| !reply.is_null()).map(golden_reply);
        let transport = Scripted::new(adapter, given_reply);
        let meaning = done(adapter, &transport, &golden["given"]).await;
        let requests: Vec<Value> = transport.calls.borrow().iter().map(shown).collect();
        let expected: Vec<Value> = golden.get("request").filter(|one| !one.is_null()).cloned().into_iter().collect();
        assert_eq!(json!(requests).to_string(), json!(expected).to_string(), "{name}: request");
        assert_eq!(meaning.to_string(), golden["meaning"].to_string(), "{name}: meaning");
    }
}

fn golden_reply(golden: &Value) -> Reply {
    let body = match &golden["body"] {
        Value::Null => String::new(),
        Value::Object(text) if text.contains_key("$text") => text["$text"].as_str().expect("text").to_owned(),
        json => json.to_string(),
    };
    let header = |name: &str| golden["headers"].get(name).and_then(Value::as_str);
    Reply {
        status: golden["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
        content_type: header("Content-Type").unwrap_or_default().to_owned(),
        retry_after: header("Retry-After").map(|after| Duration::from_secs(after.parse().expect("seconds"))),
        body: body.into(),
    }
}

fn shown(call: &Call) -> Value {
    let headers: Map<_, _> =
        call.headers.iter().map(|(name, value)| (name.to_string(), json!(value.to_str().expect("text")))).collect();
    let body: Value = call.body.as_deref().map(|body| serde_json::from_slice(body).expect("JSON")).unwrap_or_default();
    json!({"method": call.method.as_str(), "path": call.path, "headers": headers, "body": body})
}

async fn done(adapter: &dyn Adapter, transport: &Scripted<'_>, given: &Value) -> Value {
    let text = |name: &str| given[name].as_str().unwrap_or_default();
    let object = |name: &str| given[name].as_object().cloned().unwrap_or_default();
    let id = || {
        let (collection, key) = text("id").rsplit_once(':').expect("collection:key");
        RecordId::new(&adapter.collection(collection).expect("a collection"), &adapter.key(key).expect("a key"))
    };
    match text("do") {
        "sign_in" => {
            let token = adapter.sign_in(transport).await;
            told(token.map(|token| {
                let seconds = token.expires.map(|at| (at - Instant::now()).as_secs());
                json!({"token": token.secret.to_str().expect("text"), "seconds": seconds})
            }))
        }
        "read" => told(adapter.read(transport, &id()).await.map(|stored| shown_record(&stored))),
        "list" => {
            let limit = given["limit"].as_u64().expect("a limit").try_into().expect("small");
            let page = adapter.list(transport, text("collection"), limit, given["cursor"].as_str()).await;
            told(
                page.map(
                    |page| json!({"items": page.items.iter().map(shown_item).collect::<Vec<_>>(), "next": page.next}),
                ),
            )
        }
        "create" => match adapter.plan_create(text("collection"), &object("fields")) {
            Ok(planned) => told(transport.send(planned.call).await.and_then(|reply| {
                let created = adapter.created(text("collection"), &reply)?;
                Ok(json!({"created": created.id.as_str(), "record": created.stored.as_ref().map(shown_record)}))
            })),
            Err(invalid) => shown_invalid(&invalid),
        },
        "update" => {
            let (fields, before, after) = (object("fields"), object("before"), object("after"));
            let change = if given.get("fields").is_some() {
                Change::Members(&Members::from(&fields))
            } else {
                Change::Whole { before: &before, after: &after }
            };
            write(transport, adapter.plan_update(&id(), &change, version(&given["expected"]).as_ref())).await
        }
        "delete" => write(transport, adapter.plan_delete(&id(), &unversioned(&object("before")))).await,
        other => panic!("cannot do {other}"),
    }
}

async fn write(transport: &Scripted<'_>, planned: Result<Planned, Vec<crate::record::Invalid>>) -> Value {
    match planned {
        Ok(Planned { call, losses, completion, repeatable }) => told(transport.send(call).await.map(|_| {
            let losses: Vec<_> = losses.iter().map(|loss| loss.name).collect();
            json!({"done": if completion == Completion::Now { "now" } else { "queued" }, "losses": losses, "repeatable": repeatable})
        })),
        Err(invalid) => shown_invalid(&invalid),
    }
}

fn shown_invalid(invalid: &[crate::record::Invalid]) -> Value {
    json!({"invalid": invalid.iter().map(|one| one.pointer.as_str()).collect::<Vec<_>>()})
}

fn told(result: Result<Value, Fault>) -> Value {
    result.unwrap_or_else(|fault| {
        json!({"fault": format!("{:?}", fault.kind), "effect": format!("{:?}", fault.effect), "code": fault.code, "message": fault.message})
    })
}

fn shown_record(stored: &Stored) -> Value {
    let warnings: Vec<_> =
        stored.warnings.iter().map(|one| json!({"pointer": one.pointer, "detail": one.detail})).collect();
    json!({"fields": stored.fields.to_map(), "version": stored.version.as_ref().map(shown_version), "warnings": warnings})
}

fn shown_item(item: &Item) -> Value {
    json!({"id": item.id.as_str(), "partial": item.partial, "record": shown_record(&item.stored)})
}

fn shown_version(version: &Version) -> Value {
    match version {
        Version::Counter(number) => json!(number),
        Version::Row(bytes) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Version::Digest(bytes) => json!(const_hex::encode(bytes)),
    }
}

fn version(shown: &Value) -> Option<Version> {
    match shown {
        Value::Number(number) => number.as_u64().map(Version::Counter),
        Value::String(text) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
            Some(Version::Row(bytes.try_into().expect("8 bytes")))
        }
        _ => None,
    }
}
