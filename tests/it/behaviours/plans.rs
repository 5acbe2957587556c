//! `If-Plan` (contract 4.11): a write with a plan is the write that was previewed, or none.

use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::{join, join_all};
use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::previewing::plan;
use crate::history::create_postgres_database;
use crate::support::{
    BLUEDOLPHIN, MATRIX42, PRETECTUM, Request, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with,
};

for_each_vendor!(
    a_write_that_differs_from_its_plan_is_not_made,
    a_plan_of_another_caller_or_another_gateway_is_none,
    a_plan_expires,
    a_plan_is_known_after_a_restart,
    the_plan_of_a_create_makes_one_record,
    fifty_creates_with_one_plan_make_one_record,
    a_system_can_require_plans,
    a_plan_for_any_state_is_bound_to_the_state_it_showed,
    plans_are_counted_and_marked_in_the_ledger,
    a_plan_is_part_of_what_a_key_stands_for,
    a_plan_is_made_once_even_if_the_old_values_come_back,
);
for_each_vendor_with!(native: a_conflict_of_a_plan_for_any_state_is_not_tried_again,);

async fn a_write_that_differs_from_its_plan_is_not_made(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.vendor_value(fixture.key);
    let planned = plan(&env.set_text(fixture.key, "*", "planned").preview().send().await);
    let other_text = env.set_text(fixture.key, "*", "another").header("If-Plan", &planned).send().await;
    assert_eq!(other_text.assert_problem(409, "plan-changed").json()["differs"], json!(["calls"]));
    let other_record = env.set_text(fixture.other_key, "*", "planned").header("If-Plan", &planned).send().await;
    let differs = other_record.assert_problem(409, "plan-changed").json()["differs"].clone();
    assert!(differs.as_array().unwrap().contains(&json!("based_on")), "{differs}");
    let delete = env.delete(fixture.deletable_key, "*").header("If-Plan", &planned).send().await;
    assert!(delete.assert_problem(409, "plan-changed").json()["differs"].as_array().unwrap().contains(&json!("calls")));
    // A stale tag is found out before the plan.
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let moved = env.set_text(fixture.key, "*", "planned").header("If-Plan", &planned).send().await;
    let differs = moved.assert_problem(409, "plan-changed").json()["differs"].clone();
    assert!(differs.as_array().unwrap().contains(&json!("based_on")), "{differs}");
    let both = env.set_text(fixture.key, &stale, "planned").header("If-Plan", &planned).send().await;
    both.assert_problem(412, "precondition-failed");
    let missing =
        env.patch(fixture.key).header("If-Plan", &planned).fields(&fixture.text_patch("planned")).send().await;
    missing.assert_problem(428, "precondition-required");
    assert_eq!(env.vendor_value(fixture.key), before);
    // A write that needs no read leaves it to the vendor to find the tag stale.
    assert!(env.write_call_count() <= usize::from(fixture.native), "{:?}", env.requests());
}

async fn a_plan_of_another_caller_or_another_gateway_is_none(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        config.api_keys(&[("one", "one-key-0123456789abc", "*:*"), ("two", "two-key-0123456789abc", "*:*")])
    });
    let request = |key: &str| {
        env.set_text(fixture.key, "*", "planned").header("Authorization", &format!("Bearer {key}-key-0123456789abc"))
    };
    let planned = plan(&request("one").preview().send().await);
    let of_two = request("two").header("If-Plan", &planned).send().await;
    assert_eq!(of_two.assert_problem(409, "plan-changed").json()["differs"], json!(["caller"]));
    let everything = json!(["based_on", "calls", "losses", "guarantee", "mapping", "caller"]);
    for foreign in ["\"p.AAAB\"".to_owned(), planned.replacen("\"p.A", "\"p.B", 1)] {
        let response = request("one").header("If-Plan", &foreign).send().await;
        assert_eq!(response.assert_problem(409, "plan-changed").json()["differs"], everything, "{foreign}");
    }
    let elsewhere = TestEnv::start(fixture);
    let made_elsewhere = plan(&elsewhere.set_text(fixture.key, "*", "planned").preview().send().await);
    let response = request("one").header("If-Plan", &made_elsewhere).send().await;
    assert_eq!(response.assert_problem(409, "plan-changed").json()["differs"], everything);
    assert_eq!(env.write_call_count(), 0);
    request("one").header("If-Plan", &planned).send().await.assert_status(fixture.patch_status);
}

async fn a_plan_expires(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("plan_ttl", "1s"));
    let request = || env.set_text(fixture.key, "*", "planned");
    let preview = request().preview().send().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let late = request().header("If-Plan", &plan(&preview)).send().await;
    assert_eq!(late.assert_problem(409, "plan-changed").json()["differs"], json!(["expired"]));
    assert_eq!(env.write_call_count(), 0);
    assert!(
        env.get("/metrics")
            .send()
            .await
            .text
            .contains(&format!("plans_total{{outcome=\"expired\",system=\"{}\"}} 1", fixture.system))
    );
}

async fn a_plan_is_known_after_a_restart(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start(fixture);
    let planned = plan(&env.set_text(fixture.key, "*", "planned").preview().send().await);
    env.restart().await;
    let applied = env.set_text(fixture.key, "*", "planned").header("If-Plan", &planned).send().await;
    applied.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "planned");
}

async fn the_plan_of_a_create_makes_one_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let count = env.record_count();
    let planned = plan(&env.create("once").preview().send().await);
    let apply = || env.create("once").header("If-Plan", &planned).send();
    let (first, again) = (apply().await, apply().await);
    first.assert_status(201);
    again.assert_status(201);
    assert_eq!((again.header("idempotency-replayed"), env.record_count()), (Some("true"), count + 1));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = env.create("twice").header("If-Plan", &planned).send().await;
    assert_eq!(other.assert_problem(409, "plan-changed").json()["differs"], json!(["calls"]));
    assert_eq!(env.record_count(), count + 1);
}

async fn fifty_creates_with_one_plan_make_one_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let count = env.record_count();
    let planned = plan(&env.create("once").preview().send().await);
    let applies = (0..50).map(|_| env.create("once").header("If-Plan", &planned).send());
    let responses = join_all(applies).await;
    assert!(responses.iter().any(|response| response.status == 201));
    for response in &responses {
        assert!(response.status == 201 || response.problem() == "operation-in-progress", "{response:?}");
    }
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (count + 1, 1));
}

async fn a_system_can_require_plans(fixture: &'static VendorFixture) {
    let required = vec!["update", "delete", "create"];
    let env = TestEnv::start_with(fixture, |config| config.system(fixture.system, "require_plan", required));
    let update = || env.set_text(fixture.key, "*", "planned");
    env.patch(fixture.key).fields(&fixture.text_patch("x")).send().await.assert_problem(428, "precondition-required");
    for request in [update(), env.delete(fixture.deletable_key, "*"), env.create("a new one")] {
        request.clone().send().await.assert_problem(428, "plan-required");
        assert_eq!(env.write_call_count(), 0);
        let planned = plan(&request.clone().preview().send().await);
        let applied = request.header("If-Plan", &planned).send().await;
        assert!((200..300).contains(&applied.status), "{applied:?}");
        env.forget_calls();
    }
}

async fn a_plan_for_any_state_is_bound_to_the_state_it_showed(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let planned = plan(&env.set_text(fixture.key, "*", "planned").preview().send().await);
    (fixture.external_write)(&env.vendors, fixture.key, "an external write");
    let response = env.set_text(fixture.key, "*", "planned").header("If-Plan", &planned).send().await;
    let differs = response.assert_problem(409, "plan-changed").json()["differs"].clone();
    assert!(differs.as_array().unwrap().contains(&json!("based_on")), "{differs}");
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("an external write", 0));
}

async fn a_conflict_of_a_plan_for_any_state_is_not_tried_again(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let planned = plan(&env.set_text(fixture.key, "*", "planned").preview().send().await);
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (fixture.external_touch)(&env.vendors, fixture.key);
        env.faults().release();
    };
    let apply = env.set_text(fixture.key, "*", "planned").header("If-Plan", &planned).send();
    let (response, ()) = join(apply, others).await;
    assert_eq!(response.assert_problem(409, "plan-changed").json()["differs"], json!(["based_on"]));
    assert_eq!(env.call_count(CallKind::Update), 1);
    assert_ne!(env.vendor_value(fixture.key).unwrap(), "planned");
}

async fn plans_are_counted_and_marked_in_the_ledger(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let request = || env.set_text(fixture.key, "*", "planned");
    let planned = plan(&request().preview().send().await);
    request().header("If-Plan", &planned).send().await.assert_status(fixture.patch_status);
    request().header("If-Plan", "\"p.AAAB\"").send().await.assert_problem(409, "plan-changed");
    env.set_text(fixture.key, "*", "without").send().await.assert_status(fixture.patch_status);
    let ledger = env.read_ledger().await.json();
    let entries = ledger["items"].as_array().unwrap();
    let plans: Vec<Option<&Value>> = entries.iter().map(|entry| entry.get("plan")).collect();
    assert_eq!(plans, [Some(&json!(true)), Some(&json!(true)), None, None]);
    let metrics = env.get("/metrics").send().await.text;
    for (outcome, count) in [("made", 1), ("applied", 1), ("changed", 1), ("expired", 0)] {
        let line = format!("plans_total{{outcome=\"{outcome}\",system=\"{}\"}} {count}\n", fixture.system);
        assert!(metrics.contains(&line), "{line} {metrics}");
    }
    assert!(metrics.contains("action=\"preview\""), "{metrics}");
}

async fn a_plan_is_part_of_what_a_key_stands_for(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let request = || env.set_text(fixture.key, "*", "planned").idempotency_key("planned");
    let planned = plan(&request().preview().send().await);
    let apply = || request().header("If-Plan", &planned).send();
    apply().await.assert_status(fixture.patch_status);
    let again = apply().await;
    again.assert_status(fixture.patch_status);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    request().send().await.assert_problem(422, "idempotency-key-reused");
}

async fn a_plan_is_made_once_even_if_the_old_values_come_back(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let (tag, before) = (env.current_etag(fixture.key).await, env.vendor_value(fixture.key).unwrap());
    let request = || env.set_text(fixture.key, "*", "planned");
    let planned = plan(&request().preview().send().await);
    request().header("If-Plan", &planned).send().await.assert_status(fixture.patch_status);
    (fixture.external_write)(&env.vendors, fixture.key, &before);
    // Where the vendor has no versions, the state of the plan is back, too.
    assert_eq!(env.current_etag(fixture.key).await == tag, !fixture.native);
    let again = request().header("If-Plan", &planned).send().await;
    let differs = again.assert_problem(409, "plan-changed").json()["differs"].clone();
    assert!(differs.as_array().unwrap().contains(&json!("based_on")), "{differs}");
    assert_eq!((env.vendor_value(fixture.key), env.write_call_count()), (Some(before), 0));
    let next = plan(&request().preview().send().await);
    request().header("If-Plan", &next).send().await.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("planned", 1));
}

#[actix_web::test]
async fn a_plan_whose_write_was_refused_can_be_made_again() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let request = || env.set_text(BLUEDOLPHIN.key, "*", "planned");
    let planned = plan(&request().preview().send().await);
    env.inject_once(CallKind::Update, InjectedFault::status(403));
    let refused = request().header("If-Plan", &planned).send().await;
    refused.assert_problem(403, "vendor-forbidden");
    assert_ne!(env.vendor_value(BLUEDOLPHIN.key).unwrap(), "planned");
    request().header("If-Plan", &planned).send().await.assert_status(200);
    assert_eq!(env.vendor_value(BLUEDOLPHIN.key).unwrap(), "planned");
}

#[actix_web::test]
async fn a_plan_with_an_unknown_outcome_is_not_made_again() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| {
        config.server("deadline", "3s").every_system("settle_timeout", "1s").every_system("completion_poll", "50ms")
    });
    let request = || env.set_text(BLUEDOLPHIN.key, "*", "planned");
    let planned = plan(&request().preview().send().await);
    env.faults().always(CallKind::Update, InjectedFault::ResetBefore);
    let lost = request().header("If-Plan", &planned).send().await;
    lost.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&lost).await["state"], "unknown");
    env.faults().clear();
    let sent = env.call_count(CallKind::Update);
    let again = request().header("If-Plan", &planned).send().await;
    let problem = again.assert_problem(409, "plan-changed").json();
    assert!(problem["detail"].as_str().unwrap().contains("not known whether it was applied"), "{problem}");
    assert_eq!(problem["operation"], lost.json()["operation"]);
    assert_eq!(env.call_count(CallKind::Update), sent);
    let next = plan(&request().preview().send().await);
    request().header("If-Plan", &next).send().await.assert_status(200);
    assert_eq!(env.vendor_value(BLUEDOLPHIN.key).unwrap(), "planned");
}

/// The parts that the problem names.
async fn differs(request: Request, planned: &str) -> Value {
    let response = request.header("If-Plan", planned).send().await;
    response.assert_problem(409, "plan-changed").json()["differs"].clone()
}

#[actix_web::test]
async fn every_part_in_which_a_write_differs_from_its_plan_is_named() {
    // The caller and the expiry have tests of their own.
    for fixture in [&PRETECTUM, &BLUEDOLPHIN] {
        let env = TestEnv::start(fixture);
        let planned = plan(&env.set_text(fixture.key, "*", "planned").preview().send().await);
        let (other, parts) = if fixture.native {
            (env.delete(fixture.key, "*"), json!(["calls", "guarantee"]))
        } else {
            // Nothing is lost by a change of the status.
            (env.patch(fixture.key).if_match("*").fields(&json!({"status": "disabled"})), json!(["calls", "losses"]))
        };
        assert_eq!(differs(other, &planned).await, parts);
        assert_eq!(differs(env.set_text(fixture.key, "*", "another"), &planned).await, json!(["calls"]));
        assert_eq!(env.write_call_count(), 0);
    }
    let env = TestEnv::start_with(&MATRIX42, |config| config.text_of("models", MODELS));
    let planned = plan(&env.set_text(MATRIX42.key, "*", "planned").preview().send().await);
    let path = format!("/models/asset/itsm/{}", MATRIX42.key);
    let previewed = env.request(Method::POST, &format!("{path}/preview")).if_match("*");
    let previewed = previewed.fields(&json!({"name": "planned"})).send().await.assert_status(200).json();
    let alone = env.patch(MATRIX42.key).if_match("*").fields(&json!({"Name": "planned"})).preview().send().await;
    assert_eq!(previewed["calls"], alone.json()["calls"], "the vendor hears the same");
    let through_model = env.request(Method::PATCH, &path).if_match("*").fields(&json!({"name": "planned"}));
    assert_eq!(differs(through_model, &plan(&alone)).await, json!(["mapping"]));
    (MATRIX42.external_touch)(&env.vendors, MATRIX42.key);
    let moved = differs(env.set_text(MATRIX42.key, "*", "planned"), &planned).await;
    assert!(moved.as_array().unwrap().contains(&json!("based_on")), "{moved}");
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_plan_of_another_replica_is_accepted_and_made_once() {
    let Some(store) = std::thread::spawn(create_postgres_database).join().unwrap() else { return };
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.store("url", store));
    let replica = env.start_replica();
    let client = replica.client();
    let before = env.vendor_value(BLUEDOLPHIN.key).unwrap();
    let planned = plan(&env.set_text(BLUEDOLPHIN.key, "*", "planned").preview().send().await);
    let at_replica = client.request(Method::PATCH, &BLUEDOLPHIN.path(BLUEDOLPHIN.key)).if_match("*").prefer("wait=5");
    let at_replica = at_replica.header("Accept-Loss", &BLUEDOLPHIN.losses.join(", ")).header("If-Plan", &planned);
    at_replica.fields(&BLUEDOLPHIN.text_patch("planned")).send().await.assert_status(200);
    assert_eq!(env.vendor_value(BLUEDOLPHIN.key).unwrap(), "planned");
    (BLUEDOLPHIN.external_write)(&env.vendors, BLUEDOLPHIN.key, &before);
    let parts = differs(env.set_text(BLUEDOLPHIN.key, "*", "planned"), &planned).await;
    assert_eq!((parts, env.vendor_value(BLUEDOLPHIN.key)), (json!(["based_on"]), Some(before)));
    assert!(replica.stop().await);
}
