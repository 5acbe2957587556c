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
    star_gives_up_after_three_conflicts,
);

async fn the_current_etag_admits_exactly_one_patch(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let answer = house.set_text(bench.key, &current_etag, "new text").send().await;
    answer.assert_status(bench.patch_status);
    assert_eq!(answer.header("concurrency-guarantee"), Some(bench.guarantee()));
    assert_eq!((house.call_count(CallKind::Update), house.write_call_count()), (1, 1));
    assert_eq!(house.vendor_value(bench.key).unwrap(), "new text");
    let now = house.current_etag(bench.key).await;
    assert_ne!(now, current_etag);
    assert!(answer.header("etag").is_none_or(|told| told == now), "{answer:?}");
}

async fn a_flat_patch_with_one_etag_is_one_vendor_call(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let answer = house.set_text(bench.key, &current_etag, "new text").send().await;
    answer.assert_status(bench.patch_status);
    assert_eq!(answer.header("etag"), None, "the new version is not in the vendor's answer");
    assert_eq!((house.requests().len(), house.call_count(CallKind::Update)), (1, 1), "{:?}", house.requests());
}

async fn a_stale_etag_is_412_and_the_vendor_record_is_unchanged(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let stale = house.current_etag(bench.key).await;
    (bench.external_write)(&house.vendors, bench.key, "somebody else's");
    let answer = house.set_text(bench.key, &stale, "mine").send().await;
    answer.assert_problem(412, "precondition-failed");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "somebody else's");
    assert!(house.write_call_count() <= usize::from(bench.native), "{:?}", house.requests());
    assert_eq!(answer.header("etag"), None);
    assert_eq!(answer.json()["current_etag"], house.current_etag(bench.key).await);
}

async fn a_stale_etag_response_lists_the_fields_changed_since(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let elsewhere = house.start_second_gateway();
    let shown_here = house.current_etag(bench.key).await;
    (bench.external_write)(&house.vendors, bench.key, "somebody else's");
    let changed = json!([format!("/fields/{}", bench.text)]);
    for refused in [house.set_text(bench.key, &shown_here, "mine"), house.delete(bench.key, &shown_here)] {
        assert_eq!(refused.send().await.assert_problem(412, "precondition-failed").json()["changed"], changed);
    }
    // Which of two states the caller has decided by, nobody knows.
    let either = format!("{shown_here}, \"other\"");
    assert_eq!(house.set_text(bench.key, &either, "mine").send().await.json().get("changed"), None);
    // Another gateway cannot know what was seen here.
    let patch = elsewhere.client().request(Method::PATCH, &bench.path(bench.key)).if_match(&shown_here);
    let refused = patch.fields(&bench.text_patch("mine")).send().await;
    assert_eq!(refused.assert_problem(412, "precondition-failed").json().get("changed"), None);
    elsewhere.stop().await;
}

async fn a_stale_etag_from_a_list_also_lists_the_changed_fields(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let list = format!("/records/{}?collection={}", bench.system, bench.collection());
    let listed = house.get(&list).send().await.json();
    let items = listed["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["id"] == bench.id(bench.key)).unwrap();
    let shown_in_list = item["etag"].as_str().unwrap();
    (bench.external_touch)(&house.vendors, bench.key);
    let refused = house.set_text(bench.key, shown_in_list, "mine").send().await;
    let told = refused.assert_problem(412, "precondition-failed").json()["changed"].clone();
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_ne!(told[0], format!("/fields/{}", bench.text));
}

async fn an_etag_of_another_record_never_matches(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for (of, on) in [(bench.other_key, bench.key), (bench.other_key, bench.deletable_key)] {
        let foreign = house.current_etag(of).await;
        let before = house.vendor_value(on);
        house.set_text(on, &foreign, "mine").send().await.assert_problem(412, "precondition-failed");
        house.delete(on, &foreign).send().await.assert_problem(412, "precondition-failed");
        assert_eq!((house.vendor_value(on), house.write_call_count()), (before, 0));
    }
}

async fn a_weak_etag_never_matches(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let weak = format!("W/{}", house.current_etag(bench.key).await);
    house.set_text(bench.key, &weak, "mine").send().await.assert_problem(412, "precondition-failed");
    house.delete(bench.key, &weak).send().await.assert_problem(412, "precondition-failed");
    assert_eq!(house.write_call_count(), 0);
}

async fn any_etag_of_an_if_match_list_may_match(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
    let list = format!("\"a,b\" ,, W/\"x\",{tag} ,");
    house.set_text(bench.key, &list, "by a list").send().await.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("by a list", 1));
    let tag = house.current_etag(bench.key).await;
    let lines = house.set_text(bench.key, "\"x\"", "by two lines").if_match(&tag);
    lines.send().await.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("by two lines", 1));
    house.set_text(bench.key, "\"x\", \"y\"", "not").send().await.assert_problem(412, "precondition-failed");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "by two lines");
}

async fn star_matches_any_state(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    (bench.external_touch)(&house.vendors, bench.key);
    let answer = house.set_text(bench.key, "*", "by star").send().await;
    answer.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("by star", 1));
}

async fn bad_syntax_is_400_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let bad = ["abc", "\"abc", "w/\"a\"", "", ",", "\"a\" \"b\"", "*, \"a\"", "*, *", "\"a b\"", "W/*"];
    for tags in bad {
        house.set_text(bench.key, tags, "mine").send().await.assert_problem(400, "malformed-request");
        house.delete(bench.key, tags).send().await.assert_problem(400, "malformed-request");
    }
    house.assert_nothing_sent();
}

async fn a_missing_precondition_is_428_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let unconditional = || house.patch(bench.key).fields(&bench.text_patch("mine"));
    unconditional().send().await.assert_problem(428, "precondition-required");
    let dated = unconditional().header("If-Unmodified-Since", "Sun, 06 Nov 2044 08:49:37 GMT");
    dated.send().await.assert_problem(428, "precondition-required");
    house.delete(bench.key, "").without_header("If-Match").send().await.assert_problem(428, "precondition-required");
    house.assert_nothing_sent();
}

async fn a_system_can_be_configured_without_preconditions(bench: &'static VendorFixture) {
    let house = TestEnv::start_with(bench, &[("vendor", "require_if_match", "false")]).await;
    house.patch(bench.key).fields(&bench.text_patch("unconditional")).send().await.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("unconditional", 1));
    house.delete(bench.deletable_key, "").without_header("If-Match").send().await.assert_status(204);
    assert_eq!(house.vendor_value(bench.deletable_key), None);
}

async fn a_missing_record_is_404_whatever_the_precondition(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
    for tags in [tag.as_str(), "*", "\"x\", \"y\""] {
        house.set_text(bench.missing_key, tags, "mine").send().await.assert_problem(404, "record-not-found");
        house.delete(bench.missing_key, tags).send().await.assert_problem(404, "record-not-found");
    }
    assert_eq!(house.write_call_count(), 0);
    // A tag that was the record's own while it was there.
    let tag = house.current_etag(bench.deletable_key).await;
    (bench.external_delete)(&house.vendors, bench.deletable_key);
    house.set_text(bench.deletable_key, &tag, "mine").send().await.assert_problem(404, "record-not-found");
    house.delete(bench.deletable_key, &tag).send().await.assert_problem(404, "record-not-found");
}

async fn if_none_match_is_evaluated_on_writes(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    for excluded in ["*", &current_etag, &format!("W/{current_etag}")] {
        let patch = house.set_text(bench.key, &current_etag, "mine").header("If-None-Match", excluded);
        patch.send().await.assert_problem(412, "precondition-failed");
        let delete = house.delete(bench.key, &current_etag).header("If-None-Match", excluded);
        delete.send().await.assert_problem(412, "precondition-failed");
    }
    assert_eq!(house.write_call_count(), 0);
    let patch = house.set_text(bench.key, &current_etag, "mine").header("If-None-Match", "\"x\"");
    patch.send().await.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("mine", 1));
}

/// The look is held until somebody else has written: what it then shows is no longer what the caller knows.
async fn an_external_change_during_the_read_is_412(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(bench.read_call_kind, InjectedFault::Hold);
    let patch = house.patch(bench.key).if_match(&current_etag).json_patch(&replace_patch(bench, "mine"));
    let others = async {
        house.wait_for_calls(bench.read_call_kind, 1).await;
        (bench.external_write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) = join(patch.send(), others).await;
    answer.assert_problem(412, "precondition-failed");
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("somebody else's", 0));
}

fn replace_patch(bench: &VendorFixture, text: &str) -> serde_json::Value {
    json!([{ "op": "replace", "path": format!("/fields/{}", bench.text), "value": text }])
}

async fn a_conflict_detected_by_the_vendor_is_412_and_never_retried(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::Hold);
    let patch = house.patch(bench.key).if_match(&current_etag).json_patch(&replace_patch(bench, "mine"));
    let others = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        (bench.external_write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) = join(patch.send(), others).await;
    answer.assert_problem(412, "precondition-failed");
    assert_eq!(house.vendor_value(bench.key).unwrap(), "somebody else's");
    assert_eq!(house.call_count(CallKind::Update), 1, "{:?}", house.requests());
    assert_eq!(answer.json()["current_etag"], house.current_etag(bench.key).await);
}

async fn star_reads_again_and_retries_after_a_conflict(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.inject_once(CallKind::Update, InjectedFault::Hold);
    let others = async {
        house.wait_for_calls(CallKind::Update, 1).await;
        (bench.external_touch)(&house.vendors, bench.key);
        house.faults().release();
    };
    let (answer, ()) = join(house.set_text(bench.key, "*", "in the end").send(), others).await;
    answer.assert_status(bench.patch_status);
    assert_eq!(
        (house.vendor_value(bench.key).unwrap().as_str(), house.call_count(CallKind::Update)),
        ("in the end", 2)
    );
}

async fn star_gives_up_after_three_conflicts(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.faults().always(CallKind::Update, InjectedFault::Hold);
    let others = async {
        for time in 1..=3 {
            house.wait_for_calls(CallKind::Update, time).await;
            (bench.external_touch)(&house.vendors, bench.key);
            house.faults().release();
        }
    };
    let before = house.vendor_value(bench.key);
    let (answer, ()) = join(house.set_text(bench.key, "*", "never").send(), others).await;
    answer.assert_problem(409, "vendor-busy");
    assert!(answer.header("retry-after").is_some());
    assert_eq!((house.vendor_value(bench.key), house.call_count(CallKind::Update)), (before, 3));
    // Each try is an operation, and none says that a precondition had failed: any state was asked for.
    assert_eq!(house.wait_for_operation(&answer).await["state"], "not-applied");
    let ledger = house.read_ledger().await.json();
    let outcomes = ledger["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "outcome");
    assert_eq!(outcomes.map(|entry| entry["problem"].clone()).collect::<Vec<_>>(), ["vendor-busy"; 3]);
}

async fn one_of_many_patches_with_the_same_etag_wins(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patches = (0..12).map(|number| house.set_text(bench.key, &current_etag, &format!("text {number}")).send());
    let answers = join_all(patches).await;
    let won: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.status == bench.patch_status)
        .map(|(number, _)| number)
        .collect();
    let [winner] = won.as_slice() else { panic!("{answers:?}") };
    assert_eq!(house.vendor_value(bench.key).unwrap(), format!("text {winner}"));
    for lost in answers.iter().filter(|answer| answer.status != bench.patch_status) {
        let busy = bench.queued && lost.problem() == "operation-in-progress";
        assert!(busy || lost.problem() == "precondition-failed", "{lost:?}");
    }
}

async fn a_patch_and_a_delete_with_the_same_etag_do_not_both_win(bench: &'static VendorFixture) {
    for delete_first in [false, true] {
        let house = TestEnv::start(bench).await;
        let current_etag = house.current_etag(bench.deletable_key).await;
        let patch = house.set_text(bench.deletable_key, &current_etag, "mine").send();
        let delete = house.delete(bench.deletable_key, &current_etag).send();
        let (patched, deleted) = if delete_first {
            let (deleted, patched) = join(delete, patch).await;
            (patched, deleted)
        } else {
            join(patch, delete).await
        };
        match (patched.status, deleted.status) {
            (200 | 204, 409 | 412) => assert_eq!(house.vendor_value(bench.deletable_key).unwrap(), "mine"),
            (404 | 409 | 412, 204) => assert_eq!(house.vendor_value(bench.deletable_key), None),
            _ => panic!("{patched:?} {deleted:?}"),
        }
    }
}

async fn require_guarantee_is_rejected_without_native_version_checks(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch =
        house.set_text(bench.key, &current_etag, "guaranteed").header("Require-Guarantee", "native").send().await;
    if bench.native {
        patch.assert_status(bench.patch_status);
        assert_eq!(patch.header("concurrency-guarantee"), Some("native"));
        assert_eq!(house.vendor_value(bench.key).unwrap(), "guaranteed");
    } else {
        patch.assert_problem(409, "guarantee-unavailable");
        assert_eq!(house.write_call_count(), 0);
    }
    let current_etag = house.current_etag(bench.deletable_key).await;
    let delete = house.delete(bench.deletable_key, &current_etag).header("Require-Guarantee", "native").send().await;
    delete.assert_problem(409, "guarantee-unavailable");
    assert_eq!(house.write_call_count(), 0);
    assert!(house.vendor_value(bench.deletable_key).is_some());
}

/// The vendor documents no text for a stale version: only reading again tells it from bad input.
#[actix_web::test]
async fn a_pretectum_conflict_is_detected_whatever_its_text() {
    for text in ["Ungültige Anfrage", "", "<html>Bad Request</html>"] {
        let house = TestEnv::start(&PRETECTUM).await;
        house.vendors.pretectum.state.configure(|settings| text.clone_into(&mut settings.conflict_text));
        let stale = house.current_etag(PRETECTUM.key).await;
        (PRETECTUM.external_touch)(&house.vendors, PRETECTUM.key);
        house.set_text(PRETECTUM.key, &stale, "mine").send().await.assert_problem(412, "precondition-failed");
        assert_eq!(house.call_count(CallKind::Update), 1);
    }
}

/// The vendor may know of a change that a read does not show yet.
#[actix_web::test]
async fn a_matrix42_conflict_is_412_even_if_a_read_shows_no_change() {
    let house = TestEnv::start(&MATRIX42).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    let text = "Concurrency. The object you want to update has been updated by another process.";
    let conflict = || InjectedFault::json(500, json!({ "ExceptionMessage": text }).to_string());
    house.inject_once(CallKind::Update, conflict());
    let refused = house.set_text(MATRIX42.key, &current_etag, "mine").send().await;
    assert_eq!(refused.assert_problem(412, "precondition-failed").json().get("current_etag"), None);
    assert_eq!(house.call_count(CallKind::Update), 1, "{:?}", house.requests());
    house.inject_once(CallKind::Update, conflict());
    house.set_text(MATRIX42.key, "*", "in the end").send().await.assert_status(204);
    assert_eq!(
        (house.call_count(CallKind::Update), house.vendor_value(MATRIX42.key).unwrap().as_str()),
        (3, "in the end")
    );
}

/// Without `Explicit-Language` the texts that tell a conflict from a failure would come in German.
#[actix_web::test]
async fn every_matrix42_request_asks_for_english() {
    let house = TestEnv::start(&MATRIX42).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.set_text(MATRIX42.key, &current_etag, "new").send().await.assert_status(204);
    house.set_text(MATRIX42.key, &current_etag, "stale").send().await.assert_problem(412, "precondition-failed");
    house.create("new").send().await.assert_status(201);
    house.get("/records/itsm?collection=SPSScCategoryClassBase").send().await.assert_status(200);
    let tag = house.read(MATRIX42.deletable_key).send().await.etag().to_owned();
    house.delete(MATRIX42.deletable_key, &tag).send().await.assert_status(204);
    for call in house.vendors.matrix42.log.all() {
        assert_eq!(call.header("explicit-language"), Some("en"), "{} {}", call.method, call.path);
    }
}

/// Contract 4, order of checks: 422 comes before an operation that runs, a record that is not there and a stale tag.
#[actix_web::test]
async fn an_invalid_bluedolphin_patch_is_422_before_the_record_is_read() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
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
            let answer = house.patch(key).if_match("\"stale\"").fields(&fields).send().await;
            answer.assert_problem(422, "rejected");
            assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{answer:?}");
        }
    }
    house.assert_nothing_sent();
}
