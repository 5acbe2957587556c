//! `If-Match` and `If-None-Match` on writes (contract 4.2 and 4.3; http-rules A2 to A5).

use actix_web::http::Method;
use futures_util::future::{join, join_all};
use records_gateway::sandbox::{CallKind, Fault};
use serde_json::json;

use crate::support::{BLUEDOLPHIN, Bench, House, MATRIX42, PRETECTUM, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    the_current_tag_lets_a_patch_through_exactly_once,
    a_stale_tag_is_412_and_the_vendor_keeps_what_it_has,
    a_stale_tag_is_told_what_has_changed_since_it_was_shown,
    a_tag_of_another_record_never_matches,
    a_weak_tag_never_matches,
    any_member_of_a_list_may_match,
    star_takes_any_state,
    bad_syntax_is_400_and_nothing_is_sent,
    no_condition_is_428_and_nothing_is_sent,
    a_system_may_do_without_conditions,
    a_missing_record_is_404_whatever_the_condition,
    if_none_match_is_evaluated_on_writes,
    a_change_elsewhere_during_the_look_is_412,
    one_of_many_with_the_same_tag_wins,
    a_patch_and_a_delete_with_the_same_tag_do_not_both_win,
    require_guarantee_is_refused_where_the_vendor_does_not_compare,
);
for_each_native_vendor!(
    a_tag_from_a_list_is_told_what_has_changed_as_well,
    a_flat_patch_with_one_tag_is_one_vendor_call,
    a_conflict_that_only_the_vendor_sees_is_412_and_never_tried_again,
    star_reads_and_tries_again_after_a_conflict,
    star_gives_up_after_three_conflicts,
);

async fn the_current_tag_lets_a_patch_through_exactly_once(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let answer = house.set_text(bench.key, &tag, "new text").send().await;
    answer.is_done(bench.patched);
    assert_eq!(answer.header("concurrency-guarantee"), Some(bench.guarantee()));
    assert_eq!((house.calls(CallKind::Update), house.writes()), (1, 1));
    assert_eq!(house.held(bench.key).unwrap(), "new text");
    let now = house.tag(bench.key).await;
    assert_ne!(now, tag);
    assert!(answer.header("etag").is_none_or(|told| told == now), "{answer:?}");
}

async fn a_flat_patch_with_one_tag_is_one_vendor_call(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let answer = house.set_text(bench.key, &tag, "new text").send().await;
    answer.is_done(bench.patched);
    assert_eq!(answer.header("etag"), None, "the new version is not in the vendor's answer");
    assert_eq!((house.lines().len(), house.calls(CallKind::Update)), (1, 1), "{:?}", house.lines());
}

async fn a_stale_tag_is_412_and_the_vendor_keeps_what_it_has(bench: &'static Bench) {
    let house = House::start(bench).await;
    let stale = house.tag(bench.key).await;
    (bench.write)(&house.vendors, bench.key, "somebody else's");
    let answer = house.set_text(bench.key, &stale, "mine").send().await;
    answer.is(412, "precondition-failed");
    assert_eq!(house.held(bench.key).unwrap(), "somebody else's");
    assert!(house.writes() <= usize::from(bench.native), "{:?}", house.lines());
    assert_eq!(answer.header("etag"), None);
    assert_eq!(answer.json()["current_etag"], house.tag(bench.key).await);
}

async fn a_stale_tag_is_told_what_has_changed_since_it_was_shown(bench: &'static Bench) {
    let house = House::start(bench).await;
    let elsewhere = house.second_gateway();
    let shown_here = house.tag(bench.key).await;
    (bench.write)(&house.vendors, bench.key, "somebody else's");
    let changed = json!([format!("/fields/{}", bench.text)]);
    for refused in [house.set_text(bench.key, &shown_here, "mine"), house.delete(bench.key, &shown_here)] {
        assert_eq!(refused.send().await.is(412, "precondition-failed").json()["changed"], changed);
    }
    // Which of two states the caller has decided by, nobody knows.
    let either = format!("{shown_here}, \"other\"");
    assert_eq!(house.set_text(bench.key, &either, "mine").send().await.json().get("changed"), None);
    // Another gateway cannot know what was seen here.
    let patch = elsewhere.caller().request(Method::PATCH, &bench.path(bench.key)).if_match(&shown_here);
    let refused = patch.fields(&bench.text_is("mine")).send().await;
    assert_eq!(refused.is(412, "precondition-failed").json().get("changed"), None);
    elsewhere.stop().await;
}

async fn a_tag_from_a_list_is_told_what_has_changed_as_well(bench: &'static Bench) {
    let house = House::start(bench).await;
    let list = format!("/records/{}?collection={}", bench.system, bench.collection());
    let listed = house.get(&list).send().await.json();
    let items = listed["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["id"] == bench.id(bench.key)).unwrap();
    let shown_in_list = item["etag"].as_str().unwrap();
    (bench.touch)(&house.vendors, bench.key);
    let refused = house.set_text(bench.key, shown_in_list, "mine").send().await;
    let told = refused.is(412, "precondition-failed").json()["changed"].clone();
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    assert_ne!(told[0], format!("/fields/{}", bench.text));
}

async fn a_tag_of_another_record_never_matches(bench: &'static Bench) {
    let house = House::start(bench).await;
    for (of, on) in [(bench.other, bench.key), (bench.other, bench.doomed)] {
        let foreign = house.tag(of).await;
        let before = house.held(on);
        house.set_text(on, &foreign, "mine").send().await.is(412, "precondition-failed");
        house.delete(on, &foreign).send().await.is(412, "precondition-failed");
        assert_eq!((house.held(on), house.writes()), (before, 0));
    }
}

async fn a_weak_tag_never_matches(bench: &'static Bench) {
    let house = House::start(bench).await;
    let weak = format!("W/{}", house.tag(bench.key).await);
    house.set_text(bench.key, &weak, "mine").send().await.is(412, "precondition-failed");
    house.delete(bench.key, &weak).send().await.is(412, "precondition-failed");
    assert_eq!(house.writes(), 0);
}

async fn any_member_of_a_list_may_match(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let list = format!("\"a,b\" ,, W/\"x\",{tag} ,");
    house.set_text(bench.key, &list, "by a list").send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("by a list", 1));
    let tag = house.tag(bench.key).await;
    let lines = house.set_text(bench.key, "\"x\"", "by two lines").if_match(&tag);
    lines.send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("by two lines", 1));
    house.set_text(bench.key, "\"x\", \"y\"", "not").send().await.is(412, "precondition-failed");
    assert_eq!(house.held(bench.key).unwrap(), "by two lines");
}

async fn star_takes_any_state(bench: &'static Bench) {
    let house = House::start(bench).await;
    (bench.touch)(&house.vendors, bench.key);
    let answer = house.set_text(bench.key, "*", "by star").send().await;
    answer.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("by star", 1));
}

async fn bad_syntax_is_400_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    let bad = ["abc", "\"abc", "w/\"a\"", "", ",", "\"a\" \"b\"", "*, \"a\"", "*, *", "\"a b\"", "W/*"];
    for tags in bad {
        house.set_text(bench.key, tags, "mine").send().await.is(400, "malformed-request");
        house.delete(bench.key, tags).send().await.is(400, "malformed-request");
    }
    house.nothing_was_sent();
}

async fn no_condition_is_428_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    let unconditional = || house.patch(bench.key).fields(&bench.text_is("mine"));
    unconditional().send().await.is(428, "precondition-required");
    let dated = unconditional().header("If-Unmodified-Since", "Sun, 06 Nov 2044 08:49:37 GMT");
    dated.send().await.is(428, "precondition-required");
    house.delete(bench.key, "").without("If-Match").send().await.is(428, "precondition-required");
    house.nothing_was_sent();
}

async fn a_system_may_do_without_conditions(bench: &'static Bench) {
    let house = House::with(bench, &[("vendor", "require_if_match", "false")]).await;
    house.patch(bench.key).fields(&bench.text_is("unconditional")).send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("unconditional", 1));
    house.delete(bench.doomed, "").without("If-Match").send().await.is_done(204);
    assert_eq!(house.held(bench.doomed), None);
}

async fn a_missing_record_is_404_whatever_the_condition(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for tags in [tag.as_str(), "*", "\"x\", \"y\""] {
        house.set_text(bench.missing, tags, "mine").send().await.is(404, "record-not-found");
        house.delete(bench.missing, tags).send().await.is(404, "record-not-found");
    }
    assert_eq!(house.writes(), 0);
    // A tag that was the record's own while it was there.
    let tag = house.tag(bench.doomed).await;
    (bench.remove)(&house.vendors, bench.doomed);
    house.set_text(bench.doomed, &tag, "mine").send().await.is(404, "record-not-found");
    house.delete(bench.doomed, &tag).send().await.is(404, "record-not-found");
}

async fn if_none_match_is_evaluated_on_writes(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for excluded in ["*", &tag, &format!("W/{tag}")] {
        let patch = house.set_text(bench.key, &tag, "mine").header("If-None-Match", excluded);
        patch.send().await.is(412, "precondition-failed");
        let delete = house.delete(bench.key, &tag).header("If-None-Match", excluded);
        delete.send().await.is(412, "precondition-failed");
    }
    assert_eq!(house.writes(), 0);
    let patch = house.set_text(bench.key, &tag, "mine").header("If-None-Match", "\"x\"");
    patch.send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("mine", 1));
}

/// The look is held until somebody else has written: what it then shows is no longer what the caller knows.
async fn a_change_elsewhere_during_the_look_is_412(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.once(bench.reading, Fault::Hold);
    let patch = house.patch(bench.key).if_match(&tag).json_patch(&replace(bench, "mine"));
    let others = async {
        house.received(bench.reading, 1).await;
        (bench.write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) = join(patch.send(), others).await;
    answer.is(412, "precondition-failed");
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("somebody else's", 0));
}

fn replace(bench: &Bench, text: &str) -> serde_json::Value {
    json!([{ "op": "replace", "path": format!("/fields/{}", bench.text), "value": text }])
}

async fn a_conflict_that_only_the_vendor_sees_is_412_and_never_tried_again(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.once(CallKind::Update, Fault::Hold);
    let patch = house.patch(bench.key).if_match(&tag).json_patch(&replace(bench, "mine"));
    let others = async {
        house.received(CallKind::Update, 1).await;
        (bench.write)(&house.vendors, bench.key, "somebody else's");
        house.faults().release();
    };
    let (answer, ()) = join(patch.send(), others).await;
    answer.is(412, "precondition-failed");
    assert_eq!(house.held(bench.key).unwrap(), "somebody else's");
    assert_eq!(house.calls(CallKind::Update), 1, "{:?}", house.lines());
    assert_eq!(answer.json()["current_etag"], house.tag(bench.key).await);
}

async fn star_reads_and_tries_again_after_a_conflict(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.once(CallKind::Update, Fault::Hold);
    let others = async {
        house.received(CallKind::Update, 1).await;
        (bench.touch)(&house.vendors, bench.key);
        house.faults().release();
    };
    let (answer, ()) = join(house.set_text(bench.key, "*", "in the end").send(), others).await;
    answer.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.calls(CallKind::Update)), ("in the end", 2));
}

async fn star_gives_up_after_three_conflicts(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.faults().always(CallKind::Update, Fault::Hold);
    let others = async {
        for time in 1..=3 {
            house.received(CallKind::Update, time).await;
            (bench.touch)(&house.vendors, bench.key);
            house.faults().release();
        }
    };
    let before = house.held(bench.key);
    let (answer, ()) = join(house.set_text(bench.key, "*", "never").send(), others).await;
    answer.is(409, "vendor-busy");
    assert!(answer.header("retry-after").is_some());
    assert_eq!((house.held(bench.key), house.calls(CallKind::Update)), (before, 3));
    // Each try is an operation, and none says that a precondition had failed: any state was asked for.
    assert_eq!(house.settled(&answer).await["state"], "not-applied");
    let ledger = house.ledger().await.json();
    let outcomes = ledger["items"].as_array().unwrap().iter().filter(|entry| entry["event"] == "outcome");
    assert_eq!(outcomes.map(|entry| entry["problem"].clone()).collect::<Vec<_>>(), ["vendor-busy"; 3]);
}

async fn one_of_many_with_the_same_tag_wins(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patches = (0..12).map(|number| house.set_text(bench.key, &tag, &format!("text {number}")).send());
    let answers = join_all(patches).await;
    let won: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.status == bench.patched)
        .map(|(number, _)| number)
        .collect();
    let [winner] = won.as_slice() else { panic!("{answers:?}") };
    assert_eq!(house.held(bench.key).unwrap(), format!("text {winner}"));
    for lost in answers.iter().filter(|answer| answer.status != bench.patched) {
        let busy = bench.queued && lost.problem() == "operation-in-progress";
        assert!(busy || lost.problem() == "precondition-failed", "{lost:?}");
    }
}

async fn a_patch_and_a_delete_with_the_same_tag_do_not_both_win(bench: &'static Bench) {
    for delete_first in [false, true] {
        let house = House::start(bench).await;
        let tag = house.tag(bench.doomed).await;
        let patch = house.set_text(bench.doomed, &tag, "mine").send();
        let delete = house.delete(bench.doomed, &tag).send();
        let (patched, deleted) = if delete_first {
            let (deleted, patched) = join(delete, patch).await;
            (patched, deleted)
        } else {
            join(patch, delete).await
        };
        match (patched.status, deleted.status) {
            (200 | 204, 409 | 412) => assert_eq!(house.held(bench.doomed).unwrap(), "mine"),
            (404 | 409 | 412, 204) => assert_eq!(house.held(bench.doomed), None),
            _ => panic!("{patched:?} {deleted:?}"),
        }
    }
}

async fn require_guarantee_is_refused_where_the_vendor_does_not_compare(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patch = house.set_text(bench.key, &tag, "guaranteed").header("Require-Guarantee", "native").send().await;
    if bench.native {
        patch.is_done(bench.patched);
        assert_eq!(patch.header("concurrency-guarantee"), Some("native"));
        assert_eq!(house.held(bench.key).unwrap(), "guaranteed");
    } else {
        patch.is(409, "guarantee-unavailable");
        assert_eq!(house.writes(), 0);
    }
    let tag = house.tag(bench.doomed).await;
    let delete = house.delete(bench.doomed, &tag).header("Require-Guarantee", "native").send().await;
    delete.is(409, "guarantee-unavailable");
    assert_eq!(house.writes(), 0);
    assert!(house.held(bench.doomed).is_some());
}

/// The vendor documents no text for a stale version: only reading again tells it from bad input.
#[actix_web::test]
async fn pretectums_conflict_is_told_whatever_its_words() {
    for text in ["Ungültige Anfrage", "", "<html>Bad Request</html>"] {
        let house = House::start(&PRETECTUM).await;
        house.vendors.pretectum.state.configure(|settings| text.clone_into(&mut settings.conflict_text));
        let stale = house.tag(PRETECTUM.key).await;
        (PRETECTUM.touch)(&house.vendors, PRETECTUM.key);
        house.set_text(PRETECTUM.key, &stale, "mine").send().await.is(412, "precondition-failed");
        assert_eq!(house.calls(CallKind::Update), 1);
    }
}

/// The vendor may know of a change that a read does not show yet.
#[actix_web::test]
async fn matrix42s_word_on_a_conflict_is_taken_even_where_a_read_shows_none() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    let text = "Concurrency. The object you want to update has been updated by another process.";
    let conflict = || Fault::json(500, json!({ "ExceptionMessage": text }).to_string());
    house.once(CallKind::Update, conflict());
    let refused = house.set_text(MATRIX42.key, &tag, "mine").send().await;
    assert_eq!(refused.is(412, "precondition-failed").json().get("current_etag"), None);
    assert_eq!(house.calls(CallKind::Update), 1, "{:?}", house.lines());
    house.once(CallKind::Update, conflict());
    house.set_text(MATRIX42.key, "*", "in the end").send().await.is_done(204);
    assert_eq!((house.calls(CallKind::Update), house.held(MATRIX42.key).unwrap().as_str()), (3, "in the end"));
}

/// Without `Explicit-Language` the texts that tell a conflict from a failure would come in German.
#[actix_web::test]
async fn matrix42_is_always_asked_to_speak_english() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    house.set_text(MATRIX42.key, &tag, "new").send().await.is_done(204);
    house.set_text(MATRIX42.key, &tag, "stale").send().await.is(412, "precondition-failed");
    house.create("new").send().await.is_done(201);
    house.get("/records/itsm?collection=SPSScCategoryClassBase").send().await.is_done(200);
    let tag = house.read(MATRIX42.doomed).send().await.etag().to_owned();
    house.delete(MATRIX42.doomed, &tag).send().await.is_done(204);
    for call in house.vendors.matrix42.log.all() {
        assert_eq!(call.header("explicit-language"), Some("en"), "{} {}", call.method, call.path);
    }
}

/// Contract 4, order of checks: 422 comes before an operation that runs, a record that is not there and a stale tag.
#[actix_web::test]
async fn what_bluedolphin_can_never_take_is_told_before_the_record_is_looked_at() {
    let house = House::start(&BLUEDOLPHIN).await;
    for fields in [
        json!({ "status": "foo" }),
        json!({ "status": null }),
        json!({ "name": "" }),
        json!({ "name": null }),
        json!({ "properties": 5 }),
        json!({ "properties": { "Supplier": "Contoso" } }),
        json!({ "questionnaires": [] }),
    ] {
        for key in [BLUEDOLPHIN.key, BLUEDOLPHIN.missing] {
            let answer = house.patch(key).if_match("\"stale\"").fields(&fields).send().await;
            answer.is(422, "rejected");
            assert!(!answer.json()["errors"].as_array().unwrap().is_empty(), "{answer:?}");
        }
    }
    house.nothing_was_sent();
}
