//! `Idempotency-Key` (contract 4.5).

use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, InjectedFault};

use crate::support::{Request, TestEnv, TestResponse, VendorFixture, for_each_vendor};

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
);

/// The members of an answer that a repeat must give again.
fn replayed_parts(answer: &TestResponse) -> (u16, Vec<Option<String>>, String) {
    let names = ["etag", "location", "operation", "content-location", "concurrency-guarantee", "preference-applied"];
    let headers = names.map(|name| answer.header(name).map(str::to_owned)).to_vec();
    let mut text = answer.text.clone();
    if answer.problem() != "" {
        // The one member that names the request and not the verdict.
        let mut document = answer.json();
        document.as_object_mut().unwrap().shift_remove("request_id");
        text = document.to_string();
    }
    (answer.status, headers, text)
}

async fn send_and_assert_replayed(house: &TestEnv, request: Request) -> TestResponse {
    let first = request.clone().send().await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let writes = house.write_call_count();
    let second = request.send().await;
    assert_eq!(replayed_parts(&second), replayed_parts(&first));
    assert_eq!((second.header("idempotency-replayed"), house.write_call_count()), (Some("true"), writes), "{second:?}");
    first
}

async fn a_duplicate_of_any_write_replays_its_response(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patched =
        send_and_assert_replayed(&house, house.set_text(bench.key, &current_etag, "once").idempotency_key("patch"))
            .await;
    patched.assert_status(bench.patch_status);
    let shown = house.set_text(bench.key, "*", "shown").prefer("return=representation").idempotency_key("shown");
    send_and_assert_replayed(&house, shown).await.assert_status(200);
    let before = house.record_count();
    send_and_assert_replayed(&house, house.create("made once").idempotency_key("create")).await.assert_status(201);
    assert_eq!(house.record_count(), before + 1);
    send_and_assert_replayed(&house, house.delete(bench.deletable_key, "*").idempotency_key("delete"))
        .await
        .assert_status(204);
    // The same key, bare.
    let bare = house.set_text(bench.key, &current_etag, "once").header("Idempotency-Key", "patch").send().await;
    assert_eq!(bare.header("idempotency-replayed"), Some("true"), "{bare:?}");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains("idempotent_replays_total 5"), "{metrics}");
}

async fn reusing_a_key_for_another_request_is_422(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house
        .set_text(bench.key, &current_etag, "once")
        .idempotency_key("k")
        .send()
        .await
        .assert_status(bench.patch_status);
    let writes = house.write_call_count();
    for other in [
        house.set_text(bench.key, &current_etag, "other body"),
        house.set_text(bench.key, "*", "once"),
        house.set_text(bench.other_key, &current_etag, "once"),
        house.delete(bench.key, &current_etag),
        house.create("once"),
    ] {
        other.idempotency_key("k").send().await.assert_problem(422, "idempotency-key-reused");
    }
    assert_eq!(house.write_call_count(), writes);
}

async fn twenty_concurrent_duplicates_are_one_vendor_write(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, &[("server", "workers", "4")]).await;
    let before = house.record_count();
    house.inject_once(CallKind::Create, InjectedFault::Hold);
    let release = async {
        house.wait_for_calls(CallKind::Create, 1).await;
        house.faults().release();
    };
    let requests = join_all((0..20).map(|_| house.create("made once").idempotency_key("k").send()));
    let (answers, ()) = futures_util::future::join(requests, release).await;
    let made: Vec<&TestResponse> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!made.is_empty(), "{answers:?}");
    for answer in &answers {
        assert!(answer.status == 201 || answer.problem() == "operation-in-progress", "{answer:?}");
    }
    assert!(made.iter().all(|answer| answer.header("location") == made[0].header("location")));
    assert_eq!((house.call_count(CallKind::Create), house.record_count()), (1, before + 1));
}

async fn a_duplicate_is_replayed_after_a_restart(bench: &'static VendorFixture) {
    let mut house = TestEnv::start(bench).await;
    let first = house.create("made once").idempotency_key("k").send().await;
    house.restart().await;
    let second = house.create("made once").idempotency_key("k").send().await;
    assert_eq!(replayed_parts(&second), replayed_parts(&first));
    assert_eq!((second.header("idempotency-replayed"), house.call_count(CallKind::Create)), (Some("true"), 1));
}

async fn a_vendor_rejection_is_replayed(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.inject_once(
        CallKind::Create,
        InjectedFault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#),
    );
    send_and_assert_replayed(&house, house.create("refused").idempotency_key("k"))
        .await
        .assert_problem(422, "rejected");
}

async fn a_duplicate_of_a_retryable_failure_runs_again(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = || house.set_text(bench.key, &current_etag, "in the end").idempotency_key("k");
    house.inject_once(CallKind::Update, InjectedFault::json(403, r#"{"message":"no"}"#));
    patch().send().await.assert_problem(403, "vendor-forbidden");
    house.inject_once(CallKind::Update, InjectedFault::retry_after(429, "99"));
    patch().send().await.assert_problem(429, "rate-limited");
    house.inject_once(CallKind::Update, InjectedFault::retry_after(503, "99"));
    patch().send().await.assert_problem(503, "vendor-unavailable");
    // Refused before the intent, so not remembered either.
    patch().header("Require-Guarantee", "nonsense").send().await;
    let done = patch().send().await;
    assert_eq!(done.status, bench.patch_status, "{done:?}");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "in the end");
}

async fn a_bad_key_is_400_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for key in ["", "\"\"", "\"open", "a b", "\u{e4}", &"x".repeat(256)] {
        let patch = house.set_text(bench.key, "*", "mine").header("Idempotency-Key", key);
        patch.send().await.assert_problem(400, "malformed-request");
    }
    house.assert_nothing_sent();
}

/// The answer never comes and the vendor cannot be looked at: nobody knows, until it can.
const SHORT_TIMEOUTS: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"700ms\""),
    ("server", "shutdown_timeout", "\"1s\""),
    ("vendor", "timeout", "\"200ms\""),
    ("vendor", "connect_timeout", "\"200ms\""),
    ("vendor", "retries", "0"),
];

async fn an_unknown_outcome_is_replaced_by_the_final_outcome(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let before = house.record_count();
    house.inject_once(CallKind::Create, InjectedFault::HangAfter);
    let blind = async {
        house.wait_for_calls(CallKind::Create, 1).await;
        house.faults().always(CallKind::List, InjectedFault::status(500));
    };
    let (first, ()) = futures_util::future::join(house.create("made once").idempotency_key("k").send(), blind).await;
    first.assert_problem(504, "outcome-unknown");
    let meanwhile = house.create("made once").idempotency_key("k").send().await;
    assert_eq!(replayed_parts(&meanwhile), replayed_parts(&first));
    house.faults().clear();
    assert_eq!(house.wait_for_operation(&first).await["state"], "applied");
    let second = house.create("made once").idempotency_key("k").send().await;
    second.assert_status(201);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!((house.call_count(CallKind::Create), house.record_count()), (1, before + 1));
}

async fn a_duplicate_is_409_while_the_first_reads_the_record(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.current_etag(bench.key).await;
    house.inject_once(bench.read_call_kind, InjectedFault::Hold);
    let write = || house.set_text(bench.key, "*", "once").idempotency_key("k");
    let repeat = async {
        house.wait_for_calls(bench.read_call_kind, 1).await;
        let repeat = write().send().await;
        house.faults().release();
        repeat
    };
    let (first, repeat) = join(write().send(), repeat).await;
    repeat.assert_problem(409, "operation-in-progress");
    assert!(repeat.header("retry-after").is_some());
    first.assert_status(bench.patch_status);
    write().send().await.assert_status(bench.patch_status);
    assert_eq!((house.call_count(CallKind::Update), house.vendor_value(bench.key).unwrap().as_str()), (1, "once"));
}

async fn an_unknown_outcome_is_replaced_after_a_restart(bench: &'static VendorFixture) {
    let mut house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = |house: &TestEnv| house.set_text(bench.key, &current_etag, "written once").idempotency_key("k");
    house.faults().always(CallKind::Update, InjectedFault::Hang);
    let first = patch(&house).send().await;
    first.assert_problem(504, "outcome-unknown");
    house.restart().await;
    // As if the vendor had taken its time.
    house.faults().clear();
    if house.vendor_value(bench.key).unwrap() != "written once" {
        (bench.external_write)(&house.vendors, bench.key, "written once");
    }
    assert_ne!(house.wait_for_operation(&first).await["state"], "running");
    let second = patch(&house).send().await;
    assert_ne!(second.status, 202, "nobody was told that it had been taken on");
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
}
