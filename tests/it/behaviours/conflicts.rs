//! Changes between the read and the write: how they are detected, and which writes are tried again
//! (contract 4.2).

use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

for_each_vendor!(
    an_external_change_during_the_read_is_412,
    one_of_many_patches_with_the_same_etag_wins,
    a_patch_and_a_delete_with_the_same_etag_do_not_both_win,
);
for_each_vendor_with!(native:
    a_conflict_detected_by_the_vendor_is_412_and_never_retried,
    star_reads_again_and_retries_after_a_conflict,
    star_gives_up_as_contended_after_at_least_three_attempts,
    twenty_star_writes_of_one_record_are_all_done,
);

/// The read is held until an external write: it then returns another state than the caller's.
async fn an_external_change_during_the_read_is_412(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(fixture.read_call_kind, InjectedFault::Hold);
    let patch = env.patch(fixture.key).if_match(&current_etag).json_patch(&replace_patch(fixture, "mine"));
    let others = async {
        env.wait_for_calls(fixture.read_call_kind, 1).await;
        (fixture.external_write)(&env.vendors, fixture.key, "an external write");
        env.faults().release();
    };
    let (response, ()) = join(patch.send(), others).await;
    response.assert_problem(412, "precondition-failed");
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("an external write", 0));
}

fn replace_patch(fixture: &VendorFixture, text: &str) -> serde_json::Value {
    json!([{ "op": "replace", "path": format!("/fields/{}", fixture.text), "value": text }])
}

async fn a_conflict_detected_by_the_vendor_is_412_and_never_retried(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let patch = env.patch(fixture.key).if_match(&current_etag).json_patch(&replace_patch(fixture, "mine"));
    let others = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (fixture.external_write)(&env.vendors, fixture.key, "an external write");
        env.faults().release();
    };
    let (response, ()) = join(patch.send(), others).await;
    response.assert_problem(412, "precondition-failed");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "an external write");
    assert_eq!(env.call_count(CallKind::Update), 1, "{:?}", env.requests());
    assert_eq!(response.json()["current_etag"], env.current_etag(fixture.key).await);
}

async fn star_reads_again_and_retries_after_a_conflict(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        (fixture.external_touch)(&env.vendors, fixture.key);
        env.faults().release();
    };
    let (response, ()) = join(env.set_text(fixture.key, "*", "in the end").send(), others).await;
    response.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.call_count(CallKind::Update)), ("in the end", 2));
}

async fn star_gives_up_as_contended_after_at_least_three_attempts(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("deadline", "4s"));
    env.faults().always(CallKind::Update, InjectedFault::Hold);
    let others = async {
        for time in 1.. {
            env.wait_for_calls(CallKind::Update, time).await;
            (fixture.external_touch)(&env.vendors, fixture.key);
            env.faults().release();
        }
    };
    let before = env.vendor_value(fixture.key);
    let response = tokio::select! {
        response = env.set_text(fixture.key, "*", "never").send() => response,
        () = others => unreachable!("there is always another writer"),
    };
    response.assert_problem(409, "contended");
    assert!(response.header("retry-after").is_some());
    let tries = env.call_count(CallKind::Update);
    assert!(tries >= 3 && env.vendor_value(fixture.key) == before, "{tries} tries");
    // Each attempt is an operation, and none reports a failed precondition: `*` matches any state.
    assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
    let ledger = env.read_ledger().await.json();
    let outcomes = ledger["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "outcome");
    assert_eq!(outcomes.map(|entry| entry["problem"].clone()).collect::<Vec<_>>(), vec!["contended"; tries]);
}

async fn twenty_star_writes_of_one_record_are_all_done(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.server("deadline", "25s"));
    let texts: Vec<String> = (0..20).map(|number| format!("written by {number}")).collect();
    let writes = texts.iter().map(|text| env.set_text(fixture.key, "*", text).send());
    for response in join_all(writes).await {
        response.assert_status(fixture.patch_status);
    }
    let held = env.vendor_value(fixture.key).unwrap();
    assert!(texts.contains(&held), "{held}");
    if let Some(update_count) = fixture.update_count {
        assert_eq!(update_count(&env.vendors, fixture.key), 20);
    }
}

async fn one_of_many_patches_with_the_same_etag_wins(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patches = (0..12).map(|number| env.set_text(fixture.key, &current_etag, &format!("text {number}")).send());
    let responses = join_all(patches).await;
    let won: Vec<usize> = responses
        .iter()
        .enumerate()
        .filter(|(_, response)| response.status == fixture.patch_status)
        .map(|(number, _)| number)
        .collect();
    let [winner] = won.as_slice() else { panic!("{responses:?}") };
    assert_eq!(env.vendor_value(fixture.key).unwrap(), format!("text {winner}"));
    for lost in responses.iter().filter(|response| response.status != fixture.patch_status) {
        let busy = fixture.queued && lost.problem() == "operation-in-progress";
        assert!(busy || lost.problem() == "precondition-failed", "{lost:?}");
    }
}

async fn a_patch_and_a_delete_with_the_same_etag_do_not_both_win(fixture: &'static VendorFixture) {
    for delete_first in [false, true] {
        let env = TestEnv::start(fixture);
        let current_etag = env.current_etag(fixture.deletable_key).await;
        let patch = env.set_text(fixture.deletable_key, &current_etag, "mine").send();
        let delete = env.delete(fixture.deletable_key, &current_etag).send();
        let (patched, deleted) = if delete_first {
            let (deleted, patched) = join(delete, patch).await;
            (patched, deleted)
        } else {
            join(patch, delete).await
        };
        match (patched.status, deleted.status) {
            (200 | 204, 409 | 412) => assert_eq!(env.vendor_value(fixture.deletable_key).unwrap(), "mine"),
            (404 | 409 | 412, 204) => assert_eq!(env.vendor_value(fixture.deletable_key), None),
            _ => panic!("{patched:?} {deleted:?}"),
        }
    }
}

/// The vendor documents no text for a stale version: only another read distinguishes it from bad
/// input.
#[actix_web::test]
async fn a_pretectum_conflict_is_detected_whatever_its_text() {
    for text in ["Ungültige Anfrage", "", "<html>Bad Request</html>"] {
        let env = TestEnv::start(&PRETECTUM);
        env.vendors.pretectum.state.configure(|settings| text.clone_into(&mut settings.conflict_text));
        let stale = env.current_etag(PRETECTUM.key).await;
        (PRETECTUM.external_touch)(&env.vendors, PRETECTUM.key);
        env.set_text(PRETECTUM.key, &stale, "mine").send().await.assert_problem(412, "precondition-failed");
        assert_eq!(env.call_count(CallKind::Update), 1);
    }
}

/// The vendor may have a change that a read does not show yet.
#[actix_web::test]
async fn a_matrix42_conflict_is_412_even_if_a_read_shows_no_change() {
    let env = TestEnv::start(&MATRIX42);
    let current_etag = env.current_etag(MATRIX42.key).await;
    let text = "Concurrency. The object you want to update has been updated by another process.";
    let conflict = || InjectedFault::json(500, json!({ "ExceptionMessage": text }).to_string());
    env.inject_once(CallKind::Update, conflict());
    let rejected = env.set_text(MATRIX42.key, &current_etag, "mine").send().await;
    assert_eq!(rejected.assert_problem(412, "precondition-failed").json().get("current_etag"), None);
    assert_eq!(env.call_count(CallKind::Update), 1, "{:?}", env.requests());
    env.inject_once(CallKind::Update, conflict());
    env.set_text(MATRIX42.key, "*", "in the end").send().await.assert_status(204);
    assert_eq!((env.call_count(CallKind::Update), env.vendor_value(MATRIX42.key).unwrap().as_str()), (3, "in the end"));
}

/// Without `Explicit-Language` the texts that distinguish a conflict from a failure would be
/// German.
#[actix_web::test]
async fn every_matrix42_request_requests_english() {
    let env = TestEnv::start(&MATRIX42);
    let current_etag = env.current_etag(MATRIX42.key).await;
    env.set_text(MATRIX42.key, &current_etag, "new").send().await.assert_status(204);
    env.set_text(MATRIX42.key, &current_etag, "stale").send().await.assert_problem(412, "precondition-failed");
    env.create("new").send().await.assert_status(201);
    env.get("/records/itsm?collection=SPSScCategoryClassBase").send().await.assert_status(200);
    let tag = env.read(MATRIX42.deletable_key).send().await.etag().to_owned();
    env.delete(MATRIX42.deletable_key, &tag).send().await.assert_status(204);
    for call in env.vendors.matrix42.log.all() {
        assert_eq!(call.header("explicit-language"), Some("en"), "{} {}", call.method, call.path);
    }
}
