//! DELETE: guarded everywhere, because no vendor compares versions there (contract 4.3).

use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{BLUEDOLPHIN, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    the_current_etag_deletes_exactly_once,
    a_stale_etag_deletes_nothing,
    star_deletes_any_state,
    a_record_deleted_before_the_delete_is_204_or_404,
    a_second_write_waits_for_a_delete_in_flight,
);

async fn the_current_etag_deletes_exactly_once(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let (tag, before) = (house.current_etag(bench.deletable_key).await, house.record_count());
    let answer = house.delete(bench.deletable_key, &tag).send().await;
    // A loss that was accepted is named, but there is no record to show.
    answer.assert_status(204);
    assert_eq!(answer.header("concurrency-guarantee"), Some("guarded"));
    assert_eq!((house.vendor_value(bench.deletable_key), house.record_count()), (None, before - 1));
    assert_eq!((house.call_count(CallKind::Delete), house.write_call_count()), (1, 1));
    house.read(bench.deletable_key).send().await.assert_problem(404, "record-not-found");
    house.delete(bench.deletable_key, &tag).send().await.assert_problem(404, "record-not-found");
    assert_eq!(house.call_count(CallKind::Delete), 1);
}

async fn a_stale_etag_deletes_nothing(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.deletable_key).await;
    (bench.external_touch)(&house.vendors, bench.deletable_key);
    let answer = house.delete(bench.deletable_key, &current_etag).send().await;
    answer.assert_problem(412, "precondition-failed");
    assert_eq!(house.write_call_count(), 0);
    assert_eq!(answer.json()["current_etag"], house.current_etag(bench.deletable_key).await);
}

async fn star_deletes_any_state(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.delete(bench.deletable_key, "*").send().await.assert_status(204);
    assert_eq!((house.vendor_value(bench.deletable_key), house.write_call_count()), (None, 1));
}

async fn a_record_deleted_before_the_delete_is_204_or_404(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.deletable_key).await;
    house.inject_once(CallKind::Delete, InjectedFault::Hold);
    let others = async {
        house.wait_for_calls(CallKind::Delete, 1).await;
        (bench.external_delete)(&house.vendors, bench.deletable_key);
        house.faults().release();
    };
    let (answer, ()) =
        futures_util::future::join(house.delete(bench.deletable_key, &current_etag).send(), others).await;
    // Gone is what was asked for; whether the vendor tells who was first differs.
    assert!(answer.status == 204 || answer.problem() == "record-not-found", "{answer:?}");
    assert_eq!((house.vendor_value(bench.deletable_key), house.call_count(CallKind::Delete)), (None, 1));
}

async fn a_second_write_waits_for_a_delete_in_flight(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.deletable_key).await;
    house.inject_once(CallKind::Delete, InjectedFault::Hold);
    let (first, second) =
        (house.delete(bench.deletable_key, &current_etag), house.set_text(bench.deletable_key, &current_etag, "late"));
    let second = async {
        house.wait_for_calls(CallKind::Delete, 1).await;
        let release = async {
            // The second writer has had its chance to overtake when the vendor has seen nothing of it for a while.
            house.read(bench.other_key).send().await.assert_status(200);
            house.faults().release();
        };
        futures_util::future::join(second.send(), release).await.0
    };
    let (deleted, late) = futures_util::future::join(first.send(), second).await;
    deleted.assert_status(204);
    assert!(matches!(late.problem().as_str(), "record-not-found" | "operation-in-progress"), "{late:?}");
    assert_eq!(house.vendor_value(bench.deletable_key), None);
}

#[actix_web::test]
async fn active_bluedolphin_definitions_are_rejected_and_not_deleted() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let current_etag = house.current_etag(BLUEDOLPHIN.key).await;
    let answer = house.delete(BLUEDOLPHIN.key, &current_etag).send().await;
    answer.assert_problem(422, "rejected");
    assert_eq!(house.write_call_count(), 0);
    house
        .patch(BLUEDOLPHIN.key)
        .if_match(&current_etag)
        .fields(&serde_json::json!({ "status": "disabled" }))
        .send()
        .await
        .assert_status(204);
    let current_etag = house.current_etag(BLUEDOLPHIN.key).await;
    house.delete(BLUEDOLPHIN.key, &current_etag).send().await.assert_status(204);
    assert_eq!(house.vendor_value(BLUEDOLPHIN.key), None);
}
