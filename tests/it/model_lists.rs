//! Lists of documents: of one system and of all, conditions in the words of the model, and systems
//! that are left out.

use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, InjectedFault, bluedolphin, matrix42, pretectum};
use serde_json::{Value, json};

use crate::support::{TestClient, TestProcess, TestResponse, TestServer};

fn start() -> TestServer {
    TestServer::start_with(|config| config.text_of("models", MODELS))
}

/// The `name` or the `first_name` of every listed document.
async fn names(client: &TestClient, path: &str) -> Vec<String> {
    let name = |item: &Value| {
        let fields = &item["fields"];
        fields.get("name").or_else(|| fields.get("first_name")).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (mut found, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = client.get(&next).send().await.assert_status(200).json();
        found.extend(page["items"].as_array().expect("items").iter().map(name));
        let Some(cursor) = page["next"].as_str() else { return found };
        next = format!("{path}&cursor={cursor}");
    }
}

fn pointers(refused: &TestResponse) -> Vec<Value> {
    refused.assert_problem(422, "rejected");
    refused.json()["errors"].as_array().expect("errors").iter().map(|error| error["pointer"].clone()).collect()
}

#[actix_web::test]
async fn a_list_is_filtered_in_the_words_of_the_model() {
    let server = start();
    let client = server.client();
    for (query, expected) in [
        ("contact/crm?filter[tier]=gold", &["Grace"][..]),
        ("contact/crm?filter[tier]=basic&filter[first_name]=Ada", &["Ada"]),
        ("contact/crm?filter[tier]=gold&filter[first_name]=Ada", &[]),
        ("contact/crm?filter[since]=2019-12-09", &["Grace"]),
        ("contact/crm?filter[credit]=1.1", &["Grace"]),
        ("contact/crm?filter[newsletter]=true", &["Ada"]),
        ("contact/sales?filter[first_name]=Yvonne", &["Yvonne"]),
        ("asset/architecture?filter[name]=New%20Application", &["New Application"]),
    ] {
        assert_eq!(names(&client, &format!("/models/{query}")).await, expected, "{query}");
    }
    // The system's two spellings of a flag are one value.
    assert_eq!(names(&client, "/models/asset/itsm?filter[active]=true").await, ["Facility Management"]);
    assert_eq!(names(&client, "/models/asset/itsm?filter[active]=false").await, Vec::<String>::new());
    assert_eq!(names(&client, "/models/asset/itsm?filter[name]=Hardware").await, ["Hardware"]);
    assert!(server.vendors.matrix42.log.last(CallKind::List).expect("a list").query.contains("where="));
}

#[actix_web::test]
async fn a_condition_that_the_map_cannot_translate_is_422() {
    let server = start();
    let client = server.client();
    let get = |query: &str| client.get(&format!("/models/{query}")).send();
    let wrong = get("contact/crm?filter[teir]=gold&filter[tier]=silver&filter[newsletter]=yes").await;
    assert_eq!(pointers(&wrong), ["/fields/teir", "/fields/tier", "/fields/newsletter"]);
    assert_eq!(wrong.json()["errors"][0]["nearest"], "tier");
    assert_eq!(pointers(&get("asset/architecture?filter[cost]=1").await), ["/fields/cost"]);
    assert_eq!(pointers(&get("asset/architecture?filter[owner]=x").await), ["/fields/owner"]);
    assert_eq!(pointers(&get("asset/itsm?filter[ends]=2030-01-01T00:00:00Z").await), ["/fields/ends"]);
    // Only the vendor's schema says that lists cannot be filtered by it.
    let active = get("asset/architecture?filter[active]=true").await;
    assert_eq!(pointers(&active), ["/fields/active"]);
    assert_eq!(active.json()["errors"][0]["vendor_pointer"], "/vendor/status");
    for log in [&server.vendors.pretectum.log, &server.vendors.bluedolphin.log, &server.vendors.matrix42.log] {
        assert_eq!(log.count(CallKind::List), 0, "{:?}", log.request_lines());
    }
}

#[actix_web::test]
async fn a_value_with_several_words_in_the_system_is_422() {
    let models = MODELS.replace(r#"Premium = "gold" }"#, r#"Premium = "gold", VIP = "gold" }"#);
    let server = TestServer::start_with(|config| config.text_of("models", &models));
    let refused = server.client().get("/models/contact/crm?filter[tier]=gold").send().await;
    assert_eq!(pointers(&refused), ["/fields/tier"]);
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("Premium, VIP")), "{refused:?}");
    assert_eq!(names(&server.client(), "/models/contact/crm?filter[tier]=basic").await.len(), 2);
}

#[actix_web::test]
async fn a_list_names_the_systems_that_the_caller_may_not_read() {
    let server = TestServer::start_with(|config| {
        config.text_of("models", MODELS).api_keys(&[("reader", "key-of-reader", "itsm:read")])
    });
    let client = server.client();
    let list = client.get("/models/asset").header("Authorization", "Bearer key-of-reader").send().await;
    let page = list.assert_status(200).json();
    assert_eq!(page["unreachable"], json!(["architecture"]));
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
    assert!(server.vendors.bluedolphin.log.all().is_empty());
}

#[actix_web::test]
async fn a_list_of_an_unknown_collection_is_404() {
    let server = start();
    let client = server.client();
    let unknown = client.get("/records/itsm?collection=NopeClass").send().await;
    unknown.assert_problem(404, "collection-not-found");
    let body = json!({ "collection": "NopeClass", "fields": { "Name": "x" } });
    let create = client.request(actix_web::http::Method::POST, "/records/itsm").json(&body).send().await;
    create.assert_problem(404, "collection-not-found");
    assert_eq!(server.vendors.matrix42.log.count(CallKind::Create), 0);
    let data_set = format!("{}:{}:{}", pretectum::BUSINESS_AREA_ID, pretectum::SCHEMA_ID, "0".repeat(47));
    let schema = client.get(&format!("/systems/crm/collections/{data_set}/schema")).send().await;
    schema.assert_problem(404, "collection-not-found");
    let known = format!("{}:{}:{}", pretectum::BUSINESS_AREA_ID, pretectum::SCHEMA_ID, pretectum::DATASET_ID);
    client.get(&format!("/systems/crm/collections/{known}/schema")).send().await.assert_status(200);
    let class = matrix42::ACTIVITY_CLASS;
    client.get(&format!("/systems/itsm/collections/{class}/schema")).send().await.assert_status(200);
    let definitions = format!("/records/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    client.get(&definitions).send().await.assert_status(200);
}

#[actix_web::test]
async fn one_list_has_the_records_of_all_systems() {
    let server = start();
    let client = server.client();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..50 {
        let page = client.get(&format!("/models/asset?limit=2{cursor}")).send().await.assert_status(200).json();
        assert_eq!((&page["name"], &page["unreachable"]), (&json!("asset"), &json!([])));
        assert!(page["items"].as_array().is_some_and(|items| items.len() <= 2), "{page}");
        seen.extend(page["items"].as_array().into_iter().flatten().map(|item| item["system"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.iter().filter(|system| *system == "\"architecture\"").count(), 4, "{seen:?}");
    assert_eq!(seen.iter().filter(|system| *system == "\"itsm\"").count(), 3, "{seen:?}");
}

#[actix_web::test]
async fn a_system_that_fails_is_named_in_the_list_of_all() {
    let server = start();
    server.vendors.bluedolphin.faults.always(None, InjectedFault::status(500));
    let page = server.client().get("/models/asset").send().await.assert_status(200).json();
    assert_eq!(page["unreachable"], json!(["architecture"]));
    let next = page["next"].as_str().unwrap_or_else(|| panic!("{page}"));
    let rest = server.client().get(&format!("/models/asset?cursor={next}")).send().await.assert_status(200).json();
    assert_eq!((&rest["unreachable"], rest["items"].as_array().map(Vec::len)), (&json!([]), Some(3)));
}

/// A reload changes the place of a system in the list; a cursor holds its name.
#[actix_web::test]
async fn a_cursor_over_all_systems_survives_a_reload_with_other_systems() {
    let process = TestProcess::start_with(|config| config.text_of("models", MODELS));
    let client = process.client();
    let mut path = "/models/contact?limit=1".to_owned();
    let (first, next) = loop {
        let page = client.get(&path).send().await.assert_status(200).json();
        let next = format!("/models/contact?limit=1&cursor={}", page["next"].as_str().expect("more records"));
        match page["items"].get(0) {
            Some(item) if item["system"] == "sales" => break (item["id"].clone(), next),
            _ => path = next,
        }
    };
    let (before, rest) = MODELS.split_once("[models.contact.systems.crm.map]").unwrap();
    let (_, after) = rest.split_once("[models.contact.systems.sales]").unwrap();
    let without_crm = format!("{before}[models.contact.systems.sales]{after}");
    process.write_config(&process.config().text_of("models", &without_crm));
    process.signal("-HUP");
    process.wait_for_log("the configuration was reloaded and is in force", 1).await;
    let page = client.get(&next).send().await.assert_status(200).json();
    let item = &page["items"][0];
    assert!(item["system"] == "sales" && item["id"] != first, "{page}");
}
