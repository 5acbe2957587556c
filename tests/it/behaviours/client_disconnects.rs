//! A write that has begun runs to its end after its client disconnects (contract 5.4).

use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{Request, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    an_update_completes_after_its_client_disconnects,
    a_delete_completes_after_its_client_disconnects,
    a_create_completes_after_its_client_disconnects,
    an_idempotency_key_returns_the_outcome_after_a_disconnect,
);

/// Sends a request and disconnects while the vendor holds the write.
async fn disconnect_while_held(env: &TestEnv, request: Request, kind: CallKind) {
    env.inject_once(kind, InjectedFault::Hold);
    let caller = actix_web::rt::spawn(request.try_send());
    env.wait_for_calls(kind, 1).await;
    caller.abort();
    assert!(caller.await.is_err(), "the client has disconnected");
    env.faults().release();
}

async fn assert_recorded(env: &TestEnv, action: &str) {
    let operation = env.list_operations().await.remove(0);
    let operation = env.wait_for_operation_at(&format!("/operations/{}", operation["id"].as_str().unwrap())).await;
    assert_eq!((operation["state"].as_str(), operation["action"].as_str()), (Some("applied"), Some(action)));
    let ledger = env.read_ledger().await.json();
    let events: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(events, ["intent", "outcome"]);
}

async fn an_update_completes_after_its_client_disconnects(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    disconnect_while_held(&env, env.set_text(fixture.key, &current_etag, "left alone"), CallKind::Update).await;
    env.wait_until("the update", |env| env.vendor_value(fixture.key).unwrap() == "left alone").await;
    assert_recorded(&env, "update").await;
    assert_eq!(env.call_count(CallKind::Update), 1);
}

async fn a_delete_completes_after_its_client_disconnects(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    disconnect_while_held(&env, env.delete(fixture.deletable_key, "*"), CallKind::Delete).await;
    env.wait_until("the delete", |env| env.vendor_value(fixture.deletable_key).is_none()).await;
    assert_recorded(&env, "delete").await;
    assert_eq!(env.call_count(CallKind::Delete), 1);
}

async fn a_create_completes_after_its_client_disconnects(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    disconnect_while_held(&env, env.create("left alone"), CallKind::Create).await;
    env.wait_until("the create", |env| env.record_count() == before + 1).await;
    assert_recorded(&env, "create").await;
    assert_eq!(env.call_count(CallKind::Create), 1);
}

async fn an_idempotency_key_returns_the_outcome_after_a_disconnect(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    disconnect_while_held(&env, env.create("left alone").idempotency_key("k"), CallKind::Create).await;
    env.wait_until("the create", |env| env.record_count() == before + 1).await;
    assert_recorded(&env, "create").await;
    let response = env.create("left alone").idempotency_key("k").send().await;
    response.assert_status(201);
    assert_eq!(response.header("idempotency-replayed"), Some("true"));
    assert_eq!((env.call_count(CallKind::Create), env.record_count()), (1, before + 1));
}
