//! Writes whose answers are lost, late or nonsense (contract 5.2 and 5.3): never done twice, never told otherwise than they
//! went, and an operation that comes to its end.

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, Fault, Sandbox};
use serde_json::json;

use crate::support::{Bench, House, MATRIX42, PRETECTUM, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    an_update_that_was_done_is_told_so_although_its_answer_was_lost,
    a_delete_that_was_done_is_told_so_although_its_answer_was_lost,
    a_delete_that_was_not_done_is_never_told_done,
    a_create_that_was_done_is_found_and_never_sent_again,
    a_create_that_was_not_done_is_unknown_and_never_sent_again,
    a_create_is_never_mistaken_for_a_record_that_was_there_before,
    a_vendor_error_without_effect_is_not_applied,
    a_write_is_never_sent_again_to_another_installation,
);
for_each_native_vendor!(
    an_update_that_was_not_done_is_sent_again_and_done_once,
    an_update_that_lands_late_is_done_once,
    an_update_goes_on_after_its_caller_was_told_that_nobody_knows,
    somebody_elses_write_after_a_lost_answer_is_not_overwritten,
);

const QUICK: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"1500ms\""),
    ("vendor", "timeout", "\"250ms\""),
    ("vendor", "connect_timeout", "\"250ms\""),
    ("vendor", "completion_timeout", "\"2s\""),
    ("vendor", "max_vendor_body", "65536"),
];

/// Tries every fault in a house of its own, all at once: most of the time is waiting.
async fn each(faults: Vec<Fault>, attempt: impl AsyncFn(Fault)) {
    futures_util::future::join_all(faults.into_iter().map(|fault| attempt(fault))).await;
}

/// The vendor did it; the gateway cannot know from the answer.
fn done() -> Vec<Fault> {
    vec![Fault::ResetAfter, Fault::HangAfter, Fault::HalfBody, Fault::HugeBody { bytes: 100_000 }]
}

/// The vendor did not do it; the gateway cannot know from the answer.
fn not_done() -> Vec<Fault> {
    vec![
        Fault::ResetBefore,
        Fault::Hang,
        Fault::HtmlPage,
        Fault::WrongJson,
        Fault::Redirect { location: "http://127.0.0.1:1/".to_owned() },
        Fault::status(408),
        Fault::status(502),
        Fault::status(503),
        Fault::status(504),
    ]
}

async fn an_update_that_was_done_is_told_so_although_its_answer_was_lost(bench: &'static Bench) {
    each(done(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let tag = house.tag(bench.key).await;
        house.once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, &tag, "done").send().await;
        assert_eq!(answer.status, bench.patched, "{fault:?}: {answer:?}");
        assert_eq!(house.held(bench.key).unwrap(), "done");
        assert_eq!(house.settled(&answer).await["state"], "applied", "{fault:?}");
        if !bench.native {
            assert_eq!(house.calls(CallKind::Update), 1, "what is not bound to a version is not sent again: {fault:?}");
        }
        assert_changed_once(&house, &fault);
    })
    .await;
}

/// Where the vendor counts, exactly one change was made.
fn assert_changed_once(house: &House, fault: &Fault) {
    if house.bench.system == "crm" {
        assert_eq!(house.vendors.pretectum.state.object(house.bench.key).unwrap().version, 8, "{fault:?}");
    }
}

async fn an_update_that_was_not_done_is_sent_again_and_done_once(bench: &'static Bench) {
    each(not_done(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let tag = house.tag(bench.key).await;
        house.once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, &tag, "done").send().await;
        assert_eq!(answer.status, 204, "{fault:?}: {answer:?}");
        assert_eq!((house.held(bench.key).unwrap().as_str(), house.calls(CallKind::Update)), ("done", 2), "{fault:?}");
        assert_changed_once(&house, &fault);
    })
    .await;
}

/// The first one is still under way when the second one is sent: at most one of the two can win.
async fn an_update_that_lands_late_is_done_once(bench: &'static Bench) {
    let house = House::with(bench, QUICK).await;
    let tag = house.tag(bench.key).await;
    house.faults().next(CallKind::Update, 2, Fault::Hold);
    let both = async {
        house.received(CallKind::Update, 2).await;
        house.faults().release();
    };
    let (answer, ()) = futures_util::future::join(house.set_text(bench.key, &tag, "late").send(), both).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(house.settled(&answer).await["state"], "applied");
    let settled = house.tag(bench.key).await;
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.tag(bench.key).await), ("late", settled));
    assert_changed_once(&house, &Fault::Hold);
}

async fn an_update_goes_on_after_its_caller_was_told_that_nobody_knows(bench: &'static Bench) {
    let house =
        House::with(bench, &[("server", "deadline", "\"300ms\""), ("vendor", "completion_poll", "\"30ms\"")]).await;
    let tag = house.tag(bench.key).await;
    house.faults().always(CallKind::Update, Fault::ResetBefore);
    let answer = house.set_text(bench.key, &tag, "in the end").send().await;
    answer.is(504, "outcome-unknown");
    let operation = answer.json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&operation).send().await.json()["state"], "running");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 1", bench.system)), "{metrics}");
    house.faults().clear();
    assert_eq!(house.settled_at(&operation).await["state"], "applied");
    assert_eq!(house.held(bench.key).unwrap(), "in the end");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 0", bench.system)), "{metrics}");
}

async fn somebody_elses_write_after_a_lost_answer_is_not_overwritten(bench: &'static Bench) {
    let house = House::with(bench, QUICK).await;
    let tag = house.tag(bench.key).await;
    // The lost one and the repeat are held back until somebody else has written.
    house.once(CallKind::Update, Fault::ResetBefore);
    house.once(CallKind::Update, Fault::Hold);
    let others = async {
        house.received(CallKind::Update, 2).await;
        (bench.write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) = futures_util::future::join(house.set_text(bench.key, &tag, "mine").send(), others).await;
    // Pretectum's count tells that nobody came between; Matrix42's row version cannot.
    match answer.status {
        412 => drop(answer.is(412, "precondition-failed")),
        _ => drop(answer.is(504, "outcome-unknown")),
    }
    assert_eq!(house.held(bench.key).unwrap(), "somebody else's");
    let state = house.settled(&answer).await["state"].clone();
    assert_eq!(state, if answer.status == 412 { "not-applied" } else { "unknown" });
}

async fn a_delete_that_was_done_is_told_so_although_its_answer_was_lost(bench: &'static Bench) {
    each(done().into_iter().chain([Fault::ApplyThen500]).collect(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let tag = house.tag(bench.doomed).await;
        house.once(CallKind::Delete, fault.clone());
        let answer = house.delete(bench.doomed, &tag).send().await;
        assert_eq!(answer.status, 204, "{fault:?}: {answer:?}");
        assert_eq!(house.held(bench.doomed), None);
        assert_eq!(house.settled(&answer).await["state"], "applied", "{fault:?}");
    })
    .await;
}

async fn a_delete_that_was_not_done_is_never_told_done(bench: &'static Bench) {
    each(not_done(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let (tag, before) = (house.tag(bench.doomed).await, house.held(bench.doomed));
        house.once(CallKind::Delete, fault.clone());
        let answer = house.delete(bench.doomed, &tag).send().await;
        if answer.status == 204 {
            // A delete of an id that is never used again may be sent again.
            assert_eq!((house.held(bench.doomed), house.calls(CallKind::Delete)), (None, 2), "{fault:?}");
            return;
        }
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        assert_eq!(house.held(bench.doomed), before);
        let operation = house.settled(&answer).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
    })
    .await;
}

async fn a_create_that_was_done_is_found_and_never_sent_again(bench: &'static Bench) {
    each(done().into_iter().chain([Fault::ApplyThen500]).collect(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let before = house.count();
        house.once(CallKind::Create, fault.clone());
        let answer = house.create("made once").send().await;
        assert_eq!(answer.status, 201, "{fault:?}: {answer:?}");
        assert_eq!((house.count(), house.calls(CallKind::Create)), (before + 1, 1), "{fault:?}");
        let read = house.get(answer.header("location").unwrap()).send().await;
        assert_eq!((read.json()["fields"][bench.text].as_str(), read.etag()), (Some("made once"), answer.etag()));
    })
    .await;
}

async fn a_create_that_was_not_done_is_unknown_and_never_sent_again(bench: &'static Bench) {
    each(not_done(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let before = house.count();
        house.once(CallKind::Create, fault.clone());
        let answer = house.create("never made").send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        let operation = house.settled(&answer).await;
        assert_eq!(operation["state"], "unknown", "{fault:?}: {operation}");
        assert_eq!((house.count(), house.calls(CallKind::Create)), (before, 1), "{fault:?}");
    })
    .await;
}

async fn a_create_is_never_mistaken_for_a_record_that_was_there_before(bench: &'static Bench) {
    let house = House::with(bench, QUICK).await;
    house.create("the same").send().await.is_done(201);
    let before = house.count();
    house.once(CallKind::Create, Fault::ResetBefore);
    let answer = house.create("the same").send().await;
    // BlueDolphin's names are unique: the gateway may as well have seen that before it sent anything.
    assert_ne!(answer.status, 201, "{answer:?}");
    assert_eq!(house.count(), before);
}

/// A finished refusal: nothing was done, and a look confirms it.
async fn a_vendor_error_without_effect_is_not_applied(bench: &'static Bench) {
    let house = House::with(bench, QUICK).await;
    let tag = house.tag(bench.key).await;
    let before = house.held(bench.key);
    house.once(CallKind::Update, Fault::json(500, r#"{"Message":"An error has occurred.","message":"Internal"}"#));
    let answer = house.set_text(bench.key, &tag, "mine").send().await;
    match bench.system {
        "crm" => assert_eq!((answer.status, house.held(bench.key).unwrap().as_str()), (204, "mine"), "sent again"),
        "architecture" => {
            answer.is(504, "outcome-unknown");
            assert_eq!((house.held(bench.key), house.calls(CallKind::Update)), (before, 1));
            assert_eq!(house.settled(&answer).await["state"], "unknown");
        }
        _ => {
            answer.is(502, "vendor-error");
            assert_eq!((house.held(bench.key), house.calls(CallKind::Update)), (before, 1));
            assert_eq!(house.settled(&answer).await["state"], "not-applied");
        }
    }
}

#[actix_web::test]
async fn pretectum_that_commits_and_fails_is_told_apart_by_its_count() {
    let house = House::with(&PRETECTUM, QUICK).await;
    let tag = house.tag(PRETECTUM.key).await;
    house.once(CallKind::Update, Fault::ApplyThen500);
    house.set_text(PRETECTUM.key, &tag, "done").send().await.is_done(204);
    assert_changed_once(&house, &Fault::ApplyThen500);
}

/// A 500 after which the record has moved and shows what was wanted: done, or somebody else's; nobody can tell.
#[actix_web::test]
async fn matrix42_that_commits_and_fails_is_unknown() {
    let house = House::with(&MATRIX42, QUICK).await;
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::ApplyThen500);
    let answer = house.set_text(MATRIX42.key, &tag, "done").send().await;
    answer.is(504, "outcome-unknown");
    assert_eq!(house.calls(CallKind::Update), 1);
    let operation = house.settled(&answer).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")));
}

/// What the first one made is what the second one was bound to, and nobody but the ledger can know that it was not made elsewhere.
#[actix_web::test]
async fn matrix42_that_commits_and_fails_is_unknown_even_if_a_later_write_has_written_over_it() {
    let slow =
        [("server", "deadline", "\"5s\""), ("vendor", "retries", "0"), ("vendor", "completion_poll", "\"400ms\"")];
    let house = House::with(&MATRIX42, &slow).await;
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::ApplyThen500);
    let reads = house.calls(CallKind::Read);
    house.once(CallKind::Read, Fault::status(500));
    let later = async {
        // Its first look has failed, and it waits for the next.
        house.received(CallKind::Read, reads + 1).await;
        let tag = house.tag(MATRIX42.key).await;
        house.set_text(MATRIX42.key, &tag, "second").send().await
    };
    let (first, second) = join(house.set_text(MATRIX42.key, &tag, "first").send(), later).await;
    second.is_done(204);
    first.is(504, "outcome-unknown");
    assert_eq!(house.settled(&first).await["state"], "unknown");
    assert_eq!(house.held(MATRIX42.key).unwrap(), "second");
}

/// Its record may have the same id and version there, as in a copy made for tests.
async fn a_write_is_never_sent_again_to_another_installation(bench: &'static Bench) {
    let mut house = House::with(bench, QUICK).await;
    let tag = house.tag(bench.key).await;
    house.faults().always(CallKind::Update, Fault::Hang);
    let answer = house.set_text(bench.key, &tag, "for the first one").send().await;
    answer.is(504, "outcome-unknown");
    let former = house.restart_before(Sandbox::start().unwrap()).await;
    let operation = house.settled(&answer).await;
    assert_eq!(operation["state"], "unknown", "{operation}");
    house.nothing_was_sent();
    assert_ne!(house.held(bench.key).unwrap(), "for the first one");
    former.stop().await;
}

/// A write without an answer at BlueDolphin that was not taken on: it is not 202, because nobody has said that it runs.
#[actix_web::test]
async fn bluedolphin_updates_that_were_not_taken_on_are_unknown_and_never_sent_again() {
    let bench = &crate::support::BLUEDOLPHIN;
    each(not_done(), async |fault| {
        let house = House::with(bench, QUICK).await;
        let before = house.held(bench.key);
        house.once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, "*", "never").without_prefer().send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        let operation = house.settled(&answer).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
        assert_eq!((house.held(bench.key), house.calls(CallKind::Update)), (before, 1), "{fault:?}");
    })
    .await;
}

/// Enabling, disabling and deleting are believed only if the vendor says what it documents.
#[actix_web::test]
async fn bluedolphins_status_calls_are_not_believed_on_a_senseless_answer() {
    let bench = &crate::support::BLUEDOLPHIN;
    each(vec![Fault::WrongJson, Fault::HtmlPage, Fault::status(200)], async |fault| {
        let house = House::with(bench, QUICK).await;
        house.once(CallKind::Update, fault.clone());
        let disable = house.patch(bench.key).if_match("*").fields(&json!({ "status": "disabled" })).without_prefer();
        let answer = disable.send().await;
        let disabled = house.vendors.bluedolphin.state.definition(bench.key).unwrap().disabled;
        assert!(!disabled && answer.status == 504, "{fault:?}: {answer:?}");
    })
    .await;
}
