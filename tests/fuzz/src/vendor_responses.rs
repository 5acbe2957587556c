//! Vendor responses: a conversation of arbitrary responses with the real adapter, over a transport
//! that classifies them as the real one does.
//!
//! The first byte chooses the action, the second the status of the responses; the rest is their
//! bodies, separated by an ASCII record separator (0x1e). The last body is repeated. In front of a
//! body may stand the values of the headers that the adapter keeps, in its order, each followed by
//! a unit separator (0x1f).

use std::cell::Cell;
use std::collections::HashSet;

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use bytes::Bytes;
use records_gateway::record::{
    Action, FieldError, Patch, RawObject, RecordId, VendorError, VendorRecord, Version, parse_strict,
};
use records_gateway::transport::{Token, Transport, VendorRequest, VendorRequestKind, VendorResponse, sanitize_text};
use records_gateway::vendors::{Adapter, UpdateInput, UpdateStyle, UpdateTerms, find_vendor};
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};

use super::ids::adapters;

const STATUSES: [u16; 21] =
    [200, 201, 202, 204, 400, 401, 403, 404, 406, 408, 409, 410, 412, 414, 429, 500, 502, 503, 302, 299, 422];
/// A secret that no text for people may contain.
const TOKEN: &str = "Token-0123456789";
/// The secret of a sign-in.
const CREDENTIAL: &str = super::ids::CREDENTIAL;
/// The adapters end an endless list after many pages; a few are enough here.
const MAX_CALLS: usize = 60;

struct ScriptedTransport<'s> {
    adapter: &'s dyn Adapter,
    status: u16,
    bodies: Vec<&'s [u8]>,
    calls: Cell<usize>,
}

impl ScriptedTransport<'_> {
    fn response(&self, index: usize) -> VendorResponse {
        let mut body = self.bodies.get(index).or(self.bodies.last()).copied().unwrap_or_default();
        let mut headers = Vec::new();
        for name in self.adapter.kept_headers() {
            let Some(end) = body.iter().position(|byte| *byte == 0x1f) else { break };
            // The client keeps no other text.
            let value = std::str::from_utf8(&body[..end]).ok();
            let value = value.filter(|text| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            headers.extend(value.map(|text| (*name, text.to_owned())));
            body = &body[end + 1..];
        }
        let content_type = "application/json".to_owned();
        VendorResponse {
            status: self.status,
            content_type,
            retry_after: None,
            headers,
            body: body.to_vec().into(),
            lone_surrogates: Vec::new(),
        }
    }
}

#[async_trait(?Send)]
impl Transport for ScriptedTransport<'_> {
    async fn send(&self, mut call: VendorRequest) -> Result<VendorResponse, VendorError> {
        assert!(call.path.starts_with('/') && call.path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", call.path);
        if let Some(body) = call.body.as_ref().filter(|_| is_json(&call)) {
            parse_strict(body).expect("a body of the gateway is strict JSON");
        }
        if call.needs_auth {
            sign(self.adapter, &mut call);
        }
        let index = self.calls.replace(self.calls.get() + 1);
        if index >= MAX_CALLS {
            return Err(VendorError::invalid_response("too many calls"));
        }
        let response = self.response(index);
        match self.adapter.classify(&call, &response) {
            None => Ok(response),
            Some(fault) => {
                let secret = if call.needs_auth { TOKEN } else { CREDENTIAL };
                assert!(!message_text(&fault).contains(secret), "a secret in {:?}", message_text(&fault));
                assert_sanitized(&fault);
                Err(fault)
            }
        }
    }
}

/// Some vendors take a sign-in as a form.
fn is_json(call: &VendorRequest) -> bool {
    let is_form = |value: &HeaderValue| value.as_bytes().starts_with(b"application/x-www-form-urlencoded");
    !call.headers.iter().any(|(name, value)| name == "content-type" && is_form(value))
}

fn sign(adapter: &dyn Adapter, call: &mut VendorRequest) {
    let mut secret = HeaderValue::from_static(TOKEN);
    secret.set_sensitive(true);
    adapter.sign(call, &Token { secret, expires: None });
}

fn message_text(fault: &VendorError) -> String {
    format!("{:?}", fault.message)
}

/// The text of an error is safe to print. Its code is cleaned by the transport.
fn assert_sanitized(fault: &VendorError) {
    if let Some(text) = &fault.message {
        assert!(!text.chars().any(char::is_control) && text.chars().count() <= 400, "{text:?}");
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// The target of one vendor of the registry.
pub fn run_conversation(vendor: &str, data: &[u8]) {
    let [action, status, rest @ ..] = data else { return };
    let adapter = adapters().iter().find(|adapter| adapter.capabilities().vendor == vendor).expect("a vendor");
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let bodies: Vec<&[u8]> = rest.split(|byte| *byte == 0x1e).collect();
    let script = ScriptedTransport { adapter: &**adapter, status, bodies, calls: Cell::new(0) };
    let (collection, key) = adapter.capabilities().id_example.rsplit_once(':').expect("an id");
    let id = RecordId::new(collection, key);
    let conversation = async {
        match action % 6 {
            0 => read(&script, &id).await,
            1 => list(&script, collection, usize::from(action / 6 % 4) + 1).await,
            2 => sign_in(&script).await,
            3 => classify_responses(&script, &id),
            4 => update(&script, &id).await,
            _ => find_matching(&script, collection).await,
        }
    };
    RUNTIME.with(|runtime| runtime.block_on(conversation));
}

async fn read(script: &ScriptedTransport<'_>, id: &RecordId) {
    match script.adapter.read(script, id).await {
        Ok(stored) => assert_valid_record(script.adapter, &stored),
        Err(fault) => assert_sanitized(&fault),
    }
}

/// What callers see: JSON without duplicate names, no member that the gateway hides, and a version.
fn assert_valid_record(adapter: &dyn Adapter, stored: &VendorRecord) {
    let text = stored.fields.to_json();
    let Ok(Value::Object(members)) = parse_strict(text.as_bytes()) else { panic!("no record: {text}") };
    assert!(stored.fields.names().eq(members.keys()), "{text}");
    assert_eq!(stored.version.is_some(), !adapter.capabilities().compares.is_empty(), "a version");
    assert_eq!(stored.version(), VendorRecord { fields: RawObject::from(&members), ..stored.clone() }.version());
    assert!(!members.keys().any(|name| is_hidden(adapter, name)), "{text}");
    for warning in &stored.warnings {
        assert!(warning.pointer.starts_with("/fields"), "{warning:?}");
        assert!(
            !warning.detail.is_empty() && sanitize_text(&warning.detail).is_some_and(|clean| clean == warning.detail)
        );
    }
}

fn is_hidden(adapter: &dyn Adapter, member: &str) -> bool {
    find_vendor(adapter.capabilities().vendor).is_some_and(|factory| (factory.is_hidden)(member))
}

async fn list(script: &ScriptedTransport<'_>, collection: &str, limit: usize) {
    let mut cursor: Option<String> = None;
    for _ in 0..4 {
        let page = match script.adapter.list(script, collection, &[], limit, cursor.as_deref()).await {
            Ok(page) => page,
            Err(fault) => return assert_sanitized(&fault),
        };
        assert!(page.items.len() <= limit, "more than requested");
        for item in &page.items {
            assert_eq!(item.id.collection(), collection);
            assert_eq!(
                script.adapter.parse_key(item.id.key()).as_deref(),
                Some(item.id.key()),
                "an id of the vendor's form"
            );
            if item.partial {
                parse_strict(item.record.fields.to_json().as_bytes()).expect("strict JSON");
            } else {
                assert_valid_record(script.adapter, &item.record);
            }
        }
        let Some(next) = page.next else { return };
        assert_ne!(cursor.as_ref(), Some(&next), "a cursor that does not advance");
        cursor = Some(next);
    }
}

async fn sign_in(script: &ScriptedTransport<'_>) {
    match script.adapter.sign_in(script).await {
        Ok(token) => {
            assert!(token.secret.is_sensitive() && !token.secret.is_empty(), "a token that can be printed");
            let day = tokio::time::Instant::now() + std::time::Duration::from_hours(24);
            assert!(token.expires.is_none_or(|end| end <= day), "a token without an end");
        }
        Err(fault) => assert_sanitized(&fault),
    }
}

/// The first body is a set of fields, from which requests are planned; the second is classified as
/// their response.
fn classify_responses(script: &ScriptedTransport<'_>, id: &RecordId) {
    let (adapter, response) = (script.adapter, script.response(1));
    let Ok(Value::Object(fields)) = parse_strict(script.bodies[0]) else { return };
    let text = |text: &str| Version::Text(text.into());
    // Each with another one of its kind.
    let versions = [
        [Version::Sequence(7), Version::Sequence(8)],
        [Version::RowVersion([7; 8]), Version::RowVersion([8; 8])],
        [text("W/\"7\""), text("W/\"8\"")],
        [Version::Digest([7; 16]), Version::Digest([8; 16])],
    ];
    let mut calls = Vec::new();
    if adapter.capabilities().update_style == UpdateStyle::Partial {
        let members = RawObject::from(&fields);
        let plan = |version| adapter.plan_update(id, &UpdateInput::Members(&members), &UpdateTerms::bound_to(version));
        for [version, other] in &versions {
            if let (Ok(planned), Ok(bound_to_other)) = (plan(version), plan(other)) {
                assert!(
                    !fields.keys().any(|name| adapter.is_read_only(id.collection(), name)),
                    "a read-only member is sent"
                );
                assert_ne!(parts(&planned.request), parts(&bound_to_other.request), "a write without its version");
                assert_values_kept(&planned.request, &fields);
                calls.push(planned.request);
            }
        }
        assert!(
            adapter.plan_update(id, &UpdateInput::Members(&RawObject::from(&fields)), &UpdateTerms::default()).is_err(),
            "an update without a version"
        );
    }
    plan_deletes(adapter, id, &fields, &versions, &mut calls);
    calls.extend(adapter.plan_create(id.collection(), &fields).map(|planned| planned.request));
    for mut call in calls {
        sign(adapter, &mut call);
        match adapter.classify(&call, &response) {
            Some(fault) => {
                assert!(!message_text(&fault).contains(TOKEN), "a secret in {:?}", message_text(&fault));
                assert_sanitized(&fault);
            }
            None if call.kind == VendorRequestKind::Create => match adapter.parse_created(id.collection(), &response) {
                Ok(created) => {
                    let key = created.id.key();
                    assert_eq!(adapter.parse_key(key).as_deref(), Some(key), "an id of the vendor's form");
                    if let Some(stored) = created.record {
                        assert_valid_record(adapter, &stored);
                    }
                }
                Err(fault) => assert_sanitized(&fault),
            },
            None if call.kind == VendorRequestKind::Update => {
                let updated = adapter.parse_updated(id, &response);
                if let Some(stored) = &updated.record {
                    assert_valid_record(adapter, stored);
                    assert_eq!(stored.version, updated.version, "the record's own version");
                }
            }
            None => {}
        }
    }
}

/// Plans deletes with and without a version.
fn plan_deletes(
    adapter: &dyn Adapter,
    id: &RecordId,
    fields: &Map<String, Value>,
    versions: &[[Version; 2]],
    calls: &mut Vec<VendorRequest>,
) {
    let before = VendorRecord { fields: RawObject::from(fields), version: None, warnings: Vec::new() };
    calls.extend(adapter.plan_delete(id, Some(&before), None).map(|planned| planned.request));
    if adapter.compares(Action::Delete, id.collection()) {
        for [version, other] in versions {
            let plan = |version| adapter.plan_delete(id, Some(&before), Some(version));
            if let (Ok(planned), Ok(bound_to_other)) = (plan(version), plan(other)) {
                assert_ne!(parts(&planned.request), parts(&bound_to_other.request), "a delete without its version");
                calls.push(planned.request);
            }
        }
    }
}

/// What is sent.
fn parts(call: &VendorRequest) -> (&str, Option<&Bytes>, String) {
    (&call.path, call.body.as_ref(), format!("{:?}", call.headers))
}

/// The body holds the changes as the caller wrote them. A member that the vendor writes under
/// another name (a reference) is there under that name.
fn assert_values_kept(call: &VendorRequest, fields: &Map<String, Value>) {
    let body = call.body.as_deref().expect("a body");
    let Ok(Value::Object(sent)) = parse_strict(body) else { panic!("no object, or a duplicate name") };
    assert!(sent.len() >= fields.len(), "a member is missing");
    let is_kept = |(name, value): (&String, &Value)| sent.get(name).is_none_or(|one| one == value);
    assert!(fields.iter().all(is_kept), "another value than the caller's");
}

/// Where whole records are replaced: the first body is a record, the second a merge patch of its
/// fields. Nothing that the patch does not name may be lost, and no name may be duplicated.
async fn update(script: &ScriptedTransport<'_>, id: &RecordId) {
    let adapter = script.adapter;
    if adapter.capabilities().update_style != UpdateStyle::Replace {
        return;
    }
    let one = ScriptedTransport { adapter, status: 200, bodies: script.bodies[..1].to_vec(), calls: Cell::new(0) };
    let Ok(stored) = adapter.read(&one, id).await else { return };
    let before = stored.fields.to_map();
    let Some(patch) =
        script.bodies.get(1).and_then(|body| Patch::parse_merge_patch(&Bytes::copy_from_slice(body)).ok())
    else {
        return;
    };
    let document = Map::from_iter([("fields".to_owned(), Value::Object(before.clone()))]);
    let Ok(after) = patch.apply(&document, &|name| adapter.is_read_only(id.collection(), name)) else { return };
    let change = UpdateInput::FullRecord { before: &before, after: &after };
    match adapter.plan_update(id, &change, &UpdateTerms::default()) {
        Ok(mut planned) => {
            if let Some(body) = &planned.request.body {
                let body = parse_strict(body).expect("strict JSON");
                assert_full_replacement(&before, &after, &body);
            }
            sign(adapter, &mut planned.request);
            if let Some(fault) = adapter.classify(&planned.request, &script.response(2)) {
                assert_sanitized(&fault);
            }
        }
        Err(findings) => {
            assert!(findings.iter().all(|FieldError { detail, .. }| !detail.is_empty()) && !findings.is_empty());
        }
    }
}

fn assert_full_replacement(before: &Map<String, Value>, after: &Map<String, Value>, body: &Value) {
    for (list, key, map) in [("object_properties", "name", "properties"), ("related_boem", "id", "questionnaires")] {
        let sent = body[list].as_array().expect("a list");
        let names: HashSet<&str> = sent.iter().filter_map(|entry| entry[key].as_str()).collect();
        assert_eq!(names.len(), sent.len(), "a duplicate entry, or one without a name: {body}");
        let expected = after.get(map).and_then(Value::as_object).cloned().unwrap_or_default();
        let was = before.get(map).and_then(Value::as_object).cloned().unwrap_or_default();
        assert!(names.iter().all(|name| expected.contains_key(*name)), "a removed entry is sent: {body}");
        for (name, entry) in &expected {
            // An unchanged locked entry may be left out: the vendor keeps it.
            let keeps = entry["locked"] == true && was.get(name).is_some_and(|was| was["locked"] == true);
            assert!(keeps || names.contains(name.as_str()), "{name:?} would be lost: {body}");
        }
    }
}

/// The first body is a set of fields to find.
async fn find_matching(script: &ScriptedTransport<'_>, collection: &str) {
    let Ok(Value::Object(fields)) = parse_strict(script.bodies[0]) else { return };
    let rest = script.bodies[1..].to_vec();
    let script =
        ScriptedTransport { adapter: script.adapter, status: script.status, bodies: rest, calls: Cell::new(0) };
    match script.adapter.find_matching(&script, collection, &fields).await {
        Ok(Some(found)) => assert!(found.iter().all(|id| id.collection() == collection)),
        Ok(None) => {}
        Err(fault) => assert_sanitized(&fault),
    }
}
