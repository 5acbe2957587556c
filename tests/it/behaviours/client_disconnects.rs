//! A write once begun runs to its end when its caller hangs up (contract 5.4).

use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{Request, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    an_update_completes_after_its_client_disconnects,
    a_delete_completes_after_its_client_disconnects,
    a_create_completes_after_its_client_disconnects,
    an_idempotency_key_returns_the_outcome_after_a_disconnect,
);

/// Sends a request and hangs up while the vendor holds the write.
async fn disconnect_while_held(house: &TestEnv, request: Request, kind: CallKind) {
    house.inject_once(kind, InjectedFault::Hold);
    let caller = actix_web::rt::spawn(request.try_send());
    house.wait_for_calls(kind, 1).await;
    caller.abort();
    assert!(caller.await.is_err(), "the caller has gone");
    house.faults().release();
}

async fn assert_recorded(house: &TestEnv, action: &str) {
    let operation = house.list_operations().await.remove(0);
    let settled = house.wait_for_operation_at(&format!("/operations/{}", operation["id"].as_str().unwrap())).await;
    assert_eq!((settled["state"].as_str(), settled["action"].as_str()), (Some("applied"), Some(action)));
    let ledger = house.read_ledger().await.json();
    let events: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(events, ["intent", "outcome"]);
}

async fn an_update_completes_after_its_client_disconnects(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    disconnect_while_held(&house, house.set_text(bench.key, &current_etag, "left alone"), CallKind::Update).await;
    house.wait_until("the update", |house| house.vendor_value(bench.key).unwrap() == "left alone").await;
    assert_recorded(&house, "update").await;
    assert_eq!(house.call_count(CallKind::Update), 1);
}

async fn a_delete_completes_after_its_client_disconnects(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    disconnect_while_held(&house, house.delete(bench.deletable_key, "*"), CallKind::Delete).await;
    house.wait_until("the delete", |house| house.vendor_value(bench.deletable_key).is_none()).await;
    assert_recorded(&house, "delete").await;
    assert_eq!(house.call_count(CallKind::Delete), 1);
}

async fn a_create_completes_after_its_client_disconnects(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let before = house.record_count();
    disconnect_while_held(&house, house.create("left alone"), CallKind::Create).await;
    house.wait_until("the create", |house| house.record_count() == before + 1).await;
    assert_recorded(&house, "create").await;
    assert_eq!(house.call_count(CallKind::Create), 1);
}

async fn an_idempotency_key_returns_the_outcome_after_a_disconnect(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let before = house.record_count();
    disconnect_while_held(&house, house.create("left alone").idempotency_key("k"), CallKind::Create).await;
    house.wait_until("the create", |house| house.record_count() == before + 1).await;
    assert_recorded(&house, "create").await;
    let answer = house.create("left alone").idempotency_key("k").send().await;
    answer.assert_status(201);
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!((house.call_count(CallKind::Create), house.record_count()), (1, before + 1));
}
