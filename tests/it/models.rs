//! Records in the words of a model (contract 4.12).

use actix_web::http::Method;
use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, bluedolphin, dataverse, matrix42, pretectum};
use serde_json::{Value, json};

use crate::support::{TestClient, TestResponse, TestServer};

const LOSSES: &str = "linked-questions, source-connections";

fn start() -> TestServer {
    TestServer::start_with(|config| config.text_of("models", MODELS))
}

fn ada() -> String {
    format!("/models/contact/crm/{}", pretectum::ADA_ID)
}

async fn patch(client: &TestClient, path: &str, tag: &str, body: &Value) -> TestResponse {
    client.request(Method::PATCH, path).if_match(tag).merge_patch(&body.to_string()).send().await
}

/// A client that knows the model and no system.
async fn rename(client: &TestClient, path: &str, name: &str) -> Value {
    let before = client.get(path).send().await;
    let request = client.request(Method::PATCH, path).if_match(before.assert_status(200).etag());
    let request = request.header("Accept-Loss", LOSSES).prefer("wait=10");
    let done = request.fields(&json!({ "name": name })).send().await;
    assert!(matches!(done.status, 200 | 204), "{done:?}");
    client.get(path).send().await.assert_status(200).json()
}

#[actix_web::test]
async fn the_same_client_changes_two_systems_without_a_branch() {
    let server = start();
    let client = server.client();
    for path in [
        format!("/models/asset/architecture/{}", bluedolphin::NEW_APPLICATION_ID),
        format!("/models/asset/itsm/{}", matrix42::FACILITY_ID),
    ] {
        let after = rename(&client, &path, "Renamed").await;
        assert_eq!(after["fields"]["name"], "Renamed");
        assert_eq!(after["fields"]["active"], true, "{after}");
    }
    for path in [ada(), format!("/models/contact/sales/{}", dataverse::YVONNE_ID)] {
        let tag = client.get(&path).send().await.assert_status(200).etag().to_owned();
        patch(&client, &path, &tag, &json!({ "fields": { "first_name": "Renamed" } })).await.assert_status(204);
        assert_eq!(client.get(&path).send().await.json()["fields"]["first_name"], "Renamed");
    }
    let definition = server.vendors.bluedolphin.state.definition(bluedolphin::NEW_APPLICATION_ID).expect("there");
    assert_eq!(definition.name, "Renamed");
}

#[actix_web::test]
async fn a_document_shows_fields_in_the_models_form_and_the_rest() {
    let server = start();
    let path = format!("/models/contact/crm/{}", pretectum::GRACE_ID);
    let document = server.client().get(&path).send().await;
    let json = document.assert_status(200).json();
    assert_eq!((&json["model"], &json["system"]), (&json!("contact"), &json!("crm")));
    assert_eq!(json["fields"]["tier"], "gold");
    assert_eq!(json["fields"]["since"], "2019-12-09");
    assert!(json["fields"]["phone"].is_null() && json["fields"].get("phone").is_some());
    assert!(document.text.contains(r#""credit":1.10"#), "{}", document.text);
    assert!(document.text.contains(r#""Loyalty Points":12345678901234567890"#), "{}", document.text);
    assert_eq!(json["etag"].as_str(), Some(document.etag()));
    for (part, has_vendor) in [("all", true), ("rest", true), ("none", false)] {
        let shown = server.client().get(&format!("{path}?vendor={part}")).send().await.assert_status(200).json();
        assert_eq!(shown.get("vendor").is_some(), has_vendor, "{part}");
        assert_eq!(shown["vendor"].get("Status").is_some(), part == "all", "{part}");
    }
}

#[actix_web::test]
async fn a_patch_of_one_field_is_one_vendor_call_of_that_member() {
    let server = start();
    let (client, crm) = (server.client(), &server.vendors.pretectum);
    let tag = client.get(&ada()).send().await.etag().to_owned();
    crm.log.clear();
    patch(&client, &ada(), &tag, &json!({ "fields": { "email": "new@example.com" } })).await.assert_status(204);
    assert_eq!(
        (crm.log.count(CallKind::Update), crm.log.count(CallKind::List)),
        (1, 0),
        "{:?}",
        crm.log.request_lines()
    );
    let sent = crm.log.last(CallKind::Update).expect("an update").text();
    assert!(sent.contains("new@example.com") && !sent.contains("Status"), "{sent}");
}

#[actix_web::test]
async fn a_whole_document_sent_back_writes_nothing() {
    let server = start();
    let client = server.client();
    for path in [
        ada(),
        format!("/models/contact/crm/{}", pretectum::GRACE_ID),
        format!("/models/asset/architecture/{}", bluedolphin::NEW_APPLICATION_ID),
        format!("/models/asset/architecture/{}", bluedolphin::EMPTY_DEFINITION_ID),
        format!("/models/asset/itsm/{}", matrix42::HARDWARE_ID),
        format!("/models/contact/sales/{}", dataverse::YVONNE_ID),
    ] {
        for query in ["", "?vendor=all", "?vendor=none"] {
            let document = client.get(&format!("{path}{query}")).send().await;
            let tag = document.assert_status(200).etag().to_owned();
            let request = client.request(Method::PATCH, &path).if_match(&tag).merge_patch(&document.text);
            request.send().await.assert_status(204);
        }
    }
    let vendors = &server.vendors;
    let logs = [&vendors.pretectum.log, &vendors.bluedolphin.log, &vendors.matrix42.log, &vendors.dataverse.log];
    assert!(logs.iter().all(|log| log.count(CallKind::Update) == 0));
}

#[actix_web::test]
async fn a_value_that_the_map_cannot_read_is_absent_and_kept() {
    let server = start();
    let (client, crm) = (server.client(), &server.vendors.pretectum);
    assert!(crm.state.write(pretectum::ADA_ID, |fields| _ = fields.insert("Status".into(), "Odd".into())));
    let document = client.get(&ada()).send().await;
    let json = document.assert_status(200).json();
    assert!(json["fields"].get("tier").is_none(), "{json}");
    assert_eq!(json["vendor"]["Status"], "Odd");
    let warning = json["warnings"].as_array().expect("warnings").iter().find(|one| one["code"] == "unmapped-value");
    let warning = warning.unwrap_or_else(|| panic!("{json}"));
    assert_eq!(
        [&warning["code"], &warning["pointer"], &warning["vendor_pointer"]],
        ["unmapped-value", "/fields/tier", "/vendor/Status"]
    );
    let tag = document.etag().to_owned();
    client.request(Method::PATCH, &ada()).if_match(&tag).merge_patch(&document.text).send().await.assert_status(204);
    assert_eq!(crm.log.count(CallKind::Update), 0);
    let metrics = client.get("/metrics").send().await.text;
    assert!(metrics.contains(r#"model_unmapped_values_total{model="contact"} 1"#), "{metrics}");
}

#[actix_web::test]
async fn a_stale_tag_is_412_in_the_words_of_the_model() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let elsewhere = |fields: &mut serde_json::Map<String, Value>| {
        fields.insert("Status".into(), "Premium".into());
        fields.insert("Loyalty Points".into(), 5.into());
    };
    assert!(server.vendors.pretectum.state.write(pretectum::ADA_ID, elsewhere));
    let refused = patch(&client, &ada(), &tag, &json!({ "fields": { "email": "x@example.com" } })).await;
    refused.assert_problem(412, "precondition-failed");
    let problem = refused.json();
    let mut changed: Vec<_> =
        problem["changed"].as_array().expect("changed").iter().filter_map(Value::as_str).collect();
    changed.sort_unstable();
    assert_eq!(changed, ["/fields/tier", "/vendor/Loyalty Points"]);
    let now = client.get(&ada()).send().await;
    assert_eq!(problem["current_etag"].as_str(), Some(now.etag()));
}

#[actix_web::test]
async fn tags_of_records_and_of_models_never_match_each_other() {
    let server = start();
    let client = server.client();
    let record = format!("/records/crm/{}", pretectum::ADA_ID);
    let record_tag = client.get(&record).send().await.etag().to_owned();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    assert_ne!(record_tag, tag);
    for (path, tag, word, member) in [(&ada(), &record_tag, "/records", "email"), (&record, &tag, "model", "Email")] {
        let refused = patch(&client, path, tag, &json!({ "fields": { member: "x@example.com" } })).await;
        refused.assert_problem(412, "precondition-failed");
        let problem = refused.json();
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{problem}");
        assert_eq!(problem.get("changed"), (word == "/records").then_some(&json!([])), "{problem}");
    }
    client.get(&ada()).header("If-None-Match", &tag).send().await.assert_status(304);
    client.get(&ada()).header("If-None-Match", &record_tag).send().await.assert_status(200);
    assert_eq!(server.vendors.pretectum.log.count(CallKind::Update), 0);
}

#[actix_web::test]
async fn a_tag_of_a_changed_map_is_412_with_that_reason() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let changed = MODELS.replace("phone = \"Phone\"", "phone = { at = \"Phone\", none = \"\" }");
    let other = TestServer::start_with(|config| config.text_of("models", &changed));
    let refused = patch(&other.client(), &ada(), &tag, &json!({ "fields": { "email": "x@example.com" } })).await;
    refused.assert_problem(412, "precondition-failed");
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("map that has changed")));
}

#[actix_web::test]
async fn what_is_wrong_with_a_patch_is_422_and_nothing_is_sent() {
    let server = start();
    let (client, crm) = (server.client(), &server.vendors.pretectum);
    let tag = client.get(&ada()).send().await.etag().to_owned();
    crm.log.clear();
    for (body, pointers) in [
        (json!({ "fields": { "emial": "x" } }), vec!["/fields/emial"]),
        (json!({ "fields": { "tier": "silver", "since": "soon" } }), vec!["/fields/tier", "/fields/since"]),
    ] {
        let refused = patch(&client, &ada(), &tag, &body).await;
        refused.assert_problem(422, "rejected");
        let problem = refused.json();
        let found: Vec<_> =
            problem["errors"].as_array().expect("errors").iter().map(|one| one["pointer"].clone()).collect();
        assert_eq!(found, pointers, "{problem}");
    }
    assert!(crm.log.all().is_empty(), "{:?}", crm.log.request_lines());
    let both = json!({ "fields": { "tier": "gold" }, "vendor": { "Status": "Premium" } });
    let refused = patch(&client, &ada(), &tag, &both).await;
    refused.assert_problem(422, "rejected");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/vendor/Status");
    assert_eq!(crm.log.count(CallKind::Update), 0);
    let asset = format!("/models/asset/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    let refused = patch(&client, &asset, "*", &json!({ "fields": { "cost": 1 } })).await;
    refused.assert_problem(422, "rejected");
    assert!(
        refused.json()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("asset.cost is not kept by architecture"))
    );
}

#[actix_web::test]
async fn a_json_patch_tests_and_changes_the_models_words() {
    let server = start();
    let client = server.client();
    let request = |operations: Value| client.request(Method::PATCH, &ada()).if_match("*").json_patch(&operations);
    let test = |tier: &str| json!({ "op": "test", "path": "/fields/tier", "value": tier });
    let replace = json!({ "op": "replace", "path": "/fields/tier", "value": "gold" });
    let refused = request(json!([test("gold"), replace])).send().await;
    refused.assert_problem(409, "patch-test-failed");
    assert_eq!(refused.json()["errors"][0]["vendor_pointer"], "/vendor/Status");
    request(json!([test("basic"), replace])).send().await.assert_status(204);
    assert_eq!(server.vendors.pretectum.state.object(pretectum::ADA_ID).expect("there").fields["Status"], "Premium");
}

#[actix_web::test]
async fn a_vendors_findings_come_back_in_the_models_words() {
    let server = start();
    let (client, crm) = (server.client(), &server.vendors.pretectum);
    assert!(crm.state.write(pretectum::ADA_ID, |fields| _ = fields.insert("Email".into(), "no address".into())));
    let json = client.get(&ada()).send().await.assert_status(200).json();
    let of_vendor = json["warnings"].as_array().expect("warnings").iter().find(|one| one["code"] == "invalid-field");
    let of_vendor = of_vendor.unwrap_or_else(|| panic!("{json}"));
    assert_eq!([&of_vendor["pointer"], &of_vendor["vendor_pointer"]], ["/fields/email", "/vendor/Email"]);
}

#[actix_web::test]
async fn a_record_is_created_in_the_words_of_the_model() {
    let server = start();
    let client = server.client();
    let body = json!({ "fields": { "first_name": "Joan", "last_name": "Clarke", "email": "joan@example.com",
                                   "tier": "gold", "since": "2020-02-29", "phone": null } });
    let created = client.request(Method::POST, "/models/contact/crm").json(&body).send().await;
    let json = created.assert_status(201).json();
    assert_eq!((&json["fields"]["tier"], &json["fields"]["since"]), (&json!("gold"), &json!("2020-02-29")));
    let path = created.header("location").expect("a location");
    assert!(path.starts_with("/models/contact/crm/"), "{path}");
    assert_eq!(client.get(path).send().await.etag(), created.etag());
    client.request(Method::DELETE, path).if_match(created.etag()).send().await.assert_status(204);
}

#[actix_web::test]
async fn a_representation_has_the_tag_that_the_next_write_needs() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let request = client.request(Method::PATCH, &ada()).if_match(&tag).prefer("return=representation");
    let response = request.fields(&json!({ "tier": "gold" })).send().await;
    let json = response.assert_status(200).json();
    assert_eq!((&json["fields"]["tier"], json["etag"].as_str()), (&json!("gold"), Some(response.etag())));
    assert_eq!(response.header("content-location").map(|path| path.starts_with("/models/contact/crm/")), Some(true));
    patch(&client, &ada(), response.etag(), &json!({ "fields": { "tier": "basic" } })).await.assert_status(204);
}

#[actix_web::test]
async fn models_and_their_schemas_are_described() {
    let server = start();
    let client = server.client();
    let models = client.get("/models").send().await.assert_status(200).json();
    let asset = models["items"].as_array().expect("items").iter().find(|one| one["name"] == "asset").expect("a model");
    assert_eq!(asset["systems"], json!(["architecture", "itsm"]));
    let asset = client.get("/models/asset?limit=1").send().await.json();
    assert_eq!(asset["maps"][0]["missing"], json!(["cost", "description", "ends"]));
    let schema = client.get("/models/contact/schema").send().await;
    assert_eq!(schema.header("content-type"), Some("application/schema+json"));
    assert_eq!(schema.json()["properties"]["email"]["format"], "email");
    let known = client.get("/models/contact/schema").header("If-None-Match", schema.etag()).send().await;
    known.assert_status(304);
    assert_eq!((known.etag(), known.text.as_str()), (schema.etag(), ""));
    let other = client.get("/models/asset/schema").header("If-None-Match", schema.etag()).send().await;
    assert_ne!(other.assert_status(200).etag(), schema.etag());
    for (path, problem) in [
        ("/models/none", "model-not-found"),
        ("/models/none/crm/a", "model-not-found"),
        ("/models/none/schema", "model-not-found"),
        ("/models/contact/other/a", "system-not-found"),
        ("/models/contact/itsm/a", "not-found"),
    ] {
        client.get(path).send().await.assert_problem(404, problem);
    }
    let elsewhere = format!("/models/asset/itsm/{}:{}", matrix42::ACTIVITY_CLASS, matrix42::PRINTER_ID);
    client.get(&elsewhere).send().await.assert_problem(404, "record-not-found");
}

#[actix_web::test]
async fn the_openapi_document_has_each_model_with_its_types() {
    let server = start();
    let document = server.client().get("/openapi.json").send().await.json();
    let contact = &document["components"]["schemas"]["Contact"];
    assert_eq!(contact["properties"]["tier"]["enum"], json!(["basic", "gold", null]));
    let get = &document["paths"]["/models/contact/{system}/{id}"]["get"];
    assert_eq!(get["operationId"], "getRecordOfContact");
    let shown = &get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(shown, "#/components/schemas/ContactDocument");
    let fields = &document["components"]["schemas"]["ContactDocument"]["properties"]["fields"]["$ref"];
    assert_eq!(fields, "#/components/schemas/Contact");
}

#[actix_web::test]
async fn a_key_at_a_model_is_another_request_than_at_records() {
    let server = start();
    let client = server.client();
    let body = json!({ "fields": { "email": "one@example.com" } });
    let send = |path: String| client.request(Method::PATCH, &path).if_match("*").idempotency_key("k");
    let first = send(ada()).merge_patch(&body.to_string()).send().await;
    first.assert_status(204);
    let again = send(ada()).merge_patch(&body.to_string()).send().await;
    assert_eq!(again.assert_status(204).header("idempotency-replayed"), Some("true"));
    let other = send(format!("/records/crm/{}", pretectum::ADA_ID)).merge_patch(&body.to_string()).send().await;
    other.assert_problem(422, "idempotency-key-reused");
}

#[actix_web::test]
async fn the_ledger_names_the_model_beside_the_vendors_paths() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let done = patch(&client, &ada(), &tag, &json!({ "fields": { "email": "x@example.com" } })).await;
    let operation = client.get(done.assert_status(204).header("operation").expect("an operation")).send().await.json();
    let entry = client.get("/ledger?order=desc&limit=1").send().await.json()["items"][0].clone();
    for document in [&operation, &entry] {
        assert!(document["model"].as_str().is_some_and(|model| model.starts_with("contact@")), "{document}");
    }
    assert_eq!(entry["paths"], json!(["/fields/Email"]));
}

#[actix_web::test]
async fn a_preview_shows_the_change_in_the_models_words() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let request = client.request(Method::POST, &format!("{}/preview", ada())).if_match(&tag);
    let preview = request.fields(&json!({ "tier": "gold" })).send().await.assert_status(200).json();
    assert_eq!(preview["changes"], json!([{ "pointer": "/fields/tier", "from": "basic", "to": "gold" }]));
    assert_eq!(preview["based_on"], tag);
    let planned = client.request(Method::PATCH, &ada()).if_match(&tag);
    let planned = planned.header("If-Plan", preview["plan"].as_str().expect("a plan"));
    planned.fields(&json!({ "tier": "gold" })).send().await.assert_status(204);
    let now = server.vendors.pretectum.state.object(pretectum::ADA_ID).expect("there");
    assert_eq!(now.fields["Status"], "Premium");
}

#[actix_web::test]
async fn a_batch_changes_documents_of_several_systems() {
    let server = start();
    let client = server.client();
    let item = |path: String| {
        json!({ "method": "PATCH", "path": path, "headers": { "If-Match": "*" },
                                      "body": { "fields": { "name": "Renamed" } } })
    };
    let paths = [matrix42::FACILITY_ID, matrix42::HARDWARE_ID].map(|id| format!("/models/asset/itsm/{id}"));
    let body = json!({ "items": paths.clone().map(item) });
    let response = client.request(Method::POST, "/batch").json(&body).send().await;
    assert_eq!(response.assert_status(200).json()["summary"]["ok"], 2, "{response:?}");
    for path in paths {
        assert_eq!(client.get(&path).send().await.json()["fields"]["name"], "Renamed");
    }
}

#[actix_web::test]
async fn a_rebase_compares_the_places_of_the_document() {
    let server = start();
    let client = server.client();
    let tag = client.get(&ada()).send().await.etag().to_owned();
    let elsewhere = |fields: &mut serde_json::Map<String, Value>| _ = fields.insert("Phone".into(), "1".into());
    assert!(server.vendors.pretectum.state.write(pretectum::ADA_ID, elsewhere));
    let send =
        |fields: Value| client.request(Method::PATCH, &ada()).if_match(&tag).prefer("rebase=disjoint").fields(&fields);
    let refused = send(json!({ "phone": "2" })).send().await;
    refused.assert_problem(412, "precondition-failed");
    assert_eq!(refused.json()["overlap"], json!(["/fields/phone"]));
    let done = send(json!({ "email": "x@example.com" })).send().await.assert_status(200).json();
    let warning = &done["warnings"][0];
    assert_eq!((&warning["code"], &warning["moved"]), (&json!("rebased"), &json!(["/fields/phone"])));
    assert!(warning["onto"].as_str().is_some_and(|tag| tag.starts_with("\"m")), "{warning}");
}
