//! What an operator sees and does (contract 4.15).

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{
    FIXTURES, MATRIX42, Request, TestEnv, TestProcess, TestResponse, VendorFixture, for_each_vendor,
    for_each_vendor_with,
};

for_each_vendor!(a_probe_of_a_lost_delete_sends_nothing, a_lost_create_is_found_once_no_other_can_have_made_its_record,);
for_each_vendor_with!(native:
    a_probe_finds_the_outcome_of_a_write_that_ended_unknown,
    a_verdict_by_hand_ends_the_operation_and_frees_the_record,
    a_wrong_verdict_by_hand_is_contradicted_by_a_later_probe,
);

/// The longest wait for what must come.
const TIMEOUT: Duration = Duration::from_secs(20);

fn resolve(env: &TestEnv, operation: &str, body: &Value) -> Request {
    env.request(Method::POST, &format!("{operation}/resolve")).json(body)
}

fn request_probe(env: &TestEnv, operation: &str) -> Request {
    env.request(Method::POST, &format!("{operation}/settle"))
}

fn start(fixture: &'static VendorFixture) -> TestEnv {
    TestEnv::start_with(fixture, |config| {
        let config =
            config.server("deadline", "2s").every_system("timeout", "500ms").every_system("connect_timeout", "500ms");
        config.every_system("settle_timeout", "600ms").every_system("retries", 0)
    })
}

/// A write whose outcome the gateway does not learn: what `fault` does with the
/// request, and no read until it has ended.
async fn send_lost_write(env: &TestEnv, key: &str, fault: InjectedFault, text: &str) -> (TestResponse, Value) {
    let tag = env.current_etag(key).await;
    env.faults().always(CallKind::Update, fault);
    env.faults().always(env.fixture.read_call_kind, InjectedFault::ResetBefore);
    let lost = env.set_text(key, &tag, text).idempotency_key("lost").send().await;
    lost.assert_problem(504, "outcome-unknown");
    let operation = env.wait_for_operation(&lost).await;
    assert_eq!(operation["state"], "unknown", "{operation}");
    env.faults().clear();
    (lost, operation)
}

fn path_of(operation: &Value) -> String {
    format!("/operations/{}", operation["id"].as_str().unwrap())
}

async fn wait_for_state(env: &TestEnv, path: &str, state: &str) -> Value {
    for _ in 0..500 {
        let operation = env.get(path).send().await.json();
        if operation["state"] == state {
            return operation;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} is not {state}", env.get(path).send().await.text)
}

async fn a_probe_finds_the_outcome_of_a_write_that_ended_unknown(fixture: &'static VendorFixture) {
    let env = start(fixture);
    let (_, operation) = send_lost_write(&env, fixture.key, InjectedFault::HangAfter, "done after all").await;
    let path = path_of(&operation);
    env.forget_calls();
    let response = request_probe(&env, &path).send().await;
    assert_eq!(response.assert_status(202).json()["id"], operation["id"]);
    let found = wait_for_state(&env, &path, "applied").await;
    assert_eq!(found["resolved_by"], Value::Null, "no person resolved it: {found}");
    assert_eq!(env.write_call_count(), 0, "nothing is sent again");
    request_probe(&env, &path).send().await.assert_status(200);
    let ledger = env.read_ledger().await.json();
    let events: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect();
    assert_eq!(events, ["intent", "outcome", "resolved"]);
    let changes = env.get("/changes").send().await.json();
    let types: Vec<_> = changes["items"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["records-gateway.system.gap", "records-gateway.record.updated"], "{changes}");
}

/// Has a write probed once more, and returns its operation once that probe has ended: while it is
/// under way, another one is refused.
async fn probe_again(env: &TestEnv, path: &str) -> Value {
    let until = Instant::now() + TIMEOUT;
    for _ in 0..2 {
        while request_probe(env, path).send().await.status == 409 {
            assert!(Instant::now() < until, "a probe of {path} is still under way");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    env.get(path).send().await.assert_status(200).json()
}

/// A DELETE that never reaches the vendor, once it has ended.
async fn lose_delete(env: &TestEnv, tag: &str) -> Value {
    env.faults().always(CallKind::Delete, InjectedFault::ResetBefore);
    let lost = env.delete(env.fixture.deletable_key, tag).send().await;
    lost.assert_problem(504, "outcome-unknown");
    let operation = env.wait_for_operation(&lost).await;
    assert_eq!(operation["state"], "unknown", "{operation}");
    env.faults().clear();
    env.forget_calls();
    operation
}

async fn a_probe_of_a_lost_delete_sends_nothing(fixture: &'static VendorFixture) {
    let env = start(fixture);
    let tag = env.current_etag(fixture.deletable_key).await;
    let operation = lose_delete(&env, &tag).await;
    assert_eq!(probe_again(&env, &path_of(&operation)).await["state"], "unknown");
    assert!(env.call_count(fixture.read_call_kind) > 0, "{:?}", env.requests());
    assert_eq!(env.write_call_count(), 0);
    assert!(env.vendor_value(fixture.deletable_key).is_some());
}

async fn a_lost_create_is_found_once_no_other_can_have_made_its_record(fixture: &'static VendorFixture) {
    for (recorded, state) in [("not-applied", "applied"), ("applied", "unknown")] {
        let env = start(fixture);
        let mut paths = Vec::new();
        for fault in [InjectedFault::Hang, InjectedFault::ResetAfter] {
            env.inject_once(CallKind::Create, fault);
            let lost = env.create("made once").send().await;
            lost.assert_problem(504, "outcome-unknown");
            let operation = env.wait_for_operation(&lost).await;
            assert_eq!(operation["state"], "unknown", "the other one may have made the record: {operation}");
            paths.push(path_of(&operation));
        }
        for path in &paths {
            assert_eq!(probe_again(&env, path).await["state"], "unknown");
        }
        let resolution = json!({ "state": recorded, "note": "seen at the vendor" });
        resolve(&env, &paths[0], &resolution).send().await.assert_status(200);
        let found = probe_again(&env, &paths[1]).await;
        assert_eq!(
            (found["state"].as_str(), found["record"].is_string()),
            (Some(state), state == "applied"),
            "{found}"
        );
        assert_eq!(env.call_count(CallKind::Create), 2);
    }
}

async fn a_verdict_by_hand_ends_the_operation_and_frees_the_record(fixture: &'static VendorFixture) {
    let env = start(fixture);
    let (lost, operation) = send_lost_write(&env, fixture.key, InjectedFault::Hang, "never done").await;
    let path = path_of(&operation);
    let resolution = json!({ "state": "not-applied", "note": "seen at the vendor" });
    let ended = resolve(&env, &path, &resolution).send().await.assert_status(200).json();
    assert_eq!(
        (&ended["state"], &ended["resolved_by"], &ended["note"]),
        (&json!("not-applied"), &json!("anonymous"), &json!("seen at the vendor"))
    );
    resolve(&env, &path, &resolution).send().await.assert_status(200);
    let other = json!({ "state": "applied", "note": "no" });
    resolve(&env, &path, &other).send().await.assert_problem(409, "operation-ended");
    let ledger = env.read_ledger().await;
    let entry = ledger.json()["items"][2].clone();
    assert_eq!((&entry["event"], &entry["state"]), (&json!("resolved"), &json!("not-applied")));
    assert!(!ledger.text.contains("seen at the vendor") && entry["note_hash"].is_string(), "{entry}");
    let metrics = env.get("/metrics").send().await.text;
    let counted = format!("operations_resolved_total{{state=\"not-applied\",system=\"{}\"}} 1", fixture.system);
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(lost.header("operation").is_some());
    // The key is free: the same request runs.
    let tag = env.current_etag(fixture.key).await;
    let again = env.set_text(fixture.key, &tag, "never done").idempotency_key("lost").send().await;
    assert_eq!(again.assert_status(fixture.patch_status).header("idempotency-replayed"), None);
    assert_eq!(env.vendor_value(fixture.key).as_deref(), Some("never done"));
}

async fn a_wrong_verdict_by_hand_is_contradicted_by_a_later_probe(fixture: &'static VendorFixture) {
    for recorded in ["not-applied", "applied"] {
        let env = start(fixture);
        let (_, operation) = send_lost_write(&env, fixture.key, InjectedFault::HangAfter, "done after all").await;
        let path = path_of(&operation);
        let resolution = json!({ "state": recorded, "note": "seen" });
        resolve(&env, &path, &resolution).send().await.assert_status(200);
        env.forget_calls();
        for _ in 0..2 {
            let probed = probe_again(&env, &path).await;
            assert_eq!((&probed["state"], &probed["resolved_by"]), (&json!(recorded), &json!("anonymous")));
            let codes =
                probed["warnings"].as_array().map_or(Vec::new(), |all| all.iter().map(|one| &one["code"]).collect());
            assert_eq!(codes, if recorded == "applied" { vec![] } else { vec!["resolved-otherwise"] }, "{probed}");
        }
        assert!(env.call_count(fixture.read_call_kind) > 0, "{:?}", env.requests());
        assert_eq!(env.write_call_count(), 0);
    }
}

#[actix_web::test]
async fn the_key_of_a_write_resolved_as_applied_replays_it() {
    let env = start(&MATRIX42);
    let tag = env.current_etag(MATRIX42.key).await;
    let (_, operation) = send_lost_write(&env, MATRIX42.key, InjectedFault::Hang, "by hand").await;
    let resolution = json!({ "state": "applied", "note": "it is there" });
    resolve(&env, &path_of(&operation), &resolution).send().await.assert_status(200);
    let replay = env.set_text(MATRIX42.key, &tag, "by hand").idempotency_key("lost").send().await;
    assert_eq!(replay.assert_status(204).header("idempotency-replayed"), Some("true"));
    assert!(replay.header("concurrency-guarantee").is_some() && replay.header("operation").is_some(), "{replay:?}");
}

#[actix_web::test]
async fn a_young_operation_cannot_be_resolved_and_has_one_probe_at_a_time() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("deadline", "1s").every_system("timeout", "10s"));
    let tag = env.current_etag(MATRIX42.key).await;
    env.faults().always(CallKind::Update, InjectedFault::ResetBefore);
    env.faults().always(MATRIX42.read_call_kind, InjectedFault::Hold);
    let lost = env.set_text(MATRIX42.key, &tag, "slow").send().await;
    let path = lost.assert_problem(504, "outcome-unknown").json()["operation"].as_str().unwrap().to_owned();
    let resolution = json!({ "state": "applied", "note": "too soon" });
    let refused = resolve(&env, &path, &resolution).send().await;
    assert!(refused.assert_problem(409, "operation-in-progress").header("retry-after").is_some());
    request_probe(&env, &path).send().await.assert_problem(409, "operation-in-progress");
    env.faults().clear();
    env.faults().release();
    env.wait_for_operation_at(&path).await;
}

#[actix_web::test]
async fn only_a_caller_with_operate_probes_and_resolves() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        let callers = [
            ("a", "k-all", "*:*"),
            ("r", "k-read", "itsm:read"),
            ("o", "k-op", "itsm:operate"),
            ("x", "k-crm", "crm:*"),
        ];
        config.api_keys(&callers)
    });
    let with_key = |request: Request, key: &str| request.header("Authorization", &format!("Bearer {key}"));
    let made = with_key(env.set_text(MATRIX42.key, "*", "x"), "k-all").send().await;
    let path = made.assert_status(204).header("operation").unwrap().to_owned();
    let resolution = json!({ "state": "applied", "note": "n" });
    for (key, status, problem) in
        [("k-read", 403, "forbidden"), ("k-crm", 404, "operation-not-found"), ("k-op", 409, "operation-ended")]
    {
        with_key(resolve(&env, &path, &resolution), key).send().await.assert_problem(status, problem);
    }
    with_key(request_probe(&env, &path), "k-read").send().await.assert_problem(403, "forbidden");
    with_key(request_probe(&env, &path), "k-op").send().await.assert_status(200);
    with_key(env.get("/status"), "k-read").send().await.assert_problem(403, "forbidden");
    with_key(env.get("/status"), "k-op").send().await.assert_status(200);
    with_key(env.get("/ledger/head"), "k-op").send().await.assert_problem(403, "forbidden");
    with_key(env.get("/ledger/verify"), "k-crm").send().await.assert_problem(403, "forbidden");
    with_key(env.get("/ledger/verify"), "k-all").send().await.assert_status(200);
    let callers = with_key(env.get("/status"), "k-all").send().await.json()["callers"].clone();
    assert_eq!((&callers[1]["name"], callers[1]["key_ids"][0].as_str().unwrap().len()), (&json!("r"), 8));
    assert!(callers[1]["last_used"].is_string(), "{callers}");
}

#[actix_web::test]
async fn an_invalid_verdict_is_rejected() {
    let env = TestEnv::start(&MATRIX42);
    let made = env.set_text(MATRIX42.key, "*", "x").send().await;
    let path = made.header("operation").unwrap().to_owned();
    for (body, status, problem) in [
        (json!([]), 400, "malformed-request"),
        (json!({ "state": "applied", "note": "n", "why": 1 }), 400, "malformed-request"),
        (json!({ "state": "running", "note": "n" }), 422, "rejected"),
        (json!({ "state": "applied" }), 422, "rejected"),
        (json!({ "state": "applied", "note": "" }), 422, "rejected"),
        (json!({ "state": "applied", "note": "ü".repeat(501) }), 422, "rejected"),
        (json!({ "state": "applied", "note": "ü".repeat(500) }), 409, "operation-ended"),
    ] {
        resolve(&env, &path, &body).send().await.assert_problem(status, problem);
    }
    let unknown = "/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11";
    resolve(&env, unknown, &json!({ "state": "applied", "note": "n" }))
        .send()
        .await
        .assert_problem(404, "operation-not-found");
}

#[actix_web::test]
async fn the_ledger_is_verified_in_steps() {
    let env = TestEnv::start(&MATRIX42);
    for number in 0..3 {
        env.set_text(MATRIX42.key, "*", &number.to_string()).send().await.assert_status(204);
    }
    let head = env.get("/ledger/head").send().await.assert_status(200).json();
    assert_eq!(head["seq"], 6);
    let mut from = 1;
    let mut hash = Value::Null;
    while from <= 6 {
        let step = env.get(&format!("/ledger/verify?from={from}&limit=4")).send().await.assert_status(200).json();
        assert_eq!((&step["ok"], &step["first_broken"]), (&json!(true), &Value::Null), "{step}");
        hash = step["head"].clone();
        from = step["to"].as_i64().unwrap() + 1;
    }
    assert_eq!(hash, head["hash"]);
    for query in ["from=0", "from=x", "limit=0", "limit=10001", "until=1"] {
        env.get(&format!("/ledger/verify?{query}")).send().await.assert_problem(400, "malformed-request");
    }
}

#[actix_web::test]
async fn the_status_shows_what_runs_and_no_secret() {
    let env = TestEnv::start(&MATRIX42);
    let status = env.get("/status").send().await.assert_status(200).json();
    assert_eq!(
        (&status["store"], &status["durability"], &status["replicas"]),
        (&json!("sqlite"), &json!("commit"), &json!(1))
    );
    assert_eq!(status["systems"], FIXTURES.len());
    assert!(status["build"]["version"].is_string() && status["started_at"].is_string(), "{status}");
    assert_eq!(status["callers"], json!([]));
    assert!(status["config"]["loaded_at"].is_string(), "{status}");
}

/// The resolution and the kill race: whichever comes first, the operation is as it was or as the
/// person said, and the record is free.
#[actix_web::test]
async fn a_resolution_that_is_cut_by_kill_9_is_done_or_not() {
    let process = TestProcess::start_with(|config| {
        let config = config.server("deadline", "2s").every_system("timeout", "500ms").every_system("retries", 0);
        config.every_system("settle_timeout", "600ms")
    });
    let (path, faults) = (MATRIX42.path(MATRIX42.key), MATRIX42.faults(&process.vendors));
    for (round, pause) in [Some(0), Some(300), Some(1000), Some(3000), None].into_iter().enumerate() {
        let client = process.client();
        let tag = client.get(&path).send().await.etag().to_owned();
        faults.always(CallKind::Update, InjectedFault::Hang);
        faults.always(CallKind::Read, InjectedFault::ResetBefore);
        let patch = |text: String| client.request(Method::PATCH, &path).fields(&json!({ "Description": text }));
        let lost = patch(format!("lost {round}")).if_match(&tag).send().await;
        let operation = lost.assert_problem(504, "outcome-unknown").json()["operation"].as_str().unwrap().to_owned();
        let until = Instant::now() + TIMEOUT;
        while client.get(&operation).send().await.json()["state"] != "unknown" {
            assert!(Instant::now() < until, "{operation} still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        faults.clear();

        let resolution = json!({ "state": "not-applied", "note": "seen at the vendor" });
        let request = client.request(Method::POST, &format!("{operation}/resolve")).json(&resolution);
        let sent = actix_web::rt::spawn(request.try_send());
        let response = if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_micros(pause)).await;
            process.kill();
            sent.await
        } else {
            let response = sent.await;
            process.kill();
            response
        };
        let was_accepted = response.unwrap().is_ok_and(|response| response.status == 200);
        process.restart();

        let client = process.client();
        let shown = client.get(&operation).send().await.json();
        let is_resolved = shown["state"] == "not-applied";
        assert!(is_resolved || shown["state"] == "unknown" && !was_accepted, "{shown}");
        let query = format!("/ledger?operation={}", shown["id"].as_str().unwrap());
        let ledger = client.get(&query).send().await.json();
        let entries = ledger["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "resolved");
        assert_eq!(entries.count(), usize::from(is_resolved), "{ledger}");
        let patch = client.request(Method::PATCH, &path).fields(&json!({ "Description": format!("next {round}") }));
        patch.if_match(&tag).send().await.assert_status(204);
        assert!(was_accepted || pause.is_some());
    }
    assert!(process.run(&["ledger", "verify"]).status.success());
}
