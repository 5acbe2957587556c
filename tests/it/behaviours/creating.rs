//! POST: a new record, its tag and its place.

use std::time::Duration;

use records_gateway::sandbox::{CallKind, Fault};
use serde_json::json;

use crate::support::{Bench, House, PRETECTUM, for_each_vendor};

for_each_vendor!(
    a_new_record_has_a_place_and_the_tag_that_get_gives,
    a_new_record_can_be_changed_at_once,
    what_is_no_new_record_is_refused_and_nothing_is_sent,
    conditions_on_a_create_are_about_the_collection,
    a_create_that_the_vendor_refuses_makes_nothing,
);

async fn a_new_record_has_a_place_and_the_tag_that_get_gives(bench: &'static Bench) {
    let house = House::start(bench).await;
    let before = house.count();
    let answer = house.create("brand new").send().await;
    answer.is_done(201);
    assert_eq!((house.count(), house.calls(CallKind::Create), house.writes()), (before + 1, 1, 1));
    let record = answer.json();
    let place = answer.header("location").unwrap();
    assert_eq!(place, format!("/records/{}/{}", bench.system, record["id"].as_str().unwrap()));
    let read = house.get(place).send().await;
    read.is_done(200);
    assert_eq!((read.etag(), &read.json()), (answer.etag(), &record));
    assert_eq!(record["fields"][bench.text], "brand new");
    let operation = house.settled(&answer).await;
    assert_eq!((&operation["state"], &operation["action"]), (&json!("applied"), &json!("create")));
    assert_eq!(operation["record"], record["id"]);
}

async fn a_new_record_can_be_changed_at_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let made = house.create("brand new").send().await;
    let key = made.json()["id"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    house.set_text(&key, made.etag(), "changed").send().await.is_done(bench.patched);
    assert_eq!(house.held(&key).unwrap(), "changed");
}

async fn what_is_no_new_record_is_refused_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
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
        answer.is(422, "rejected");
        assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{answer:?}");
    }
    post().header("Content-Type", "application/json").body("{").send().await.is(400, "malformed-request");
    post().header("Content-Type", "text/plain").body("{}").send().await.is(415, "unsupported-media-type");
    let mut own = fields.clone();
    own[bench.read_only] = json!(1);
    let answer = post().json(&json!({ "collection": bench.collection(), "fields": own })).send().await;
    assert_eq!(answer.status, 422, "{answer:?}");
    house.nothing_was_sent();
}

async fn conditions_on_a_create_are_about_the_collection(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.create("new").header("If-None-Match", "*").send().await.is(412, "precondition-failed");
    house.create("new").if_match("\"x\"").send().await.is(412, "precondition-failed");
    house.nothing_was_sent();
}

async fn a_create_that_the_vendor_refuses_makes_nothing(bench: &'static Bench) {
    let house = House::start(bench).await;
    let before = house.count();
    house.once(CallKind::Create, Fault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#));
    let answer = house.create("new").send().await;
    answer.is(422, "rejected");
    assert_eq!(answer.json()["vendor"]["status"], 400);
    assert_eq!((house.count(), house.calls(CallKind::Create)), (before, 1));
    assert_eq!(house.settled(&answer).await["state"], "not-applied");
}

#[actix_web::test]
async fn pretectum_keeps_invalid_values_and_the_caller_is_warned() {
    let house = House::start(&PRETECTUM).await;
    let body = json!({ "fields": { "First Name": "New", "Last Name": "Person", "Email": "not an address" } });
    let answer = house.request(actix_web::http::Method::POST, "/records/crm").json(&body).send().await;
    answer.is_done(201);
    let warning = answer.json()["warnings"][0].clone();
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("invalid-field"), &json!("/fields/Email")));
    assert_eq!(house.get(answer.header("location").unwrap()).send().await.json()["warnings"][0], warning);
    assert_eq!(house.settled(&answer).await["warnings"][0], warning);
}

#[actix_web::test]
async fn a_create_whose_answer_is_lost_is_found_in_a_list_that_takes_longer_than_one_call_may() {
    let house = House::with(&PRETECTUM, &[("vendor", "timeout", "\"1s\""), ("server", "deadline", "\"20s\"")]).await;
    let before = house.count();
    house.vendors.pretectum.state.configure(|settings| settings.page_size = 1);
    let pause = Duration::from_millis(1200) / u32::try_from(before).unwrap();
    house.faults().always(CallKind::List, Fault::Delay { pause });
    house.once(CallKind::Create, Fault::ResetAfter);
    let answer = house.create("lost and found").send().await;
    answer.is_done(201);
    assert_eq!((house.count(), house.calls(CallKind::Create)), (before + 1, 1));
    assert_eq!(house.settled(&answer).await["state"], "applied");
}
