//! Writes whose answers are lost, late or nonsense (contract 5.2 and 5.3): never done twice, never told otherwise than they
//! went, and an operation that comes to its end.

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};
use serde_json::json;

use crate::support::{MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    an_applied_update_with_a_lost_response_is_reported_as_applied,
    an_applied_delete_with_a_lost_response_is_reported_as_applied,
    an_unapplied_delete_is_never_reported_as_applied,
    an_applied_create_is_found_and_never_resent,
    an_unapplied_create_is_unknown_and_never_resent,
    a_create_never_matches_a_preexisting_record,
    a_vendor_error_without_effect_is_not_applied,
    a_write_is_never_resent_to_another_tenant,
);
for_each_native_vendor!(
    an_unapplied_update_is_resent_and_applied_once,
    an_update_that_arrives_late_is_applied_once,
    an_update_continues_after_the_response_is_outcome_unknown,
    an_external_write_after_a_lost_response_is_not_overwritten,
);

const SHORT_TIMEOUTS: &[(&str, &str, &str)] = &[
    ("server", "deadline", "\"1500ms\""),
    ("vendor", "timeout", "\"250ms\""),
    ("vendor", "connect_timeout", "\"250ms\""),
    ("vendor", "completion_timeout", "\"2s\""),
    ("vendor", "max_vendor_body", "65536"),
];

/// Tries every fault in a house of its own, all at once: most of the time is waiting.
async fn for_each_fault(faults: Vec<InjectedFault>, attempt: impl AsyncFn(InjectedFault)) {
    futures_util::future::join_all(faults.into_iter().map(|fault| attempt(fault))).await;
}

/// The vendor did it; the gateway cannot know from the answer.
fn applied_faults() -> Vec<InjectedFault> {
    vec![
        InjectedFault::ResetAfter,
        InjectedFault::HangAfter,
        InjectedFault::HalfBody,
        InjectedFault::HugeBody { bytes: 100_000 },
    ]
}

/// The vendor did not do it; the gateway cannot know from the answer.
fn unapplied_faults() -> Vec<InjectedFault> {
    vec![
        InjectedFault::ResetBefore,
        InjectedFault::Hang,
        InjectedFault::HtmlPage,
        InjectedFault::WrongJson,
        InjectedFault::Redirect { location: "http://127.0.0.1:1/".to_owned() },
        InjectedFault::status(408),
        InjectedFault::status(502),
        InjectedFault::status(503),
        InjectedFault::status(504),
    ]
}

async fn an_applied_update_with_a_lost_response_is_reported_as_applied(bench: &'static VendorFixture) {
    for_each_fault(applied_faults(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let current_etag = house.current_etag(bench.key).await;
        house.inject_once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, &current_etag, "done").send().await;
        assert_eq!(answer.status, bench.patch_status, "{fault:?}: {answer:?}");
        assert_eq!(house.vendor_value(bench.key).unwrap(), "done");
        assert_eq!(house.wait_for_operation(&answer).await["state"], "applied", "{fault:?}");
        if !bench.native {
            assert_eq!(
                house.call_count(CallKind::Update),
                1,
                "what is not bound to a version is not sent again: {fault:?}"
            );
        }
        assert_changed_once(&house, &fault);
    })
    .await;
}

/// Where the vendor counts, exactly one change was made.
fn assert_changed_once(house: &TestEnv, fault: &InjectedFault) {
    if house.fixture.system == "crm" {
        assert_eq!(house.vendors.pretectum.state.object(house.fixture.key).unwrap().version, 8, "{fault:?}");
    }
}

async fn an_unapplied_update_is_resent_and_applied_once(bench: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let current_etag = house.current_etag(bench.key).await;
        house.inject_once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, &current_etag, "done").send().await;
        assert_eq!(answer.status, 204, "{fault:?}: {answer:?}");
        assert_eq!(
            (house.vendor_value(bench.key).unwrap().as_str(), house.call_count(CallKind::Update)),
            ("done", 2),
            "{fault:?}"
        );
        assert_changed_once(&house, &fault);
    })
    .await;
}

/// The first one is still under way when the second one is sent: at most one of the two can win.
async fn an_update_that_arrives_late_is_applied_once(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    house.faults().next(CallKind::Update, 2, InjectedFault::Hold);
    let both = async {
        house.wait_for_calls(CallKind::Update, 2).await;
        house.faults().release();
    };
    let (answer, ()) = futures_util::future::join(house.set_text(bench.key, &current_etag, "late").send(), both).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(house.wait_for_operation(&answer).await["state"], "applied");
    let settled = house.current_etag(bench.key).await;
    assert_eq!(
        (house.vendor_value(bench.key).unwrap().as_str(), house.current_etag(bench.key).await),
        ("late", settled)
    );
    assert_changed_once(&house, &InjectedFault::Hold);
}

async fn an_update_continues_after_the_response_is_outcome_unknown(bench: &'static VendorFixture) {
    let house =
        TestEnv::start_with(bench, &[("server", "deadline", "\"300ms\""), ("vendor", "completion_poll", "\"30ms\"")])
            .await;
    let current_etag = house.current_etag(bench.key).await;
    house.faults().always(CallKind::Update, InjectedFault::ResetBefore);
    let answer = house.set_text(bench.key, &current_etag, "in the end").send().await;
    answer.assert_problem(504, "outcome-unknown");
    let operation = answer.json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&operation).send().await.json()["state"], "running");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 1", bench.system)), "{metrics}");
    house.faults().clear();
    assert_eq!(house.wait_for_operation_at(&operation).await["state"], "applied");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "in the end");
    let metrics = house.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 0", bench.system)), "{metrics}");
}

async fn an_external_write_after_a_lost_response_is_not_overwritten(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    // The lost one and the repeat are held back until somebody else has written.
    house.inject_once(CallKind::Update, InjectedFault::ResetBefore);
    house.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        house.wait_for_calls(CallKind::Update, 2).await;
        (bench.external_write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) =
        futures_util::future::join(house.set_text(bench.key, &current_etag, "mine").send(), others).await;
    // Pretectum's count tells that nobody came between; Matrix42's row version cannot.
    match answer.status {
        412 => drop(answer.assert_problem(412, "precondition-failed")),
        _ => drop(answer.assert_problem(504, "outcome-unknown")),
    }
    assert_eq!(house.vendor_value(bench.key).unwrap(), "somebody else's");
    let state = house.wait_for_operation(&answer).await["state"].clone();
    assert_eq!(state, if answer.status == 412 { "not-applied" } else { "unknown" });
}

async fn an_applied_delete_with_a_lost_response_is_reported_as_applied(bench: &'static VendorFixture) {
    for_each_fault(applied_faults().into_iter().chain([InjectedFault::ApplyThen500]).collect(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let current_etag = house.current_etag(bench.deletable_key).await;
        house.inject_once(CallKind::Delete, fault.clone());
        let answer = house.delete(bench.deletable_key, &current_etag).send().await;
        assert_eq!(answer.status, 204, "{fault:?}: {answer:?}");
        assert_eq!(house.vendor_value(bench.deletable_key), None);
        assert_eq!(house.wait_for_operation(&answer).await["state"], "applied", "{fault:?}");
    })
    .await;
}

async fn an_unapplied_delete_is_never_reported_as_applied(bench: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let (tag, before) = (house.current_etag(bench.deletable_key).await, house.vendor_value(bench.deletable_key));
        house.inject_once(CallKind::Delete, fault.clone());
        let answer = house.delete(bench.deletable_key, &tag).send().await;
        if answer.status == 204 {
            // A delete of an id that is never used again may be sent again.
            assert_eq!(
                (house.vendor_value(bench.deletable_key), house.call_count(CallKind::Delete)),
                (None, 2),
                "{fault:?}"
            );
            return;
        }
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        assert_eq!(house.vendor_value(bench.deletable_key), before);
        let operation = house.wait_for_operation(&answer).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
    })
    .await;
}

async fn an_applied_create_is_found_and_never_resent(bench: &'static VendorFixture) {
    for_each_fault(applied_faults().into_iter().chain([InjectedFault::ApplyThen500]).collect(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let before = house.record_count();
        house.inject_once(CallKind::Create, fault.clone());
        let answer = house.create("made once").send().await;
        assert_eq!(answer.status, 201, "{fault:?}: {answer:?}");
        assert_eq!((house.record_count(), house.call_count(CallKind::Create)), (before + 1, 1), "{fault:?}");
        let read = house.get(answer.header("location").unwrap()).send().await;
        assert_eq!((read.json()["fields"][bench.text].as_str(), read.etag()), (Some("made once"), answer.etag()));
    })
    .await;
}

async fn an_unapplied_create_is_unknown_and_never_resent(bench: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let before = house.record_count();
        house.inject_once(CallKind::Create, fault.clone());
        let answer = house.create("never made").send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        let operation = house.wait_for_operation(&answer).await;
        assert_eq!(operation["state"], "unknown", "{fault:?}: {operation}");
        assert_eq!((house.record_count(), house.call_count(CallKind::Create)), (before, 1), "{fault:?}");
    })
    .await;
}

async fn a_create_never_matches_a_preexisting_record(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    house.create("the same").send().await.assert_status(201);
    let before = house.record_count();
    house.inject_once(CallKind::Create, InjectedFault::ResetBefore);
    let answer = house.create("the same").send().await;
    // BlueDolphin's names are unique: the gateway may as well have seen that before it sent anything.
    assert_ne!(answer.status, 201, "{answer:?}");
    assert_eq!(house.record_count(), before);
}

/// A finished refusal: nothing was done, and a look confirms it.
async fn a_vendor_error_without_effect_is_not_applied(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    let before = house.vendor_value(bench.key);
    house.inject_once(
        CallKind::Update,
        InjectedFault::json(500, r#"{"Message":"An error has occurred.","message":"Internal"}"#),
    );
    let answer = house.set_text(bench.key, &current_etag, "mine").send().await;
    match bench.system {
        "crm" => {
            assert_eq!((answer.status, house.vendor_value(bench.key).unwrap().as_str()), (204, "mine"), "sent again")
        }
        "architecture" => {
            answer.assert_problem(504, "outcome-unknown");
            assert_eq!((house.vendor_value(bench.key), house.call_count(CallKind::Update)), (before, 1));
            assert_eq!(house.wait_for_operation(&answer).await["state"], "unknown");
        }
        _ => {
            answer.assert_problem(502, "vendor-error");
            assert_eq!((house.vendor_value(bench.key), house.call_count(CallKind::Update)), (before, 1));
            assert_eq!(house.wait_for_operation(&answer).await["state"], "not-applied");
        }
    }
}

#[actix_web::test]
async fn a_pretectum_commit_followed_by_500_is_resolved_by_its_version() {
    let house = TestEnv::start_with(&PRETECTUM, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(PRETECTUM.key).await;
    house.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    house.set_text(PRETECTUM.key, &current_etag, "done").send().await.assert_status(204);
    assert_changed_once(&house, &InjectedFault::ApplyThen500);
}

/// A 500 after which the record has moved and shows what was wanted: done, or somebody else's; nobody can tell.
#[actix_web::test]
async fn a_matrix42_commit_followed_by_500_is_unknown() {
    let house = TestEnv::start_with(&MATRIX42, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    let answer = house.set_text(MATRIX42.key, &current_etag, "done").send().await;
    answer.assert_problem(504, "outcome-unknown");
    assert_eq!(house.call_count(CallKind::Update), 1);
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")));
}

/// What the first one made is what the second one was bound to, and nobody but the ledger can know that it was not made elsewhere.
#[actix_web::test]
async fn an_overwritten_matrix42_commit_followed_by_500_is_unknown() {
    let slow =
        [("server", "deadline", "\"5s\""), ("vendor", "retries", "0"), ("vendor", "completion_poll", "\"400ms\"")];
    let house = TestEnv::start_with(&MATRIX42, &slow).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    let reads = house.call_count(CallKind::Read);
    house.inject_once(CallKind::Read, InjectedFault::status(500));
    let later = async {
        // Its first look has failed, and it waits for the next.
        house.wait_for_calls(CallKind::Read, reads + 1).await;
        let current_etag = house.current_etag(MATRIX42.key).await;
        house.set_text(MATRIX42.key, &current_etag, "second").send().await
    };
    let (first, second) = join(house.set_text(MATRIX42.key, &current_etag, "first").send(), later).await;
    second.assert_status(204);
    first.assert_problem(504, "outcome-unknown");
    assert_eq!(house.wait_for_operation(&first).await["state"], "unknown");
    assert_eq!(house.vendor_value(MATRIX42.key).unwrap(), "second");
}

/// Its record may have the same id and version there, as in a copy made for tests.
async fn a_write_is_never_resent_to_another_tenant(bench: &'static VendorFixture) {
    let mut house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
    let current_etag = house.current_etag(bench.key).await;
    house.faults().always(CallKind::Update, InjectedFault::Hang);
    let answer = house.set_text(bench.key, &current_etag, "for the first one").send().await;
    answer.assert_problem(504, "outcome-unknown");
    let former = house.restart_with_vendors(Sandbox::start().unwrap()).await;
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!(operation["state"], "unknown", "{operation}");
    house.assert_nothing_sent();
    assert_ne!(house.vendor_value(bench.key).unwrap(), "for the first one");
    former.stop().await;
}

/// A write without an answer at BlueDolphin that was not taken on: it is not 202, because nobody has said that it runs.
#[actix_web::test]
async fn unaccepted_bluedolphin_updates_are_unknown_and_never_resent() {
    let bench = &crate::support::BLUEDOLPHIN;
    for_each_fault(unapplied_faults(), async |fault| {
        let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
        let before = house.vendor_value(bench.key);
        house.inject_once(CallKind::Update, fault.clone());
        let answer = house.set_text(bench.key, "*", "never").without_prefer().send().await;
        assert_eq!((answer.status, answer.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {answer:?}");
        let operation = house.wait_for_operation(&answer).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
        assert_eq!((house.vendor_value(bench.key), house.call_count(CallKind::Update)), (before, 1), "{fault:?}");
    })
    .await;
}

/// Enabling, disabling and deleting are believed only if the vendor says what it documents.
#[actix_web::test]
async fn a_malformed_response_to_a_bluedolphin_status_call_is_unknown() {
    let bench = &crate::support::BLUEDOLPHIN;
    for_each_fault(
        vec![InjectedFault::WrongJson, InjectedFault::HtmlPage, InjectedFault::status(200)],
        async |fault| {
            let house = TestEnv::start_with(bench, SHORT_TIMEOUTS).await;
            house.inject_once(CallKind::Update, fault.clone());
            let disable =
                house.patch(bench.key).if_match("*").fields(&json!({ "status": "disabled" })).without_prefer();
            let answer = disable.send().await;
            let disabled = house.vendors.bluedolphin.state.definition(bench.key).unwrap().disabled;
            assert!(!disabled && answer.status == 504, "{fault:?}: {answer:?}");
        },
    )
    .await;
}
