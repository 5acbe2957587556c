//! `Idempotency-Key` (contract 4.5).

use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, Fault};

use crate::support::{Answer, Bench, House, Request, for_each_vendor};

for_each_vendor!(
    a_repeat_is_409_while_the_first_still_looks_at_the_record,
    a_repeat_of_any_write_replays_its_answer,
    the_key_of_another_request_is_422,
    twenty_at_once_are_one_vendor_write,
    a_repeat_is_replayed_after_a_restart,
    a_verdict_of_the_vendor_is_replayed,
    what_may_go_better_next_time_runs_again,
    a_bad_key_is_400_and_nothing_is_sent,
    an_unknown_outcome_is_replaced_by_the_verdict,
    an_unknown_outcome_is_replaced_by_the_verdict_after_a_restart,
);

/// The members of an answer that a repeat must give again.
fn told(answer: &Answer) -> (u16, Vec<Option<String>>, String) {
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

async fn repeated(house: &House, request: Request) -> Answer {
    let first = request.clone().send().await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let writes = house.writes();
    let second = request.send().await;
    assert_eq!(told(&second), told(&first));
    assert_eq!((second.header("idempotency-replayed"), house.writes()), (Some("true"), writes), "{second:?}");
    first
}

async fn a_repeat_of_any_write_replays_its_answer(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patched = repeated(&house, house.set_text(bench.key, &tag, "once").key("patch")).await;
    patched.is_done(bench.patched);
    let shown = house.set_text(bench.key, "*", "shown").prefer("return=representation").key("shown");
    repeated(&house, shown).await.is_done(200);
    let before = house.count();
    repeated(&house, house.create("made once").key("create")).await.is_done(201);
    assert_eq!(house.count(), before + 1);
    repeated(&house, house.delete(bench.doomed, "*").key("delete")).await.is_done(204);
    // The same key, bare.
    let bare = house.set_text(bench.key, &tag, "once").header("Idempotency-Key", "patch").send().await;
    assert_eq!(bare.header("idempotency-replayed"), Some("true"), "{bare:?}");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains("idempotent_replays_total 5"), "{metrics}");
}

async fn the_key_of_another_request_is_422(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.set_text(bench.key, &tag, "once").key("k").send().await.is_done(bench.patched);
    let writes = house.writes();
    for other in [
        house.set_text(bench.key, &tag, "other body"),
        house.set_text(bench.key, "*", "once"),
        house.set_text(bench.other, &tag, "once"),
        house.delete(bench.key, &tag),
        house.create("once"),
    ] {
        other.key("k").send().await.is(422, "idempotency-key-reused");
    }
    assert_eq!(house.writes(), writes);
}

async fn twenty_at_once_are_one_vendor_write(bench: &'static Bench) {
    let house = House::with(bench, &[("server", "workers", "4")]).await;
    let before = house.count();
    house.once(CallKind::Create, Fault::Hold);
    let release = async {
        house.received(CallKind::Create, 1).await;
        house.faults().release();
    };
    let requests = join_all((0..20).map(|_| house.create("made once").key("k").send()));
    let (answers, ()) = futures_util::future::join(requests, release).await;
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!made.is_empty(), "{answers:?}");
    for answer in &answers {
        assert!(answer.status == 201 || answer.problem() == "operation-in-progress", "{answer:?}");
    }
    assert!(made.iter().all(|answer| answer.header("location") == made[0].header("location")));
    assert_eq!((house.calls(CallKind::Create), house.count()), (1, before + 1));
}

async fn a_repeat_is_replayed_after_a_restart(bench: &'static Bench) {
    let mut house = House::start(bench).await;
    let first = house.create("made once").key("k").send().await;
    house.restart().await;
    let second = house.create("made once").key("k").send().await;
    assert_eq!(told(&second), told(&first));
    assert_eq!((second.header("idempotency-replayed"), house.calls(CallKind::Create)), (Some("true"), 1));
}

async fn a_verdict_of_the_vendor_is_replayed(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.once(CallKind::Create, Fault::json(400, r#"{"message":"no","Message":"no","errors":{"x":["no"]}}"#));
    repeated(&house, house.create("refused").key("k")).await.is(422, "rejected");
}

async fn what_may_go_better_next_time_runs_again(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patch = || house.set_text(bench.key, &tag, "in the end").key("k");
    house.once(CallKind::Update, Fault::json(403, r#"{"message":"no"}"#));
    patch().send().await.is(403, "vendor-forbidden");
    house.once(CallKind::Update, Fault::retry_after(429, "99"));
    patch().send().await.is(429, "rate-limited");
    house.once(CallKind::Update, Fault::retry_after(503, "99"));
    patch().send().await.is(503, "vendor-unavailable");
    // Refused before the intent, so not remembered either.
    patch().header("Require-Guarantee", "nonsense").send().await;
    let done = patch().send().await;
    assert_eq!(done.status, bench.patched, "{done:?}");
    assert_eq!(house.held(bench.key).unwrap(), "in the end");
}

async fn a_bad_key_is_400_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    for key in ["", "\"\"", "\"open", "a b", "\u{e4}", &"x".repeat(256)] {
        let patch = house.set_text(bench.key, "*", "mine").header("Idempotency-Key", key);
        patch.send().await.is(400, "malformed-request");
    }
    house.nothing_was_sent();
}

/// The answer never comes and the vendor cannot be looked at: nobody knows, until it can.
const QUICK: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"700ms\""),
    ("server", "shutdown_timeout", "\"1s\""),
    ("vendor", "timeout", "\"200ms\""),
    ("vendor", "connect_timeout", "\"200ms\""),
    ("vendor", "retries", "0"),
];

async fn an_unknown_outcome_is_replaced_by_the_verdict(bench: &'static Bench) {
    let house = House::with(bench, QUICK).await;
    let before = house.count();
    house.once(CallKind::Create, Fault::HangAfter);
    let blind = async {
        house.received(CallKind::Create, 1).await;
        house.faults().always(CallKind::List, Fault::status(500));
    };
    let (first, ()) = futures_util::future::join(house.create("made once").key("k").send(), blind).await;
    first.is(504, "outcome-unknown");
    let meanwhile = house.create("made once").key("k").send().await;
    assert_eq!(told(&meanwhile), told(&first));
    house.faults().clear();
    assert_eq!(house.settled(&first).await["state"], "applied");
    let second = house.create("made once").key("k").send().await;
    second.is_done(201);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!((house.calls(CallKind::Create), house.count()), (1, before + 1));
}

async fn a_repeat_is_409_while_the_first_still_looks_at_the_record(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.tag(bench.key).await;
    house.once(bench.reading, Fault::Hold);
    let write = || house.set_text(bench.key, "*", "once").key("k");
    let repeat = async {
        house.received(bench.reading, 1).await;
        let repeat = write().send().await;
        house.faults().release();
        repeat
    };
    let (first, repeat) = join(write().send(), repeat).await;
    repeat.is(409, "operation-in-progress");
    assert!(repeat.header("retry-after").is_some());
    first.is_done(bench.patched);
    write().send().await.is_done(bench.patched);
    assert_eq!((house.calls(CallKind::Update), house.held(bench.key).unwrap().as_str()), (1, "once"));
}

async fn an_unknown_outcome_is_replaced_by_the_verdict_after_a_restart(bench: &'static Bench) {
    let mut house = House::with(bench, QUICK).await;
    let tag = house.tag(bench.key).await;
    let patch = |house: &House| house.set_text(bench.key, &tag, "written once").key("k");
    house.faults().always(CallKind::Update, Fault::Hang);
    let first = patch(&house).send().await;
    first.is(504, "outcome-unknown");
    house.restart().await;
    // As if the vendor had taken its time.
    house.faults().clear();
    if house.held(bench.key).unwrap() != "written once" {
        (bench.write)(&house.vendors, bench.key, "written once");
    }
    assert_ne!(house.settled(&first).await["state"], "running");
    let second = patch(&house).send().await;
    assert_ne!(second.status, 202, "nobody was told that it had been taken on");
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
}
