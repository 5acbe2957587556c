//! Writes that go on after the answer (contract 4.4): BlueDolphin's updates, and any write on request.

use futures_util::future::join;
use records_gateway::sandbox::bluedolphin::{OTHER_QUESTIONNAIRE_ID, QUESTIONNAIRE_ID};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{BLUEDOLPHIN, TestEnv, VendorFixture, for_each_vendor};

const KEY: &str = BLUEDOLPHIN.key;

for_each_vendor!(
    respond_async_returns_before_the_vendor_responds,
    respond_async_with_wait_returns_the_final_response,
    an_async_write_survives_a_restart,
);

async fn respond_async_returns_before_the_vendor_responds(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::Hold);
    let answer =
        house.set_text(bench.key, &current_etag, "later").without_prefer().prefer("respond-async").send().await;
    answer.assert_status(202);
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    assert!(answer.header("retry-after").is_some());
    let place = answer.header("location").unwrap().to_owned();
    assert_eq!(answer.header("operation"), Some(place.as_str()));
    assert_eq!(answer.json()["state"], "running");
    house.wait_for_calls(CallKind::Update, 1).await;
    assert_eq!(house.read(bench.key).send().await.json()["pending_operation"], json!(place));
    let path = format!("/records/{}?collection={}&limit=1000", bench.system, bench.collection());
    for item in house.get(&path).send().await.json()["items"].as_array().unwrap() {
        let named = (item["id"] == bench.id(bench.key)).then(|| json!(place));
        assert_eq!(item.get("pending_operation"), named.as_ref(), "{item}");
    }
    house.set_text(bench.key, &current_etag, "meanwhile").send().await.assert_problem(409, "operation-in-progress");
    house.faults().release();
    assert_eq!(house.wait_for_operation_at(&place).await["state"], "applied");
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.call_count(CallKind::Update)), ("later", 1));
    assert!(house.read(bench.key).send().await.json().get("pending_operation").is_none());
}

async fn respond_async_with_wait_returns_the_final_response(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = house.set_text(bench.key, &current_etag, "soon").without_prefer().prefer("respond-async, wait=5");
    let answer = patch.send().await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert!(answer.header("preference-applied").unwrap().contains("wait=5"), "{answer:?}");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "soon");
}

/// The gateway stops while the vendor holds the write, and the next one finds out what became of it.
async fn an_async_write_survives_a_restart(bench: &'static VendorFixture) {
    let changes = [("server", "shutdown_timeout", "\"1s\"")];
    let mut house = TestEnv::start_with(bench, &changes).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::Hold);
    let answer = house
        .set_text(bench.key, &current_etag, "over a restart")
        .without_prefer()
        .prefer("respond-async")
        .send()
        .await;
    let place = answer.assert_status(202).header("location").unwrap().to_owned();
    house.wait_for_calls(CallKind::Update, 1).await;
    house.restart().await;
    house.faults().release();
    let operation = house.wait_for_operation_at(&place).await;
    assert_eq!(operation["state"], "applied", "{operation}");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "over a restart");
    house.set_text(bench.key, "*", "and on").send().await;
    assert_eq!(house.vendor_value(bench.key).unwrap(), "and on");
}

#[actix_web::test]
async fn a_queued_write_is_202_visible_in_reads_and_applied_later() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    house.vendors.bluedolphin.state.hold_queue();
    let current_etag = house.current_etag(KEY).await;
    let answer = house.set_text(KEY, &current_etag, "queued").without_prefer().send().await;
    answer.assert_status(202);
    assert_eq!(answer.header("etag"), None);
    let operation = answer.json();
    assert_eq!((&operation["state"], &operation["finished_at"]), (&json!("running"), &json!(null)));
    assert_eq!(operation["record"], BLUEDOLPHIN.id(KEY));
    let place = answer.header("location").unwrap();
    let read = house.read(KEY).send().await;
    assert_eq!((&read.json()["pending_operation"], read.etag()), (&json!(place), current_etag.as_str()));
    assert_eq!(read.json()["fields"]["name"], "New Application");
    for refused in
        [house.set_text(KEY, &current_etag, "more").send().await, house.delete(KEY, &current_etag).send().await]
    {
        refused.assert_problem(409, "operation-in-progress");
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(house.get(place).send().await.json()["state"], "running");
    assert_eq!(house.vendors.bluedolphin.state.apply_queued(), 1);
    let settled = house.wait_for_operation_at(place).await;
    assert_eq!((&settled["state"], &settled["problem"]), (&json!("applied"), &json!(null)));
    assert_eq!((house.vendor_value(KEY).unwrap().as_str(), house.write_call_count()), ("queued", 1));
    assert_eq!(settled["etag"], house.current_etag(KEY).await);
}

#[actix_web::test]
async fn prefer_wait_is_honored_and_returns_202_when_it_expires() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    house.vendors.bluedolphin.state.hold_queue();
    let answer = house.set_text(KEY, "*", "slow").without_prefer().prefer("wait=1").send().await;
    answer.assert_status(202);
    house.vendors.bluedolphin.state.apply_queued();
    assert_eq!(house.wait_for_operation(&answer).await["state"], "applied");
    let patch = house.set_text(KEY, "*", "quick").without_prefer().prefer("wait=5");
    let by_hand = async {
        house.wait_for_calls(CallKind::Update, 2).await;
        house.wait_until("the update is queued", |house| house.vendors.bluedolphin.state.queued_count() > 0).await;
        house.vendors.bluedolphin.state.apply_queued();
    };
    let (answer, ()) = join(patch.send(), by_hand).await;
    answer.assert_status(200);
    assert!(answer.header("preference-applied").unwrap().contains("wait=5"));
    assert_eq!(house.vendor_value(KEY).unwrap(), "quick");
}

#[actix_web::test]
async fn a_silently_failing_update_ends_unknown_and_frees_the_record() {
    let house = TestEnv::start_with(&BLUEDOLPHIN, &[("vendor", "completion_timeout", "\"200ms\"")]).await;
    house.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let answer = house.set_text(KEY, "*", "never").without_prefer().send().await;
    answer.assert_status(202);
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("unchanged")));
    assert!(operation["problem"]["type"].as_str().unwrap().ends_with("/outcome-unknown"), "{operation}");
    house.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = false);
    house.set_text(KEY, "*", "again").send().await.assert_status(200);
    assert_eq!(house.vendor_value(KEY).unwrap(), "again");
}

#[actix_web::test]
async fn a_questionnaire_change_is_applied_only_when_a_read_shows_it() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    house.vendors.bluedolphin.state.hold_queue();
    let questionnaires = async || house.read(KEY).send().await.json()["fields"]["questionnaires"].clone();
    let patch = |questionnaires: serde_json::Value| {
        let fields = json!({ "questionnaires": questionnaires });
        let patch = house.patch(KEY).if_match("*").without_prefer().fields(&fields);
        patch.header("Accept-Loss", "linked-questions, source-connections").send()
    };
    let (one, other) = (QUESTIONNAIRE_ID, OTHER_QUESTIONNAIRE_ID);
    let before = questionnaires().await;
    let (there, not_there) = if before.get(other).is_some() { (other, one) } else { (one, other) };
    for (change, left) in [(json!({ there: null }), 0), (json!({ there: {}, not_there: {} }), 2)] {
        let answer = patch(change).await;
        answer.assert_status(202);
        house.wait_until("it is queued", |house| house.vendors.bluedolphin.state.queued_count() > 0).await;
        let looks = house.call_count(CallKind::Read);
        house.wait_until("it was looked for", |house| house.call_count(CallKind::Read) > looks + 3).await;
        let operation = house.get(answer.header("location").unwrap()).send().await.json();
        assert_eq!(operation["state"], "running", "{operation}");
        house.vendors.bluedolphin.state.apply_queued();
        assert_eq!(house.wait_for_operation(&answer).await["state"], "applied");
        assert_eq!(questionnaires().await.as_object().unwrap().len(), left);
    }
}

/// A flag that is off is as good as none: what was wanted of it was there before.
#[actix_web::test]
async fn an_already_matching_value_does_not_count_as_partly_applied() {
    let house = TestEnv::start_with(&BLUEDOLPHIN, &[("vendor", "completion_timeout", "\"400ms\"")]).await;
    let read = house.read(KEY).send().await.json();
    assert_eq!(read["fields"]["properties"]["Supplier"]["locked"], false, "{read}");
    house.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let fields = json!({ "properties": { "Supplier": { "value": "never", "locked": null } } });
    let answer = house.patch(KEY).if_match("*").without_prefer().fields(&fields).send().await;
    answer.assert_status(202);
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("unchanged")), "{operation}");
}

/// However long the caller would wait.
#[actix_web::test]
async fn a_write_is_polled_no_longer_than_its_completion_timeout() {
    let house = TestEnv::start_with(&BLUEDOLPHIN, &[("vendor", "completion_timeout", "\"200ms\"")]).await;
    house.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let answer = house.set_text(KEY, "*", "never").without_prefer().prefer("wait=4").send().await;
    answer.assert_problem(504, "outcome-unknown");
    assert_eq!(house.get(answer.header("operation").unwrap()).send().await.json()["state"], "unknown");
}

#[actix_web::test]
async fn an_unexpected_final_state_is_reported_as_unknown() {
    let house = TestEnv::start_with(&BLUEDOLPHIN, &[("vendor", "completion_timeout", "\"200ms\"")]).await;
    house.vendors.bluedolphin.state.configure(|settings| settings.silent_failure = true);
    let answer = house.set_text(KEY, "*", "never").without_prefer().send().await;
    (BLUEDOLPHIN.external_write)(&house.vendors, KEY, "somebody else's");
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")));
}

#[actix_web::test]
async fn a_property_that_the_vendor_ignores_is_a_warning() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    house.vendors.bluedolphin.state.configure(|settings| settings.ignored_property = Some("Supplier".to_owned()));
    let fields = json!({ "name": "Taken", "properties": { "Supplier": { "value": "passed over" } } });
    let answer = house.patch(KEY).if_match("*").fields(&fields).send().await;
    answer.assert_status(200);
    let warnings = answer.json()["warnings"].clone();
    let passed_over: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["code"] == "not-applied")
        .map(|one| one["pointer"].clone())
        .collect();
    assert_eq!(passed_over, ["/fields/properties/Supplier/value"]);
    assert_eq!(house.vendor_value(KEY).unwrap(), "Taken");
}

#[actix_web::test]
async fn a_busy_vendor_is_409_and_not_retried_without_a_read() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let current_etag = house.current_etag(KEY).await;
    let busy = r#"{"title":"x","status":400,"errors":{"id":["There might be an ongoing update in progress. Please try again later."]}}"#;
    house.inject_once(CallKind::Update, InjectedFault::json(400, busy));
    let answer = house.set_text(KEY, &current_etag, "mine").send().await;
    if answer.status == 200 {
        // Asked again, after reading and comparing anew.
        assert!(house.call_count(CallKind::Read) >= 2, "{:?}", house.requests());
    } else {
        answer.assert_problem(409, "vendor-busy");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(
            (house.call_count(CallKind::Update), house.vendor_value(KEY).unwrap().as_str()),
            (1, "New Application")
        );
    }
}

#[actix_web::test]
async fn a_queued_update_is_polled_to_its_end_after_a_restart() {
    let mut house = TestEnv::start(&BLUEDOLPHIN).await;
    house.vendors.bluedolphin.state.hold_queue();
    let answer = house.set_text(KEY, "*", "over a restart").without_prefer().idempotency_key("k").send().await;
    let place = answer.assert_status(202).header("location").unwrap().to_owned();
    house.restart().await;
    assert_eq!(house.get(&place).send().await.json()["state"], "running");
    assert_eq!(house.read(KEY).send().await.json()["pending_operation"], json!(place));
    house.set_text(KEY, "*", "meanwhile").send().await.assert_problem(409, "operation-in-progress");
    house.vendors.bluedolphin.state.apply_queued();
    assert_eq!(house.wait_for_operation_at(&place).await["state"], "applied");
    assert_eq!((house.vendor_value(KEY).unwrap().as_str(), house.call_count(CallKind::Update)), ("over a restart", 1));
    let repeat = house.set_text(KEY, "*", "over a restart").without_prefer().idempotency_key("k").send().await;
    assert_eq!((repeat.status, repeat.header("idempotency-replayed")), (202, Some("true")), "{repeat:?}");
}

#[actix_web::test]
async fn an_emptied_map_and_a_blank_value_are_reported_as_applied() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    for fields in [json!({ "questionnaires": null }), json!({ "properties": { "Blank": { "value": "" } } })] {
        let answer = house.patch(KEY).if_match("*").fields(&fields).send().await;
        answer.assert_status(200);
        assert_eq!(house.wait_for_operation(&answer).await["state"], "applied", "{fields}");
    }
    let shown = house.read(KEY).send().await.json();
    assert_eq!(shown["fields"]["questionnaires"], json!({}), "{shown}");
}
