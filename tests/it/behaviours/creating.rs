//! POST: a new record, its tag and its place.

use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{PRETECTUM, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_new_record_has_a_location_and_the_etag_of_get,
    a_new_record_can_be_changed_at_once,
    an_invalid_new_record_is_rejected_and_nothing_is_sent,
    preconditions_on_a_create_apply_to_the_collection,
    a_create_that_the_vendor_rejects_creates_nothing,
);

async fn a_new_record_has_a_location_and_the_etag_of_get(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let before = house.record_count();
    let answer = house.create("brand new").send().await;
    answer.assert_status(201);
    assert_eq!(
        (house.record_count(), house.call_count(CallKind::Create), house.write_call_count()),
        (before + 1, 1, 1)
    );
    let record = answer.json();
    let place = answer.header("location").unwrap();
    assert_eq!(place, format!("/records/{}/{}", bench.system, record["id"].as_str().unwrap()));
    let read = house.get(place).send().await;
    read.assert_status(200);
    assert_eq!((read.etag(), &read.json()), (answer.etag(), &record));
    assert_eq!(record["fields"][bench.text], "brand new");
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["action"]), (&json!("applied"), &json!("create")));
    assert_eq!(operation["record"], record["id"]);
}

async fn a_new_record_can_be_changed_at_once(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let made = house.create("brand new").send().await;
    let key = made.json()["id"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    house.set_text(&key, made.etag(), "changed").send().await.assert_status(bench.patch_status);
    assert_eq!(house.vendor_value(&key).unwrap(), "changed");
}

async fn an_invalid_new_record_is_rejected_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let post = || house.request(actix_web::http::Method::POST, &format!("/records/{}", bench.system));
    let fields = (bench.new_record)("new");
    for body in [
        json!([]),
        json!({}),
        json!({ "fields": [] }),
        json!({ "collection": 1, "fields": fields }),
        json!({ "collection": "no such/form", "fields": fields }),
        json!({ "collection": bench.collection(), "fields": fields, "id": "mine" }),
    ] {
        let answer = post().json(&body).send().await;
        answer.assert_problem(422, "rejected");
        assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{answer:?}");
    }
    post().header("Content-Type", "application/json").body("{").send().await.assert_problem(400, "malformed-request");
    post().header("Content-Type", "text/plain").body("{}").send().await.assert_problem(415, "unsupported-media-type");
    let mut own = fields.clone();
    own[bench.read_only] = json!(1);
    let answer = post().json(&json!({ "collection": bench.collection(), "fields": own })).send().await;
    assert_eq!(answer.status, 422, "{answer:?}");
    house.assert_nothing_sent();
}

async fn preconditions_on_a_create_apply_to_the_collection(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.create("new").header("If-None-Match", "*").send().await.assert_problem(412, "precondition-failed");
    house.create("new").if_match("\"x\"").send().await.assert_problem(412, "precondition-failed");
    house.assert_nothing_sent();
}

async fn a_create_that_the_vendor_rejects_creates_nothing(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let before = house.record_count();
    house.inject_once(
        CallKind::Create,
        InjectedFault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#),
    );
    let answer = house.create("new").send().await;
    answer.assert_problem(422, "rejected");
    assert_eq!(answer.json()["vendor"]["status"], 400);
    assert_eq!((house.record_count(), house.call_count(CallKind::Create)), (before, 1));
    assert_eq!(house.wait_for_operation(&answer).await["state"], "not-applied");
}

#[actix_web::test]
async fn invalid_pretectum_values_are_stored_with_a_warning() {
    let house = TestEnv::start(&PRETECTUM).await;
    let body = json!({ "fields": { "First Name": "New", "Last Name": "Person", "Email": "not an address" } });
    let answer = house.request(actix_web::http::Method::POST, "/records/crm").json(&body).send().await;
    answer.assert_status(201);
    let warning = answer.json()["warnings"][0].clone();
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("invalid-field"), &json!("/fields/Email")));
    assert_eq!(house.get(answer.header("location").unwrap()).send().await.json()["warnings"][0], warning);
    assert_eq!(house.wait_for_operation(&answer).await["warnings"][0], warning);
}

#[actix_web::test]
async fn a_lost_create_is_found_in_a_list_slower_than_the_call_timeout() {
    let house =
        TestEnv::start_with(&PRETECTUM, &[("vendor", "timeout", "\"1s\""), ("server", "deadline", "\"20s\"")]).await;
    let before = house.record_count();
    house.vendors.pretectum.state.configure(|settings| settings.page_size = 1);
    let pause = Duration::from_millis(1200) / u32::try_from(before).unwrap();
    house.faults().always(CallKind::List, InjectedFault::Delay { pause });
    house.inject_once(CallKind::Create, InjectedFault::ResetAfter);
    let answer = house.create("lost and found").send().await;
    answer.assert_status(201);
    assert_eq!((house.record_count(), house.call_count(CallKind::Create)), (before + 1, 1));
    assert_eq!(house.wait_for_operation(&answer).await["state"], "applied");
}
