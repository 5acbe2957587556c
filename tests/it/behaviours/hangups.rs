//! A write once begun runs to its end when its caller hangs up (contract 5.4).

use records_gateway::sandbox::{CallKind, Fault};

use crate::support::{Bench, House, Request, for_each_vendor};

for_each_vendor!(
    an_update_is_done_and_recorded_although_its_caller_has_gone,
    a_delete_is_done_and_recorded_although_its_caller_has_gone,
    a_create_is_done_and_recorded_although_its_caller_has_gone,
    a_key_tells_a_caller_who_had_gone_what_became_of_the_write,
);

/// Sends a request and hangs up while the vendor holds the write.
async fn hang_up(house: &House, request: Request, kind: CallKind) {
    house.once(kind, Fault::Hold);
    let caller = actix_web::rt::spawn(request.try_send());
    house.received(kind, 1).await;
    caller.abort();
    assert!(caller.await.is_err(), "the caller has gone");
    house.faults().release();
}

async fn is_recorded(house: &House, action: &str) {
    let operation = house.operations().await.remove(0);
    let settled = house.settled_at(&format!("/operations/{}", operation["id"].as_str().unwrap())).await;
    assert_eq!((settled["state"].as_str(), settled["action"].as_str()), (Some("applied"), Some(action)));
    let ledger = house.ledger().await.json();
    let events: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(events, ["intent", "outcome"]);
}

async fn an_update_is_done_and_recorded_although_its_caller_has_gone(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    hang_up(&house, house.set_text(bench.key, &tag, "left alone"), CallKind::Update).await;
    house.until("the update", |house| house.held(bench.key).unwrap() == "left alone").await;
    is_recorded(&house, "update").await;
    assert_eq!(house.calls(CallKind::Update), 1);
}

async fn a_delete_is_done_and_recorded_although_its_caller_has_gone(bench: &'static Bench) {
    let house = House::start(bench).await;
    hang_up(&house, house.delete(bench.doomed, "*"), CallKind::Delete).await;
    house.until("the delete", |house| house.held(bench.doomed).is_none()).await;
    is_recorded(&house, "delete").await;
    assert_eq!(house.calls(CallKind::Delete), 1);
}

async fn a_create_is_done_and_recorded_although_its_caller_has_gone(bench: &'static Bench) {
    let house = House::start(bench).await;
    let before = house.count();
    hang_up(&house, house.create("left alone"), CallKind::Create).await;
    house.until("the create", |house| house.count() == before + 1).await;
    is_recorded(&house, "create").await;
    assert_eq!(house.calls(CallKind::Create), 1);
}

async fn a_key_tells_a_caller_who_had_gone_what_became_of_the_write(bench: &'static Bench) {
    let house = House::start(bench).await;
    let before = house.count();
    hang_up(&house, house.create("left alone").key("k"), CallKind::Create).await;
    house.until("the create", |house| house.count() == before + 1).await;
    is_recorded(&house, "create").await;
    let answer = house.create("left alone").key("k").send().await;
    answer.is_done(201);
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!((house.calls(CallKind::Create), house.count()), (1, before + 1));
}
