//! POST: a new record, its `ETag` and its `Location`.

use std::time::Duration;

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{PRETECTUM, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_new_record_has_a_location_and_the_etag_of_get,
    a_new_record_can_be_changed_at_once,
    an_invalid_new_record_is_rejected_and_nothing_is_sent,
    a_create_cannot_have_the_native_guarantee_because_it_compares_nothing,
    preconditions_on_a_create_apply_to_the_collection,
    a_create_that_the_vendor_rejects_creates_nothing,
);

async fn a_new_record_has_a_location_and_the_etag_of_get(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    let response = env.create("brand new").send().await;
    response.assert_status(201);
    assert_eq!((env.record_count(), env.call_count(CallKind::Create), env.write_call_count()), (before + 1, 1, 1));
    let record = response.json();
    let location = response.header("location").unwrap();
    assert_eq!(location, format!("/records/{}/{}", fixture.system, record["id"].as_str().unwrap()));
    let read = env.get(location).send().await;
    read.assert_status(200);
    assert_eq!((read.etag(), &read.json()), (response.etag(), &record));
    assert_eq!(record["fields"][fixture.text], "brand new");
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["action"]), (&json!("applied"), &json!("create")));
    assert_eq!(operation["record"], record["id"]);
}

async fn a_new_record_can_be_changed_at_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let made = env.create("brand new").send().await;
    let key = made.json()["id"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    env.set_text(&key, made.etag(), "changed").send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(&key).unwrap(), "changed");
}

async fn a_create_cannot_have_the_native_guarantee_because_it_compares_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let response = env.create("guaranteed").header("Require-Guarantee", "native").send().await;
    response.assert_problem(409, "guarantee-unavailable");
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("A create compares no versions") && !detail.contains("lease"), "{detail}");
    assert_eq!(env.write_call_count(), 0);
}

async fn an_invalid_new_record_is_rejected_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let post = || env.request(actix_web::http::Method::POST, &format!("/records/{}", fixture.system));
    let fields = (fixture.new_record)("new");
    for body in [
        json!([]),
        json!({}),
        json!({ "fields": [] }),
        json!({ "collection": 1, "fields": fields }),
        json!({ "collection": "no such/form", "fields": fields }),
        json!({ "collection": fixture.collection(), "fields": fields, "id": "mine" }),
    ] {
        let response = post().json(&body).send().await;
        response.assert_problem(422, "rejected");
        assert!(!response.json()["errors"].as_array().unwrap().is_empty(), "{response:?}");
    }
    post().header("Content-Type", "application/json").body("{").send().await.assert_problem(400, "malformed-request");
    post().header("Content-Type", "text/plain").body("{}").send().await.assert_problem(415, "unsupported-media-type");
    let mut own = fields.clone();
    own[fixture.read_only] = json!(1);
    let response = post().json(&json!({ "collection": fixture.collection(), "fields": own })).send().await;
    assert_eq!(response.status, 422, "{response:?}");
    assert_eq!((env.write_call_count(), env.call_count(CallKind::List) + env.call_count(CallKind::Read)), (0, 0));
}

async fn preconditions_on_a_create_apply_to_the_collection(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.create("new").header("If-None-Match", "*").send().await.assert_problem(412, "precondition-failed");
    env.create("new").if_match("\"x\"").send().await.assert_problem(412, "precondition-failed");
    env.assert_nothing_sent();
}

async fn a_create_that_the_vendor_rejects_creates_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.record_count();
    env.inject_once(
        CallKind::Create,
        InjectedFault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#),
    );
    let response = env.create("new").send().await;
    response.assert_problem(422, "rejected");
    assert_eq!(response.json()["vendor"]["status"], 400);
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before, 1));
    assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
}

#[actix_web::test]
async fn invalid_pretectum_values_are_stored_with_a_warning() {
    let env = TestEnv::start(&PRETECTUM);
    let body = json!({ "fields": { "First Name": "New", "Last Name": "Person", "Email": "not an address" } });
    let response = env.request(actix_web::http::Method::POST, "/records/crm").json(&body);
    // Nobody but the vendor judges the values.
    let response = response.prefer("handling=lenient").send().await;
    response.assert_status(201);
    let warning = response.json()["warnings"][0].clone();
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("invalid-field"), &json!("/fields/Email")));
    assert_eq!(env.get(response.header("location").unwrap()).send().await.json()["warnings"][0], warning);
    assert_eq!(env.wait_for_operation(&response).await["warnings"][0], warning);
}

#[actix_web::test]
async fn a_lost_create_is_found_in_a_list_slower_than_the_call_timeout() {
    let env = TestEnv::start_with(&PRETECTUM, |config| config.every_system("timeout", "1s").server("deadline", "20s"));
    let before = env.record_count();
    env.vendors.pretectum.state.configure(|settings| settings.page_size = 1);
    let pause = Duration::from_millis(1200) / u32::try_from(before).unwrap();
    env.faults().always(CallKind::List, InjectedFault::Delay { pause });
    env.inject_once(CallKind::Create, InjectedFault::ResetAfter);
    let response = env.create("lost and found").send().await;
    response.assert_status(201);
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before + 1, 1));
    assert_eq!(env.wait_for_operation(&response).await["state"], "applied");
}
