//! Patches of a model's document are checked like those of the record (contract 4.12, 4.13).

use actix_web::http::Method;
use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, bluedolphin, matrix42, pretectum};
use serde_json::{Value, json};

use crate::support::TestServer;

#[actix_web::test]
async fn values_that_depend_on_the_record_are_checked_with_all_others() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    for (path, patch, pointer) in [
        (
            format!("/models/asset/itsm/{}", matrix42::FACILITY_ID),
            json!({ "fields": { "active": false }, "vendor": { "Nope": 1 } }),
            "/vendor/Nope",
        ),
        (
            format!("/models/contact/crm/{}", pretectum::ADA_ID),
            json!({ "fields": { "tier": "gold", "first_name": null } }),
            "/fields/first_name",
        ),
    ] {
        // The state of the tag is known, so that the vendor need not be read.
        let tag = client.get(&path).send().await.assert_status(200).etag().to_owned();
        let refused = client.request(Method::PATCH, &path).if_match(&tag).merge_patch(&patch.to_string()).send().await;
        let problem = refused.assert_problem(422, "rejected").json();
        let pointers: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|one| &one["pointer"]).collect();
        assert_eq!(pointers, [pointer], "{problem}");
    }
    let vendors = &server.vendors;
    assert_eq!((vendors.matrix42.log.count(CallKind::Update), vendors.pretectum.log.count(CallKind::Update)), (0, 0));
}

#[actix_web::test]
async fn a_field_is_changed_in_a_document_that_repeats_the_whole_record() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    for (path, field, value) in [
        (format!("/models/contact/crm/{}", pretectum::ADA_ID), "last_name", "Byron"),
        (format!("/models/asset/itsm/{}", matrix42::FACILITY_ID), "description", "Repeated"),
        (format!("/models/asset/architecture/{}", bluedolphin::NEW_APPLICATION_ID), "owner", "Repeated"),
    ] {
        let shown = client.get(&format!("{path}?vendor=all")).send().await;
        let mut document = shown.assert_status(200).json();
        document["fields"][field] = value.into();
        let request = client.request(Method::PATCH, &path).if_match(shown.etag()).merge_patch(&document.to_string());
        let request = request.header("Accept-Loss", "linked-questions, source-connections").prefer("wait=10");
        assert!(matches!(request.send().await.status, 200 | 204), "{path}");
        assert_eq!(client.get(&path).send().await.json()["fields"][field], value, "{path}");
    }
}

#[actix_web::test]
async fn a_field_and_a_member_beside_its_value_are_written_together() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let path = format!("/models/asset/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    let tag = client.get(&path).send().await.assert_status(200).etag().to_owned();
    let patch = json!({ "fields": { "owner": "Both" }, "vendor": { "properties": { "Owner": { "locked": true } } } });
    let request = client.request(Method::PATCH, &path).if_match(&tag).merge_patch(&patch.to_string());
    let request = request.header("Accept-Loss", "linked-questions, source-connections").prefer("wait=10");
    let response = request.send().await;
    let shown = client.get(&path).send().await.json();
    assert!(matches!(response.status, 200 | 204), "{response:?}");
    assert_eq!(shown["fields"]["owner"], "Both", "{response:?} {shown}");
}

#[actix_web::test]
async fn what_a_vendor_refuses_is_named_in_the_models_words() {
    let models = r#"
        [models.thing.fields]
        name = { type = "string" }
        tier = { type = "string", enum = ["basic", "gold", "bronze"] }
        owner = { type = "string" }
        cost = { type = "string" }
        active = { type = "boolean" }
        [models.thing.systems.crm.map]
        name = "First Name"
        tier = { at = "Status", enum = { Standard = "basic", Premium = "gold", Bronze = "bronze" } }
        [models.thing.systems.architecture]
        create = { object_template_id = "644779a07470b332c82b8d00", roles = ["5f0c1d7d4a28b925fcf80001"] }
        [models.thing.systems.architecture.map]
        name = "name"
        owner = "/properties/Owner/value"
        cost = "/properties/Cost/value"
        active = { at = "status", boolean = { true = ["active"], false = ["disabled"] } }
    "#;
    let server = TestServer::start_with(|config| config.text_of("models", models));
    let client = server.client();
    let refused = async |method: Method, path: &str, fields: Value| {
        let request = client.request(method.clone(), path).header("Accept-Loss", "linked-questions");
        let request = if method == Method::PATCH { request.if_match("*") } else { request };
        let json = request.json(&json!({ "fields": fields })).send().await.assert_problem(422, "rejected").json();
        assert!(!json.to_string().contains("Status") || json["errors"][0]["vendor_pointer"] == "/vendor/Status");
        json["errors"].clone()
    };
    let ada = format!("/models/thing/crm/{}", pretectum::ADA_ID);
    let of_choice = refused(Method::PATCH, &ada, json!({ "tier": "bronze" })).await;
    assert_eq!(of_choice[0]["pointer"], "/fields/tier", "{of_choice}");
    assert_eq!(of_choice[0]["detail"], "must be one of \"basic\", \"gold\"", "{of_choice}");
    let create = refused(Method::POST, "/models/thing/architecture", json!({ "name": "N", "owner": "Ada" })).await;
    let places = |errors: &Value| {
        let pointers = errors.as_array().expect("errors").iter().map(|error| error["pointer"].to_string());
        pointers.collect::<Vec<_>>()
    };
    assert_eq!(places(&create), ["\"/fields/owner\""], "{create}");
    assert_eq!(create[0]["vendor_pointer"], "/vendor/properties");
    let definition = format!("/models/thing/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    let status = refused(Method::PATCH, &definition, json!({ "name": "N", "active": false })).await;
    assert_eq!(places(&status), ["\"/fields/active\""], "{status}");
    assert!(!status[0]["detail"].as_str().expect("a detail").contains("status"), "{status}");
}

#[actix_web::test]
async fn a_field_of_unusual_form_has_one_verdict_in_every_kind_of_patch() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let request = || client.request(Method::PATCH, &ada).if_match("*");
    let json_patch = json!([{ "op": "replace", "path": "/fields/email", "value": "a@b" }]);
    for patch in [request().json_patch(&json_patch), request().fields(&json!({ "email": "a@c", "tier": "gold" }))] {
        let warnings = patch.send().await.assert_status(200).json()["warnings"].clone();
        assert_eq!((&warnings[0]["code"], &warnings[0]["pointer"]), (&json!("invalid-field"), &json!("/fields/email")));
    }
}
