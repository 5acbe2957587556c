//! The OpenAPI document with models, reloads of models, and documents that are sent back whole.

use actix_web::http::Method;
use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, bluedolphin, matrix42, pretectum};
use serde_json::{Value, json};

use crate::support::{TestClient, TestProcess, TestServer};

#[actix_web::test]
async fn the_command_openapi_prints_the_document_that_the_gateway_serves() {
    let builder = TestProcess::builder().configure(|config| config.text_of("models", MODELS));
    let process = builder.clone().start();
    let printed = builder.run(&["openapi"]);
    assert!(printed.status.success(), "{printed:?}");
    let served = process.client().get("/openapi.json").send().await.text;
    assert_eq!(String::from_utf8(printed.stdout).expect("text"), served);
}

#[actix_web::test]
async fn a_request_is_filled_in_for_the_system_that_it_names() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let document = server.client().get("/systems/sales/openapi.json").send().await.assert_status(200).json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.contains_key("/models/contact/{system}/{id}"), "sales keeps contacts");
    assert!(!paths.contains_key("/models/asset/{system}/{id}"), "and no assets");
    let example = |path: &str, name: &str| {
        let parameters = paths[path]["patch"]["parameters"].as_array().expect("parameters");
        parameters.iter().find(|one| one["name"] == name).expect(name)["example"].clone()
    };
    let contact = "/models/contact/{system}/{id}";
    assert_eq!(example(contact, "system"), "sales");
    assert!(example(contact, "id").as_str().is_some_and(|id| id.starts_with("contacts:")));
    let document = server.client().get("/systems/architecture/openapi.json").send().await.json();
    let parameters = document["paths"]["/records/{system}/{id}"]["delete"]["parameters"].clone();
    let find = |name: &str| parameters.as_array().expect("parameters").iter().find(|one| one["name"] == name).cloned();
    assert_eq!(find("Accept-Loss").expect("a parameter")["example"], "dependent-objects");
    let deletable = format!("object-definitions:{}", bluedolphin::RETIRED_SERVER_ID);
    assert_eq!(find("id").expect("a parameter")["example"], deletable);
}

#[actix_web::test]
async fn a_reload_takes_all_models_over_at_once_or_none() {
    let process = TestProcess::start_with(|config| config.text_of("models", MODELS));
    let client = process.client();
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let tag = client.get(&ada).send().await.assert_status(200).etag().to_owned();

    let renamed = MODELS.replace("first_name", "given_name").replace("[models.asset", "[models.thing");
    let broken = renamed.replace("since = { at = \"Customer Since\", date = \"MM/dd/yyyy\" }", "since = \"Email\"");
    process.write_config(&process.config().text_of("models", &broken));
    process.wait_for_log("the changed configuration is invalid", 1).await;
    assert!(process.log().contains("models.contact.systems.crm.map.since"), "{}", process.log());
    client.get("/models/thing").send().await.assert_problem(404, "model-not-found");
    assert_eq!(client.get(&ada).send().await.etag(), tag, "nothing has changed");

    process.write_config(&process.config().text_of("models", &renamed));
    process.wait_for_log("the configuration was reloaded and is in force", 1).await;
    let now = client.get(&ada).send().await;
    assert_eq!(now.assert_status(200).json()["fields"]["given_name"], "Ada");
    assert_ne!(now.etag(), tag);
    client.get("/models/asset").send().await.assert_problem(404, "model-not-found");
    client.get("/models/thing?limit=1").send().await.assert_status(200);
    let document = client.get("/openapi.json").send().await.json();
    assert!(document["components"]["schemas"]["Contact"]["properties"].get("given_name").is_some());
    let stale = client.request(Method::PATCH, &ada).if_match(&tag).merge_patch(r#"{"fields":{"email":"x@y.z"}}"#);
    stale.send().await.assert_problem(412, "precondition-failed");
}

#[actix_web::test]
async fn every_error_of_a_document_is_reported_at_once() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let wrong = json!({ "fields": { "tier": "silver", "since": "x", "emial": 1, "ends": "q" } });
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let patch = client.request(Method::PATCH, &ada).if_match("*").merge_patch(&wrong.to_string()).send().await;
    let create = client.request(Method::POST, "/models/contact/crm").json(&wrong).send().await;
    let rejected = ["/fields/emial", "/fields/ends", "/fields/since", "/fields/tier"];
    // The schema's: a new record has these.
    let required = ["/fields/email", "/fields/first_name", "/fields/last_name"];
    for (refused, mut expected) in [(patch, rejected.to_vec()), (create, [&rejected[..], &required].concat())] {
        refused.assert_problem(422, "rejected");
        let problem = refused.json();
        let mut pointers: Vec<&str> =
            problem["errors"].as_array().expect("errors").iter().filter_map(|one| one["pointer"].as_str()).collect();
        pointers.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pointers, expected, "{problem}");
    }
    let log = &server.vendors.pretectum.log;
    assert_eq!(log.count(CallKind::Update) + log.count(CallKind::Create), 0);
}

#[actix_web::test]
async fn errors_in_fields_and_in_vendor_come_in_one_answer() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let wrong = json!({ "fields": { "tier": "silver", "first_name": "", "last_name": "King", "email": "a@example.com" },
                        "vendor": { "Loyalty Points": 1.5, "Loyalty": 1 } });
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let patch = client.request(Method::PATCH, &ada).if_match("*").merge_patch(&wrong.to_string()).send().await;
    let create = client.request(Method::POST, "/models/contact/crm").json(&wrong).send().await;
    for refused in [patch, create] {
        let problem = refused.assert_problem(422, "rejected").json();
        let found = problem["errors"].as_array().expect("errors").iter();
        let mut found: Vec<_> = found.map(|one| (one["pointer"].clone(), one["rule"].clone())).collect();
        found.sort_by_key(|(pointer, _)| pointer.to_string());
        let expected = [
            (json!("/fields/first_name"), json!("length")),
            (json!("/fields/tier"), Value::Null),
            (json!("/vendor/Loyalty Points"), json!("type")),
            (json!("/vendor/Loyalty"), json!("unknown")),
        ];
        assert_eq!(found, expected, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("/vendor/Loyalty")), "{problem}");
    }
    let lenient = client.request(Method::PATCH, &ada).if_match("*").header("Prefer", "handling=lenient");
    let refused = lenient.merge_patch(&wrong.to_string()).send().await;
    assert_eq!(refused.assert_problem(422, "rejected").json()["errors"].as_array().map(Vec::len), Some(1));
    let reserved = json!({ "fields": { "tier": "silver" }, "vendor": { "_version": 1 }, "id": "x" });
    let refused = client.request(Method::PATCH, &ada).if_match("*").merge_patch(&reserved.to_string()).send().await;
    assert_eq!(refused.assert_problem(422, "rejected").json()["errors"].as_array().map(Vec::len), Some(3));
    let log = &server.vendors.pretectum.log;
    assert_eq!(log.count(CallKind::Update) + log.count(CallKind::Create), 0);
}

#[actix_web::test]
async fn a_json_patch_with_an_unknown_field_and_a_wrong_value_names_both() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let operations = json!([{ "op": "add", "path": "/fields/emial", "value": 1 },
                            { "op": "replace", "path": "/fields/tier", "value": "silver" }]);
    let refused = server.client().request(Method::PATCH, &ada).if_match("*").json_patch(&operations).send().await;
    refused.assert_problem(422, "rejected");
    let pointers: Vec<Value> =
        refused.json()["errors"].as_array().expect("errors").iter().map(|one| one["pointer"].clone()).collect();
    assert_eq!(pointers, ["/fields/emial", "/fields/tier"]);
}

#[actix_web::test]
async fn fields_that_belong_together_are_one_place_of_a_rebase() {
    let models = MODELS.replace("title = \"Contact\"", "title = \"Contact\"\ntogether = [[\"phone\", \"tier\"]]");
    let server = TestServer::start_with(|config| config.text_of("models", &models));
    let client = server.client();
    let ada = format!("/models/contact/crm/{}", pretectum::ADA_ID);
    let tag = client.get(&ada).send().await.assert_status(200).etag().to_owned();
    let elsewhere = |fields: &mut serde_json::Map<String, Value>| _ = fields.insert("Phone".into(), "+44 1".into());
    assert!(server.vendors.pretectum.state.write(pretectum::ADA_ID, elsewhere));
    let send =
        |fields: Value| client.request(Method::PATCH, &ada).if_match(&tag).prefer("rebase=disjoint").fields(&fields);
    let refused = send(json!({ "tier": "gold" })).send().await;
    refused.assert_problem(412, "precondition-failed");
    assert_eq!(refused.json()["overlap"], json!(["/fields/phone"]));
    let json_patch = json!([{ "op": "test", "path": "/fields/tier", "value": "basic" },
                            { "op": "replace", "path": "/fields/email", "value": "x@example.com" }]);
    let request = client.request(Method::PATCH, &ada).if_match(&tag).prefer("rebase=disjoint");
    let tested = request.json_patch(&json_patch).send().await;
    assert_eq!(tested.assert_status(412).json()["overlap"], json!(["/fields/phone"]));
    send(json!({ "email": "x@example.com" })).send().await.assert_status(200);
}

#[actix_web::test]
async fn the_last_instant_of_9999_is_a_time() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let hardware = format!("/models/asset/itsm/{}", matrix42::HARDWARE_ID);
    let document = client.get(&hardware).send().await;
    let json = document.assert_status(200).json();
    assert_eq!(json["fields"]["ends"], "9999-12-31T23:59:59.997Z");
    assert!(json.get("warnings").is_none(), "{json}");
    let whole = client.request(Method::PATCH, &hardware).if_match(document.etag()).merge_patch(&document.text);
    whole.send().await.assert_status(204);
    assert_eq!(server.vendors.matrix42.log.count(CallKind::Update), 0);
}

/// The documents of all pages.
async fn all_documents(client: &TestClient, model: &str) -> Vec<Value> {
    let (mut documents, mut next) = (Vec::new(), String::new());
    loop {
        let mut page = client.get(&format!("/models/{model}?limit=50{next}")).send().await.assert_status(200).json();
        documents.append(page["items"].as_array_mut().expect("items"));
        let Some(cursor) = page["next"].as_str() else { return documents };
        next = format!("&cursor={cursor}");
    }
}

#[actix_web::test]
async fn every_document_is_valid_under_the_schema_of_its_model() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let client = server.client();
    let mut count = 0;
    for model in ["contact", "asset"] {
        let schema = client.get(&format!("/models/{model}/schema")).send().await.assert_status(200).json();
        jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{model}: {error}"));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        for item in all_documents(&client, model).await {
            let errors: Vec<String> = validator.iter_errors(&item["fields"]).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{item}: {errors:?}");
            count += 1;
        }
    }
    assert!(count >= 12, "{count} documents");
}

#[actix_web::test]
async fn a_preview_through_a_model_shows_what_its_key_replays() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let (client, vendor) = (server.client(), &server.vendors.matrix42);
    let path = format!("/models/asset/itsm/{}", matrix42::FACILITY_ID);
    let patch = |path: &str, name: &str| {
        let request = client.request(Method::PATCH, path).if_match("*").idempotency_key("k");
        request.fields(&json!({"name": name}))
    };
    patch(&path, "Named").preview().send().await.assert_status(200);
    patch(&path, "Named").send().await.assert_status(204);
    let shown = patch(&path, "Named").preview().send().await.assert_status(200).json();
    assert_eq!((&shown["would"], &shown["plan"]), (&json!({"status": 204, "replayed": true}), &json!(null)), "{shown}");
    patch(&path, "Other").preview().send().await.assert_problem(422, "idempotency-key-reused");
    let record = format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
    let same =
        client.request(Method::PATCH, &record).if_match("*").idempotency_key("k").fields(&json!({"Name": "Named"}));
    same.preview().send().await.assert_problem(422, "idempotency-key-reused");
    assert_eq!(vendor.log.count(CallKind::Update), 1);
}
