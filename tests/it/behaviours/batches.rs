//! Many requests in one (contract 4.10).

use actix_web::http::Method;
use records_gateway::sandbox::CallKind;
use serde_json::{Value, json};

use crate::support::{TestEnv, TestResponse, VendorFixture, for_each_vendor};

for_each_vendor!(
    items_reach_the_vendor_and_the_ledger_names_them,
    a_stale_item_is_412_and_nothing_is_deleted,
    two_patches_of_one_record_are_applied_in_order,
    an_item_can_change_the_record_that_another_creates,
    a_repeated_batch_creates_once_and_replays,
    a_failed_item_skips_those_that_depend_on_it,
    a_write_that_continues_does_not_stop_a_batch,
);

async fn send(env: &TestEnv, key: Option<&str>, batch: &Value) -> TestResponse {
    let request = env.request(Method::POST, "/batch").json(batch);
    match key {
        Some(key) => request.idempotency_key(key).send().await,
        None => request.send().await,
    }
}

/// A PATCH that waits for a queued write.
fn patch(env: &TestEnv, id: &str, key: &str, tag: &str, text: &str) -> Value {
    let headers = json!({"If-Match": tag, "Prefer": "wait=10", "Accept-Loss": env.fixture.losses.join(", ")});
    let body = env.fixture.text_patch(text);
    json!({"id": id, "method": "PATCH", "path": env.fixture.path(key), "headers": headers, "body": {"fields": body}})
}

fn new_record(fixture: &VendorFixture, text: &str) -> Value {
    json!({"collection": fixture.collection(), "fields": (fixture.new_record)(text)})
}

fn statuses(response: &TestResponse) -> Vec<u64> {
    let document = response.json();
    let items = document["items"].as_array().expect("items");
    items.iter().map(|item| item["status"].as_u64().expect("a status")).collect()
}

async fn items_reach_the_vendor_and_the_ledger_names_them(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.deletable_key).await;
    let batch = json!({"items": [
        {"id": "read", "method": "GET", "path": fixture.path(fixture.other_key)},
        patch(&env, "change", fixture.key, "*", "from a batch"),
        {"id": "delete", "method": "DELETE", "path": fixture.path(fixture.deletable_key),
            "headers": {"If-Match": tag, "Accept-Loss": fixture.losses.join(", ")}},
    ]});
    let response = env.request(Method::POST, "/batch").header("x-request-id", "b-1").json(&batch).send().await;
    response.assert_status(200);
    assert_eq!(response.json()["summary"]["ok"], 3, "{response:?}");
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("from a batch"));
    assert_eq!(env.vendor_value(fixture.deletable_key), None);
    let ledger = env.read_ledger().await.json();
    let names: Vec<&str> =
        ledger["items"].as_array().expect("entries").iter().filter_map(|entry| entry["batch"].as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|name| ["b-1/change", "b-1/delete"].contains(name)), "{names:?}");
    assert!(env.list_operations().await.iter().all(|operation| operation["batch"].is_string()));
}

async fn a_stale_item_is_412_and_nothing_is_deleted(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.deletable_key).await;
    (fixture.external_touch)(&env.vendors, fixture.deletable_key);
    let stale = json!({"method": "DELETE", "path": fixture.path(fixture.deletable_key), "headers": {"If-Match": tag}});
    let missing = json!({"method": "DELETE", "path": fixture.path(fixture.missing_key), "headers": {"If-Match": "*"}});
    let get = json!({"method": "GET", "path": fixture.path(fixture.key)});
    let response = send(&env, None, &json!({"items": [stale, missing, get]})).await;
    response.assert_status(207);
    assert_eq!(statuses(&response), [412, 404, 200]);
    assert_eq!(response.json()["items"][0]["body"]["type"], "/problems/precondition-failed");
    assert_eq!(env.write_call_count(), usize::from(fixture.native_delete), "only a native delete is compared there");
    assert!(env.vendor_value(fixture.deletable_key).is_some());
}

async fn two_patches_of_one_record_are_applied_in_order(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let items: Vec<Value> =
        (0..4).map(|n| patch(&env, &n.to_string(), fixture.key, "*", &format!("text {n}"))).collect();
    let response = send(&env, None, &json!({"items": items})).await;
    response.assert_status(200);
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("text 3"));
    let written: Vec<Value> = env.list_operations().await;
    assert_eq!(written.len(), 4);
    assert!(written.iter().all(|operation| operation["state"] == "applied"), "{written:?}");
}

async fn an_item_can_change_the_record_that_another_creates(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    let mut change = patch(&env, "d", fixture.key, "{c}", "second");
    change["path"] = json!(format!("/records/{}/{{c}}", fixture.system));
    change["depends_on"] = json!(["c"]);
    let create = json!({"id": "c", "method": "POST", "path": format!("/records/{}", fixture.system),
        "headers": {"Prefer": "wait=10"}, "body": new_record(fixture, "first")});
    let response = send(&env, None, &json!({"items": [create, change]})).await;
    response.assert_status(200);
    assert_eq!(response.json()["summary"]["ok"], 2, "{response:?}");
    let id = response.json()["items"][0]["body"]["id"].as_str().expect("an id").to_owned();
    let key = id.rsplit(':').next().expect("a key").to_owned();
    assert_eq!((env.vendor_value(&key).as_deref(), env.record_count()), (Some("second"), before + 1));
}

async fn a_repeated_batch_creates_once_and_replays(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    let create = |id: &str, text: &str| {
        json!({"id": id, "method": "POST", "path": format!("/records/{}", fixture.system),
            "headers": {"Prefer": "wait=10"}, "body": new_record(fixture, text)})
    };
    let first = send(&env, Some("k"), &json!({"items": [create("a", "one"), create("b", "two")]})).await;
    first.assert_status(200);
    let again = send(&env, Some("k"), &json!({"items": [create("a", "one"), create("b", "changed")]})).await;
    assert_eq!(statuses(&again), [201, 422]);
    let again = again.json();
    assert_eq!(again["items"][0]["headers"]["idempotency-replayed"], "true");
    assert_eq!(again["items"][1]["body"]["type"], "/problems/idempotency-key-reused");
    assert_eq!(again["items"][0]["body"]["id"], first.json()["items"][0]["body"]["id"]);
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before + 2, 2));
}

async fn a_failed_item_skips_those_that_depend_on_it(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let get = json!({"id": "a", "method": "GET", "path": fixture.path(fixture.missing_key)});
    let mut second = patch(&env, "b", fixture.key, "*", "never");
    second["depends_on"] = json!(["a"]);
    let mut third = patch(&env, "c", fixture.other_key, "*", "never");
    third["depends_on"] = json!(["b"]);
    let response = send(&env, None, &json!({"items": [get, second, third]})).await;
    assert_eq!(statuses(&response), [404, 424, 424]);
    let document = response.json();
    assert_eq!(document["items"][1]["body"]["type"], "/problems/dependency-failed");
    assert_eq!(document["items"][1]["body"]["instance"], fixture.path(fixture.missing_key));
    assert_eq!(document["summary"]["skipped"], 2);
    assert_eq!(env.write_call_count(), 0);
}

async fn a_write_that_continues_does_not_stop_a_batch(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let mut first = patch(&env, "a", fixture.key, "*", "later");
    first["headers"]["Prefer"] = json!("respond-async");
    let get = json!({"id": "b", "method": "GET", "path": fixture.path(fixture.other_key)});
    let batch = json!({"on_failure": "stop", "concurrency": 1, "items": [first, get]});
    let response = send(&env, None, &batch).await;
    response.assert_status(200);
    assert_eq!(statuses(&response), [202, 200]);
    let document = response.json();
    let summary = &document["summary"];
    assert_eq!((&summary["ok"], &summary["running"], &summary["skipped"]), (&json!(1), &json!(1), &json!(0)));
    let operation = document["items"][0]["headers"]["operation"].as_str().expect("an operation");
    assert_eq!(env.wait_for_operation_at(operation).await["state"], "applied");
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("later"));
}
