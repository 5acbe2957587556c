//! Descriptions that do not come delay a request by two seconds, and stop none that can do without.

use std::time::Duration;

use actix_web::http::Method;
use records_gateway::sandbox::bluedolphin::OTHER_QUESTIONNAIRE_ID;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{BLUEDOLPHIN, DATAVERSE, MATRIX42, Request, TestEnv, TestResponse, VendorFixture};

/// A gateway that nothing but its own limit keeps from waiting for a description: neither the
/// vendor's timeout nor the deadline.
fn start(fixture: &'static VendorFixture) -> TestEnv {
    TestEnv::start_with(fixture, |config| config.server("deadline", "1m").every_system("timeout", "1m"))
}

/// The same, and its vendor describes nothing any more, nor says that it will not.
fn hanging(fixture: &'static VendorFixture) -> TestEnv {
    let env = start(fixture);
    env.faults().always(CallKind::Schema, InjectedFault::Hang);
    env
}

/// The response of a request that waits for two seconds. A busy machine has its time.
async fn in_time(request: Request) -> TestResponse {
    tokio::time::timeout(Duration::from_secs(12), request.send()).await.expect("a response in time")
}

/// The response of a request that does not wait once more for a description.
async fn without_description(env: &TestEnv, request: Request) -> TestResponse {
    let before = env.call_count(CallKind::Schema);
    let response = in_time(request).await;
    assert_eq!(env.call_count(CallKind::Schema), before, "{response:?}");
    response
}

#[actix_web::test]
async fn a_questionnaire_that_cannot_be_looked_up_stops_no_write() {
    let env = hanging(&BLUEDOLPHIN);
    let linked = json!({ "questionnaires": { OTHER_QUESTIONNAIRE_ID: {} } });
    let patch = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&linked).prefer("return=representation");
    let patched = in_time(patch).await;
    let fields = &patched.assert_status(200).json()["fields"];
    assert!(fields["questionnaires"].get(OTHER_QUESTIONNAIRE_ID).is_some(), "{fields}");
}

#[actix_web::test]
async fn configured_collections_are_listed_without_the_vendors() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        let config = config.server("deadline", "1m").every_system("timeout", "1m");
        config.system("itsm", "collection", MATRIX42.collection())
    });
    env.faults().always(CallKind::Schema, InjectedFault::Hang);
    let listed = in_time(env.get("/systems/itsm/collections")).await.assert_status(200).json();
    assert_eq!(
        (&listed["items"][0]["collection"], &listed["complete"]),
        (&json!(MATRIX42.collection()), &json!(false))
    );
}

#[actix_web::test]
async fn a_known_schema_does_not_wait_for_the_list_of_collections() {
    let env = start(&MATRIX42);
    let path = "/systems/itsm/collections/SPSActivityClassBase/schema";
    let record = "/records/itsm/SPSActivityClassBase:0a1b2c3d-0002-4000-8000-0000000000bb";
    let patch = env.request(Method::PATCH, record).if_match("*").fields(&json!({ "Unheard": 1 }));
    patch.send().await.assert_problem(422, "rejected");
    env.faults().always(CallKind::Schema, InjectedFault::Hang);
    in_time(env.get(path)).await.assert_status(200);
    without_description(&env, env.get(path)).await.assert_status(200);
}

#[actix_web::test]
async fn a_list_does_without_a_description() {
    for fixture in [&MATRIX42, &DATAVERSE] {
        let env = hanging(fixture);
        let path = format!("/records/{}?collection={}", fixture.system, fixture.collection());
        let listed = in_time(env.get(&path)).await.assert_status(200).json();
        assert!(listed["items"].as_array().is_some_and(|items| !items.is_empty()), "{listed}");
        without_description(&env, env.get(&path)).await.assert_status(200);
    }
}

#[actix_web::test]
async fn a_lookup_is_set_without_a_description() {
    let env = hanging(&DATAVERSE);
    let contact = "55bb55bb-0000-4000-8000-66cc66cc66c2";
    let patch = |value: &str| {
        let fields = json!({ "_primarycontactid_value": value });
        env.patch(DATAVERSE.key).if_match("*").fields(&fields).prefer("return=representation")
    };
    let named = in_time(patch(&format!("contacts:{contact}"))).await;
    assert_eq!(named.assert_status(200).json()["fields"]["_primarycontactid_value"], contact);
    let contact = "55bb55bb-0000-4000-8000-66cc66cc66c1";
    // The vendor alone knows which table a key alone is of: that is no fault of the caller.
    let before = env.call_count(CallKind::Update);
    let late = in_time(patch(contact)).await;
    assert_eq!(late.assert_problem(504, "vendor-timeout").json()["retryable"], true, "{late:?}");
    assert_eq!(env.call_count(CallKind::Update), before);
}
