//! Changing records.

use std::sync::{Arc, Mutex};

use actix_web::HttpResponse;
use serde_json::json;

use super::test_api::{PATCH, TestApi, TestResponse, admin_request, patch_request, request_of};
use crate::http::{write_request, write_response};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, Operation, OperationId, OperationState, Precondition, RawObject, RecordId, VendorRecord, Version,
};
use crate::sandbox::{CallKind, InjectedFault};
use crate::system::{Guarantee, RecordView};
use crate::vendors::UpdatedRecord;
use crate::writes::{SuccessBody, WriteCommand, WriteOp, WriteOutcome, WriteResponse, WriteSuccess};

const OPERATION: &str = "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11";

fn sample_record() -> RecordView {
    serde_json::from_value(json!({
        "system": "crm", "id": "a:b c", "etag": "\"c7.x\"", "fields": {"n": 1}, "read_only": []
    }))
    .expect("a record")
}

fn success(body: SuccessBody) -> WriteResponse {
    let operation = OperationId::parse(OPERATION);
    let success = WriteSuccess { body, operation, guarantee: None, etag: None, preference_applied: None };
    WriteResponse { outcome: WriteOutcome::Success(success), replayed: false, operation: None }
}

/// The response to a write with this result.
async fn respond(api: &TestApi, result: WriteResponse) -> TestResponse {
    api.respond(move |context| {
        let result = result.clone();
        async move { write_response::respond(&context, result) }
    })
    .await
}

#[actix_web::test]
async fn a_patch_of_the_current_state_is_one_vendor_request() {
    let api = TestApi::start().await;
    let response = api.send(patch_request().insert_header(("if-match", api.tag(7)))).await;
    assert_eq!((response.status, response.body.as_str()), (204, ""), "{response:?}");
    assert!(response.header("operation").is_some_and(|path| path.starts_with("/operations/")));
    assert_eq!((response.header("cache-control"), response.header("vary")), (Some("no-store"), Some("Prefer")));
    assert_eq!(api.write_count(), 1);
}

/// The versions 7 before the write, 8 that it makes, and 9 of another one that has followed.
#[actix_web::test]
async fn only_the_version_that_a_write_makes_becomes_its_etag() {
    for (shown, is_own) in [(7, true), (8, true), (9, false)] {
        let api = TestApi::start().await;
        api.vendor.state.show_in_updates(shows_version(shown));
        let response = api.send(patch_request().insert_header(("if-match", api.tag(7)))).await;
        let etag = is_own.then(|| api.tag(8));
        assert_eq!((response.status, response.header("etag")), (204, etag.as_deref()), "{shown}");
    }
}

#[actix_web::test]
async fn a_success_whose_response_shows_the_state_before_is_no_success() {
    let fields = RawObject::from(json!({ "n": 1.10 }).as_object().expect("an object"));
    let before = VendorRecord { fields, version: Some(Version::Sequence(7)), warnings: Vec::new() };
    for shown in [shows_version(7), UpdatedRecord { record: Some(before), ..shows_version(7) }] {
        let api = TestApi::start().await;
        api.vendor.state.show_in_updates(shown);
        api.vendor.faults.once(CallKind::Update, InjectedFault::json(200, "{}"));
        let response = api.send(patch_request().insert_header(("if-match", api.tag(7)))).await;
        assert_eq!((response.status, response.problem().as_str()), (422, "rejected"));
    }
}

fn shows_version(version: u64) -> UpdatedRecord {
    UpdatedRecord { version: Some(Version::Sequence(version)), record: None }
}

#[actix_web::test]
async fn a_write_command_carries_all_write_headers() {
    let api = TestApi::start().await;
    let commands: Arc<Mutex<Vec<WriteCommand>>> = Arc::default();
    let request = patch_request()
        .insert_header(("if-match", "\"c7.x\""))
        .append_header(("if-match", "\"other\""))
        .insert_header(("prefer", "return=representation, wait=3"))
        .insert_header(("accept-loss", "linked-questions"))
        .insert_header(("require-guarantee", "native"))
        .insert_header(("if-none-match", "*"))
        .insert_header(("idempotency-key", "\"k\""));
    let built = Arc::clone(&commands);
    let response = api.respond_to(request, move |context| {
        let built = Arc::clone(&built);
        async move {
            let headers = write_request::parse_headers(&context, Action::Update, write_request::WriteMode::Execute)?;
            let system = context.api().find_system("crm")?;
            let patch = crate::record::Patch::parse_merge_patch(&PATCH.into()).expect("a patch");
            let kind = WriteOp::Update { id: RecordId::new("a", "b"), patch };
            let command = write_request::build_command(&context, system, headers, kind, PATCH.as_bytes());
            built.lock().expect("a lock").push(command);
            Ok(HttpResponse::NoContent().finish())
        }
    });
    assert_eq!(response.await.status, 204);
    let commands = commands.lock().expect("a lock");
    let [command] = commands.as_slice() else { panic!("one command") };
    assert!(matches!(&command.precondition, Some(Precondition::AnyOf(tags)) if tags.len() == 2));
    assert_eq!(command.if_none_match, Some(Precondition::Exists));
    assert!(command.require_native && command.prefer.return_representation && command.prefer.wait.is_some());
    assert_eq!(command.accept_loss, ["linked-questions"]);
    assert_eq!(command.idempotency.as_ref().map(|key| key.key.as_str()), Some("k"));
}

#[actix_web::test]
async fn a_write_reveals_no_record_data_without_read_permission() {
    let api = TestApi::start().await;
    let patch_of = |caller: &str| {
        patch_request()
            .insert_header(("authorization", format!("Bearer {caller}")))
            .insert_header(("prefer", "return=representation"))
    };
    // `If-None-Match` makes the gateway read the record first.
    let tag = api.tag(7);
    for (caller, current) in [("admin", Some(tag.as_str())), ("writer", None)] {
        let request =
            patch_of(caller).insert_header(("if-match", api.tag(6))).insert_header(("if-none-match", "\"x\""));
        let response = api.send(request).await;
        assert_eq!((response.status, response.json()["current_etag"].as_str()), (412, current), "{caller}");
    }
    for (caller, status) in [("writer", 204), ("admin", 200)] {
        assert_eq!(api.send(patch_of(caller)).await.status, status, "{caller}");
    }

    let body = r#"[{"op":"test","path":"/fields/n","value":1}]"#;
    let request = patch_of("writer").insert_header(("content-type", "application/json-patch+json")).set_payload(body);
    let writes = api.write_count();
    assert_eq!(api.send(request).await.problem(), "forbidden");
    assert_eq!(api.write_count(), writes);
}

#[actix_web::test]
async fn redaction_leaves_only_the_warnings_of_a_record() {
    let api = TestApi::start().await;
    let mut warned = success(SuccessBody::Record(Box::new(sample_record())));
    write_response::redact(&mut warned.outcome);
    let warned = respond(&api, warned).await;
    assert_eq!((warned.status, warned.header("etag")), (200, None));
    assert_eq!(warned.body, r#"{"system":"crm","id":"a:b c","etag":null,"fields":{},"read_only":[]}"#);

    let stale = Problem {
        current_etag: Some("\"c8.x\"".to_owned()),
        changed: vec!["/fields/Email".to_owned()],
        ..ProblemKind::PreconditionFailed.with_detail("stale")
    };
    let mut response = WriteResponse::from(stale);
    let shown = respond(&api, response.clone()).await.json();
    assert_eq!((&shown["current_etag"], &shown["changed"]), (&json!("\"c8.x\""), &json!(["/fields/Email"])));
    write_response::redact(&mut response.outcome);
    let hidden = respond(&api, response).await.json();
    assert!(hidden.get("current_etag").is_none() && hidden.get("changed").is_none(), "{hidden}");
}

#[actix_web::test]
async fn each_write_outcome_has_its_response() {
    let api = TestApi::start().await;
    let mut replayed = success(SuccessBody::Record(Box::new(sample_record())));
    replayed.replayed = true;
    if let WriteOutcome::Success(success) = &mut replayed.outcome {
        success.guarantee = Some(Guarantee::Native);
        success.preference_applied = Some("return=representation".into());
    }
    let shown = respond(&api, replayed).await;
    assert_eq!((shown.status, shown.header("etag")), (200, Some("\"c7.x\"")));
    assert_eq!(shown.header("content-location"), Some("/records/crm/a:b%20c"));
    assert_eq!(shown.header("concurrency-guarantee"), Some("native"));
    assert_eq!(shown.header("preference-applied"), Some("return=representation"));
    assert_eq!(shown.header("idempotency-replayed"), Some("true"));
    assert_eq!(shown.header("operation"), Some(format!("/operations/{OPERATION}").as_str()));

    let problem = WriteOutcome::Problem(Box::new(ProblemKind::PreconditionFailed.with_detail("stale")));
    let result = WriteResponse { outcome: problem, replayed: true, ..success(SuccessBody::NoContent) };
    let replayed = respond(&api, result).await;
    assert_eq!(replayed.problem(), "precondition-failed");
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));

    let operation = Operation {
        id: OperationId::parse(OPERATION).expect("an id"),
        state: OperationState::Running,
        action: Action::Update,
        system: "crm".into(),
        record: Some("a:b".into()),
        batch_item: None,
        model: None,
        caller: "admin".into(),
        started_at: "2026-11-21T10:15:30.123Z".into(),
        finished_at: None,
        etag: None,
        warnings: Vec::new(),
        problem: None,
        observed: None,
        resolved_by: None,
        note: None,
    };
    let accepted = WriteResponse { operation: Some(operation), ..success(SuccessBody::Accepted) };
    let accepted = respond(&api, accepted).await;
    assert_eq!((accepted.status, accepted.header("retry-after")), (202, Some("1")));
    assert_eq!(accepted.header("location"), accepted.header("operation"));
    assert_eq!(accepted.json()["state"], "running");
}

#[actix_web::test]
async fn a_created_record_is_returned_with_its_location() {
    let api = TestApi::start().await;
    let body = r#"{"collection":"a","fields":{"n":1}}"#;
    let post =
        || admin_request("POST", "/records/crm").insert_header(("content-type", "application/json")).set_payload(body);
    let created = api.send(post()).await;
    assert_eq!((created.status, created.header("location")), (201, Some("/records/crm/a:b%20c")));
    let only_new = api.send(post().insert_header(("if-none-match", "*"))).await;
    assert_eq!(only_new.problem(), "precondition-failed");
    assert_eq!(api.write_count(), 1);
}

#[actix_web::test]
async fn a_delete_needs_if_match_and_no_body() {
    let api = TestApi::start().await;
    let delete = || request_of("admin", "DELETE", "/records/crm/a:b");
    assert_eq!(api.send(delete()).await.problem(), "precondition-required");
    assert_eq!(api.send(delete().insert_header(("if-match", ""))).await.problem(), "malformed-request");
    assert_eq!(api.send(delete().insert_header(("if-match", "*"))).await.status, 204);
    assert_eq!(api.write_count(), 1);
}
