//! Writes that ended `unknown`, as an operator sees them until they are resolved (contract 4.15,
//! 6).

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{MATRIX42, TestClient, TestEnv, TestResponse, TestServer, VendorFixture};

/// The longest wait for what must come.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A gauge of the fixture's system.
async fn gauge(client: &TestClient, fixture: &VendorFixture, name: &str) -> Option<i64> {
    let metrics = client.get("/metrics").send().await.assert_status(200).text.clone();
    let series = format!("{name}{{system=\"{}\"}} ", fixture.system);
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap())
}

fn start() -> TestServer {
    TestServer::start_with(|config| {
        let config = config.server("deadline", "2s").every_system("timeout", "500ms").every_system("retries", 0);
        config.every_system("settle_timeout", "600ms").every_system("completion_timeout", "600ms")
    })
}

/// A write whose outcome the gateway does not learn, and its operation, once that has ended.
async fn send_lost_write(server: &TestServer, prefer: &str) -> (TestResponse, String) {
    let (client, path) = (server.client(), MATRIX42.path(MATRIX42.key));
    let tag = client.get(&path).send().await.assert_status(200).etag().to_owned();
    let faults = &server.vendors.matrix42.faults;
    faults.always(CallKind::Update, InjectedFault::HangAfter);
    // An asynchronous write reads before it responds.
    let reads_before = u32::from(prefer == "respond-async");
    faults.add(MATRIX42.read_call_kind, InjectedFault::ResetBefore, reads_before, None);
    let write = client.request(Method::PATCH, &path).if_match(&tag).prefer(prefer);
    let lost = write.fields(&MATRIX42.text_patch("lost")).send().await;
    let operation = lost.header("operation").or(lost.header("location")).expect("its operation").to_owned();
    let until = Instant::now() + TIMEOUT;
    while client.get(&operation).send().await.json()["state"] != "unknown" {
        assert!(Instant::now() < until, "the operation has not ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    faults.clear();
    (lost, operation)
}

#[actix_web::test]
async fn an_asynchronous_write_that_ended_unknown_counts_too() {
    let server = start();
    let (accepted, _) = send_lost_write(&server, "respond-async").await;
    accepted.assert_status(202);
    wait_for_gauge(&server.client(), 1).await;
}

#[actix_web::test]
async fn a_write_that_ended_unknown_counts_until_a_person_resolves_it() {
    let mut server = start();
    let before = jiff::Timestamp::now().as_second();
    let (lost, operation) = send_lost_write(&server, "handling=lenient").await;
    lost.assert_problem(504, "outcome-unknown");
    let after = jiff::Timestamp::now().as_second();
    let ended = server.client().get(&operation).send().await.json();
    let detail = ended["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains("has ended") && detail.contains("/resolve"), "{detail}");
    for round in ["before", "after"] {
        let client = server.client();
        wait_for_gauge(&client, 1).await;
        let oldest = gauge(&client, &MATRIX42, "writes_unknown_oldest_timestamp_seconds").await.unwrap();
        assert!((before..=after).contains(&oldest), "{round} a restart: {oldest}, not {before} to {after}");
        let health = client.get("/systems/itsm").send().await.json()["health"].clone();
        assert_eq!(health["writes_unknown"], 1, "{health}");
        assert!(health["oldest_unknown"].is_string(), "{health}");
        server.restart().await;
    }
    let client = server.client();
    wait_for_gauge(&client, 1).await;
    let verdict = json!({ "state": "applied", "note": "seen" });
    let resolve = || client.request(Method::POST, &format!("{operation}/resolve"));
    for note in [" ", "\u{0}", "a\u{7}b", ""] {
        let refused = resolve().json(&json!({ "state": "applied", "note": note })).send().await;
        refused.assert_problem(422, "rejected");
    }
    resolve().json(&verdict).send().await.assert_status(200);
    assert_eq!(gauge(&client, &MATRIX42, "writes_unknown").await, Some(0));
    assert_eq!(gauge(&client, &MATRIX42, "writes_unknown_oldest_timestamp_seconds").await, None);
    wait_for_gauge(&client, 0).await;
}

/// Waits until the gauge has this value and keeps it: this process counts its own writes first, and
/// then the store's number, which it reads at once after a start or a change, must be the same.
async fn wait_for_gauge(client: &TestClient, expected: i64) {
    const STABLE_SAMPLES: usize = 40;
    let until = Instant::now() + TIMEOUT;
    let mut stable = 0;
    while stable < STABLE_SAMPLES {
        let value = gauge(client, &MATRIX42, "writes_unknown").await;
        let has_changed = stable > 0 && value != Some(expected);
        assert!(!has_changed && Instant::now() < until, "{value:?} after {stable} samples of {expected}");
        stable += usize::from(value == Some(expected));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn a_verdict_on_a_known_outcome_is_refused_with_that_outcome() {
    let env = TestEnv::start(&MATRIX42);
    let applied = env.set_text(MATRIX42.key, "*", "mine").send().await;
    let operation = applied.assert_status(204).header("operation").unwrap().to_owned();
    let resolve = env.request(Method::POST, &format!("{operation}/resolve"));
    let refused = resolve.json(&json!({ "state": "applied", "note": "seen" })).send().await;
    let detail = refused.assert_problem(409, "operation-ended").json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("found the outcome of this write itself: it is applied"), "{detail}");
}
