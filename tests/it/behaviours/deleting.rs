//! DELETE: guarded everywhere, because no vendor compares versions there (contract 4.3).

use records_gateway::sandbox::{CallKind, Fault};

use crate::support::{BLUEDOLPHIN, Bench, House, for_each_vendor};

for_each_vendor!(
    the_current_tag_deletes_exactly_once,
    a_stale_tag_deletes_nothing,
    star_deletes_whatever_is_there,
    a_record_that_vanishes_before_the_delete_is_404,
    a_second_writer_of_the_gateway_waits_for_a_delete_that_is_being_sent,
);

async fn the_current_tag_deletes_exactly_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let (tag, before) = (house.tag(bench.doomed).await, house.count());
    let answer = house.delete(bench.doomed, &tag).send().await;
    // A loss that was accepted is named, but there is no record to show.
    answer.is_done(204);
    assert_eq!(answer.header("concurrency-guarantee"), Some("guarded"));
    assert_eq!((house.held(bench.doomed), house.count()), (None, before - 1));
    assert_eq!((house.calls(CallKind::Delete), house.writes()), (1, 1));
    house.read(bench.doomed).send().await.is(404, "record-not-found");
    house.delete(bench.doomed, &tag).send().await.is(404, "record-not-found");
    assert_eq!(house.calls(CallKind::Delete), 1);
}

async fn a_stale_tag_deletes_nothing(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.doomed).await;
    (bench.touch)(&house.vendors, bench.doomed);
    let answer = house.delete(bench.doomed, &tag).send().await;
    answer.is(412, "precondition-failed");
    assert_eq!(house.writes(), 0);
    assert_eq!(answer.json()["current_etag"], house.tag(bench.doomed).await);
}

async fn star_deletes_whatever_is_there(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.delete(bench.doomed, "*").send().await.is_done(204);
    assert_eq!((house.held(bench.doomed), house.writes()), (None, 1));
}

async fn a_record_that_vanishes_before_the_delete_is_404(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.doomed).await;
    house.once(CallKind::Delete, Fault::Hold);
    let others = async {
        house.received(CallKind::Delete, 1).await;
        (bench.remove)(&house.vendors, bench.doomed);
        house.faults().release();
    };
    let (answer, ()) = futures_util::future::join(house.delete(bench.doomed, &tag).send(), others).await;
    // Gone is what was asked for; whether the vendor tells who was first differs.
    assert!(answer.status == 204 || answer.problem() == "record-not-found", "{answer:?}");
    assert_eq!((house.held(bench.doomed), house.calls(CallKind::Delete)), (None, 1));
}

async fn a_second_writer_of_the_gateway_waits_for_a_delete_that_is_being_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.doomed).await;
    house.once(CallKind::Delete, Fault::Hold);
    let (first, second) = (house.delete(bench.doomed, &tag), house.set_text(bench.doomed, &tag, "late"));
    let second = async {
        house.received(CallKind::Delete, 1).await;
        let release = async {
            // The second writer has had its chance to overtake when the vendor has seen nothing of it for a while.
            house.read(bench.other).send().await.is_done(200);
            house.faults().release();
        };
        futures_util::future::join(second.send(), release).await.0
    };
    let (deleted, late) = futures_util::future::join(first.send(), second).await;
    deleted.is_done(204);
    assert!(matches!(late.problem().as_str(), "record-not-found" | "operation-in-progress"), "{late:?}");
    assert_eq!(house.held(bench.doomed), None);
}

#[actix_web::test]
async fn bluedolphins_active_definitions_are_not_deleted_and_nothing_is_sent() {
    let house = House::start(&BLUEDOLPHIN).await;
    let tag = house.tag(BLUEDOLPHIN.key).await;
    let answer = house.delete(BLUEDOLPHIN.key, &tag).send().await;
    answer.is(422, "rejected");
    assert_eq!(house.writes(), 0);
    house
        .patch(BLUEDOLPHIN.key)
        .if_match(&tag)
        .fields(&serde_json::json!({ "status": "disabled" }))
        .send()
        .await
        .is_done(204);
    let tag = house.tag(BLUEDOLPHIN.key).await;
    house.delete(BLUEDOLPHIN.key, &tag).send().await.is_done(204);
    assert_eq!(house.held(BLUEDOLPHIN.key), None);
}
