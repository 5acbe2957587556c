//! A write whose response was lost keeps other writers from its record, and no longer than
//! `settle_timeout` (contract 4.4).

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{Request, TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor};

for_each_vendor!(a_lost_delete_is_named_to_readers_and_writers_and_ends,);
for_each_native_vendor!(a_lost_update_is_named_to_readers_and_writers_and_ends,);

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
