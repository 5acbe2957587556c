//! `Idempotency-Key` (contract 4.5).

use std::time::Duration;

use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{Request, TestConfig, TestEnv, TestResponse, VendorFixture, for_each_vendor};

for_each_vendor!(
    a_duplicate_is_409_while_the_first_reads_the_record,
    a_duplicate_of_any_write_replays_its_response,
    reusing_a_key_for_another_request_is_422,
    twenty_concurrent_duplicates_are_one_vendor_write,
    a_duplicate_is_replayed_after_a_restart,
    a_vendor_rejection_is_replayed,
    a_duplicate_of_a_retryable_failure_runs_again,
    a_bad_key_is_400_and_nothing_is_sent,
    an_unknown_outcome_is_replaced_by_the_final_outcome,
    an_unknown_outcome_is_replaced_after_a_restart,
    the_plan_of_a_create_ends_before_its_key_is_forgotten,
);

/// The parts of a response that a replay repeats.
fn replayed_parts(response: &TestResponse) -> (u16, Vec<Option<String>>, String) {
    let names = ["etag", "location", "operation", "content-location", "concurrency-guarantee", "preference-applied"];
    let headers = names.map(|name| response.header(name).map(str::to_owned)).to_vec();
    let mut text = response.text.clone();
    if response.problem() != "" {
        // The one member that belongs to the request and not to the outcome.
        let mut document = response.json();
        document.as_object_mut().unwrap().shift_remove("request_id");
        text = document.to_string();
    }
    (response.status, headers, text)
}

async fn send_and_assert_replayed(env: &TestEnv, request: Request) -> TestResponse {
    let first = request.clone().send().await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let writes = env.write_call_count();
    let second = request.send().await;
    assert_eq!(replayed_parts(&second), replayed_parts(&first));
    assert_eq!((second.header("idempotency-replayed"), env.write_call_count()), (Some("true"), writes), "{second:?}");
    first
}

async fn a_duplicate_of_any_write_replays_its_response(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patched =
        send_and_assert_replayed(&env, env.set_text(fixture.key, &current_etag, "once").idempotency_key("patch")).await;
    patched.assert_status(fixture.patch_status);
    let shown = env.set_text(fixture.key, "*", "shown").prefer("return=representation").idempotency_key("shown");
    send_and_assert_replayed(&env, shown).await.assert_status(200);
    let before = env.record_count();
    send_and_assert_replayed(&env, env.create("made once").idempotency_key("create")).await.assert_status(201);
    assert_eq!(env.record_count(), before + 1);
    send_and_assert_replayed(&env, env.delete(fixture.deletable_key, "*").idempotency_key("delete"))
        .await
        .assert_status(204);
    // The same key without quotes.
    let bare = env.set_text(fixture.key, &current_etag, "once").header("Idempotency-Key", "patch").send().await;
    assert_eq!(bare.header("idempotency-replayed"), Some("true"), "{bare:?}");
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.contains("idempotent_replays_total 5"), "{metrics}");
}

async fn reusing_a_key_for_another_request_is_422(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.set_text(fixture.key, &current_etag, "once")
        .idempotency_key("k")
        .send()
        .await
        .assert_status(fixture.patch_status);
    let writes = env.write_call_count();
    for other in [
        env.set_text(fixture.key, &current_etag, "other body"),
        env.set_text(fixture.key, "*", "once"),
        env.set_text(fixture.other_key, &current_etag, "once"),
        env.delete(fixture.key, &current_etag),
        env.create("once"),
    ] {
        other.idempotency_key("k").send().await.assert_problem(422, "idempotency-key-reused");
    }
    assert_eq!(env.write_call_count(), writes);
}

async fn twenty_concurrent_duplicates_are_one_vendor_write(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("workers", 4));
    let before = env.record_count();
    env.inject_once(CallKind::Create, InjectedFault::Hold);
    let release = async {
        env.wait_for_calls(CallKind::Create, 1).await;
        env.faults().release();
    };
    let requests = join_all((0..20).map(|_| env.create("made once").idempotency_key("k").send()));
    let (responses, ()) = futures_util::future::join(requests, release).await;
    let made: Vec<&TestResponse> = responses.iter().filter(|response| response.status == 201).collect();
    assert!(!made.is_empty(), "{responses:?}");
    for response in &responses {
        assert!(response.status == 201 || response.problem() == "operation-in-progress", "{response:?}");
    }
    assert!(made.iter().all(|response| response.header("location") == made[0].header("location")));
    assert_eq!((env.call_count(CallKind::Create), env.record_count()), (1, before + 1));
}

async fn a_duplicate_is_replayed_after_a_restart(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start(fixture);
    let first = env.create("made once").idempotency_key("k").send().await;
    env.restart().await;
    let second = env.create("made once").idempotency_key("k").send().await;
    assert_eq!(replayed_parts(&second), replayed_parts(&first));
    assert_eq!((second.header("idempotency-replayed"), env.call_count(CallKind::Create)), (Some("true"), 1));
}

async fn a_vendor_rejection_is_replayed(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.inject_once(
        CallKind::Create,
        InjectedFault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#),
    );
    send_and_assert_replayed(&env, env.create("refused").idempotency_key("k")).await.assert_problem(422, "rejected");
}

async fn a_duplicate_of_a_retryable_failure_runs_again(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = || env.set_text(fixture.key, &current_etag, "in the end").idempotency_key("k");
    env.inject_once(CallKind::Update, InjectedFault::json(403, r#"{"message":"no"}"#));
    patch().send().await.assert_problem(403, "vendor-forbidden");
    env.inject_once(CallKind::Update, InjectedFault::retry_after(429, "99"));
    patch().send().await.assert_problem(429, "rate-limited");
    env.inject_once(CallKind::Update, InjectedFault::retry_after(503, "99"));
    patch().send().await.assert_problem(503, "vendor-unavailable");
    // Rejected before the intent, so not remembered either.
    patch().header("Require-Guarantee", "nonsense").send().await;
    let done = patch().send().await;
    assert_eq!(done.status, fixture.patch_status, "{done:?}");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "in the end");
}

async fn a_bad_key_is_400_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for key in ["", "\"\"", "\"open", "a b", "\u{e4}", &"x".repeat(256)] {
        let patch = env.set_text(fixture.key, "*", "mine").header("Idempotency-Key", key);
        patch.send().await.assert_problem(400, "malformed-request");
    }
    env.assert_nothing_sent();
}

/// Without a response, and while the vendor cannot be read, the outcome stays unknown.
fn with_short_timeouts(config: TestConfig) -> TestConfig {
    config
        .server("deadline", "700ms")
        .server("shutdown_timeout", "1s")
        .every_system("timeout", "200ms")
        .every_system("connect_timeout", "200ms")
        .every_system("retries", 0)
}

async fn an_unknown_outcome_is_replaced_by_the_final_outcome(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let before = env.record_count();
    env.inject_once(CallKind::Create, InjectedFault::HangAfter);
    let fail_reads = async {
        env.wait_for_calls(CallKind::Create, 1).await;
        env.faults().always(CallKind::List, InjectedFault::status(500));
    };
    let (first, ()) = futures_util::future::join(env.create("made once").idempotency_key("k").send(), fail_reads).await;
    first.assert_problem(504, "outcome-unknown");
    let meanwhile = env.create("made once").idempotency_key("k").send().await;
    assert_eq!(replayed_parts(&meanwhile), replayed_parts(&first));
    env.faults().clear();
    assert_eq!(env.wait_for_operation(&first).await["state"], "applied");
    let second = env.create("made once").idempotency_key("k").send().await;
    second.assert_status(201);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!((env.call_count(CallKind::Create), env.record_count()), (1, before + 1));
}

async fn a_duplicate_is_409_while_the_first_reads_the_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::Hold);
    let write = || env.set_text(fixture.key, "*", "once").idempotency_key("k");
    let repeat = async {
        env.wait_for_calls(fixture.read_call_kind, 1).await;
        let repeat = write().send().await;
        env.faults().release();
        repeat
    };
    let (first, repeat) = join(write().send(), repeat).await;
    repeat.assert_problem(409, "operation-in-progress");
    assert!(repeat.header("retry-after").is_some());
    first.assert_status(fixture.patch_status);
    write().send().await.assert_status(fixture.patch_status);
    assert_eq!((env.call_count(CallKind::Update), env.vendor_value(fixture.key).unwrap().as_str()), (1, "once"));
}

async fn an_unknown_outcome_is_replaced_after_a_restart(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = |env: &TestEnv| env.set_text(fixture.key, &current_etag, "written once").idempotency_key("k");
    env.faults().always(CallKind::Update, InjectedFault::Hang);
    let first = patch(&env).send().await;
    first.assert_problem(504, "outcome-unknown");
    env.restart().await;
    // As if the vendor had applied the write late.
    env.faults().clear();
    if env.vendor_value(fixture.key).unwrap() != "written once" {
        (fixture.external_write)(&env.vendors, fixture.key, "written once");
    }
    assert_ne!(env.wait_for_operation(&first).await["state"], "running");
    let second = patch(&env).send().await;
    assert_ne!(second.status, 202, "no 202 was sent");
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
}

/// The plan is the key: applied after the key is forgotten, it would make a second record.
async fn the_plan_of_a_create_ends_before_its_key_is_forgotten(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start(fixture);
    let count = env.record_count();
    let earlier = env.create("planned").preview().send().await.assert_status(200).json();
    env.restart_with(|config| config.store("idempotency_ttl", "1s")).await;
    let planned = env.create("planned").preview().send().await.assert_status(200).json();
    let apply = async |planned: &serde_json::Value| {
        env.create("planned").header("If-Plan", planned["plan"].as_str().unwrap()).send().await
    };
    apply(&earlier).await.assert_problem(409, "plan-changed");
    assert_eq!(env.write_call_count(), 0);
    apply(&planned).await.assert_status(201);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let late = apply(&planned).await;
    assert!(late.assert_problem(409, "plan-changed").json()["differs"].as_array().unwrap().contains(&json!("expired")));
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (count + 1, 1));
}
