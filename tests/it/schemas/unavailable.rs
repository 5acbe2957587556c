//! A schema that is not available stops no write.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{DATAVERSE, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor_with};

/// The longest wait for what must come.
const TIMEOUT: Duration = Duration::from_secs(20);

for_each_vendor_with!(schemas:
    a_write_continues_without_a_schema,
    a_schema_that_hangs_delays_a_write_by_two_seconds_at_most,
    many_writers_at_a_cold_cache_cause_one_schema_call,
    a_tagged_patch_is_one_call_once_the_schema_is_known,
    a_failing_schema_endpoint_stops_no_other_request,
);

async fn unavailable_count(env: &TestEnv) -> u64 {
    let metrics = env.get("/metrics").send().await.text;
    let name = format!("schema_unavailable_total{{system=\"{}\"}} ", env.fixture.system);
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

async fn a_write_continues_without_a_schema(fixture: &'static VendorFixture) {
    for fault in [
        InjectedFault::status(500),
        InjectedFault::status(403),
        InjectedFault::status(404),
        InjectedFault::HtmlPage,
        InjectedFault::HugeBody { bytes: 40 << 20 },
        InjectedFault::WrongJson,
    ] {
        let env = TestEnv::start(fixture);
        env.faults().always(CallKind::Schema, fault.clone());
        let tag = env.current_etag(fixture.key).await;
        let response = env.set_text(fixture.key, &tag, "mine").send().await;
        assert_eq!(response.status, fixture.patch_status, "{response:?} with {fault:?}");
        assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("mine"));
        assert_eq!(unavailable_count(&env).await, 1);
        let health = env.get(&format!("/systems/{}", fixture.system)).send().await.json();
        assert_eq!(health["schemas"]["unavailable"], 1, "{health}");
    }
}

async fn a_schema_that_hangs_delays_a_write_by_two_seconds_at_most(fixture: &'static VendorFixture) {
    // Nothing else ends the wait: neither the vendor's timeout nor the deadline.
    let env = TestEnv::start_with(fixture, |config| config.server("deadline", "1m").every_system("timeout", "1m"));
    env.faults().always(CallKind::Schema, InjectedFault::Hang);
    let tag = env.current_etag(fixture.key).await;
    let begun = Instant::now();
    env.set_text(fixture.key, &tag, "mine").send().await.assert_status(fixture.patch_status);
    // Without this limit it would be a quarter of the deadline: 15 s.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let calls = env.call_count(CallKind::Schema);
    assert!(calls > 0);
    env.set_text(fixture.key, "*", "yours").send().await.assert_status(fixture.patch_status);
    assert_eq!(env.call_count(CallKind::Schema), calls, "it is not requested again at once");
}

async fn many_writers_at_a_cold_cache_cause_one_schema_call(fixture: &'static VendorFixture) {
    const WRITERS: usize = 300;
    let env = TestEnv::start_with(fixture, |config| config.server("deadline", "1m"));
    env.faults().once(CallKind::Schema, InjectedFault::Hold);
    let wrong = |number: usize| env.patch(fixture.key).if_match("\"stale\"").fields(&json!({ "Unheard": number }));
    let writers = join_all((0..WRITERS).map(|number| wrong(number).send()));
    let release = async {
        env.wait_for_calls(CallKind::Schema, 1).await;
        let until = Instant::now() + TIMEOUT;
        while in_flight(&env).await < WRITERS {
            assert!(Instant::now() < until, "the writers do not wait for the schema");
        }
        assert_eq!(env.call_count(CallKind::Schema), 1, "all wait for one reading");
        env.faults().release();
    };
    let (responses, ()) = join(writers, release).await;
    // On a slow machine a write can wait too long for the schema: it is not checked, and counted.
    let unchecked = responses.iter().filter(|one| one.status != 422).count();
    assert!(responses.iter().all(|one| [422, 412].contains(&one.status)), "{responses:?}");
    assert_eq!(unavailable_count(&env).await, unchecked as u64);
}

/// How many requests to the fixture's system are in flight.
async fn in_flight(env: &TestEnv) -> usize {
    let metrics = env.get("/metrics").send().await.text;
    let name = format!("gateway_in_flight{{system=\"{}\"}} ", env.fixture.system);
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Sends mistyped writes until one needs the schema once more: a second after the last reading.
async fn cause_a_schema_call(env: &TestEnv) {
    let until = Instant::now() + TIMEOUT;
    loop {
        let tag = env.current_etag(env.fixture.key).await;
        env.patch(env.fixture.key).if_match(&tag).fields(&json!({ "Unheard": 1 })).send().await;
        if env.call_count(CallKind::Schema) > 0 {
            return;
        }
        assert!(Instant::now() < until, "no mistyped write needs the schema");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The schema is known at first.
async fn a_failing_schema_endpoint_stops_no_other_request(fixture: &'static VendorFixture) {
    for fault in [InjectedFault::status(500), InjectedFault::Hang] {
        let env = TestEnv::start(fixture);
        let tag = env.current_etag(fixture.key).await;
        env.set_text(fixture.key, &tag, "first").send().await.assert_status(fixture.patch_status);
        env.faults().always(CallKind::Schema, fault.clone());
        for round in 0..3 {
            cause_a_schema_call(&env).await;
            if fault != InjectedFault::Hang {
                env.get(&format!("/systems/{}/collections", fixture.system)).send().await;
            }
            let tag = env.current_etag(fixture.key).await;
            let good = env.set_text(fixture.key, &tag, &format!("good {round}")).send().await;
            good.assert_status(fixture.patch_status);
        }
        let health = env.get(&format!("/systems/{}", fixture.system)).send().await.json();
        assert_eq!(health["health"]["circuit"], "closed", "{health}");
    }
}

async fn a_tagged_patch_is_one_call_once_the_schema_is_known(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    env.set_text(fixture.key, &tag, "first").send().await.assert_status(204);
    assert!(env.call_count(CallKind::Schema) > 0, "the first write after a start costs one more");
    let tag = env.current_etag(fixture.key).await;
    env.set_text(fixture.key, &tag, "second").send().await.assert_status(204);
    assert_eq!((env.call_count(CallKind::Schema), env.requests().len()), (0, 1));
}

#[actix_web::test]
async fn a_schema_without_fields_refuses_nothing() {
    for (fixture, body, skip) in [(&PRETECTUM, r#"{"name":"x","fields":[]}"#, 0), (&DATAVERSE, r#"{"value":[]}"#, 1)] {
        let env = TestEnv::start(fixture);
        env.faults().add(CallKind::Schema, InjectedFault::json(200, body), skip, None);
        let tag = env.current_etag(fixture.key).await;
        env.set_text(fixture.key, &tag, "mine").send().await.assert_status(fixture.patch_status);
        assert_eq!(unavailable_count(&env).await, 1);
    }
}

#[actix_web::test]
async fn without_a_schema_the_verdict_does_not_depend_on_preferences() {
    for preference in ["return=minimal", "return=representation"] {
        let env = TestEnv::start(&PRETECTUM);
        env.faults().always(CallKind::Schema, InjectedFault::status(404));
        let tag = env.current_etag(PRETECTUM.key).await;
        let patch = |fields: &Value| env.patch(PRETECTUM.key).if_match(&tag).prefer(preference).fields(fields);
        let dropped = patch(&json!({ "Statsu": "x" })).send().await;
        dropped.assert_problem(422, "rejected");
        assert_eq!(env.wait_for_operation(&dropped).await["state"], "not-applied", "{preference}");
        let tag = env.current_etag(PRETECTUM.key).await;
        let flagged = env.patch(PRETECTUM.key).if_match(&tag).prefer(preference).fields(&json!({ "Status": "Gold" }));
        let flagged = flagged.send().await;
        flagged.assert_status(200);
        assert_eq!(flagged.json()["warnings"][0]["code"], "invalid-field", "{preference}");
        assert_eq!(env.wait_for_operation(&flagged).await["warnings"][0]["code"], "invalid-field");
    }
}

#[actix_web::test]
async fn a_schema_that_fails_when_a_write_would_be_refused_refuses_nothing() {
    let env = TestEnv::start(&MATRIX42);
    env.patch(MATRIX42.key).if_match("*").fields(&json!({ "Unheard": 1 })).send().await.assert_problem(422, "rejected");
    assert_eq!(env.write_call_count(), 0);
    env.faults().always(CallKind::Schema, InjectedFault::status(404));
    let patch = || env.patch(MATRIX42.key).if_match("*").fields(&json!({ "Unheard": 1 }));
    let response = env.repeat_refused(patch, |_| env.write_call_count() > 0).await;
    // The vendor's own words.
    assert!(response.json()["vendor"]["message"].as_str().unwrap().contains("does not contain attribute"));
    assert_eq!(env.write_call_count(), 1);
}
