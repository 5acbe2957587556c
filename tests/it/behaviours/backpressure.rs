//! Vendors that are down, slow or rate limited, and the effect on the others (contract 4.7 and
//! 5.9).

use std::time::Duration;

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{FIXTURES, TestEnv, VendorFixture, for_each_vendor};

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

async fn a_long_vendor_retry_after_is_returned_at_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::retry_after(429, "77"));
    let read = env.read(fixture.key).send().await;
    read.assert_problem(429, "rate-limited");
    assert_eq!((read.header("retry-after"), env.call_count(fixture.read_call_kind)), (Some("77"), 1));
    env.inject_once(CallKind::Update, InjectedFault::retry_after(429, "77"));
    let before = env.vendor_value(fixture.key);
    let write = env.set_text(fixture.key, &current_etag, "mine").send().await;
    write.assert_problem(429, "rate-limited");
    assert_eq!((write.header("retry-after"), env.call_count(CallKind::Update)), (Some("77"), 1));
    assert_eq!(
        (env.vendor_value(fixture.key), env.wait_for_operation(&write).await["state"].as_str()),
        (before, Some("not-applied"))
    );
}

async fn a_short_retry_after_is_honored_and_the_write_is_done_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::retry_after(429, "0"));
    env.inject_once(CallKind::Update, InjectedFault::retry_after(503, "0"));
    env.set_text(fixture.key, &current_etag, "after a while").send().await.assert_status(fixture.patch_status);
    assert_eq!(
        (env.vendor_value(fixture.key).unwrap().as_str(), env.call_count(CallKind::Update)),
        ("after a while", 3)
    );
}

async fn a_429_without_retry_after_is_returned_after_a_few_attempts(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.faults().always(CallKind::Update, InjectedFault::status(429));
    let response = env.set_text(fixture.key, &current_etag, "mine").send().await;
    response.assert_problem(429, "rate-limited");
    assert!(response.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(env.call_count(CallKind::Update), 3);
}

async fn assert_other_vendors_work(env: &TestEnv) {
    for other in FIXTURES.iter().filter(|other| other.system != env.fixture.system) {
        env.get(&other.path(other.key)).send().await.assert_status(200);
    }
}

async fn an_unreachable_vendor_is_503_and_works_again_when_it_is_back(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let before = (env.vendor_value(fixture.key), env.record_count());
    fixture.vendor(&env.vendors).pause().await;
    let read = env.read(fixture.key).send().await;
    read.assert_problem(503, "vendor-unavailable");
    assert!(read.header("retry-after").is_some());
    env.set_text(fixture.key, &current_etag, "mine").send().await.assert_problem(503, "vendor-unavailable");
    env.create("new").send().await.assert_problem(503, "vendor-unavailable");
    env.delete(fixture.deletable_key, "*").send().await.assert_problem(503, "vendor-unavailable");
    assert_other_vendors_work(&env).await;
    assert_eq!((env.vendor_value(fixture.key), env.record_count()), before);
    fixture.vendor(&env.vendors).resume();
    env.set_text(fixture.key, &current_etag, "back").send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "back");
}

async fn a_vendor_that_hangs_is_504_on_reads(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        config.every_system("timeout", "80ms").every_system("connect_timeout", "80ms").every_system("retries", 0)
    });
    env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::Hang);
    env.read(fixture.key).send().await.assert_problem(504, "vendor-timeout");
    env.read(fixture.key).send().await.assert_status(200);
}

async fn a_write_whose_read_hits_the_deadline_is_504(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("deadline", "3s").every_system("timeout", "20s"));
    let current_etag = env.current_etag(fixture.deletable_key).await;
    env.faults().always(fixture.read_call_kind, InjectedFault::Hang);
    let requests = [
        env.read(fixture.key),
        env.set_text(fixture.key, "*", "never").idempotency_key("k"),
        // A delete that the vendor compares needs no read.
        env.delete(fixture.deletable_key, if fixture.native_delete { "*" } else { &current_etag }),
    ];
    for response in join_all(requests.into_iter().map(crate::support::Request::send)).await {
        response.assert_problem(504, "vendor-timeout");
    }
    assert_eq!(env.write_call_count(), 0);
}

async fn a_vendor_that_hangs_does_not_affect_other_vendors(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.faults().always(fixture.read_call_kind, InjectedFault::Hold);
    let waiting = join_all((0..30).map(|_| env.read(fixture.key).send()));
    let others = async {
        env.wait_for_calls(fixture.read_call_kind, 1).await;
        assert_other_vendors_work(&env).await;
        env.faults().clear();
        env.faults().release();
        // Calls that arrive later to be held are released as they come.
        env.wait_until("all calls", |env| {
            env.faults().release();
            env.call_count(fixture.read_call_kind) >= 30
        })
        .await;
        env.faults().release();
    };
    let (responses, ()) = futures_util::future::join(waiting, others).await;
    for response in responses {
        response.assert_status(200);
    }
}

async fn an_open_circuit_sends_nothing_and_closes_again(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| {
        config.every_system("circuit_failures", 3).every_system("circuit_open_for", "300ms").every_system("retries", 0)
    });
    env.current_etag(fixture.key).await;
    env.faults().always(fixture.read_call_kind, InjectedFault::status(500));
    for _ in 0..3 {
        env.read(fixture.key).send().await.assert_problem(502, "vendor-error");
    }
    env.faults().clear();
    env.forget_calls();
    let rejected = env.read(fixture.key).send().await;
    rejected.assert_problem(503, "vendor-unavailable");
    assert!(rejected.header("retry-after").is_some());
    env.assert_nothing_sent();
    let health = env.get(&format!("/systems/{}", fixture.system)).send().await.json();
    assert!(health.to_string().contains("\"circuit\":\"open\""), "{health}");
    assert_other_vendors_work(&env).await;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while env.read(fixture.key).send().await.status != 200 {
        assert!(std::time::Instant::now() < until, "the circuit does not close");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_full_queue_is_503_at_once(fixture: &'static VendorFixture) {
    let env =
        TestEnv::start_with(fixture, |config| config.every_system("max_in_flight", 1).every_system("max_queue", 1));
    env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::Hold);
    let first = env.read(fixture.key);
    let others = async {
        env.wait_for_calls(fixture.read_call_kind, 1).await;
        let (one, other) = (Box::pin(env.read(fixture.key).send()), Box::pin(env.read(fixture.key).send()));
        let (rejected, waiting) = futures_util::future::select(one, other).await.factor_first();
        rejected.assert_problem(503, "overloaded");
        env.faults().release();
        waiting.await.assert_status(200);
    };
    let (response, ()) = futures_util::future::join(first.send(), others).await;
    response.assert_status(200);
}
