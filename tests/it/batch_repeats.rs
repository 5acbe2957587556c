//! Batches that are sent again with their key, or end at their deadline (contract 4.10).

use std::time::Duration;

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, MATRIX42, Request, TestEnv};

fn keyed(env: &TestEnv, body: &Value) -> Request {
    env.request(Method::POST, "/batch").idempotency_key("nightly").json(body)
}

fn set_text(id: &str, text: &str) -> Value {
    json!({"id": id, "method": "PATCH", "path": MATRIX42.path(MATRIX42.key), "headers": {"If-Match": "*"},
        "body": {"fields": {(MATRIX42.text): text}}})
}

fn statuses(document: &Value) -> Vec<u64> {
    document["items"].as_array().expect("items").iter().filter_map(|item| item["status"].as_u64()).collect()
}

fn replays(document: &Value) -> Vec<bool> {
    let is_replay = |item: &Value| item["headers"]["idempotency-replayed"] == "true";
    document["items"].as_array().expect("items").iter().map(is_replay).collect()
}

#[actix_web::test]
async fn a_repeat_of_what_changed_nothing_writes_nothing() {
    let env = TestEnv::start(&MATRIX42);
    env.set_text(MATRIX42.key, "*", "seven").send().await.assert_status(204);
    let body = json!({"items": [set_text("a", "seven"), set_text("b", "eight")]});
    let first = keyed(&env, &body).send().await.assert_status(200).json();
    assert_eq!((statuses(&first), replays(&first)), (vec![204, 204], vec![false, false]));
    let sent = env.call_count(CallKind::Update);
    let again = keyed(&env, &body).send().await.assert_status(200).json();
    assert_eq!((statuses(&again), replays(&again)), (vec![204, 204], vec![true, true]), "{again}");
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("eight"));
    assert_eq!(env.call_count(CallKind::Update), sent);
}

#[actix_web::test]
async fn a_repeat_replays_what_was_made_whatever_fails_now() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    let create = json!({"id": "made", "method": "POST", "path": "/records/itsm",
        "body": {"collection": env.fixture.collection(), "fields": {"Name": "Made once"}}});
    let mut stale = set_text("stale", "never");
    stale["headers"] = json!({"If-Match": "\"stale\""});
    let body = |concurrency: u64, items: [&Value; 2]| json!({"on_failure": "stop", "concurrency": concurrency, "items": items});
    let first = keyed(&env, &body(1, [&create, &stale])).send().await.assert_status(207).json();
    assert_eq!(statuses(&first), [201, 412]);
    let again = keyed(&env, &body(1, [&stale, &create])).send().await.assert_status(207).json();
    assert_eq!((statuses(&again), replays(&again)), (vec![412, 201], vec![false, true]), "{again}");
    assert_eq!(env.record_count(), before + 1);
}

#[actix_web::test]
async fn a_read_and_the_write_with_its_tag_are_repeated_as_one() {
    let env = TestEnv::start(&MATRIX42);
    let read = json!({"id": "a", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let mut write = set_text("b", "once");
    write["headers"] = json!({"If-Match": "{a}"});
    write["depends_on"] = json!(["a"]);
    let body = json!({"items": [read, write]});
    assert_eq!(statuses(&keyed(&env, &body).send().await.assert_status(200).json()), [200, 204]);
    (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "by another");
    let again = keyed(&env, &body).send().await.assert_status(200).json();
    assert_eq!((statuses(&again), replays(&again)), (vec![200, 204], vec![false, true]), "{again}");
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("by another"));
    let mut other = body;
    other["items"][1]["body"]["fields"] = json!({(MATRIX42.text): "another"});
    assert_eq!(statuses(&keyed(&env, &other).send().await.assert_status(207).json()), [200, 422]);
}

#[actix_web::test]
async fn a_record_that_was_deleted_by_its_tag_is_deleted_once() {
    let env = TestEnv::start(&MATRIX42);
    let path = MATRIX42.path(MATRIX42.key);
    let read = json!({"id": "a", "method": "GET", "path": path});
    let delete = json!({"id": "b", "method": "DELETE", "path": "/records/itsm/{a}", "headers": {"If-Match": "{a}"}, "depends_on": ["a"]});
    let body = json!({"items": [read, delete]});
    assert_eq!(statuses(&keyed(&env, &body).send().await.assert_status(200).json()), [200, 204]);
    let again = keyed(&env, &body).send().await.assert_status(207).json();
    assert_eq!((statuses(&again), replays(&again)), (vec![404, 204], vec![false, true]), "{again}");
    assert_eq!(env.call_count(CallKind::Delete), 1);
}

#[actix_web::test]
async fn a_reference_to_another_record_is_another_request() {
    let env = TestEnv::start(&MATRIX42);
    let read = |key: &str| json!({"id": "a", "method": "GET", "path": MATRIX42.path(key)});
    let mut write = set_text("b", "referred");
    write["path"] = "/records/itsm/{a}".into();
    write["depends_on"] = json!(["a"]);
    let body = |key: &str| json!({"items": [read(key), write]});
    assert_eq!(statuses(&keyed(&env, &body(MATRIX42.key)).send().await.assert_status(200).json()), [200, 204]);
    let other = env.vendor_value(MATRIX42.other_key);
    let refused = keyed(&env, &body(MATRIX42.other_key)).send().await.assert_status(207).json();
    assert_eq!(refused["items"][1]["body"]["type"], "/problems/idempotency-key-reused", "{refused}");
    assert_eq!(env.vendor_value(MATRIX42.other_key), other);
    assert_eq!(replays(&keyed(&env, &body(MATRIX42.key)).send().await.assert_status(200).json()), [false, true]);
}

#[actix_web::test]
async fn a_repeat_at_its_deadline_names_every_item() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("batch_deadline", "1s"));
    let read = json!({"id": "a", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let mut write = set_text("b", "once");
    write["depends_on"] = json!(["a"]);
    let body = json!({"items": [read, write, set_text("c", "twice")]});
    assert_eq!(statuses(&keyed(&env, &body).send().await.assert_status(200).json()), [200, 204, 204]);
    env.faults().always(CallKind::Read, InjectedFault::Delay { pause: Duration::from_millis(1500) });
    let again = keyed(&env, &body).send().await.assert_status(200).json();
    assert_eq!((statuses(&again), replays(&again)), (vec![200, 204, 204], vec![false, true, true]), "{again}");
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("twice"));
}

#[actix_web::test]
async fn a_batch_at_its_deadline_names_every_item() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.server("batch_deadline", "1s"));
    env.vendors.bluedolphin.state.hold_queue();
    let path = BLUEDOLPHIN.path(BLUEDOLPHIN.key);
    let queued = json!({"id": "a", "method": "PATCH", "path": path, "body": {"fields": {(BLUEDOLPHIN.text): "queued"}},
        "headers": {"If-Match": "*", "Prefer": "respond-async", "Accept-Loss": "linked-questions, source-connections"}});
    let after = |id: &str, of: &str| json!({"id": id, "method": "GET", "path": path, "depends_on": [of]});
    let body = json!({"items": [queued, after("b", "a"), after("c", "b"), after("d", "a")]});
    let response = env.request(Method::POST, "/batch").json(&body).send().await;
    let document = response.assert_status(207).json();
    assert_eq!(statuses(&document).len(), 4, "{document}");
    assert_eq!((statuses(&document)[0], &document["summary"]["items"]), (202, &json!(4)), "{document}");
}

#[actix_web::test]
async fn the_preview_of_a_repeated_batch_shows_what_is_replayed() {
    let env = TestEnv::start(&MATRIX42);
    let mut stale = set_text("stale", "never");
    stale["headers"] = json!({"If-Match": "\"stale\""});
    let create = json!({"id": "made", "method": "POST", "path": "/records/itsm",
        "body": {"collection": env.fixture.collection(), "fields": {"Name": "Made once"}}});
    let body = json!({"items": [set_text("a", "once"), create, stale]});
    assert_eq!(statuses(&keyed(&env, &body).send().await.assert_status(207).json()), [204, 201, 412]);
    let (written, records) = (env.write_call_count(), env.record_count());
    let preview = |body: &Value| env.request(Method::POST, "/batch/preview").idempotency_key("nightly").json(body);
    let shown = preview(&body).send().await.assert_status(207).json();
    assert_eq!(statuses(&shown), [200, 200, 412], "{shown}");
    for (item, status) in [(0, 204), (1, 201)] {
        assert_eq!(shown["items"][item]["body"]["would"], json!({"status": status, "replayed": true}), "{shown}");
    }
    let other = json!({"items": [set_text("a", "twice"), set_text("new", "twice")]});
    let shown = preview(&other).send().await.assert_status(207).json();
    assert_eq!((statuses(&shown), &shown["items"][1]["body"]["would"]["status"]), (vec![422, 200], &json!(204)));
    let stored = |body: &Value| keyed(&env, body).prefer("respond-async").send();
    stored(&body).await.assert_status(202);
    preview(&other).prefer("respond-async").send().await.assert_problem(422, "idempotency-key-reused");
    stored(&other).await.assert_problem(422, "idempotency-key-reused");
    assert_eq!((env.write_call_count(), env.record_count()), (written, records));
}
