//! `If-Match` and `If-None-Match` on writes (contract 4.2 and 4.3; http-rules A2 to A5).

use actix_web::http::Method;
use records_gateway::sandbox::CallKind;
use serde_json::json;

use crate::support::{BLUEDOLPHIN, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

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
    require_guarantee_is_rejected_without_native_version_checks,
);
for_each_vendor_with!(native:
    a_stale_etag_from_a_list_also_lists_the_changed_fields,
    a_flat_patch_with_one_etag_is_one_vendor_call,
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
    assert_eq!((env.requests().len(), env.call_count(CallKind::Update)), (1, 1), "{:?}", env.requests());
    // The new version is the one in the vendor's response, and never guessed.
    let new_etag = env.current_etag(fixture.key).await;
    let shown = fixture.update_response.has_version.then_some(new_etag.as_str());
    assert_eq!(response.header("etag"), shown);
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
