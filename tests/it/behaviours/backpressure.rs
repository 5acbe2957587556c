//! Vendors that are down, slow or say "not now", and what the others notice of it (contract 4.7 and 5.9).

use std::time::Duration;

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_long_vendor_retry_after_is_returned_at_once,
    a_short_retry_after_is_honored_and_the_write_is_done_once,
    a_429_without_retry_after_is_returned_after_a_few_attempts,
    an_unreachable_vendor_is_503_and_works_again_when_it_is_back,
    a_vendor_that_hangs_is_504_on_reads,
    a_write_whose_read_hits_the_deadline_is_504,
    a_vendor_that_hangs_does_not_affect_other_vendors,
    an_open_circuit_sends_nothing_and_closes_again,
    a_full_queue_is_503_at_once,
);

async fn a_long_vendor_retry_after_is_returned_at_once(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(bench.read_call_kind, InjectedFault::retry_after(429, "77"));
    let read = house.read(bench.key).send().await;
    read.assert_problem(429, "rate-limited");
    assert_eq!((read.header("retry-after"), house.call_count(bench.read_call_kind)), (Some("77"), 1));
    house.inject_once(CallKind::Update, InjectedFault::retry_after(429, "77"));
    let before = house.vendor_value(bench.key);
    let write = house.set_text(bench.key, &current_etag, "mine").send().await;
    write.assert_problem(429, "rate-limited");
    assert_eq!((write.header("retry-after"), house.call_count(CallKind::Update)), (Some("77"), 1));
    assert_eq!(
        (house.vendor_value(bench.key), house.wait_for_operation(&write).await["state"].as_str()),
        (before, Some("not-applied"))
    );
}

async fn a_short_retry_after_is_honored_and_the_write_is_done_once(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::retry_after(429, "0"));
    house.inject_once(CallKind::Update, InjectedFault::retry_after(503, "0"));
    house.set_text(bench.key, &current_etag, "after a while").send().await.assert_status(bench.patch_status);
    assert_eq!(
        (house.vendor_value(bench.key).unwrap().as_str(), house.call_count(CallKind::Update)),
        ("after a while", 3)
    );
}

async fn a_429_without_retry_after_is_returned_after_a_few_attempts(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.faults().always(CallKind::Update, InjectedFault::status(429));
    let answer = house.set_text(bench.key, &current_etag, "mine").send().await;
    answer.assert_problem(429, "rate-limited");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(house.call_count(CallKind::Update), 3);
}

async fn pause_vendor(house: &TestEnv) {
    match house.fixture.system {
        "crm" => house.vendors.pretectum.pause().await,
        "architecture" => house.vendors.bluedolphin.pause().await,
        _ => house.vendors.matrix42.pause().await,
    }
}

fn resume_vendor(house: &TestEnv) {
    match house.fixture.system {
        "crm" => house.vendors.pretectum.resume(),
        "architecture" => house.vendors.bluedolphin.resume(),
        _ => house.vendors.matrix42.resume(),
    }
    .unwrap();
}

async fn assert_other_vendors_work(house: &TestEnv) {
    for other in [crate::support::PRETECTUM, crate::support::BLUEDOLPHIN, crate::support::MATRIX42] {
        if other.system != house.fixture.system {
            house.get(&other.path(other.key)).send().await.assert_status(200);
        }
    }
}

async fn an_unreachable_vendor_is_503_and_works_again_when_it_is_back(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let before = (house.vendor_value(bench.key), house.record_count());
    pause_vendor(&house).await;
    let read = house.read(bench.key).send().await;
    read.assert_problem(503, "vendor-unavailable");
    assert!(read.header("retry-after").is_some());
    house.set_text(bench.key, &current_etag, "mine").send().await.assert_problem(503, "vendor-unavailable");
    house.create("new").send().await.assert_problem(503, "vendor-unavailable");
    house.delete(bench.deletable_key, "*").send().await.assert_problem(503, "vendor-unavailable");
    assert_other_vendors_work(&house).await;
    assert_eq!((house.vendor_value(bench.key), house.record_count()), before);
    resume_vendor(&house);
    house.set_text(bench.key, &current_etag, "back").send().await.assert_status(bench.patch_status);
    assert_eq!(house.vendor_value(bench.key).unwrap(), "back");
}

async fn a_vendor_that_hangs_is_504_on_reads(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(
        bench,
        &[("vendor", "timeout", "\"80ms\""), ("vendor", "connect_timeout", "\"80ms\""), ("vendor", "retries", "0")],
    )
    .await;
    house.current_etag(bench.key).await;
    house.inject_once(bench.read_call_kind, InjectedFault::Hang);
    house.read(bench.key).send().await.assert_problem(504, "vendor-timeout");
    house.read(bench.key).send().await.assert_status(200);
}

async fn a_write_whose_read_hits_the_deadline_is_504(bench: &'static VendorFixture) {
    let house =
        TestEnv::start_with(bench, &[("server", "deadline", "\"700ms\""), ("vendor", "timeout", "\"5s\"")]).await;
    let current_etag = house.current_etag(bench.deletable_key).await;
    house.faults().always(bench.read_call_kind, InjectedFault::Hang);
    for request in [
        house.read(bench.key),
        house.set_text(bench.key, "*", "never").idempotency_key("k"),
        house.delete(bench.deletable_key, &current_etag),
    ] {
        request.send().await.assert_problem(504, "vendor-timeout");
    }
    assert_eq!(house.write_call_count(), 0);
}

async fn a_vendor_that_hangs_does_not_affect_other_vendors(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.faults().always(bench.read_call_kind, InjectedFault::Hold);
    let waiting = join_all((0..30).map(|_| house.read(bench.key).send()));
    let others = async {
        house.wait_for_calls(bench.read_call_kind, 1).await;
        assert_other_vendors_work(&house).await;
        house.faults().clear();
        house.faults().release();
        // Calls that were on their way to be held are let go as they come.
        house
            .wait_until("all are answered", |house| {
                house.faults().release();
                house.call_count(bench.read_call_kind) >= 30
            })
            .await;
        house.faults().release();
    };
    let (answers, ()) = futures_util::future::join(waiting, others).await;
    for answer in answers {
        answer.assert_status(200);
    }
}

async fn an_open_circuit_sends_nothing_and_closes_again(bench: &'static VendorFixture) {
    let settings =
        &[("vendor", "circuit_failures", "3"), ("vendor", "circuit_open_for", "\"300ms\""), ("vendor", "retries", "0")];
    let house = TestEnv::start_with(bench, settings).await;
    house.current_etag(bench.key).await;
    house.faults().always(bench.read_call_kind, InjectedFault::status(500));
    for _ in 0..3 {
        house.read(bench.key).send().await.assert_problem(502, "vendor-error");
    }
    house.faults().clear();
    house.forget_calls();
    let refused = house.read(bench.key).send().await;
    refused.assert_problem(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    house.assert_nothing_sent();
    let health = house.get(&format!("/systems/{}", bench.system)).send().await.json();
    assert!(health.to_string().contains("\"circuit\":\"open\""), "{health}");
    assert_other_vendors_work(&house).await;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while house.read(bench.key).send().await.status != 200 {
        assert!(std::time::Instant::now() < until, "the circuit stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_full_queue_is_503_at_once(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, &[("vendor", "max_in_flight", "1"), ("vendor", "max_queue", "1")]).await;
    house.current_etag(bench.key).await;
    house.inject_once(bench.read_call_kind, InjectedFault::Hold);
    let first = house.read(bench.key);
    let others = async {
        house.wait_for_calls(bench.read_call_kind, 1).await;
        let (one, other) = (Box::pin(house.read(bench.key).send()), Box::pin(house.read(bench.key).send()));
        let (refused, waiting) = futures_util::future::select(one, other).await.factor_first();
        refused.assert_problem(503, "overloaded");
        house.faults().release();
        waiting.await.assert_status(200);
    };
    let (answer, ()) = futures_util::future::join(first.send(), others).await;
    answer.assert_status(200);
}
