//! A schema that is not available stops no write.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{DATAVERSE, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor_with};

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

/// How many calls one reading of the schema takes.
async fn one_reading(fixture: &'static VendorFixture) -> usize {
    let env = TestEnv::start(fixture);
    let collection = fixture.collection().replace(':', "%3A");
    let path = format!("/systems/{}/collections/{collection}/schema", fixture.system);
    env.get(&path).send().await.assert_status(200);
    env.call_count(CallKind::Schema)
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
    let env = TestEnv::start(fixture);
    env.faults().always(CallKind::Schema, InjectedFault::Hang);
    let tag = env.current_etag(fixture.key).await;
    let begun = Instant::now();
    env.set_text(fixture.key, &tag, "mine").send().await.assert_status(fixture.patch_status);
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    env.set_text(fixture.key, "*", "yours").send().await.assert_status(fixture.patch_status);
    assert!(begun.elapsed() < Duration::from_secs(1), "it is not requested again at once");
}

async fn many_writers_at_a_cold_cache_cause_one_schema_call(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.faults().always(CallKind::Schema, InjectedFault::Delay { pause: Duration::from_millis(300) });
    let wrong = |number: usize| env.patch(fixture.key).if_match("\"stale\"").fields(&json!({ "Unheard": number }));
    let begun = Instant::now();
    let responses = join_all((0..1000).map(|number| wrong(number).send())).await;
    // On a slow machine a schema can take longer than a write waits for it; that write is not
    // checked, and the vendor's queue may have no place for all of them.
    let unexpected: Vec<_> = responses.iter().filter(|one| ![422, 412, 503].contains(&one.status)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    let is_checked = responses.iter().any(|one| one.status == 422);
    assert!(is_checked || begun.elapsed() > Duration::from_secs(2), "nothing is checked");
    // On a slow machine the schema gets older than a refusal's may be, and is read once more.
    let readings = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let calls = env.call_count(CallKind::Schema);
    assert!((1..=readings * one_reading(fixture).await).contains(&calls), "{calls} calls in {:?}", begun.elapsed());
}

/// The schema is known at first, and one mistyped write a second needs it once more.
async fn a_failing_schema_endpoint_stops_no_other_request(fixture: &'static VendorFixture) {
    for fault in [InjectedFault::status(500), InjectedFault::Hang] {
        let env = TestEnv::start(fixture);
        let tag = env.current_etag(fixture.key).await;
        env.set_text(fixture.key, &tag, "first").send().await.assert_status(fixture.patch_status);
        env.faults().always(CallKind::Schema, fault.clone());
        for round in 0..3 {
            tokio::time::sleep(Duration::from_millis(1050)).await;
            let tag = env.current_etag(fixture.key).await;
            env.patch(fixture.key).if_match(&tag).fields(&json!({ "Unheard": round })).send().await;
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
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let response = env.patch(MATRIX42.key).if_match("*").fields(&json!({ "Unheard": 1 })).send().await;
    // The vendor's own words.
    assert!(response.json()["vendor"]["message"].as_str().unwrap().contains("does not contain attribute"));
    assert_eq!(env.write_call_count(), 1);
}
