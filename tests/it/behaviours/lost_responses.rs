//! Writes with lost, late or malformed responses (contract 5.2 and 5.3): never applied twice, never
//! misreported, and every operation ends.

use std::time::Duration;

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};
use serde_json::json;

use crate::support::{
    BLUEDOLPHIN, MATRIX42, OnUpdate500, PRETECTUM, TestConfig, TestEnv, VendorFixture, for_each_vendor,
    for_each_vendor_with,
};

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
for_each_vendor_with!(native:
    an_unapplied_update_is_resent_and_applied_once,
    an_update_that_arrives_late_is_applied_once,
    an_update_continues_after_the_response_is_outcome_unknown,
    an_external_write_after_a_lost_response_is_not_overwritten,
);

fn with_short_timeouts(config: TestConfig) -> TestConfig {
    config
        .server("deadline", "1500ms")
        .every_system("timeout", "250ms")
        .every_system("connect_timeout", "250ms")
        .every_system("completion_timeout", "2s")
        .every_system("settle_timeout", "2s")
        .every_system("max_vendor_body", 65_536)
}

/// Tries the faults concurrently, each in an environment of its own: most of the time is waiting.
async fn for_each_fault(faults: Vec<InjectedFault>, attempt: impl AsyncFn(InjectedFault)) {
    futures_util::future::join_all(faults.into_iter().map(|fault| attempt(fault))).await;
}

/// The vendor applies the write, and the response does not show it.
fn applied_faults() -> Vec<InjectedFault> {
    vec![
        InjectedFault::ResetAfter,
        InjectedFault::HangAfter,
        InjectedFault::HalfBody,
        InjectedFault::HugeBody { bytes: 100_000 },
    ]
}

/// The vendor does not apply the write, and the response does not show it.
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

async fn an_applied_update_with_a_lost_response_is_reported_as_applied(fixture: &'static VendorFixture) {
    for_each_fault(applied_faults(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let current_etag = env.current_etag(fixture.key).await;
        env.inject_once(CallKind::Update, fault.clone());
        let response = env.set_text(fixture.key, &current_etag, "done").send().await;
        assert_eq!(response.status, fixture.patch_status, "{fault:?}: {response:?}");
        assert_eq!(env.vendor_value(fixture.key).unwrap(), "done");
        assert_eq!(env.wait_for_operation(&response).await["state"], "applied", "{fault:?}");
        if !fixture.native {
            assert_eq!(env.call_count(CallKind::Update), 1, "a write without a version is not sent again: {fault:?}");
        }
        assert_changed_once(&env, &fault);
    })
    .await;
}

/// Where the vendor's versions count updates, exactly one update took effect.
fn assert_changed_once(env: &TestEnv, fault: &InjectedFault) {
    if let Some(update_count) = env.fixture.update_count {
        assert_eq!(update_count(&env.vendors, env.fixture.key), 1, "{fault:?}");
    }
}

async fn an_unapplied_update_is_resent_and_applied_once(fixture: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let current_etag = env.current_etag(fixture.key).await;
        env.inject_once(CallKind::Update, fault.clone());
        let response = env.set_text(fixture.key, &current_etag, "done").send().await;
        assert_eq!(response.status, 204, "{fault:?}: {response:?}");
        assert_eq!(
            (env.vendor_value(fixture.key).unwrap().as_str(), env.call_count(CallKind::Update)),
            ("done", 2),
            "{fault:?}"
        );
        assert_changed_once(&env, &fault);
    })
    .await;
}

/// The first attempt has not arrived when the second one is sent: at most one of them can be
/// applied.
async fn an_update_that_arrives_late_is_applied_once(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    env.faults().next(CallKind::Update, 2, InjectedFault::Hold);
    let both = async {
        env.wait_for_calls(CallKind::Update, 2).await;
        env.faults().release();
    };
    let (response, ()) =
        futures_util::future::join(env.set_text(fixture.key, &current_etag, "late").send(), both).await;
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(env.wait_for_operation(&response).await["state"], "applied");
    let final_etag = env.current_etag(fixture.key).await;
    assert_eq!(
        (env.vendor_value(fixture.key).unwrap().as_str(), env.current_etag(fixture.key).await),
        ("late", final_etag)
    );
    assert_changed_once(&env, &InjectedFault::Hold);
}

async fn an_update_continues_after_the_response_is_outcome_unknown(fixture: &'static VendorFixture) {
    let env =
        TestEnv::start_with(fixture, |config| config.server("deadline", "2s").every_system("completion_poll", "30ms"));
    let current_etag = env.current_etag(fixture.key).await;
    env.faults().always(CallKind::Update, InjectedFault::ResetBefore);
    let response = env.set_text(fixture.key, &current_etag, "in the end").send().await;
    response.assert_problem(504, "outcome-unknown");
    let operation = response.json()["operation"].as_str().unwrap().to_owned();
    assert_eq!(env.get(&operation).send().await.json()["state"], "running");
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 1", fixture.system)), "{metrics}");
    env.faults().clear();
    assert_eq!(env.wait_for_operation_at(&operation).await["state"], "applied");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "in the end");
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.contains(&format!("writes_unknown{{system=\"{}\"}} 0", fixture.system)), "{metrics}");
}

async fn an_external_write_after_a_lost_response_is_not_overwritten(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    // The lost attempt and its repetition are held until an external write.
    env.inject_once(CallKind::Update, InjectedFault::ResetBefore);
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        env.wait_for_calls(CallKind::Update, 2).await;
        (fixture.external_write)(&env.vendors, fixture.key, "an external write");
        env.faults().release();
    };
    let (response, ()) =
        futures_util::future::join(env.set_text(fixture.key, &current_etag, "mine").send(), others).await;
    // Pretectum's version counts the writes in between; Matrix42's row version does not.
    match response.status {
        412 => drop(response.assert_problem(412, "precondition-failed")),
        _ => drop(response.assert_problem(504, "outcome-unknown")),
    }
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "an external write");
    let state = env.wait_for_operation(&response).await["state"].clone();
    assert_eq!(state, if response.status == 412 { "not-applied" } else { "unknown" });
}

async fn an_applied_delete_with_a_lost_response_is_reported_as_applied(fixture: &'static VendorFixture) {
    for_each_fault(applied_faults().into_iter().chain([InjectedFault::ApplyThen500]).collect(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let current_etag = env.current_etag(fixture.deletable_key).await;
        env.inject_once(CallKind::Delete, fault.clone());
        let response = env.delete(fixture.deletable_key, &current_etag).send().await;
        assert_eq!(response.status, 204, "{fault:?}: {response:?}");
        assert_eq!(env.vendor_value(fixture.deletable_key), None);
        assert_eq!(env.wait_for_operation(&response).await["state"], "applied", "{fault:?}");
    })
    .await;
}

async fn an_unapplied_delete_is_never_reported_as_applied(fixture: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let (tag, before) = (env.current_etag(fixture.deletable_key).await, env.vendor_value(fixture.deletable_key));
        env.inject_once(CallKind::Delete, fault.clone());
        let response = env.delete(fixture.deletable_key, &tag).send().await;
        if response.status == 204 {
            // A delete may be sent again where ids are never reused.
            assert_eq!(
                (env.vendor_value(fixture.deletable_key), env.call_count(CallKind::Delete)),
                (None, 2),
                "{fault:?}"
            );
            return;
        }
        assert_eq!((response.status, response.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {response:?}");
        assert_eq!(env.vendor_value(fixture.deletable_key), before);
        let operation = env.wait_for_operation(&response).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
    })
    .await;
}

async fn an_applied_create_is_found_and_never_resent(fixture: &'static VendorFixture) {
    for_each_fault(applied_faults().into_iter().chain([InjectedFault::ApplyThen500]).collect(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let before = env.record_count();
        env.inject_once(CallKind::Create, fault.clone());
        let response = env.create("made once").send().await;
        assert_eq!(response.status, 201, "{fault:?}: {response:?}");
        assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before + 1, 1), "{fault:?}");
        let read = env.get(response.header("location").unwrap()).send().await;
        assert_eq!((read.json()["fields"][fixture.text].as_str(), read.etag()), (Some("made once"), response.etag()));
    })
    .await;
}

async fn an_unapplied_create_is_unknown_and_never_resent(fixture: &'static VendorFixture) {
    for_each_fault(unapplied_faults(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let before = env.record_count();
        env.inject_once(CallKind::Create, fault.clone());
        let response = env.create("never made").send().await;
        assert_eq!((response.status, response.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {response:?}");
        let operation = env.wait_for_operation(&response).await;
        assert_eq!(operation["state"], "unknown", "{fault:?}: {operation}");
        assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before, 1), "{fault:?}");
    })
    .await;
}

async fn a_create_never_matches_a_preexisting_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    env.create("the same").send().await.assert_status(201);
    let before = env.record_count();
    env.inject_once(CallKind::Create, InjectedFault::ResetBefore);
    let response = env.create("the same").send().await;
    // BlueDolphin's names are unique: the gateway may have rejected the create before it sent
    // anything.
    assert_ne!(response.status, 201, "{response:?}");
    assert_eq!(env.record_count(), before);
}

/// The vendor rejected the write without an effect, and a read confirms it.
async fn a_vendor_error_without_effect_is_not_applied(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    let before = env.vendor_value(fixture.key);
    env.inject_once(
        CallKind::Update,
        InjectedFault::json(500, r#"{"Message":"An error has occurred.","message":"Internal"}"#),
    );
    let response = env.set_text(fixture.key, &current_etag, "mine").send().await;
    match fixture.on_update_500 {
        OnUpdate500::Resent => {
            assert_eq!((response.status, env.vendor_value(fixture.key).unwrap().as_str()), (204, "mine"), "sent again");
        }
        OnUpdate500::Unknown => {
            response.assert_problem(504, "outcome-unknown");
            assert_eq!((env.vendor_value(fixture.key), env.call_count(CallKind::Update)), (before, 1));
            assert_eq!(env.wait_for_operation(&response).await["state"], "unknown");
        }
        OnUpdate500::NotApplied => {
            response.assert_problem(502, "vendor-error");
            assert_eq!((env.vendor_value(fixture.key), env.call_count(CallKind::Update)), (before, 1));
            assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
        }
    }
}

#[actix_web::test]
async fn a_pretectum_commit_followed_by_500_is_resolved_by_its_version() {
    let env = TestEnv::start_with(&PRETECTUM, with_short_timeouts);
    let current_etag = env.current_etag(PRETECTUM.key).await;
    env.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    env.set_text(PRETECTUM.key, &current_etag, "done").send().await.assert_status(204);
    assert_changed_once(&env, &InjectedFault::ApplyThen500);
}

/// After a 500 the record has another version and the expected values: applied, or an external
/// write.
#[actix_web::test]
async fn a_matrix42_commit_followed_by_500_is_unknown() {
    let env = TestEnv::start_with(&MATRIX42, with_short_timeouts);
    let current_etag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    let response = env.set_text(MATRIX42.key, &current_etag, "done").send().await;
    response.assert_problem(504, "outcome-unknown");
    assert_eq!(env.call_count(CallKind::Update), 1);
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["observed"]), (&json!("unknown"), &json!("other")));
}

/// Somebody else overwrites the state that the write made; the vendor does not show who made it.
/// The gateway's own writers wait until the write is resolved.
#[actix_web::test]
async fn an_overwritten_matrix42_commit_followed_by_500_is_unknown() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        config.server("deadline", "9s").every_system("retries", 0).every_system("completion_poll", "2s")
    });
    let current_etag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::ApplyThen500);
    let reads = env.call_count(CallKind::Read);
    env.inject_once(CallKind::Read, InjectedFault::Hold);
    let later = async {
        // The gateway looks whether the write was made, and sees what came after it.
        env.wait_for_calls(CallKind::Read, reads + 1).await;
        (MATRIX42.external_write)(&env.vendors, MATRIX42.key, "second");
        let release = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            env.faults().release();
        };
        join(env.set_text(MATRIX42.key, &current_etag, "refused").send(), release).await.0
    };
    let (first, second) = join(env.set_text(MATRIX42.key, &current_etag, "first").send(), later).await;
    // The first one is in progress, or has ended by then.
    let refusals = ["operation-in-progress", "precondition-failed"].map(|name| format!("/problems/{name}"));
    assert!(refusals.iter().any(|refusal| second.json()["type"] == **refusal), "{second:?}");
    first.assert_problem(504, "outcome-unknown");
    assert_eq!(env.wait_for_operation(&first).await["state"], "unknown");
    assert_eq!(env.vendor_value(MATRIX42.key).unwrap(), "second");
}

/// A copy of a tenant has records with the same ids and versions.
async fn a_write_is_never_resent_to_another_tenant(fixture: &'static VendorFixture) {
    let mut env = TestEnv::start_with(fixture, with_short_timeouts);
    let current_etag = env.current_etag(fixture.key).await;
    env.faults().always(CallKind::Update, InjectedFault::Hang);
    let response = env.set_text(fixture.key, &current_etag, "for the first one").send().await;
    response.assert_problem(504, "outcome-unknown");
    let former = env.restart_with_vendors(Sandbox::start().unwrap()).await;
    let operation = env.wait_for_operation(&response).await;
    assert_eq!(operation["state"], "unknown", "{operation}");
    env.assert_nothing_sent();
    assert_ne!(env.vendor_value(fixture.key).unwrap(), "for the first one");
    former.stop().await;
}

/// A BlueDolphin write without a response is not 202: the vendor has not accepted it.
#[actix_web::test]
async fn unaccepted_bluedolphin_updates_are_unknown_and_never_resent() {
    let fixture = &BLUEDOLPHIN;
    for_each_fault(unapplied_faults(), async |fault| {
        let env = TestEnv::start_with(fixture, with_short_timeouts);
        let before = env.vendor_value(fixture.key);
        env.inject_once(CallKind::Update, fault.clone());
        let response = env.set_text(fixture.key, "*", "never").without_prefer().send().await;
        assert_eq!((response.status, response.problem().as_str()), (504, "outcome-unknown"), "{fault:?}: {response:?}");
        let operation = env.wait_for_operation(&response).await;
        assert_eq!(
            (&operation["state"], &operation["observed"]),
            (&json!("unknown"), &json!("unchanged")),
            "{fault:?}"
        );
        assert_eq!((env.vendor_value(fixture.key), env.call_count(CallKind::Update)), (before, 1), "{fault:?}");
    })
    .await;
}

/// A success of enabling, disabling and deleting counts only with the documented body.
#[actix_web::test]
async fn a_malformed_response_to_a_bluedolphin_status_call_is_unknown() {
    let fixture = &BLUEDOLPHIN;
    for_each_fault(
        vec![InjectedFault::WrongJson, InjectedFault::HtmlPage, InjectedFault::status(200)],
        async |fault| {
            let env = TestEnv::start_with(fixture, with_short_timeouts);
            env.inject_once(CallKind::Update, fault.clone());
            let disable =
                env.patch(fixture.key).if_match("*").fields(&json!({ "status": "disabled" })).without_prefer();
            let response = disable.send().await;
            let disabled = env.vendors.bluedolphin.state.definition(fixture.key).unwrap().disabled;
            assert!(!disabled && response.status == 504, "{fault:?}: {response:?}");
        },
    )
    .await;
}
