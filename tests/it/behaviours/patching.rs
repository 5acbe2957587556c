//! What a PATCH does to a record (contract 4.1; the formats themselves are tried in their own file).

use futures_util::future::join;
use records_gateway::sandbox::bluedolphin::OTHER_QUESTIONNAIRE_ID;
use records_gateway::sandbox::{CallKind, Fault};
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, Bench, House, MATRIX42, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    an_empty_patch_checks_the_tag_and_sends_no_write,
    a_patch_that_a_look_shows_to_change_nothing_sends_no_write,
    null_removes_or_resets,
    a_json_patch_changes_what_it_names,
    a_test_may_look_at_whatever_get_shows,
    a_failing_test_is_409_and_nothing_is_written,
    a_path_that_is_not_there_is_422_and_nothing_is_written,
    what_is_not_the_callers_cannot_change,
    a_record_may_be_sent_back_with_its_identity,
    the_new_state_is_shown_on_request,
    plain_json_is_a_merge_patch_and_other_types_are_415,
    bad_bodies_are_400_and_nothing_is_sent,
);
for_each_native_vendor!(
    only_what_changes_is_sent,
    a_field_that_stays_as_it_was_is_warned_of,
    a_patch_that_takes_no_effect_is_rejected,
);

fn at(bench: &Bench) -> String {
    format!("/fields/{}", bench.text)
}

async fn an_empty_patch_checks_the_tag_and_sends_no_write(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for body in ["{}", r#"{"fields":{}}"#] {
        let answer = house.patch(bench.key).if_match(&tag).merge(body).send().await;
        answer.is_done(204);
        assert_eq!(answer.header("operation"), None);
    }
    house.patch(bench.key).if_match("*").json_patch(&json!([])).send().await.is_done(204);
    (bench.touch)(&house.vendors, bench.key);
    for body in ["{}", r#"{"fields":{}}"#] {
        house.patch(bench.key).if_match(&tag).merge(body).send().await.is(412, "precondition-failed");
    }
    assert_eq!(house.writes(), 0);
    house.patch(bench.missing).if_match("*").merge("{}").send().await.is(404, "record-not-found");
}

async fn a_patch_that_a_look_shows_to_change_nothing_sends_no_write(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let same = house.held(bench.key).unwrap();
    let patch = json!([{ "op": "replace", "path": at(bench), "value": same }]);
    house.patch(bench.key).if_match(&tag).json_patch(&patch).send().await.is_done(204);
    house.set_text(bench.key, "*", &same).send().await.is_done(204);
    assert_eq!(house.writes(), 0);
    assert_eq!(house.tag(bench.key).await, tag);
}

async fn null_removes_or_resets(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    assert!(!(bench.is_reset)(&house.vendors));
    house.patch(bench.key).if_match(&tag).fields(&(bench.reset)()).send().await.is_done(bench.patched);
    assert!((bench.is_reset)(&house.vendors));
    assert_eq!(house.calls(CallKind::Update), 1);
}

async fn a_json_patch_changes_what_it_names(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patch = json!([
        { "op": "test", "path": "/system", "value": bench.system },
        { "op": "test", "path": at(bench), "value": house.held(bench.key).unwrap() },
        { "op": "replace", "path": at(bench), "value": "first" },
        { "op": "add", "path": at(bench), "value": "second" },
    ]);
    house.patch(bench.key).if_match(&tag).json_patch(&patch).send().await.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("second", 1));
}

async fn a_failing_test_is_409_and_nothing_is_written(bench: &'static Bench) {
    let house = House::start(bench).await;
    let patch = json!([
        { "op": "replace", "path": at(bench), "value": "mine" },
        { "op": "test", "path": at(bench), "value": "other" },
    ]);
    let answer = house.patch(bench.key).if_match("*").json_patch(&patch).send().await;
    answer.is(409, "patch-test-failed");
    assert_eq!(answer.json()["errors"][0]["pointer"], at(bench));
    assert_eq!(house.writes(), 0);
}

async fn a_path_that_is_not_there_is_422_and_nothing_is_written(bench: &'static Bench) {
    let house = House::start(bench).await;
    for operation in
        [json!({ "op": "remove" }), json!({ "op": "replace", "value": 1 }), json!({ "op": "test", "value": 1 })]
    {
        let mut operation = operation;
        operation["path"] = json!("/fields/name/not/there");
        let patch = house.patch(bench.key).if_match("*").json_patch(&json!([operation]));
        patch.send().await.is(422, "patch-failed");
    }
    assert_eq!(house.writes(), 0);
}

async fn what_is_not_the_callers_cannot_change(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let own = json!({ "fields": { bench.read_only: "1" } }).to_string();
    let merges = [
        own.as_str(),
        r#"{"id":"other"}"#,
        r#"{"system":"other"}"#,
        r#"{"etag":"\"other\""}"#,
        r#"{"fields":null}"#,
        r#"{"fields":[]}"#,
        r#"{"other":1}"#,
        "[]",
        "null",
    ];
    for tags in [tag.as_str(), "*"] {
        for body in merges {
            let answer = house.patch(bench.key).if_match(tags).merge(body).send().await;
            answer.is(422, "read-only-member");
        }
        for operation in [
            json!({ "op": "remove", "path": "/id" }),
            json!({ "op": "replace", "path": "/fields", "value": {} }),
            json!({ "op": "replace", "path": "", "value": {} }),
            json!({ "op": "add", "path": format!("/fields/{}", bench.read_only), "value": 1 }),
            json!({ "op": "move", "from": "/etag", "path": at(bench) }),
        ] {
            let patch = house.patch(bench.key).if_match(tags).json_patch(&json!([operation]));
            patch.send().await.is(422, "read-only-member");
        }
    }
    assert_eq!(house.writes(), 0);
}

async fn a_record_may_be_sent_back_with_its_identity(bench: &'static Bench) {
    let house = House::start(bench).await;
    let read = house.read(bench.key).send().await;
    let mut record = read.json();
    record["fields"].as_object_mut().unwrap().shift_remove(bench.read_only);
    record["fields"][bench.text] = json!("sent back");
    record["warnings"] = json!([]);
    record["pending_operation"] = Value::Null;
    let answer = house.patch(bench.key).if_match(read.etag()).merge(&record.to_string()).send().await;
    answer.is_done(bench.patched);
    assert_eq!((house.held(bench.key).unwrap().as_str(), house.writes()), ("sent back", 1));
}

/// Two spellings of one id are one record (contract 3), in a body and in a query too.
#[actix_web::test]
async fn the_other_spelling_of_an_id_is_the_same_record() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    let id = format!("{}:{}", MATRIX42.collection(), MATRIX42.key.to_uppercase());
    for merge in [
        json!({ "id": id, "fields": { "Description": "flat" } }),
        json!({ "id": id, "fields": { "Description": "read first" }, "etag": tag }),
    ] {
        let answer = house.patch(MATRIX42.key).if_match("*").merge(&merge.to_string()).send().await;
        assert!(matches!(answer.status, 204 | 422), "{answer:?}");
        assert_eq!(answer.status == 422, merge.get("etag").is_some(), "only the tag is another by then: {answer:?}");
    }
    let other = json!({ "id": format!("{}:{}", MATRIX42.collection(), MATRIX42.other), "fields": {} });
    house.patch(MATRIX42.key).if_match("*").merge(&other.to_string()).send().await.is(422, "read-only-member");
    for path in ["/ledger", "/operations"] {
        let found = house.get(&format!("{path}?record={id}")).send().await.is_done(200).json();
        assert!(!found["items"].as_array().unwrap().is_empty(), "{path}");
    }
}

async fn the_new_state_is_shown_on_request(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patch = house.set_text(bench.key, &tag, "to be shown").prefer("return=representation");
    let answer = patch.send().await;
    answer.is_done(200);
    assert!(answer.header("preference-applied").unwrap().contains("return=representation"));
    assert_eq!(answer.header("content-location"), Some(bench.path(bench.key).as_str()));
    assert_eq!(answer.header("concurrency-guarantee"), Some(bench.guarantee()));
    let record = answer.json();
    assert_eq!((&record["fields"][bench.text], &record["etag"]), (&json!("to be shown"), &json!(answer.etag())));
    assert_eq!(answer.etag(), house.tag(bench.key).await);
    // Shown even where nothing was to be sent.
    let unchanged = house.patch(bench.key).if_match("*").merge("{}").prefer("return=representation").send().await;
    unchanged.is_done(200);
    assert_eq!((unchanged.etag(), house.writes()), (answer.etag(), 0));
}

async fn plain_json_is_a_merge_patch_and_other_types_are_415(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    for media_type in ["text/plain", "application/xml", "application/vnd.api+json"] {
        let patch = house.patch(bench.key).if_match(&tag).header("Content-Type", media_type).body("{}");
        let answer = patch.send().await;
        answer.is(415, "unsupported-media-type");
        assert!(answer.header("accept-patch").unwrap().contains("application/merge-patch+json"));
    }
    house.nothing_was_sent();
    let patch = house.patch(bench.key).if_match(&tag).json(&json!({ "fields": bench.text_is("plain") }));
    patch.send().await.is_done(bench.patched);
    assert_eq!(house.held(bench.key).unwrap(), "plain");
}

async fn bad_bodies_are_400_and_nothing_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    for body in ["", "{", "{\"fields\":{\"a\":1,\"a\":2}}", "{\"fields\":{}} x", "{\"fields\":{\"a\":NaN}}"] {
        house.patch(bench.key).if_match("*").merge(body).send().await.is(400, "malformed-request");
        let json_patch = house.patch(bench.key).if_match("*").header("Content-Type", "application/json-patch+json");
        json_patch.body(body).send().await.is(400, "malformed-request");
    }
    let no_patch = house.patch(bench.key).if_match("*").json_patch(&json!([{ "op": "spread", "path": "/fields/a" }]));
    no_patch.send().await.is(400, "malformed-request");
    house.nothing_was_sent();
}

async fn only_what_changes_is_sent(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let patch = json!([{ "op": "replace", "path": at(bench), "value": "alone" }]);
    house.patch(bench.key).if_match(&tag).json_patch(&patch).send().await.is_done(bench.patched);
    let sent = house.last(CallKind::Update).json();
    let mut names: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| !["_version", "ID", "TimeStamp"].contains(name));
    assert_eq!(names, [bench.text]);
}

async fn a_field_that_stays_as_it_was_is_warned_of(bench: &'static Bench) {
    let house = House::start(bench).await;
    (bench.ignore_text)(&house.vendors);
    let before = house.held(bench.key).unwrap();
    let mut fields = (bench.reset)();
    fields[bench.text] = json!("ignored");
    let patch = house.patch(bench.key).if_match("*").fields(&fields).prefer("return=representation");
    let answer = patch.send().await;
    answer.is_done(200);
    let warning = &answer.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(at(bench))));
    assert_eq!(house.held(bench.key).unwrap(), before);
    assert!((bench.is_reset)(&house.vendors));
    let operation = house.settled(&answer).await;
    assert_eq!((&operation["state"], &operation["warnings"][0]["code"]), (&json!("applied"), &json!("not-applied")));
}

async fn a_test_may_look_at_whatever_get_shows(bench: &'static Bench) {
    let house = House::start(bench).await;
    let shown = house.read(bench.key).send().await;
    let tests = json!([
        { "op": "test", "path": "", "value": shown.json() },
        { "op": "test", "path": "/read_only", "value": shown.json()["read_only"] },
        { "op": "replace", "path": at(bench), "value": "tested" },
    ]);
    house.patch(bench.key).if_match(shown.etag()).json_patch(&tests).send().await.is_done(bench.patched);
    assert_eq!(house.held(bench.key).unwrap(), "tested");
    house.patch(bench.key).if_match("*").json_patch(&tests).send().await.is(409, "patch-test-failed");
}

#[actix_web::test]
async fn a_success_after_which_the_tag_stands_is_no_success() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::json(204, ""));
    let answer = house.set_text(MATRIX42.key, &tag, "said only").prefer("return=representation").send().await;
    answer.is(422, "rejected");
    assert_eq!(house.settled(&answer).await["state"], "not-applied");
    assert_eq!((house.writes(), house.tag(MATRIX42.key).await), (1, tag));
}

#[actix_web::test]
async fn what_the_vendor_shows_late_is_looked_for_once_more() {
    let house = House::start(&MATRIX42).await;
    let tag = house.tag(MATRIX42.key).await;
    house.once(CallKind::Update, Fault::json(204, ""));
    house.faults().add(CallKind::Read, Fault::Hold, 1, Some(1));
    let looks = house.calls(CallKind::Read);
    let late = async {
        house.received(CallKind::Read, looks + 2).await;
        (MATRIX42.write)(&house.vendors, MATRIX42.key, "shown late");
        house.faults().release();
    };
    let patch = house.set_text(MATRIX42.key, &tag, "shown late").prefer("return=representation");
    let (answer, ()) = join(patch.send(), late).await;
    answer.is_done(200);
    assert_eq!(answer.json()["fields"][MATRIX42.text], "shown late");
    assert_eq!(house.calls(CallKind::Read), looks + 2);
}

async fn a_patch_that_takes_no_effect_is_rejected(bench: &'static Bench) {
    let house = House::start(bench).await;
    (bench.ignore_text)(&house.vendors);
    let before = house.held(bench.key).unwrap();
    let answer = house.set_text(bench.key, "*", "ignored").prefer("return=representation").send().await;
    assert_eq!(house.held(bench.key).unwrap(), before);
    answer.is(422, "rejected");
    assert_eq!(answer.json()["errors"][0]["pointer"], at(bench));
    assert_eq!(house.settled(&answer).await["state"], "not-applied");
    // What the caller has seen is known, so that a write that does not read can tell, too.
    let tag = house.tag(bench.key).await;
    let answer = house.set_text(bench.key, &tag, "ignored").prefer("return=representation").send().await;
    answer.is(422, "rejected");
    assert_eq!(answer.json()["errors"][0]["pointer"], at(bench));
    let mut fields = (bench.reset)();
    fields[bench.text] = json!("ignored");
    let patch = house.patch(bench.key).if_match(&house.tag(bench.key).await).fields(&fields);
    let answer = patch.prefer("return=representation").send().await;
    answer.is_done(200);
    let warning = &answer.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(at(bench))));
}

#[actix_web::test]
async fn one_entry_of_bluedolphins_lists_can_be_changed_added_and_removed() {
    let house = House::start(&BLUEDOLPHIN).await;
    let patch = json!({ "properties": { "Supplier": { "value": "Contoso" }, "Owner": null, "Site": { "value": "Delft" } },
                        "questionnaires": { OTHER_QUESTIONNAIRE_ID: {} } });
    house.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await.is_done(200);
    let definition = house.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    let names: Vec<&str> = definition.properties.iter().map(|property| property.name.as_str()).collect();
    assert_eq!(names, ["Supplier", "Lifecycle", "Site"]);
    assert_eq!((definition.property("Supplier"), definition.property("Site")), (Some("Contoso"), Some("Delft")));
    assert_eq!(definition.questionnaires.len(), 2);
    let sent = house.last(CallKind::Update).json();
    assert!(sent["object_properties"].as_array().unwrap().iter().all(|property| property["name"] != "Lifecycle"));
}

#[actix_web::test]
async fn bluedolphins_locked_properties_and_mixed_status_are_refused_before_anything_is_written() {
    let house = House::start(&BLUEDOLPHIN).await;
    for (patch, pointer) in [
        (json!({ "properties": { "Lifecycle": null } }), "/fields/properties/Lifecycle"),
        (json!({ "status": "disabled", "name": "Other" }), "/fields/status"),
        (json!({ "status": "gone" }), "/fields/status"),
        (json!({ "name": "" }), "/fields/name"),
        (json!({ "properties": { "Supplier": { "value": 7 } } }), "/fields/properties/Supplier/value"),
    ] {
        let answer = house.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await;
        answer.is(422, "rejected");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(house.writes(), 0);
}

#[actix_web::test]
async fn bluedolphins_status_alone_is_its_own_call_and_direct() {
    let house = House::start(&BLUEDOLPHIN).await;
    let tag = house.tag(BLUEDOLPHIN.key).await;
    let disable = house.patch(BLUEDOLPHIN.key).if_match(&tag).fields(&json!({ "status": "disabled" }));
    disable.without_prefer().without("Accept-Loss").send().await.is_done(204);
    let definition = house.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert!(definition.disabled && !definition.linked_questions.is_empty(), "nothing is lost");
    assert!(house.last(CallKind::Update).path.ends_with("/disable"));
}
