//! A write whose response was lost keeps other writers from its record, and no longer than
//! `settle_timeout` (contract 4.4).

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{Request, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

for_each_vendor!(a_lost_delete_is_named_to_readers_and_writers_and_ends,);
for_each_vendor_with!(native:
    a_lost_update_is_named_to_readers_and_writers_and_ends,
    what_a_vendor_ignores_is_found_after_the_caller_has_left,
);

async fn a_lost_delete_is_named_to_readers_and_writers_and_ends(fixture: &'static VendorFixture) {
    assert_named_until_it_ends(fixture, CallKind::Delete, |env, tag| env.delete(env.fixture.deletable_key, tag)).await;
}

async fn a_lost_update_is_named_to_readers_and_writers_and_ends(fixture: &'static VendorFixture) {
    let update = |env: &TestEnv, tag: &str| env.set_text(env.fixture.deletable_key, tag, "lost");
    assert_named_until_it_ends(fixture, CallKind::Update, update).await;
}

async fn assert_named_until_it_ends(
    fixture: &'static VendorFixture,
    call: CallKind,
    write: impl Fn(&TestEnv, &str) -> Request,
) {
    let env = TestEnv::start_with(fixture, |config| {
        let config = config.server("deadline", "20s").every_system("settle_timeout", "4s");
        config.every_system("completion_poll", "50ms").every_system("completion_timeout", "10m")
    });
    let key = fixture.deletable_key;
    let (tag, before) = (env.current_etag(key).await, env.vendor_value(key));
    env.faults().always(call, InjectedFault::ResetBefore);
    let others = async {
        env.wait_for_calls(call, 2).await;
        let operation = loop {
            let read = env.read(key).send().await.json();
            if let Some(operation) = read["pending_operation"].as_str() {
                break operation.to_owned();
            }
        };
        let other = env.delete(key, &tag).send().await;
        let problem = other.assert_problem(409, "operation-in-progress").json();
        assert_eq!(problem["operation"], operation.as_str());
        assert!(other.header("retry-after").is_some());
        let listed = env.get(&operation).send().await.json();
        assert_eq!(listed["state"], "running", "{listed}");
        operation
    };
    let (lost, operation) = join(write(&env, &tag).send(), others).await;
    assert_eq!(lost.assert_problem(504, "outcome-unknown").json()["operation"], operation.as_str());
    let ended = env.wait_for_operation(&lost).await;
    assert_eq!((ended["state"].as_str(), ended["observed"].as_str()), (Some("unknown"), Some("unchanged")), "{ended}");
    assert_eq!(env.vendor_value(key), before);
    // The record is free.
    env.faults().clear();
    assert_eq!(env.read(key).send().await.json().get("pending_operation"), None);
    env.delete(key, &tag).send().await.assert_status(204);
    assert_eq!(env.vendor_value(key), None);
}

/// The caller of such a write gets 422, or 200 with a warning, if the vendor responds in time.
async fn what_a_vendor_ignores_is_found_after_the_caller_has_left(fixture: &'static VendorFixture) {
    let mut both = (fixture.reset_patch)();
    both[fixture.text] = json!("ignored");
    for (fields, state, problem) in
        [(fixture.text_patch("ignored"), "not-applied", json!("/problems/rejected")), (both, "applied", json!(null))]
    {
        let env = TestEnv::start_with(fixture, |config| {
            config.server("deadline", "1s").every_system("completion_poll", "30ms").every_system("retries", 0)
        });
        (fixture.ignore_text)(&env.vendors);
        let (tag, before) = (env.current_etag(fixture.key).await, env.vendor_value(fixture.key));
        env.faults().always(CallKind::Update, InjectedFault::ResetBefore);
        let write = || {
            let patch = env.patch(fixture.key).if_match(&tag).fields(&fields);
            patch.prefer("return=representation").idempotency_key("once")
        };
        let lost = write().send().await;
        lost.assert_problem(504, "outcome-unknown");
        env.faults().clear();
        let ended = env.wait_for_operation(&lost).await;
        assert_eq!((ended["state"].as_str(), &ended["problem"]["type"]), (Some(state), &problem), "{ended}");
        assert_eq!(env.vendor_value(fixture.key), before);
        let replayed = write().send().await;
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"), "{replayed:?}");
        if state == "applied" {
            assert_eq!(ended["warnings"][0]["code"], "not-applied", "{ended}");
            assert_eq!(replayed.assert_status(200).json()["warnings"][0]["code"], "not-applied");
        } else {
            replayed.assert_problem(422, "rejected");
        }
    }
}
