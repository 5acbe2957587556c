//! What a patch may repeat of a record, and how wrong values are reported (contract 4.1, 4.6, 4.7).

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{BLUEDOLPHIN, MATRIX42, TestEnv, VendorFixture, for_each_vendor, for_each_vendor_with};

for_each_vendor!(a_record_as_read_can_be_edited_and_sent_back_whole);
for_each_vendor_with!(native: a_value_that_the_vendor_alters_is_a_warning);

async fn a_record_as_read_can_be_edited_and_sent_back_whole(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let read = env.read(fixture.key).send().await;
    let whole = read.json();
    let unchanged = env.patch(fixture.key).if_match(read.etag()).merge_patch(&whole.to_string()).send().await;
    assert!(unchanged.status < 300, "{unchanged:?}");
    let tag = env.current_etag(fixture.key).await;
    let mut edited = whole;
    edited["etag"] = json!(tag);
    edited["fields"][fixture.text] = json!("edited");
    let response = env.patch(fixture.key).if_match(&tag).merge_patch(&edited.to_string()).send().await;
    response.assert_status(fixture.patch_status);
    assert_eq!(env.vendor_value(fixture.key).unwrap(), "edited");
}

/// Whatever the caller prefers: an unchecked write is read back (contract 7.2).
async fn a_value_that_the_vendor_alters_is_a_warning(fixture: &'static VendorFixture) {
    for (validate, preference) in
        [("off", "return=minimal"), ("off", "return=representation"), ("refuse", "return=representation")]
    {
        let env = TestEnv::start_with(fixture, |config| config.system(fixture.system, "validate", validate));
        let tag = env.current_etag(fixture.key).await;
        for kind in [fixture.read_call_kind, CallKind::Update] {
            let altered = InjectedFault::Rewrite { from: "\"sent\"".to_owned(), to: "\"altered\"".to_owned() };
            env.faults().always(kind, altered);
        }
        let response = env.set_text(fixture.key, &tag, "sent").without_prefer().prefer(preference).send().await;
        let record = response.assert_status(200).json();
        assert_eq!(record["fields"][fixture.text], "altered");
        let expected = (json!("not-applied"), json!(format!("/fields/{}", fixture.text)));
        let operation = env.wait_for_operation(&response).await;
        assert_eq!(operation["state"], "applied");
        for warnings in [&record["warnings"], &operation["warnings"]] {
            let warning = &warnings[0];
            assert_eq!((warning["code"].clone(), warning["pointer"].clone()), expected, "{preference} {record}");
        }
    }
}

#[actix_web::test]
async fn bluedolphin_distinguishes_an_unknown_member_from_a_read_only_one() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let unknown = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&json!({ "Naem": "x" })).send().await;
    unknown.assert_problem(422, "rejected");
    let error = &unknown.json()["errors"][0];
    assert_eq!((&error["pointer"], &error["nearest"]), (&json!("/fields/Naem"), &json!("name")), "{error}");
    let kind = env.read(BLUEDOLPHIN.key).send().await.json()["fields"]["type"].clone();
    let repeated = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&json!({ "type": kind })).send().await;
    repeated.assert_status(204);
    let changed = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&json!({ "type": { "id": "other" } })).send().await;
    changed.assert_problem(422, "read-only-member");
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_blank_property_value_is_rejected_before_it_is_sent() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let blank = json!({ "properties": { "Supplier": { "value": "" } } });
    let response = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&blank).send().await;
    response.assert_problem(422, "rejected");
    assert_eq!(response.json()["errors"][0]["pointer"], "/fields/properties/Supplier/value");
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn a_renamed_property_is_a_removal_that_names_its_loss() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let renamed = json!([{ "op": "move", "from": "/fields/properties/Supplier", "path": "/fields/properties/Vendor" }]);
    let patch = || env.patch(BLUEDOLPHIN.key).if_match("*").json_patch(&renamed).without_header("Accept-Loss");
    let refused = patch().header("Accept-Loss", "linked-questions, source-connections").send().await;
    refused.assert_problem(409, "lossy-write");
    assert_eq!(refused.json()["losses"], json!(["property-values"]));
    assert_eq!(env.write_call_count(), 0);
    let accepted = patch().header("Accept-Loss", &BLUEDOLPHIN.losses.join(", ")).send().await;
    accepted.assert_status(200);
    let warnings = accepted.json()["warnings"].to_string();
    assert!(warnings.contains("property-values"), "{warnings}");
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert_eq!((definition.property("Supplier"), definition.property("Vendor")), (None, Some("Microsoft")));
}

#[actix_web::test]
async fn a_null_entry_of_a_json_patch_removes_the_entry() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let removal = json!([{ "op": "replace", "path": "/fields/properties/Supplier", "value": null }]);
    env.patch(BLUEDOLPHIN.key).if_match("*").json_patch(&removal).send().await.assert_status(200);
    let definition = env.vendors.bluedolphin.state.definition(BLUEDOLPHIN.key).unwrap();
    assert!(definition.properties.iter().all(|property| property.name != "Supplier"));
}

#[actix_web::test]
async fn matrix42_values_that_it_finds_wrong_are_422_with_its_words() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.system("itsm", "validate", "off"));
    let tag = env.current_etag(MATRIX42.key).await;
    for (fields, words) in [
        (json!({ "Position": "abc" }), "cannot be converted"),
        (json!({ "Unheard": 1 }), "does not contain attribute"),
        (json!({ "Name": null }), "mandatory"),
    ] {
        let response = env.patch(MATRIX42.key).if_match(&tag).fields(&fields).send().await;
        response.assert_problem(422, "rejected");
        let problem = response.json();
        assert_eq!(problem["retryable"], false, "{problem}");
        assert!(problem["vendor"]["message"].as_str().unwrap().contains(words), "{problem}");
    }
    assert_eq!(env.current_etag(MATRIX42.key).await, tag, "nothing has changed");
}

#[actix_web::test]
async fn a_matrix42_create_without_a_mandatory_attribute_is_422() {
    let env = TestEnv::start(&MATRIX42);
    let (before, body) =
        (env.record_count(), json!({ "collection": MATRIX42.collection(), "fields": { "Description": "x" } }));
    let response = env.request(actix_web::http::Method::POST, "/records/itsm").json(&body).send().await;
    response.assert_problem(422, "rejected");
    assert!(response.json()["vendor"]["message"].as_str().unwrap().contains("mandatory"));
    assert_eq!((env.record_count(), env.call_count(CallKind::Create)), (before, 1));
}
