//! What a PATCH does to a record (contract 4.1; the formats themselves are tried in their own file).

use futures_util::future::join;
use records_gateway::sandbox::bluedolphin::OTHER_QUESTIONNAIRE_ID;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, MATRIX42, TestEnv, VendorFixture, for_each_native_vendor, for_each_vendor};

for_each_vendor!(
    an_empty_patch_checks_the_etag_and_sends_no_write,
    a_patch_that_changes_nothing_sends_no_write,
    null_removes_or_resets_a_field,
    a_json_patch_changes_the_fields_it_names,
    a_test_operation_may_read_every_member_that_get_returns,
    a_failing_test_operation_is_409_and_nothing_is_written,
    a_missing_path_is_422_and_nothing_is_written,
    read_only_members_cannot_change,
    a_merge_patch_may_repeat_the_records_identity,
    the_new_representation_is_returned_on_request,
    plain_json_is_a_merge_patch_and_other_types_are_415,
    bad_bodies_are_400_and_nothing_is_sent,
);
for_each_native_vendor!(
    only_changed_fields_are_sent,
    an_ignored_field_is_reported_as_a_warning,
    a_patch_that_takes_no_effect_is_rejected,
);

fn text_pointer(bench: &VendorFixture) -> String {
    format!("/fields/{}", bench.text)
}

async fn an_empty_patch_checks_the_etag_and_sends_no_write(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    for body in ["{}", r#"{"fields":{}}"#] {
        let answer = house.patch(bench.key).if_match(&current_etag).merge_patch(body).send().await;
        answer.assert_status(204);
        assert_eq!(answer.header("operation"), None);
    }
    house.patch(bench.key).if_match("*").json_patch(&json!([])).send().await.assert_status(204);
    (bench.external_touch)(&house.vendors, bench.key);
    for body in ["{}", r#"{"fields":{}}"#] {
        house
            .patch(bench.key)
            .if_match(&current_etag)
            .merge_patch(body)
            .send()
            .await
            .assert_problem(412, "precondition-failed");
    }
    assert_eq!(house.write_call_count(), 0);
    house.patch(bench.missing_key).if_match("*").merge_patch("{}").send().await.assert_problem(404, "record-not-found");
}

async fn a_patch_that_changes_nothing_sends_no_write(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let same = house.vendor_value(bench.key).unwrap();
    let patch = json!([{ "op": "replace", "path": text_pointer(bench), "value": same }]);
    house.patch(bench.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(204);
    house.set_text(bench.key, "*", &same).send().await.assert_status(204);
    assert_eq!(house.write_call_count(), 0);
    assert_eq!(house.current_etag(bench.key).await, current_etag);
}

async fn null_removes_or_resets_a_field(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    assert!(!(bench.is_reset)(&house.vendors));
    house
        .patch(bench.key)
        .if_match(&current_etag)
        .fields(&(bench.reset_patch)())
        .send()
        .await
        .assert_status(bench.patch_status);
    assert!((bench.is_reset)(&house.vendors));
    assert_eq!(house.call_count(CallKind::Update), 1);
}

async fn a_json_patch_changes_the_fields_it_names(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = json!([
        { "op": "test", "path": "/system", "value": bench.system },
        { "op": "test", "path": text_pointer(bench), "value": house.vendor_value(bench.key).unwrap() },
        { "op": "replace", "path": text_pointer(bench), "value": "first" },
        { "op": "add", "path": text_pointer(bench), "value": "second" },
    ]);
    house.patch(bench.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("second", 1));
}

async fn a_failing_test_operation_is_409_and_nothing_is_written(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let patch = json!([
        { "op": "replace", "path": text_pointer(bench), "value": "mine" },
        { "op": "test", "path": text_pointer(bench), "value": "other" },
    ]);
    let answer = house.patch(bench.key).if_match("*").json_patch(&patch).send().await;
    answer.assert_problem(409, "patch-test-failed");
    assert_eq!(answer.json()["errors"][0]["pointer"], text_pointer(bench));
    assert_eq!(house.write_call_count(), 0);
}

async fn a_missing_path_is_422_and_nothing_is_written(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for operation in
        [json!({ "op": "remove" }), json!({ "op": "replace", "value": 1 }), json!({ "op": "test", "value": 1 })]
    {
        let mut operation = operation;
        operation["path"] = json!("/fields/name/not/there");
        let patch = house.patch(bench.key).if_match("*").json_patch(&json!([operation]));
        patch.send().await.assert_problem(422, "patch-failed");
    }
    assert_eq!(house.write_call_count(), 0);
}

async fn read_only_members_cannot_change(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let tag = house.current_etag(bench.key).await;
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
            let answer = house.patch(bench.key).if_match(tags).merge_patch(body).send().await;
            answer.assert_problem(422, "read-only-member");
        }
        for operation in [
            json!({ "op": "remove", "path": "/id" }),
            json!({ "op": "replace", "path": "/fields", "value": {} }),
            json!({ "op": "replace", "path": "", "value": {} }),
            json!({ "op": "add", "path": format!("/fields/{}", bench.read_only), "value": 1 }),
            json!({ "op": "move", "from": "/etag", "path": text_pointer(bench) }),
        ] {
            let patch = house.patch(bench.key).if_match(tags).json_patch(&json!([operation]));
            patch.send().await.assert_problem(422, "read-only-member");
        }
    }
    assert_eq!(house.write_call_count(), 0);
}

async fn a_merge_patch_may_repeat_the_records_identity(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let read = house.read(bench.key).send().await;
    let mut record = read.json();
    record["fields"].as_object_mut().unwrap().shift_remove(bench.read_only);
    record["fields"][bench.text] = json!("sent back");
    record["warnings"] = json!([]);
    record["pending_operation"] = Value::Null;
    let answer = house.patch(bench.key).if_match(read.etag()).merge_patch(&record.to_string()).send().await;
    answer.assert_status(bench.patch_status);
    assert_eq!((house.vendor_value(bench.key).unwrap().as_str(), house.write_call_count()), ("sent back", 1));
}

/// Two spellings of one id are one record (contract 3), in a body and in a query too.
#[actix_web::test]
async fn the_other_spelling_of_an_id_is_the_same_record() {
    let house = TestEnv::start(&MATRIX42).await;
    let tag = house.current_etag(MATRIX42.key).await;
    let id = format!("{}:{}", MATRIX42.collection(), MATRIX42.key.to_uppercase());
    for merge in [
        json!({ "id": id, "fields": { "Description": "flat" } }),
        json!({ "id": id, "fields": { "Description": "read first" }, "etag": tag }),
    ] {
        let answer = house.patch(MATRIX42.key).if_match("*").merge_patch(&merge.to_string()).send().await;
        assert!(matches!(answer.status, 204 | 422), "{answer:?}");
        assert_eq!(answer.status == 422, merge.get("etag").is_some(), "only the tag is another by then: {answer:?}");
    }
    let other = json!({ "id": format!("{}:{}", MATRIX42.collection(), MATRIX42.other_key), "fields": {} });
    house
        .patch(MATRIX42.key)
        .if_match("*")
        .merge_patch(&other.to_string())
        .send()
        .await
        .assert_problem(422, "read-only-member");
    for path in ["/ledger", "/operations"] {
        let found = house.get(&format!("{path}?record={id}")).send().await.assert_status(200).json();
        assert!(!found["items"].as_array().unwrap().is_empty(), "{path}");
    }
}

async fn the_new_representation_is_returned_on_request(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = house.set_text(bench.key, &current_etag, "to be shown").prefer("return=representation");
    let answer = patch.send().await;
    answer.assert_status(200);
    assert!(answer.header("preference-applied").unwrap().contains("return=representation"));
    assert_eq!(answer.header("content-location"), Some(bench.path(bench.key).as_str()));
    assert_eq!(answer.header("concurrency-guarantee"), Some(bench.guarantee()));
    let record = answer.json();
    assert_eq!((&record["fields"][bench.text], &record["etag"]), (&json!("to be shown"), &json!(answer.etag())));
    assert_eq!(answer.etag(), house.current_etag(bench.key).await);
    // Shown even where nothing was to be sent.
    let unchanged = house.patch(bench.key).if_match("*").merge_patch("{}").prefer("return=representation").send().await;
    unchanged.assert_status(200);
    assert_eq!((unchanged.etag(), house.write_call_count()), (answer.etag(), 0));
}

async fn plain_json_is_a_merge_patch_and_other_types_are_415(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    for media_type in ["text/plain", "application/xml", "application/vnd.api+json"] {
        let patch = house.patch(bench.key).if_match(&current_etag).header("Content-Type", media_type).body("{}");
        let answer = patch.send().await;
        answer.assert_problem(415, "unsupported-media-type");
        assert!(answer.header("accept-patch").unwrap().contains("application/merge-patch+json"));
    }
    house.assert_nothing_sent();
    let patch = house.patch(bench.key).if_match(&current_etag).json(&json!({ "fields": bench.text_patch("plain") }));
    patch.send().await.assert_status(bench.patch_status);
    assert_eq!(house.vendor_value(bench.key).unwrap(), "plain");
}

async fn bad_bodies_are_400_and_nothing_is_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for body in ["", "{", "{\"fields\":{\"a\":1,\"a\":2}}", "{\"fields\":{}} x", "{\"fields\":{\"a\":NaN}}"] {
        house.patch(bench.key).if_match("*").merge_patch(body).send().await.assert_problem(400, "malformed-request");
        let json_patch = house.patch(bench.key).if_match("*").header("Content-Type", "application/json-patch+json");
        json_patch.body(body).send().await.assert_problem(400, "malformed-request");
    }
    let no_patch = house.patch(bench.key).if_match("*").json_patch(&json!([{ "op": "spread", "path": "/fields/a" }]));
    no_patch.send().await.assert_problem(400, "malformed-request");
    house.assert_nothing_sent();
}

async fn only_changed_fields_are_sent(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let patch = json!([{ "op": "replace", "path": text_pointer(bench), "value": "alone" }]);
    house.patch(bench.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(bench.patch_status);
    let sent = house.last_call(CallKind::Update).json();
    let mut names: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| !["_version", "ID", "TimeStamp"].contains(name));
    assert_eq!(names, [bench.text]);
}

async fn an_ignored_field_is_reported_as_a_warning(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    (bench.ignore_text)(&house.vendors);
    let before = house.vendor_value(bench.key).unwrap();
    let mut fields = (bench.reset_patch)();
    fields[bench.text] = json!("ignored");
    let patch = house.patch(bench.key).if_match("*").fields(&fields).prefer("return=representation");
    let answer = patch.send().await;
    answer.assert_status(200);
    let warning = &answer.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(text_pointer(bench))));
    assert_eq!(house.vendor_value(bench.key).unwrap(), before);
    assert!((bench.is_reset)(&house.vendors));
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!((&operation["state"], &operation["warnings"][0]["code"]), (&json!("applied"), &json!("not-applied")));
}

async fn a_test_operation_may_read_every_member_that_get_returns(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let shown = house.read(bench.key).send().await;
    let tests = json!([
        { "op": "test", "path": "", "value": shown.json() },
        { "op": "test", "path": "/read_only", "value": shown.json()["read_only"] },
        { "op": "replace", "path": text_pointer(bench), "value": "tested" },
    ]);
    house.patch(bench.key).if_match(shown.etag()).json_patch(&tests).send().await.assert_status(bench.patch_status);
    assert_eq!(house.vendor_value(bench.key).unwrap(), "tested");
    house.patch(bench.key).if_match("*").json_patch(&tests).send().await.assert_problem(409, "patch-test-failed");
}

#[actix_web::test]
async fn a_success_response_with_an_unchanged_etag_is_rejected() {
    let house = TestEnv::start(&MATRIX42).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.inject_once(CallKind::Update, InjectedFault::json(204, ""));
    let answer = house.set_text(MATRIX42.key, &current_etag, "said only").prefer("return=representation").send().await;
    answer.assert_problem(422, "rejected");
    assert_eq!(house.wait_for_operation(&answer).await["state"], "not-applied");
    assert_eq!((house.write_call_count(), house.current_etag(MATRIX42.key).await), (1, current_etag));
}

#[actix_web::test]
async fn a_change_that_becomes_visible_late_is_read_once_more() {
    let house = TestEnv::start(&MATRIX42).await;
    let current_etag = house.current_etag(MATRIX42.key).await;
    house.inject_once(CallKind::Update, InjectedFault::json(204, ""));
    house.faults().add(CallKind::Read, InjectedFault::Hold, 1, Some(1));
    let looks = house.call_count(CallKind::Read);
    let late = async {
        house.wait_for_calls(CallKind::Read, looks + 2).await;
        (MATRIX42.external_write)(&house.vendors, MATRIX42.key, "shown late");
        house.faults().release();
    };
    let patch = house.set_text(MATRIX42.key, &current_etag, "shown late").prefer("return=representation");
    let (answer, ()) = join(patch.send(), late).await;
    answer.assert_status(200);
    assert_eq!(answer.json()["fields"][MATRIX42.text], "shown late");
    assert_eq!(house.call_count(CallKind::Read), looks + 2);
}

async fn a_patch_that_takes_no_effect_is_rejected(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    (bench.ignore_text)(&house.vendors);
    let before = house.vendor_value(bench.key).unwrap();
    let answer = house.set_text(bench.key, "*", "ignored").prefer("return=representation").send().await;
    assert_eq!(house.vendor_value(bench.key).unwrap(), before);
    answer.assert_problem(422, "rejected");
    assert_eq!(answer.json()["errors"][0]["pointer"], text_pointer(bench));
    assert_eq!(house.wait_for_operation(&answer).await["state"], "not-applied");
    // What the caller has seen is known, so that a write that does not read can tell, too.
    let current_etag = house.current_etag(bench.key).await;
    let answer = house.set_text(bench.key, &current_etag, "ignored").prefer("return=representation").send().await;
    answer.assert_problem(422, "rejected");
    assert_eq!(answer.json()["errors"][0]["pointer"], text_pointer(bench));
    let mut fields = (bench.reset_patch)();
    fields[bench.text] = json!("ignored");
    let patch = house.patch(bench.key).if_match(&house.current_etag(bench.key).await).fields(&fields);
    let answer = patch.prefer("return=representation").send().await;
    answer.assert_status(200);
    let warning = &answer.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(text_pointer(bench))));
}

#[actix_web::test]
async fn bluedolphin_list_entries_can_be_changed_added_and_removed() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let patch = json!({ "properties": { "Supplier": { "value": "Contoso" }, "Owner": null, "Site": { "value": "Delft" } },
                        "questionnaires": { OTHER_QUESTIONNAIRE_ID: {} } });
    house.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await.assert_status(200);
    let definition = house.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    let names: Vec<&str> = definition.properties.iter().map(|property| property.name.as_str()).collect();
    assert_eq!(names, ["Supplier", "Lifecycle", "Site"]);
    assert_eq!((definition.property("Supplier"), definition.property("Site")), (Some("Contoso"), Some("Delft")));
    assert_eq!(definition.questionnaires.len(), 2);
    let sent = house.last_call(CallKind::Update).json();
    assert!(sent["object_properties"].as_array().unwrap().iter().all(|property| property["name"] != "Lifecycle"));
}

#[actix_web::test]
async fn bluedolphin_locked_properties_and_mixed_status_are_rejected() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    for (patch, pointer) in [
        (json!({ "properties": { "Lifecycle": null } }), "/fields/properties/Lifecycle"),
        (json!({ "status": "disabled", "name": "Other" }), "/fields/status"),
        (json!({ "status": "gone" }), "/fields/status"),
        (json!({ "name": "" }), "/fields/name"),
        (json!({ "properties": { "Supplier": { "value": 7 } } }), "/fields/properties/Supplier/value"),
    ] {
        let answer = house.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await;
        answer.assert_problem(422, "rejected");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(house.write_call_count(), 0);
}

#[actix_web::test]
async fn a_bluedolphin_status_change_is_one_synchronous_call() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let current_etag = house.current_etag(BLUEDOLPHIN.key).await;
    let disable = house.patch(BLUEDOLPHIN.key).if_match(&current_etag).fields(&json!({ "status": "disabled" }));
    disable.without_prefer().without_header("Accept-Loss").send().await.assert_status(204);
    let definition = house.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert!(definition.disabled && !definition.linked_questions.is_empty(), "nothing is lost");
    assert!(house.last_call(CallKind::Update).path.ends_with("/disable"));
}
