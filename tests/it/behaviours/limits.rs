//! Vendors that are down, slow or say "not now", and what the others notice of it (contract 4.7 and 5.9).

use std::time::Duration;

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, Fault};

use crate::support::{Bench, House, for_each_vendor};

for_each_vendor!(
    a_long_wait_that_the_vendor_asks_for_is_passed_on_at_once,
    a_short_wait_is_kept_and_the_write_is_done_once,
    too_many_calls_without_a_wait_are_429_after_a_few,
    a_vendor_that_is_down_is_503_and_works_again_when_it_is_back,
    a_vendor_that_hangs_is_504_on_reads,
    a_write_whose_look_meets_the_deadline_is_504_as_a_read_is,
    a_vendor_that_hangs_costs_the_others_nothing,
    an_open_circuit_sends_nothing_and_closes_again,
    a_full_queue_is_503_at_once,
);

async fn a_long_wait_that_the_vendor_asks_for_is_passed_on_at_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.once(bench.reading, Fault::retry_after(429, "77"));
    let read = house.read(bench.key).send().await;
    read.is(429, "rate-limited");
    assert_eq!((read.header("retry-after"), house.calls(bench.reading)), (Some("77"), 1));
    house.once(CallKind::Update, Fault::retry_after(429, "77"));
    let before = house.held(bench.key);
    let write = house.set_text(bench.key, &tag, "mine").send().await;
    write.is(429, "rate-limited");
    assert_eq!((write.header("retry-after"), house.calls(CallKind::Update)), (Some("77"), 1));
    assert_eq!((house.held(bench.key), house.settled(&write).await["state"].as_str()), (before, Some("not-applied")));
}

async fn a_short_wait_is_kept_and_the_write_is_done_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.once(CallKind::Update, Fault::retry_after(429, "0"));
    house.once(CallKind::Update, Fault::retry_after(503, "0"));
    house.set_text(bench.key, &tag, "after a while").send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.calls(CallKind::Update)), ("after a while", 3));
}

async fn too_many_calls_without_a_wait_are_429_after_a_few(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.faults().always(CallKind::Update, Fault::status(429));
    let answer = house.set_text(bench.key, &tag, "mine").send().await;
    answer.is(429, "rate-limited");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(house.calls(CallKind::Update), 3);
}

async fn down(house: &House) {
    match house.bench.system {
        "crm" => house.vendors.pretectum.pause().await,
        "architecture" => house.vendors.bluedolphin.pause().await,
        _ => house.vendors.matrix42.pause().await,
    }
}

fn up(house: &House) {
    match house.bench.system {
        "crm" => house.vendors.pretectum.resume(),
        "architecture" => house.vendors.bluedolphin.resume(),
        _ => house.vendors.matrix42.resume(),
    }
    .unwrap();
}

async fn others_work(house: &House) {
    for other in [crate::support::PRETECTUM, crate::support::BLUEDOLPHIN, crate::support::MATRIX42] {
        if other.system != house.bench.system {
            house.get(&other.path(other.key)).send().await.is_done(200);
        }
    }
}

async fn a_vendor_that_is_down_is_503_and_works_again_when_it_is_back(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let before = (house.held(bench.key), house.count());
    down(&house).await;
    let read = house.read(bench.key).send().await;
    read.is(503, "vendor-unavailable");
    assert!(read.header("retry-after").is_some());
    house.set_text(bench.key, &tag, "mine").send().await.is(503, "vendor-unavailable");
    house.create("new").send().await.is(503, "vendor-unavailable");
    house.delete(bench.doomed, "*").send().await.is(503, "vendor-unavailable");
    others_work(&house).await;
    assert_eq!((house.held(bench.key), house.count()), before);
    up(&house);
    house.set_text(bench.key, &tag, "back").send().await.is_done(bench.patched);
    assert_eq!(house.held(bench.key).unwrap(), "back");
}

async fn a_vendor_that_hangs_is_504_on_reads(bench: &'static Bench) {
    let house = House::with(
        bench,
        &[("vendor", "timeout", "\"80ms\""), ("vendor", "connect_timeout", "\"80ms\""), ("vendor", "retries", "0")],
    )
    .await;
    house.tag(bench.key).await;
    house.once(bench.reading, Fault::Hang);
    house.read(bench.key).send().await.is(504, "vendor-timeout");
    house.read(bench.key).send().await.is_done(200);
}

async fn a_write_whose_look_meets_the_deadline_is_504_as_a_read_is(bench: &'static Bench) {
    let house = House::with(bench, &[("server", "deadline", "\"700ms\""), ("vendor", "timeout", "\"5s\"")]).await;
    let tag = house.tag(bench.doomed).await;
    house.faults().always(bench.reading, Fault::Hang);
    for request in
        [house.read(bench.key), house.set_text(bench.key, "*", "never").key("k"), house.delete(bench.doomed, &tag)]
    {
        request.send().await.is(504, "vendor-timeout");
    }
    assert_eq!(house.writes(), 0);
}

async fn a_vendor_that_hangs_costs_the_others_nothing(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.faults().always(bench.reading, Fault::Hold);
    let waiting = join_all((0..30).map(|_| house.read(bench.key).send()));
    let others = async {
        house.received(bench.reading, 1).await;
        others_work(&house).await;
        house.faults().clear();
        house.faults().release();
        // Calls that were on their way to be held are let go as they come.
        house
            .until("all are answered", |house| {
                house.faults().release();
                house.calls(bench.reading) >= 30
            })
            .await;
        house.faults().release();
    };
    let (answers, ()) = futures_util::future::join(waiting, others).await;
    for answer in answers {
        answer.is_done(200);
    }
}

async fn an_open_circuit_sends_nothing_and_closes_again(bench: &'static Bench) {
    let settings =
        &[("vendor", "circuit_failures", "3"), ("vendor", "circuit_open_for", "\"300ms\""), ("vendor", "retries", "0")];
    let house = House::with(bench, settings).await;
    house.tag(bench.key).await;
    house.faults().always(bench.reading, Fault::status(500));
    for _ in 0..3 {
        house.read(bench.key).send().await.is(502, "vendor-error");
    }
    house.faults().clear();
    house.forget_calls();
    let refused = house.read(bench.key).send().await;
    refused.is(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    house.nothing_was_sent();
    let health = house.get(&format!("/systems/{}", bench.system)).send().await.json();
    assert!(health.to_string().contains("\"circuit\":\"open\""), "{health}");
    others_work(&house).await;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while house.read(bench.key).send().await.status != 200 {
        assert!(std::time::Instant::now() < until, "the circuit stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_full_queue_is_503_at_once(bench: &'static Bench) {
    let house = House::with(bench, &[("vendor", "max_in_flight", "1"), ("vendor", "max_queue", "1")]).await;
    house.tag(bench.key).await;
    house.once(bench.reading, Fault::Hold);
    let first = house.read(bench.key);
    let others = async {
        house.received(bench.reading, 1).await;
        let (one, other) = (Box::pin(house.read(bench.key).send()), Box::pin(house.read(bench.key).send()));
        let (refused, waiting) = futures_util::future::select(one, other).await.factor_first();
        refused.is(503, "overloaded");
        house.faults().release();
        waiting.await.is_done(200);
    };
    let (answer, ()) = futures_util::future::join(first.send(), others).await;
    answer.is_done(200);
}
