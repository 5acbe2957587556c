//! DELETE: guarded, but for vendors that compare versions there (contract 4.3).

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{BLUEDOLPHIN, DATAVERSE, MATRIX42, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    the_current_etag_deletes_exactly_once,
    a_stale_etag_deletes_nothing,
    star_deletes_any_state,
    a_record_deleted_before_the_delete_is_204_or_404,
    a_second_write_waits_for_a_delete_in_flight,
    a_delete_with_one_failure_is_sent_again_and_done,
);

async fn the_current_etag_deletes_exactly_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let (tag, before) = (env.current_etag(fixture.deletable_key).await, env.record_count());
    let response = env.delete(fixture.deletable_key, &tag).send().await;
    // An accepted loss is a warning, but there is no record to return it with.
    response.assert_status(204);
    assert_eq!(response.header("concurrency-guarantee"), Some(fixture.delete_guarantee()));
    assert_eq!((env.vendor_value(fixture.deletable_key), env.record_count()), (None, before - 1));
    assert_eq!((env.call_count(CallKind::Delete), env.write_call_count()), (1, 1));
    env.read(fixture.deletable_key).send().await.assert_problem(404, "record-not-found");
    env.delete(fixture.deletable_key, &tag).send().await.assert_problem(404, "record-not-found");
    // A native delete is one vendor request, without a read before it.
    assert_eq!(env.call_count(CallKind::Delete), 1 + usize::from(fixture.native_delete));
}

async fn a_stale_etag_deletes_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.deletable_key).await;
    (fixture.external_touch)(&env.vendors, fixture.deletable_key);
    let response = env.delete(fixture.deletable_key, &current_etag).send().await;
    response.assert_problem(412, "precondition-failed");
    assert_eq!(env.write_call_count(), usize::from(fixture.native_delete), "only a native delete is compared there");
    assert!(env.vendor_value(fixture.deletable_key).is_some());
    assert_eq!(response.json()["current_etag"], env.current_etag(fixture.deletable_key).await);
}

async fn star_deletes_any_state(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.delete(fixture.deletable_key, "*").send().await.assert_status(204);
    assert_eq!((env.vendor_value(fixture.deletable_key), env.write_call_count()), (None, 1));
}

async fn a_record_deleted_before_the_delete_is_204_or_404(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.deletable_key).await;
    env.inject_once(CallKind::Delete, InjectedFault::Hold);
    let others = async {
        env.wait_for_calls(CallKind::Delete, 1).await;
        (fixture.external_delete)(&env.vendors, fixture.deletable_key);
        env.faults().release();
    };
    let (response, ()) =
        futures_util::future::join(env.delete(fixture.deletable_key, &current_etag).send(), others).await;
    // The record is gone as requested; vendors differ in whether they report who was first.
    assert!(response.status == 204 || response.problem() == "record-not-found", "{response:?}");
    assert_eq!((env.vendor_value(fixture.deletable_key), env.call_count(CallKind::Delete)), (None, 1));
}

async fn a_second_write_waits_for_a_delete_in_flight(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.deletable_key).await;
    env.inject_once(CallKind::Delete, InjectedFault::Hold);
    let (first, second) =
        (env.delete(fixture.deletable_key, &current_etag), env.set_text(fixture.deletable_key, &current_etag, "late"));
    let second = async {
        env.wait_for_calls(CallKind::Delete, 1).await;
        let release = async {
            // The second writer had time to overtake, and the vendor has received nothing from it.
            env.read(fixture.other_key).send().await.assert_status(200);
            env.faults().release();
        };
        futures_util::future::join(second.send(), release).await.0
    };
    let (deleted, late) = futures_util::future::join(first.send(), second).await;
    if fixture.native_delete {
        // Both are compared with the version at the vendor: one of them fails there.
        assert_eq!([deleted.status, late.status].iter().filter(|status| **status == 204).count(), 1, "{late:?}");
        return;
    }
    deleted.assert_status(204);
    assert!(matches!(late.problem().as_str(), "record-not-found" | "operation-in-progress"), "{late:?}");
    assert_eq!(env.vendor_value(fixture.deletable_key), None);
}

async fn a_delete_with_one_failure_is_sent_again_and_done(fixture: &'static VendorFixture) {
    for fault in [InjectedFault::status(500), InjectedFault::ResetBefore, InjectedFault::Hang] {
        let env = TestEnv::start_with(fixture, |config| config.every_system("timeout", "1s"));
        let current_etag = env.current_etag(fixture.deletable_key).await;
        env.inject_once(CallKind::Delete, fault.clone());
        let response = env.delete(fixture.deletable_key, &current_etag).send().await;
        assert_eq!(response.status, 204, "{fault:?}: {response:?}");
        assert_eq!((env.vendor_value(fixture.deletable_key), env.call_count(CallKind::Delete)), (None, 2), "{fault:?}");
        assert_eq!(env.wait_for_operation(&response).await["state"], "applied");
    }
}

#[actix_web::test]
async fn a_lost_delete_is_not_repeated_on_a_record_that_has_changed() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        config.server("deadline", "2s").every_system("settle_timeout", "3s").every_system("completion_poll", "50ms")
    });
    let current_etag = env.current_etag(MATRIX42.deletable_key).await;
    env.faults().always(CallKind::Delete, InjectedFault::ResetBefore);
    let change = async {
        env.wait_for_calls(CallKind::Delete, 1).await;
        (MATRIX42.external_touch)(&env.vendors, MATRIX42.deletable_key);
        env.faults().clear();
    };
    let (response, ()) = join(env.delete(MATRIX42.deletable_key, &current_etag).send(), change).await;
    // A repetition that was under way before the change is harmless; none follows it.
    if response.status != 204 {
        response.assert_problem(504, "outcome-unknown");
        assert_eq!(env.wait_for_operation(&response).await["state"], "unknown");
        assert!(env.vendor_value(MATRIX42.deletable_key).is_some());
        // The record is free again.
        env.delete(MATRIX42.deletable_key, "*").send().await.assert_status(204);
    }
}

#[actix_web::test]
async fn a_delete_that_the_vendor_compares_is_one_call() {
    let env = TestEnv::start(&DATAVERSE);
    let current_etag = env.current_etag(DATAVERSE.deletable_key).await;
    let reads = env.call_count(CallKind::Read);
    let response =
        env.delete(DATAVERSE.deletable_key, &current_etag).header("Require-Guarantee", "native").send().await;
    response.assert_status(204);
    assert_eq!((env.call_count(CallKind::Read), env.write_call_count()), (reads, 1));
}

#[actix_web::test]
async fn active_bluedolphin_definitions_are_rejected_and_not_deleted() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let current_etag = env.current_etag(BLUEDOLPHIN.key).await;
    let response = env.delete(BLUEDOLPHIN.key, &current_etag).send().await;
    response.assert_problem(422, "rejected");
    assert_eq!(env.write_call_count(), 0);
    env.patch(BLUEDOLPHIN.key)
        .if_match(&current_etag)
        .fields(&serde_json::json!({ "status": "disabled" }))
        .send()
        .await
        .assert_status(204);
    let current_etag = env.current_etag(BLUEDOLPHIN.key).await;
    env.delete(BLUEDOLPHIN.key, &current_etag).send().await.assert_status(204);
    assert_eq!(env.vendor_value(BLUEDOLPHIN.key), None);
}
