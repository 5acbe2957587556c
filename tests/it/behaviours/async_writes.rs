//! Writes that continue after the response (contract 4.4): BlueDolphin's updates, and any write
//! with `respond-async`.

use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join;
use records_gateway::sandbox::bluedolphin::{OTHER_QUESTIONNAIRE_ID, QUESTIONNAIRE_ID};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::history::create_postgres_database;
use crate::support::{BLUEDOLPHIN, MATRIX42, TestClient, TestEnv, TestProcess, VendorFixture, for_each_vendor};

const KEY: &str = BLUEDOLPHIN.key;

for_each_vendor!(
    respond_async_returns_before_the_vendor_responds,
    respond_async_with_wait_returns_the_final_response,
    an_async_write_survives_a_restart,
);

async fn respond_async_returns_before_the_vendor_responds(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let response =
        env.set_text(fixture.key, &current_etag, "later").without_prefer().prefer("respond-async").send().await;
    response.assert_status(202);
    assert_eq!(response.header("preference-applied"), Some("respond-async"));
    assert!(response.header("retry-after").is_some());
    let location = response.header("location").unwrap().to_owned();
    assert_eq!(response.header("operation"), Some(location.as_str()));
    assert_eq!(response.json()["state"], "running");
    env.wait_for_calls(CallKind::Update, 1).await;
    assert_eq!(env.read(fixture.key).send().await.json()["pending_operation"], json!(location));
    let path = format!("/records/{}?collection={}&limit=1000", fixture.system, fixture.collection());
    for item in env.get(&path).send().await.json()["items"].as_array().unwrap() {
        let named = (item["id"] == fixture.id(fixture.key)).then(|| json!(location));
        assert_eq!(item.get("pending_operation"), named.as_ref(), "{item}");
    }
    env.set_text(fixture.key, &current_etag, "meanwhile").send().await.assert_problem(409, "operation-in-progress");
    env.faults().release();
    assert_eq!(env.wait_for_operation_at(&location).await["state"], "applied");
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.call_count(CallKind::Update)), ("later", 1));
    assert!(env.read(fixture.key).send().await.json().get("pending_operation").is_none());
}

async fn respond_async_with_wait_returns_the_final_response(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = env.set_text(fixture.key, &current_etag, "soon").without_prefer().prefer("respond-async, wait=5");
    let response = patch.send().await;
    assert!(matches!(response.status, 200 | 204), "{response:?}");
    assert!(response.header("preference-applied").unwrap().contains("wait=5"), "{response:?}");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "soon");
}

/// The gateway stops while the vendor holds the write, and the next one finds its outcome.
async fn an_async_write_survives_a_restart(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start_with(fixture, |config| config.server("shutdown_timeout", "1s"));
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let response = env
        .set_text(fixture.key, &current_etag, "over a restart")
        .without_prefer()
        .prefer("respond-async")
        .send()
        .await;
    let location = response.assert_status(202).header("location").unwrap().to_owned();
    env.wait_for_calls(CallKind::Update, 1).await;
    env.restart().await;
    env.faults().release();
    let operation = env.wait_for_operation_at(&location).await;
    assert_eq!(operation["state"], "applied", "{operation}");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "over a restart");
    env.set_text(fixture.key, "*", "and on").send().await;
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "and on");
}

#[actix_web::test]
async fn a_queued_write_is_202_visible_in_reads_and_applied_later() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.hold_queue();
    let current_etag = env.current_etag(KEY).await;
    let response = env.set_text(KEY, &current_etag, "queued").without_prefer().send().await;
    response.assert_status(202);
    assert_eq!(response.header("etag"), None);
    let operation = response.json();
    assert_eq!((&operation["state"], &operation["finished_at"]), (&json!("running"), &json!(null)));
    assert_eq!(operation["record"], BLUEDOLPHIN.id(KEY));
    let location = response.header("location").unwrap();
    let read = env.read(KEY).send().await;
    assert_eq!((&read.json()["pending_operation"], read.etag()), (&json!(location), current_etag.as_str()));
    assert_eq!(read.json()["fields"]["name"], "New Application");
    for rejected in [env.set_text(KEY, &current_etag, "more").send().await, env.delete(KEY, &current_etag).send().await]
    {
        rejected.assert_problem(409, "operation-in-progress");
        assert!(rejected.header("retry-after").is_some());
    }
    assert_eq!(env.get(location).send().await.json()["state"], "running");
    assert_eq!(env.vendors.bluedolphin.state.apply_queued(), 1);
    let operation = env.wait_for_operation_at(location).await;
    assert_eq!((&operation["state"], &operation["problem"]), (&json!("applied"), &json!(null)));
    assert_eq!((env.vendor_value(KEY).unwrap().as_str(), env.write_call_count()), ("queued", 1));
    assert_eq!(operation["etag"], env.current_etag(KEY).await);
}

#[actix_web::test]
async fn prefer_wait_is_honored_and_returns_202_when_it_expires() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.hold_queue();
    let response = env.set_text(KEY, "*", "slow").without_prefer().prefer("wait=1").send().await;
    response.assert_status(202);
    env.vendors.bluedolphin.state.apply_queued();
    assert_eq!(env.wait_for_operation(&response).await["state"], "applied");
    let patch = env.set_text(KEY, "*", "quick").without_prefer().prefer("wait=5");
    let by_hand = async {
        env.wait_for_calls(CallKind::Update, 2).await;
        env.wait_until("the update in the queue", |env| env.vendors.bluedolphin.state.queued_count() > 0).await;
        env.vendors.bluedolphin.state.apply_queued();
    };
    let (response, ()) = join(patch.send(), by_hand).await;
    response.assert_status(200);
    assert!(response.header("preference-applied").unwrap().contains("wait=5"));
    assert_eq!(env.vendor_value(KEY).unwrap(), "quick");
}

#[actix_web::test]
async fn a_silently_failing_update_ends_unknown_and_frees_the_record() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.every_system("completion_timeout", "200ms"));
    env.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let response = env.set_text(KEY, "*", "never").without_prefer().send().await;
    response.assert_status(202);
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("unchanged")));
    assert!(operation["problem"]["type"].as_str().unwrap().ends_with("/outcome-unknown"), "{operation}");
    env.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = false);
    env.set_text(KEY, "*", "again").send().await.assert_status(200);
    assert_eq!(env.vendor_value(KEY).unwrap(), "again");
}

#[actix_web::test]
async fn a_questionnaire_change_is_applied_only_when_a_read_shows_it() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.hold_queue();
    let questionnaires = async || env.read(KEY).send().await.json()["fields"]["questionnaires"].clone();
    let patch = |questionnaires: serde_json::Value| {
        let fields = json!({ "questionnaires": questionnaires });
        let patch = env.patch(KEY).if_match("*").without_prefer().fields(&fields);
        patch.header("Accept-Loss", "linked-questions, source-connections").send()
    };
    let (one, other) = (QUESTIONNAIRE_ID, OTHER_QUESTIONNAIRE_ID);
    let before = questionnaires().await;
    let (there, not_there) = if before.get(other).is_some() { (other, one) } else { (one, other) };
    for (change, left) in [(json!({ there: null }), 0), (json!({ there: {}, not_there: {} }), 2)] {
        let response = patch(change).await;
        response.assert_status(202);
        env.wait_until("the update in the queue", |env| env.vendors.bluedolphin.state.queued_count() > 0).await;
        let reads = env.call_count(CallKind::Read);
        env.wait_until("three more polls", |env| env.call_count(CallKind::Read) > reads + 3).await;
        let operation = env.get(response.header("location").unwrap()).send().await.json();
        assert_eq!(operation["state"], "running", "{operation}");
        env.vendors.bluedolphin.state.apply_queued();
        assert_eq!(env.wait_for_operation(&response).await["state"], "applied");
        assert_eq!(questionnaires().await.as_object().unwrap().len(), left);
    }
}

#[actix_web::test]
async fn an_unknown_questionnaire_is_rejected_before_anything_is_sent() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let unknown = "58edcaf2829327621ceccfff";
    let fields = json!({ "questionnaires": { unknown: {} } });
    let response = env.patch(KEY).if_match("*").fields(&fields).send().await;
    let problem = response.assert_problem(422, "rejected").json();
    assert_eq!(problem["errors"][0]["pointer"], format!("/fields/questionnaires/{unknown}"));
    assert_eq!(env.write_call_count(), 0);
    env.set_text(KEY, "*", "free").send().await.assert_status(200);
}

/// `locked: false` equals an absent flag: the expected value was there before the write.
#[actix_web::test]
async fn an_already_matching_value_does_not_count_as_partly_applied() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.every_system("completion_timeout", "400ms"));
    let read = env.read(KEY).send().await.json();
    assert_eq!(read["fields"]["properties"]["Supplier"]["locked"], false, "{read}");
    env.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let fields = json!({ "properties": { "Supplier": { "value": "never", "locked": null } } });
    let response = env.patch(KEY).if_match("*").without_prefer().fields(&fields).send().await;
    response.assert_status(202);
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("unchanged")), "{operation}");
}

/// Even where the caller would wait longer.
#[actix_web::test]
async fn a_write_is_polled_no_longer_than_its_completion_timeout() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.every_system("completion_timeout", "200ms"));
    env.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let response = env.set_text(KEY, "*", "never").without_prefer().prefer("wait=4").send().await;
    response.assert_problem(504, "outcome-unknown");
    assert_eq!(env.get(response.header("operation").unwrap()).send().await.json()["state"], "unknown");
}

#[actix_web::test]
async fn an_unexpected_final_state_is_reported_as_unknown() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.every_system("completion_timeout", "200ms"));
    env.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let response = env.set_text(KEY, "*", "never").without_prefer().send().await;
    (BLUEDOLPHIN.external_write)(&env.vendors, KEY, "an external write");
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")));
}

#[actix_web::test]
async fn a_property_that_the_vendor_ignores_is_a_warning() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.configure(|settings| settings.ignored_property = Some("Supplier".to_owned()));
    let fields = json!({ "name": "Taken", "properties": { "Supplier": { "value": "passed over" } } });
    let response = env.patch(KEY).if_match("*").fields(&fields).send().await;
    response.assert_status(200);
    let warnings = response.json()["warnings"].clone();
    let passed_over: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["code"] == "not-applied")
        .map(|one| one["pointer"].clone())
        .collect();
    assert_eq!(passed_over, ["/fields/properties/Supplier/value"]);
    assert_eq!(env.vendor_value(KEY).unwrap(), "Taken");
}

#[actix_web::test]
async fn a_busy_vendor_is_409_and_not_retried_without_a_read() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let current_etag = env.current_etag(KEY).await;
    let busy = r#"{"title":"x","status":400,"errors":{"id":["There might be an ongoing update in progress. Please try again later."]}}"#;
    env.inject_once(CallKind::Update, InjectedFault::json(400, busy));
    let response = env.set_text(KEY, &current_etag, "mine").send().await;
    if response.status == 200 {
        // The gateway has read, compared and sent again.
        assert!(env.call_count(CallKind::Read) >= 2, "{:?}", env.requests());
    } else {
        response.assert_problem(409, "vendor-busy");
        assert!(response.header("retry-after").is_some());
        assert_eq!((env.call_count(CallKind::Update), env.vendor_value(KEY).unwrap().as_str()), (1, "New Application"));
    }
}

#[actix_web::test]
async fn a_queued_update_is_polled_to_its_end_after_a_restart() {
    let mut env = TestEnv::start(&BLUEDOLPHIN);
    env.vendors.bluedolphin.state.hold_queue();
    let response = env.set_text(KEY, "*", "over a restart").without_prefer().idempotency_key("k").send().await;
    let location = response.assert_status(202).header("location").unwrap().to_owned();
    env.restart().await;
    assert_eq!(env.get(&location).send().await.json()["state"], "running");
    assert_eq!(env.read(KEY).send().await.json()["pending_operation"], json!(location));
    env.set_text(KEY, "*", "meanwhile").send().await.assert_problem(409, "operation-in-progress");
    env.vendors.bluedolphin.state.apply_queued();
    assert_eq!(env.wait_for_operation_at(&location).await["state"], "applied");
    assert_eq!((env.vendor_value(KEY).unwrap().as_str(), env.call_count(CallKind::Update)), ("over a restart", 1));
    let repeat = env.set_text(KEY, "*", "over a restart").without_prefer().idempotency_key("k").send().await;
    assert_eq!((repeat.status, repeat.header("idempotency-replayed")), (202, Some("true")), "{repeat:?}");
}

#[actix_web::test]
async fn an_emptied_map_and_an_absent_value_are_reported_as_applied() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    for fields in [json!({ "questionnaires": null }), json!({ "properties": { "Blank": { "value": null } } })] {
        let response = env.patch(KEY).if_match("*").fields(&fields).send().await;
        response.assert_status(200);
        assert_eq!(env.wait_for_operation(&response).await["state"], "applied", "{fields}");
    }
    let shown = env.read(KEY).send().await.json();
    assert_eq!(shown["fields"]["questionnaires"], json!({}), "{shown}");
}

/// Its caller has got no 202, and the vendor has accepted nothing.
#[actix_web::test]
async fn the_key_of_a_queued_update_lost_in_a_crash_replays_outcome_unknown() {
    let process = TestProcess::start_with(|config| config.every_system("completion_timeout", "600ms"));
    let vendor = &process.vendors.bluedolphin;
    vendor.faults.once(CallKind::Update, InjectedFault::Hang);
    let client = process.client();
    let path = BLUEDOLPHIN.path(KEY);
    let patch = |client: &TestClient| {
        let patch =
            client.request(Method::PATCH, &path).if_match("*").header("Accept-Loss", &BLUEDOLPHIN.losses.join(","));
        patch.fields(&BLUEDOLPHIN.text_patch("lost")).idempotency_key("k")
    };
    let killed = async {
        vendor.log.wait_for(CallKind::Update, 1).await;
        process.kill();
    };
    let (response, ()) = join(patch(&client).try_send(), killed).await;
    assert!(response.is_err());
    process.restart();
    let client = process.client();
    let operations = async || client.get("/operations").send().await.assert_status(200).json()["items"].clone();
    while operations().await[0]["state"] == "running" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(operations().await[0]["state"], "unknown");
    let repeat = patch(&client).send().await;
    assert_eq!(repeat.assert_problem(504, "outcome-unknown").header("idempotency-replayed"), Some("true"));
    assert_eq!(vendor.log.count(CallKind::Update), 1);
}

/// The write runs, so the response must not say that nothing was sent.
#[actix_web::test]
async fn a_202_whose_operation_cannot_be_read_is_outcome_unknown() {
    let Some(store) = actix_web::rt::task::spawn_blocking(create_postgres_database).await.unwrap() else { return };
    let env = TestEnv::start_with(&MATRIX42, |config| config.store("url", store.as_str()).server("deadline", "8s"));
    let tag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let locked = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        let (client, connection) = tokio_postgres::connect(&store, tokio_postgres::NoTls).await.unwrap();
        actix_web::rt::spawn(connection);
        client.batch_execute("BEGIN; LOCK TABLE ledger, running IN ACCESS EXCLUSIVE MODE").await.unwrap();
        client
    };
    let patch = env.set_text(MATRIX42.key, &tag, "accepted").prefer("respond-async, wait=1");
    let (response, client) = join(patch.send(), locked).await;
    let operation = response.assert_problem(504, "outcome-unknown").json()["operation"].as_str().unwrap().to_owned();
    client.batch_execute("ROLLBACK").await.unwrap();
    env.faults().release();
    assert_eq!(env.wait_for_operation_at(&operation).await["state"], "applied");
    assert_eq!(env.vendor_value(MATRIX42.key).unwrap(), "accepted");
}
