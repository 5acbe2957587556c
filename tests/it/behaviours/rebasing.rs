//! `Prefer: rebase=disjoint` (contract 4.2): a change made for an earlier state of a record is
//! applied to its current one, if nobody else has changed the same places.

use actix_web::http::Method;
use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{
    MATRIX42, PRETECTUM, Request, TestEnv, TestResponse, VendorFixture, for_each_vendor, for_each_vendor_with,
};

for_each_vendor!(
    a_stale_change_of_another_field_is_applied_with_a_warning,
    a_stale_change_of_the_same_field_is_412_with_the_overlap,
    a_change_that_another_caller_has_made_is_not_repeated,
    a_stale_change_to_what_is_there_already_is_a_rebase_that_sends_nothing,
    without_the_preference_a_stale_tag_is_412_as_ever,
    the_preference_changes_nothing_for_a_current_tag,
    a_rebase_from_an_unknown_state_is_412_with_that_reason,
    a_state_that_the_store_keeps_is_known_after_a_restart,
    a_system_can_refuse_every_rebase,
    a_delete_with_a_stale_tag_is_never_rebased,
    members_that_belong_together_are_one_place,
    a_json_patch_relies_on_what_its_tests_name,
    a_key_replays_the_rebased_response,
    a_tag_of_another_record_is_never_rebased,
    a_change_during_the_rebase_is_met_with_another_rebase,
    star_with_a_test_compares_and_sets_one_field,
);
for_each_vendor_with!(native: a_caller_that_may_not_read_cannot_rebase);

fn text_pointer(fixture: &VendorFixture) -> String {
    format!("/fields/{}", fixture.text)
}

fn rebase(env: &TestEnv, tag: &str, text: &str) -> Request {
    env.set_text(env.fixture.key, tag, text).prefer("rebase=disjoint")
}

fn warning(response: &TestResponse) -> Value {
    let body = response.json();
    let warnings = body["warnings"].as_array().expect("warnings");
    warnings.iter().find(|warning| warning["code"] == "rebased").expect("a rebase").clone()
}

async fn metric(env: &TestEnv, outcome: &str) -> usize {
    let name = format!("rebases_total{{outcome=\"{outcome}\",system=\"{}\"}} ", env.fixture.system);
    let text = env.get("/metrics").send().await.text;
    text.lines().find_map(|line| line.strip_prefix(&name)).expect("a series").parse().expect("a number")
}

async fn a_stale_change_to_what_is_there_already_is_a_rebase_that_sends_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let (onto, text) = (env.current_etag(fixture.key).await, env.vendor_value(fixture.key).unwrap());
    let response = rebase(&env, &stale, &text).send().await;
    response.assert_status(200);
    assert_eq!((response.etag(), response.header("preference-applied")), (&*onto, Some("rebase=disjoint")));
    assert_eq!(warning(&response)["onto"], onto);
    assert_eq!(env.current_etag(fixture.key).await, onto);
}

async fn a_stale_change_of_another_field_is_applied_with_a_warning(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let current = env.read(fixture.key).send().await;
    let (onto, touched) = (current.etag().to_owned(), current.json()["fields"].clone());
    let response = rebase(&env, &stale, "mine").send().await;
    response.assert_status(200);
    assert!(response.header("preference-applied").is_some_and(|applied| applied.contains("rebase=disjoint")));
    assert_eq!(response.header("concurrency-guarantee"), Some(fixture.guarantee()));
    let warning = warning(&response);
    assert_eq!(warning["onto"], onto);
    assert_eq!(warning["moved"].as_array().map(Vec::len), Some(1), "{warning}");
    // Both changes are there, and nothing else has changed but what the vendor stamps.
    let now = env.read(fixture.key).send().await.json()["fields"].clone();
    let mut expected = touched;
    expected[fixture.text] = json!("mine");
    for stamped in ["modifiedon", "versionnumber", "_modifiedby_value"] {
        expected.as_object_mut().unwrap().remove(stamped);
    }
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&now[name], value, "{name}");
    }
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("mine"));
    // The ledger has both tags; the operation has the warning.
    let ledger = env.read_ledger().await.json();
    let entries = ledger["items"].as_array().unwrap();
    for entry in entries.iter().rev().take(2) {
        assert_eq!((&entry["precondition"], &entry["rebased_onto"]), (&json!(stale), &json!(onto)), "{entry}");
    }
    let operation = env.wait_for_operation(&response).await;
    assert!(operation["warnings"].as_array().unwrap().iter().any(|one| one["code"] == "rebased"), "{operation}");
    assert_eq!(metric(&env, "applied").await, 1);
}

async fn a_stale_change_of_the_same_field_is_412_with_the_overlap(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "an external write");
    let response = rebase(&env, &stale, "mine").send().await;
    let problem = response.assert_problem(412, "precondition-failed").json();
    assert_eq!(problem["overlap"], json!([text_pointer(fixture)]));
    assert_eq!((&problem["changed"], problem.get("rebase")), (&problem["overlap"], None));
    assert_eq!(problem["current_etag"], env.current_etag(fixture.key).await);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "an external write");
    assert_eq!(metric(&env, "overlap").await, 1);
}

async fn a_change_that_another_caller_has_made_is_not_repeated(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "both");
    let problem = rebase(&env, &stale, "both").send().await;
    assert_eq!(problem.assert_problem(412, "precondition-failed").json()["overlap"], json!([text_pointer(fixture)]));
}

async fn without_the_preference_a_stale_tag_is_412_as_ever(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    let before = env.vendor_value(fixture.key);
    (fixture.external_touch)(&env.vendors, fixture.key);
    for preference in ["rebase", "rebase=any"] {
        let response = env.set_text(fixture.key, &stale, "mine").prefer(preference).send().await;
        let problem = response.assert_problem(412, "precondition-failed").json();
        assert_eq!((problem.get("overlap"), problem.get("rebase")), (None, None), "{problem}");
    }
    // A list of tags names no one state, so there is nothing to rebase from.
    let list = format!("{stale}, \"other\"");
    rebase(&env, &list, "mine").send().await.assert_problem(412, "precondition-failed");
    assert_eq!(env.vendor_value(fixture.key), before);
}

async fn the_preference_changes_nothing_for_a_current_tag(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current = env.current_etag(fixture.key).await;
    let response = rebase(&env, &current, "mine").send().await;
    response.assert_status(fixture.patch_status);
    assert!(response.header("preference-applied").is_none_or(|applied| !applied.contains("rebase")));
    if fixture.native {
        assert_eq!(env.requests().len(), 1, "{:?}", env.requests());
    }
    assert!(!env.read_ledger().await.text.contains("rebased_onto"));
}

async fn a_rebase_from_an_unknown_state_is_412_with_that_reason(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    let before = env.vendor_value(fixture.key);
    (fixture.external_touch)(&env.vendors, fixture.key);
    env.restart().await;
    let problem = rebase(&env, &stale, "mine").send().await;
    let problem = problem.assert_problem(412, "precondition-failed").json();
    assert_eq!((&problem["rebase"], problem.get("overlap")), (&json!("state-unknown"), None), "{problem}");
    assert_eq!((env.vendor_value(fixture.key), metric(&env, "unknown-base").await), (before, 1));
}

async fn a_state_that_the_store_keeps_is_known_after_a_restart(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start_with(fixture, |config| config.store("remember_shown", "15m"));
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    env.restart().await;
    let response = rebase(&env, &stale, "mine").send().await;
    assert_eq!(warning(response.assert_status(200))["moved"].as_array().map(Vec::len), Some(1), "{response:?}");
    assert_eq!((env.vendor_value(fixture.key).as_deref(), metric(&env, "applied").await), (Some("mine"), 1));
}

async fn a_system_can_refuse_every_rebase(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("rebase", "never"));
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let problem = rebase(&env, &stale, "mine").send().await;
    let problem = problem.assert_problem(412, "precondition-failed").json();
    assert_eq!((problem.get("overlap"), problem.get("rebase")), (None, None), "{problem}");
}

async fn a_delete_with_a_stale_tag_is_never_rebased(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let count = env.record_count();
    let response = env.delete(fixture.key, &stale).prefer("rebase=disjoint").send().await;
    let problem = response.assert_problem(412, "precondition-failed").json();
    assert_eq!((problem.get("overlap"), env.record_count()), (None, count));
}

async fn members_that_belong_together_are_one_place(fixture: &'static VendorFixture) {
    let touched = {
        let env = TestEnv::start(fixture);
        let stale = env.current_etag(fixture.key).await;
        (fixture.external_touch)(&env.vendors, fixture.key);
        warning(&rebase(&env, &stale, "mine").send().await)["moved"][0].as_str().unwrap().to_owned()
    };
    let member = touched.split('/').nth(2).unwrap().to_owned();
    let group = vec![fixture.text.to_owned(), member];
    let env = TestEnv::start_with(fixture, |config| config.system(fixture.system, "together", vec![group]));
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let response = rebase(&env, &stale, "mine").send().await;
    assert_eq!(response.assert_problem(412, "precondition-failed").json()["overlap"], json!([touched]));
}

async fn a_json_patch_relies_on_what_its_tests_name(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let read = env.read(fixture.key).send().await;
    let (stale, fields) = (read.etag().to_owned(), read.json()["fields"].clone());
    (fixture.external_touch)(&env.vendors, fixture.key);
    let patch = |test: Value| {
        let replace = json!({"op": "replace", "path": text_pointer(fixture), "value": "mine"});
        env.patch(fixture.key).if_match(&stale).prefer("rebase=disjoint").json_patch(&json!([test, replace]))
    };
    let relies_on_all = patch(json!({"op": "test", "path": "/fields", "value": fields})).send().await;
    let problem = relies_on_all.assert_problem(412, "precondition-failed").json();
    // What the vendor stamps is a part of `fields` as well.
    assert!(problem["overlap"].as_array().unwrap().contains(&problem["changed"][0]), "{problem}");
    let wrong = patch(json!({"op": "test", "path": text_pointer(fixture), "value": "never"})).send().await;
    wrong.assert_problem(409, "patch-test-failed");
    let value = fields[fixture.text].clone();
    patch(json!({"op": "test", "path": text_pointer(fixture), "value": value})).send().await.assert_status(200);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "mine");
}

async fn a_key_replays_the_rebased_response(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let request = || rebase(&env, &stale, "mine").idempotency_key("rebased").send();
    let (first, again) = (request().await, request().await);
    first.assert_status(200);
    again.assert_status(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((first.text, warning(&again)["code"].as_str()), (again.text.clone(), Some("rebased")));
}

async fn a_tag_of_another_record_is_never_rebased(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.current_etag(fixture.key).await;
    let foreign = env.current_etag(fixture.other_key).await;
    let problem = rebase(&env, &foreign, "mine").send().await;
    let problem = problem.assert_problem(412, "precondition-failed").json();
    assert_eq!((problem.get("overlap"), problem.get("rebase")), (None, None), "{problem}");
}

/// The record moves a second time, between the read of the rebase and its write.
async fn a_change_during_the_rebase_is_met_with_another_rebase(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    if !fixture.native {
        // Under its lease a guarded write meets no other writer of the gateway.
        rebase(&env, &stale, "mine").send().await.assert_status(200);
        return;
    }
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (fixture.external_touch)(&env.vendors, fixture.key);
        env.faults().release();
    };
    // A JSON Patch reads first, so that the conflict is one of the rebased write itself.
    let replace = json!([{"op": "replace", "path": text_pointer(fixture), "value": "mine"}]);
    let patch = env.patch(fixture.key).if_match(&stale).prefer("rebase=disjoint").json_patch(&replace);
    let (response, ()) = join(patch.send(), others).await;
    response.assert_status(200);
    let ledger = env.read_ledger().await.json();
    let outcomes = ledger["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "outcome");
    let states: Vec<&Value> = outcomes.map(|entry| &entry["state"]).collect();
    assert_eq!(states, ["not-applied", "applied"]);
    assert_eq!(warning(&response)["onto"], ledger["items"].as_array().unwrap().last().unwrap()["rebased_onto"]);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "mine");
}

async fn star_with_a_test_compares_and_sets_one_field(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.read(fixture.key).send().await.json()["fields"][fixture.text].clone();
    (fixture.external_touch)(&env.vendors, fixture.key);
    let swap = |from: Value, to: &str| {
        env.patch(fixture.key).if_match("*").json_patch(&json!([
            {"op": "test", "path": text_pointer(fixture), "value": from},
            {"op": "replace", "path": text_pointer(fixture), "value": to},
        ]))
    };
    swap(before.clone(), "first").send().await.assert_status(fixture.patch_status);
    swap(before, "second").send().await.assert_problem(409, "patch-test-failed");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "first");
}

async fn a_caller_that_may_not_read_cannot_rebase(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        config.api_keys(&[("all", "all-key-0123456789", "*:*"), ("writer", "writer-key-0123456789", "*:update")])
    });
    let reading = env.read(fixture.key).header("Authorization", "Bearer all-key-0123456789").send().await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let writing = rebase(&env, reading.etag(), "mine").header("Authorization", "Bearer writer-key-0123456789");
    let problem = writing.send().await.assert_problem(412, "precondition-failed").json();
    assert_eq!((problem.get("changed"), problem.get("overlap")), (None, None), "{problem}");
}

/// How many changes each of the two callers makes; `REBASE_ROUNDS` sets another number.
fn rounds() -> usize {
    std::env::var("REBASE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

#[actix_web::test]
async fn two_callers_on_disjoint_fields_both_succeed_every_time() {
    for (fixture, other_field) in [(&PRETECTUM, "Phone"), (&MATRIX42, "DefaultSubject")] {
        let env = TestEnv::start(fixture);
        for round in 0..rounds() {
            let tag = env.read(fixture.key).send().await.etag().to_owned();
            let (text, other) = (format!("text {round}"), format!("+{round}"));
            let change = |fields: Value| {
                env.request(Method::PATCH, &fixture.path(fixture.key))
                    .if_match(&tag)
                    .prefer("rebase=disjoint")
                    .fields(&fields)
                    .send()
            };
            let (first, second) =
                join(change(json!({ fixture.text: text })), change(json!({ other_field: other }))).await;
            let mut statuses = [first.status, second.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 204], "{first:?} {second:?}");
            let fields = env.read(fixture.key).send().await.json()["fields"].clone();
            assert_eq!((&fields[fixture.text], &fields[other_field]), (&json!(text), &json!(other)));
        }
    }
}
