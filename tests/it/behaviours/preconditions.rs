//! `If-Match` and `If-None-Match` on writes (contract 4.2 and 4.3; http-rules A2 to A5).

use actix_web::http::Method;
use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{
    BLUEDOLPHIN, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor,
};

for_each_vendor!(
    the_current_etag_admits_exactly_one_patch,
    a_stale_etag_is_412_and_the_vendor_record_is_unchanged,
    a_stale_etag_response_lists_the_fields_changed_since,
    an_etag_of_another_record_never_matches,
    a_weak_etag_never_matches,
    any_etag_of_an_if_match_list_may_match,
    star_matches_any_state,
    bad_syntax_is_400_and_nothing_is_sent,
    a_missing_precondition_is_428_and_nothing_is_sent,
    a_system_can_be_configured_without_preconditions,
    a_missing_record_is_404_whatever_the_precondition,
    if_none_match_is_evaluated_on_writes,
    an_external_change_during_the_read_is_412,
    one_of_many_patches_with_the_same_etag_wins,
    a_patch_and_a_delete_with_the_same_etag_do_not_both_win,
    require_guarantee_is_rejected_without_native_version_checks,
);
for_each_native_vendor!(
    a_stale_etag_from_a_list_also_lists_the_changed_fields,
    a_flat_patch_with_one_etag_is_one_vendor_call,
    a_conflict_detected_by_the_vendor_is_412_and_never_retried,
    star_reads_again_and_retries_after_a_conflict,
    star_gives_up_as_contended_after_three_conflicts,
    twenty_star_writes_of_one_record_are_all_done,
    the_detail_of_a_412_is_what_is_wrong_with_the_tag,
);

async fn the_current_etag_admits_exactly_one_patch(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let response = env.set_text(fixture.key, &current_etag, "new text").send().await;
    response.assert_status(fixture.patch_status);
    assert_eq!(response.header("concurrency-guarantee"), Some(fixture.guarantee()));
    assert_eq!((env.call_count(CallKind::Update), env.write_call_count()), (1, 1));
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "new text");
    let now = env.current_etag(fixture.key).await;
    assert_ne!(now, current_etag);
    assert!(response.header("etag").is_none_or(|etag| etag == now), "{response:?}");
}

async fn a_flat_patch_with_one_etag_is_one_vendor_call(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let response = env.set_text(fixture.key, &current_etag, "new text").send().await;
    response.assert_status(fixture.patch_status);
    assert_eq!(response.header("etag"), None, "the new version is not in the vendor's response");
    assert_eq!((env.requests().len(), env.call_count(CallKind::Update)), (1, 1), "{:?}", env.requests());
}

async fn a_stale_etag_is_412_and_the_vendor_record_is_unchanged(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "an external write");
    let response = env.set_text(fixture.key, &stale, "mine").send().await;
    response.assert_problem(412, "precondition-failed");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "an external write");
    assert!(env.write_call_count() <= usize::from(fixture.native), "{:?}", env.requests());
    assert_eq!(response.header("etag"), None);
    assert_eq!(response.json()["current_etag"], env.current_etag(fixture.key).await);
}

async fn a_stale_etag_response_lists_the_fields_changed_since(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let elsewhere = env.start_second_gateway();
    let shown_here = env.current_etag(fixture.key).await;
    (fixture.external_write)(&env.vendors, fixture.key, "an external write");
    let changed = json!([format!("/fields/{}", fixture.text)]);
    for rejected in [env.set_text(fixture.key, &shown_here, "mine"), env.delete(fixture.key, &shown_here)] {
        assert_eq!(rejected.send().await.assert_problem(412, "precondition-failed").json()["changed"], changed);
    }
    // The gateway cannot know on which of the two states the caller relies.
    let either = format!("{shown_here}, \"other\"");
    assert_eq!(env.set_text(fixture.key, &either, "mine").send().await.json().get("changed"), None);
    // Another gateway has not cached the state that this one returned.
    let patch = elsewhere.client().request(Method::PATCH, &fixture.path(fixture.key)).if_match(&shown_here);
    let rejected = patch.fields(&fixture.text_patch("mine")).send().await;
    assert_eq!(rejected.assert_problem(412, "precondition-failed").json().get("changed"), None);
    elsewhere.stop().await;
}

async fn a_stale_etag_from_a_list_also_lists_the_changed_fields(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let list = format!("/records/{}?collection={}", fixture.system, fixture.collection());
    let listed = env.get(&list).send().await.json();
    let items = listed["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["id"] == fixture.id(fixture.key)).unwrap();
    let shown_in_list = item["etag"].as_str().unwrap();
    (fixture.external_touch)(&env.vendors, fixture.key);
    let rejected = env.set_text(fixture.key, shown_in_list, "mine").send().await;
    let changed = rejected.assert_problem(412, "precondition-failed").json()["changed"].clone();
    assert_eq!(changed.as_array().map(Vec::len), Some(1), "{changed}");
    assert_ne!(changed[0], format!("/fields/{}", fixture.text));
}

async fn an_etag_of_another_record_never_matches(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for (of, on) in [(fixture.other_key, fixture.key), (fixture.other_key, fixture.deletable_key)] {
        let foreign = env.current_etag(of).await;
        let before = env.vendor_value(on);
        env.set_text(on, &foreign, "mine").send().await.assert_problem(412, "precondition-failed");
        env.delete(on, &foreign).send().await.assert_problem(412, "precondition-failed");
        assert_eq!((env.vendor_value(on), env.write_call_count()), (before, 0));
    }
}

async fn a_weak_etag_never_matches(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let weak = format!("W/{}", env.current_etag(fixture.key).await);
    env.set_text(fixture.key, &weak, "mine").send().await.assert_problem(412, "precondition-failed");
    env.delete(fixture.key, &weak).send().await.assert_problem(412, "precondition-failed");
    assert_eq!(env.write_call_count(), 0);
}

async fn any_etag_of_an_if_match_list_may_match(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let list = format!("\"a,b\" ,, W/\"x\",{tag} ,");
    env.set_text(fixture.key, &list, "by a list").send().await.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("by a list", 1));
    let tag = env.current_etag(fixture.key).await;
    let lines = env.set_text(fixture.key, "\"x\"", "by two lines").if_match(&tag);
    lines.send().await.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("by two lines", 1));
    env.set_text(fixture.key, "\"x\", \"y\"", "not").send().await.assert_problem(412, "precondition-failed");
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "by two lines");
}

async fn star_matches_any_state(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.external_touch)(&env.vendors, fixture.key);
    let response = env.set_text(fixture.key, "*", "by star").send().await;
    response.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("by star", 1));
}

async fn bad_syntax_is_400_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let bad = ["abc", "\"abc", "w/\"a\"", "", ",", "\"a\" \"b\"", "*, \"a\"", "*, *", "\"a b\"", "W/*"];
    for tags in bad {
        env.set_text(fixture.key, tags, "mine").send().await.assert_problem(400, "malformed-request");
        env.delete(fixture.key, tags).send().await.assert_problem(400, "malformed-request");
    }
    env.assert_nothing_sent();
}

async fn a_missing_precondition_is_428_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let unconditional = || env.patch(fixture.key).fields(&fixture.text_patch("mine"));
    unconditional().send().await.assert_problem(428, "precondition-required");
    let dated = unconditional().header("If-Unmodified-Since", "Sun, 06 Nov 2044 08:49:37 GMT");
    dated.send().await.assert_problem(428, "precondition-required");
    env.delete(fixture.key, "").without_header("If-Match").send().await.assert_problem(428, "precondition-required");
    env.assert_nothing_sent();
}

async fn a_system_can_be_configured_without_preconditions(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.every_system("require_if_match", false));
    env.patch(fixture.key)
        .fields(&fixture.text_patch("unconditional"))
        .send()
        .await
        .assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("unconditional", 1));
    env.delete(fixture.deletable_key, "").without_header("If-Match").send().await.assert_status(204);
    assert_eq!(env.vendor_value(fixture.deletable_key), None);
}

async fn a_missing_record_is_404_whatever_the_precondition(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    for tags in [tag.as_str(), "*", "\"x\", \"y\""] {
        env.set_text(fixture.missing_key, tags, "mine").send().await.assert_problem(404, "record-not-found");
        env.delete(fixture.missing_key, tags).send().await.assert_problem(404, "record-not-found");
    }
    assert_eq!(env.write_call_count(), 0);
    // The ETag of a record that has been deleted since.
    let tag = env.current_etag(fixture.deletable_key).await;
    (fixture.external_delete)(&env.vendors, fixture.deletable_key);
    env.set_text(fixture.deletable_key, &tag, "mine").send().await.assert_problem(404, "record-not-found");
    env.delete(fixture.deletable_key, &tag).send().await.assert_problem(404, "record-not-found");
}

async fn if_none_match_is_evaluated_on_writes(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    for excluded in ["*", &current_etag, &format!("W/{current_etag}")] {
        let patch = env.set_text(fixture.key, &current_etag, "mine").header("If-None-Match", excluded);
        patch.send().await.assert_problem(412, "precondition-failed");
        let delete = env.delete(fixture.key, &current_etag).header("If-None-Match", excluded);
        delete.send().await.assert_problem(412, "precondition-failed");
    }
    assert_eq!(env.write_call_count(), 0);
    let patch = env.set_text(fixture.key, &current_etag, "mine").header("If-None-Match", "\"x\"");
    patch.send().await.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("mine", 1));
}

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

async fn star_gives_up_as_contended_after_three_conflicts(fixture: &'static VendorFixture) {
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

async fn the_detail_of_a_412_is_what_is_wrong_with_the_tag(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let (current, foreign) = (env.current_etag(fixture.key).await, env.current_etag(fixture.other_key).await);
    for (tag, reason) in [
        (format!("W/{current}"), "weak tag never matches"),
        (foreign, "belongs to another record"),
        ("\"invented\"".to_owned(), "no tag that the gateway has given"),
    ] {
        let response = env.set_text(fixture.key, &tag, "never").send().await;
        let problem = response.assert_problem(412, "precondition-failed").json();
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{tag}: {problem}");
        assert_eq!((problem["current_etag"].as_str(), problem.get("changed")), (Some(current.as_str()), None), "{tag}");
    }
    (fixture.external_touch)(&env.vendors, fixture.key);
    let response = env.set_text(fixture.key, &current, "never").send().await;
    let problem = response.assert_problem(412, "precondition-failed").json();
    assert_ne!(problem["current_etag"], current);
    assert_eq!(env.write_call_count(), usize::from(fixture.native), "only a native write is sent to be compared");
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

async fn require_guarantee_is_rejected_without_native_version_checks(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch =
        env.set_text(fixture.key, &current_etag, "guaranteed").header("Require-Guarantee", "native").send().await;
    if fixture.native {
        patch.assert_status(fixture.patch_status);
        assert_eq!(patch.header("concurrency-guarantee"), Some("native"));
        assert_eq!(env.vendor_value(fixture.key).unwrap(), "guaranteed");
    } else {
        patch.assert_problem(409, "guarantee-unavailable");
        assert_eq!(env.write_call_count(), 0);
    }
    let current_etag = env.current_etag(fixture.deletable_key).await;
    let delete = env.delete(fixture.deletable_key, &current_etag).header("Require-Guarantee", "native").send().await;
    if fixture.native_delete {
        assert_eq!(delete.assert_status(204).header("concurrency-guarantee"), Some("native"));
        return;
    }
    delete.assert_problem(409, "guarantee-unavailable");
    assert_eq!(env.write_call_count(), 0);
    assert!(env.vendor_value(fixture.deletable_key).is_some());
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

/// Contract 4, order of checks: 422 precedes a running operation, a missing record and a stale
/// ETag.
#[actix_web::test]
async fn an_invalid_bluedolphin_patch_is_422_before_the_record_is_read() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    for fields in [
        json!({ "status": "foo" }),
        json!({ "status": null }),
        json!({ "name": "" }),
        json!({ "name": null }),
        json!({ "properties": 5 }),
        json!({ "properties": { "Supplier": "Contoso" } }),
        json!({ "questionnaires": [] }),
    ] {
        for key in [BLUEDOLPHIN.key, BLUEDOLPHIN.missing_key] {
            let response = env.patch(key).if_match("\"stale\"").fields(&fields).send().await;
            response.assert_problem(422, "rejected");
            assert!(!response.json()["errors"].as_array().unwrap().is_empty(), "{response:?}");
        }
    }
    env.assert_nothing_sent();
}
