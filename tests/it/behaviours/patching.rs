//! The effect of a PATCH (contract 4.1). The formats themselves are tested in `patches.rs`.

use records_gateway::sandbox::CallKind;
use records_gateway::sandbox::bluedolphin::{OTHER_QUESTIONNAIRE_ID, Property};
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

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
for_each_vendor_with!(native:
    only_changed_fields_are_sent,
    a_returned_record_costs_a_read_where_the_response_lacks_it,
);
for_each_vendor_with!(spellings:
    the_other_spelling_of_an_id_is_the_same_record,
);

async fn an_empty_patch_checks_the_etag_and_sends_no_write(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    for body in ["{}", r#"{"fields":{}}"#] {
        let response = env.patch(fixture.key).if_match(&current_etag).merge_patch(body).send().await;
        response.assert_status(204);
        assert_eq!(response.header("operation"), None);
    }
    env.patch(fixture.key).if_match("*").json_patch(&json!([])).send().await.assert_status(204);
    (fixture.external_touch)(&env.vendors, fixture.key);
    for body in ["{}", r#"{"fields":{}}"#] {
        env.patch(fixture.key)
            .if_match(&current_etag)
            .merge_patch(body)
            .send()
            .await
            .assert_problem(412, "precondition-failed");
    }
    assert_eq!(env.write_call_count(), 0);
    env.patch(fixture.missing_key).if_match("*").merge_patch("{}").send().await.assert_problem(404, "record-not-found");
}

async fn a_patch_that_changes_nothing_sends_no_write(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let same = env.vendor_value(fixture.key).unwrap();
    let patch = json!([{ "op": "replace", "path": fixture.text_pointer(), "value": same }]);
    env.patch(fixture.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(204);
    env.set_text(fixture.key, "*", &same).send().await.assert_status(204);
    assert_eq!(env.write_call_count(), 0);
    assert_eq!(env.current_etag(fixture.key).await, current_etag);
}

async fn null_removes_or_resets_a_field(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    assert!(!(fixture.is_reset)(&env.vendors));
    env.patch(fixture.key)
        .if_match(&current_etag)
        .fields(&(fixture.reset_patch)())
        .send()
        .await
        .assert_status(fixture.patch_status);
    assert!((fixture.is_reset)(&env.vendors));
    assert_eq!(env.call_count(CallKind::Update), 1);
}

async fn a_json_patch_changes_the_fields_it_names(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = json!([
        { "op": "test", "path": "/system", "value": fixture.system },
        { "op": "test", "path": fixture.text_pointer(), "value": env.vendor_value(fixture.key).unwrap() },
        { "op": "replace", "path": fixture.text_pointer(), "value": "first" },
        { "op": "add", "path": fixture.text_pointer(), "value": "second" },
    ]);
    env.patch(fixture.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("second", 1));
}

async fn a_failing_test_operation_is_409_and_nothing_is_written(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let patch = json!([
        { "op": "replace", "path": fixture.text_pointer(), "value": "mine" },
        { "op": "test", "path": fixture.text_pointer(), "value": "other" },
    ]);
    let response = env.patch(fixture.key).if_match("*").json_patch(&patch).send().await;
    response.assert_problem(409, "patch-test-failed");
    assert_eq!(response.json()["errors"][0]["pointer"], fixture.text_pointer());
    assert_eq!(env.write_call_count(), 0);
}

async fn a_missing_path_is_422_and_nothing_is_written(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for operation in
        [json!({ "op": "remove" }), json!({ "op": "replace", "value": 1 }), json!({ "op": "test", "value": 1 })]
    {
        let mut operation = operation;
        operation["path"] = json!("/fields/name/not/there");
        let patch = env.patch(fixture.key).if_match("*").json_patch(&json!([operation]));
        patch.send().await.assert_problem(422, "patch-failed");
    }
    assert_eq!(env.write_call_count(), 0);
}

async fn read_only_members_cannot_change(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let own = json!({ "fields": { fixture.read_only: "1" } }).to_string();
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
            let response = env.patch(fixture.key).if_match(tags).merge_patch(body).send().await;
            response.assert_problem(422, "read-only-member");
        }
        for operation in [
            json!({ "op": "remove", "path": "/id" }),
            json!({ "op": "replace", "path": "/fields", "value": {} }),
            json!({ "op": "replace", "path": "", "value": {} }),
            json!({ "op": "add", "path": format!("/fields/{}", fixture.read_only), "value": 1 }),
            json!({ "op": "move", "from": "/etag", "path": fixture.text_pointer() }),
        ] {
            let patch = env.patch(fixture.key).if_match(tags).json_patch(&json!([operation]));
            patch.send().await.assert_problem(422, "read-only-member");
        }
    }
    assert_eq!(env.write_call_count(), 0);
}

async fn a_merge_patch_may_repeat_the_records_identity(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let read = env.read(fixture.key).send().await;
    let mut record = read.json();
    record["fields"][fixture.text] = json!("sent back");
    record["warnings"] = json!([]);
    record["pending_operation"] = Value::Null;
    let response = env.patch(fixture.key).if_match(read.etag()).merge_patch(&record.to_string()).send().await;
    response.assert_status(fixture.patch_status);
    assert_eq!((env.vendor_value(fixture.key).unwrap().as_str(), env.write_call_count()), ("sent back", 1));
}

/// Two spellings of one id name one record (contract 3), also in a body and in a query.
async fn the_other_spelling_of_an_id_is_the_same_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let id = format!("{}:{}", fixture.collection(), fixture.other_spelling.unwrap());
    for merge in [
        json!({ "id": id, "fields": fixture.text_patch("flat") }),
        json!({ "id": id, "fields": fixture.text_patch("read first"), "etag": tag }),
    ] {
        let response = env.patch(fixture.key).if_match("*").merge_patch(&merge.to_string()).send().await;
        assert!(response.status == fixture.patch_status || response.status == 422, "{response:?}");
        assert_eq!(
            response.status == 422,
            merge.get("etag").is_some(),
            "only the ETag has changed by then: {response:?}"
        );
    }
    let other = json!({ "id": format!("{}:{}", fixture.collection(), fixture.other_key), "fields": {} });
    env.patch(fixture.key)
        .if_match("*")
        .merge_patch(&other.to_string())
        .send()
        .await
        .assert_problem(422, "read-only-member");
    for path in ["/ledger", "/operations"] {
        let found = env.get(&format!("{path}?record={id}")).send().await.assert_status(200).json();
        assert!(!found["items"].as_array().unwrap().is_empty(), "{path}");
    }
}

async fn the_new_representation_is_returned_on_request(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = env.set_text(fixture.key, &current_etag, "to be shown").prefer("return=representation");
    let response = patch.send().await;
    response.assert_status(200);
    assert!(response.header("preference-applied").unwrap().contains("return=representation"));
    assert_eq!(response.header("content-location"), Some(fixture.path(fixture.key).as_str()));
    assert_eq!(response.header("concurrency-guarantee"), Some(fixture.guarantee()));
    let record = response.json();
    assert_eq!((&record["fields"][fixture.text], &record["etag"]), (&json!("to be shown"), &json!(response.etag())));
    assert_eq!(response.etag(), env.current_etag(fixture.key).await);
    // Returned even where nothing is sent.
    let unchanged = env.patch(fixture.key).if_match("*").merge_patch("{}").prefer("return=representation").send().await;
    unchanged.assert_status(200);
    assert_eq!((unchanged.etag(), env.write_call_count()), (response.etag(), 0));
}

async fn a_returned_record_costs_a_read_where_the_response_lacks_it(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = env.set_text(fixture.key, &current_etag, "to be shown").prefer("return=representation");
    let response = patch.send().await;
    response.assert_status(200);
    let reads = usize::from(!fixture.update_response.has_record);
    assert_eq!((env.call_count(CallKind::Update), env.requests().len()), (1, 1 + reads), "{:?}", env.requests());
    assert_eq!(
        (&response.json()["fields"][fixture.text], response.etag()),
        (&json!("to be shown"), env.current_etag(fixture.key).await.as_str())
    );
}

async fn plain_json_is_a_merge_patch_and_other_types_are_415(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    for media_type in ["text/plain", "application/xml", "application/vnd.api+json"] {
        let patch = env.patch(fixture.key).if_match(&current_etag).header("Content-Type", media_type).body("{}");
        let response = patch.send().await;
        response.assert_problem(415, "unsupported-media-type");
        assert!(response.header("accept-patch").unwrap().contains("application/merge-patch+json"));
    }
    env.assert_nothing_sent();
    let patch = env.patch(fixture.key).if_match(&current_etag).json(&json!({ "fields": fixture.text_patch("plain") }));
    patch.send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "plain");
}

async fn bad_bodies_are_400_and_nothing_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for body in ["", "{", "{\"fields\":{\"a\":1,\"a\":2}}", "{\"fields\":{}} x", "{\"fields\":{\"a\":NaN}}"] {
        env.patch(fixture.key).if_match("*").merge_patch(body).send().await.assert_problem(400, "malformed-request");
        let json_patch = env.patch(fixture.key).if_match("*").header("Content-Type", "application/json-patch+json");
        json_patch.body(body).send().await.assert_problem(400, "malformed-request");
    }
    let no_patch = env.patch(fixture.key).if_match("*").json_patch(&json!([{ "op": "spread", "path": "/fields/a" }]));
    no_patch.send().await.assert_problem(400, "malformed-request");
    let path = format!("{}/$serde_json::private::RawValue", fixture.text_pointer());
    let reserved = env.patch(fixture.key).if_match("*").json_patch(&json!([{ "op": "add", "path": path, "value": 1 }]));
    reserved.send().await.assert_problem(400, "malformed-request");
    env.assert_nothing_sent();
}

async fn only_changed_fields_are_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let patch = json!([{ "op": "replace", "path": fixture.text_pointer(), "value": "alone" }]);
    env.patch(fixture.key).if_match(&current_etag).json_patch(&patch).send().await.assert_status(fixture.patch_status);
    let sent = env.last_call(CallKind::Update).json();
    let mut names: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| !fixture.is_hidden(name));
    assert_eq!(names, [fixture.text]);
}

async fn a_test_operation_may_read_every_member_that_get_returns(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let shown = env.read(fixture.key).send().await;
    let tests = json!([
        { "op": "test", "path": "", "value": shown.json() },
        { "op": "test", "path": "/read_only", "value": shown.json()["read_only"] },
        { "op": "replace", "path": fixture.text_pointer(), "value": "tested" },
    ]);
    env.patch(fixture.key).if_match(shown.etag()).json_patch(&tests).send().await.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "tested");
    env.patch(fixture.key).if_match("*").json_patch(&tests).send().await.assert_problem(409, "patch-test-failed");
}

#[actix_web::test]
async fn bluedolphin_list_entries_can_be_changed_added_and_removed() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let patch = json!({ "properties": { "Supplier": { "value": "Contoso" }, "Owner": null, "Site": { "value": "Delft" } },
                        "questionnaires": { OTHER_QUESTIONNAIRE_ID: {} } });
    env.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await.assert_status(200);
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    let names: Vec<&str> = definition.properties.iter().map(|property| property.name.as_str()).collect();
    assert_eq!(names, ["Supplier", "Lifecycle", "Site"]);
    assert_eq!((definition.property("Supplier"), definition.property("Site")), (Some("Contoso"), Some("Delft")));
    assert_eq!(definition.questionnaires.len(), 2);
    let sent = env.last_call(CallKind::Update).json();
    assert!(sent["object_properties"].as_array().unwrap().iter().all(|property| property["name"] != "Lifecycle"));
}

#[actix_web::test]
async fn a_property_with_any_name_survives_a_change_of_another_member() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let name = "$serde_json::private::Number".to_owned();
    let property = Property { name, value: Some("1".to_owned()), locked: false };
    env.vendors.bluedolphin.state.write(BLUEDOLPHIN.key, |definition| definition.properties.push(property));
    let tag = env.current_etag(BLUEDOLPHIN.key).await;
    env.set_text(BLUEDOLPHIN.key, &tag, "Renamed").send().await.assert_status(200);
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    let values = [definition.property("$serde_json::private::Number"), definition.property("Supplier")];
    assert_eq!((definition.name.as_str(), values), ("Renamed", [Some("1"), Some("Microsoft")]));
    env.set_text(BLUEDOLPHIN.key, &tag, "Stale").send().await.assert_problem(412, "precondition-failed");
}

#[actix_web::test]
async fn bluedolphin_locked_properties_and_mixed_status_are_rejected() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    for (patch, pointer) in [
        (json!({ "properties": { "Lifecycle": null } }), "/fields/properties/Lifecycle"),
        (json!({ "status": "disabled", "name": "Other" }), "/fields/status"),
        (json!({ "status": "gone" }), "/fields/status"),
        (json!({ "name": "" }), "/fields/name"),
        (json!({ "properties": { "Supplier": { "value": 7 } } }), "/fields/properties/Supplier/value"),
    ] {
        let response = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&patch).send().await;
        response.assert_problem(422, "rejected");
        assert_eq!(response.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_bluedolphin_status_change_is_one_synchronous_call() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let current_etag = env.current_etag(BLUEDOLPHIN.key).await;
    let disable = env.patch(BLUEDOLPHIN.key).if_match(&current_etag).fields(&json!({ "status": "disabled" }));
    disable.without_prefer().without_header("Accept-Loss").send().await.assert_status(204);
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert!(definition.disabled && !definition.linked_questions.is_empty(), "nothing is lost");
    assert!(env.last_call(CallKind::Update).path.ends_with("/disable"));
}
