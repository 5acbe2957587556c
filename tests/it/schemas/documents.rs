//! What callers see of collections and schemas.

use actix_web::http::Method;
use records_gateway::sandbox::{self, CallKind};
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, DATAVERSE, FIXTURES, MATRIX42, PRETECTUM, TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    every_sample_record_is_valid_under_its_own_schema,
    every_schema_is_valid_under_the_2020_12_meta_schema,
    a_schema_has_a_tag_and_is_not_sent_twice,
    a_record_links_to_the_schema_of_its_fields,
    an_unknown_collection_is_404,
    a_sample_of_a_new_record_is_valid_under_the_schema_of_a_create,
);

fn schema_path(fixture: &VendorFixture, purpose: &str) -> String {
    let collection = fixture.collection().replace(':', "%3A");
    format!("/systems/{}/collections/{collection}/schema?for={purpose}", fixture.system)
}

async fn schema(env: &TestEnv, purpose: &str) -> Value {
    let response = env.get(&schema_path(env.fixture, purpose)).send().await;
    assert_eq!(response.assert_status(200).header("content-type"), Some("application/schema+json"));
    response.json()
}

/// With the formats checked as the RFCs define them.
fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(false).build(schema).expect("a schema")
}

async fn every_sample_record_is_valid_under_its_own_schema(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let validator = validator(&schema(&env, "record").await);
    let list = format!("/records/{}?collection={}", fixture.system, fixture.collection());
    let page = env.get(&list).send().await.assert_status(200).json();
    let items = page["items"].as_array().unwrap();
    assert!(items.len() >= 2, "{page}");
    for item in items {
        let path = format!("/records/{}/{}", fixture.system, item["id"].as_str().unwrap());
        let fields = env.get(&path).send().await.assert_status(200).json()["fields"].take();
        let errors: Vec<String> = validator.iter_errors(&fields).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{fields}: {errors:?}");
    }
}

async fn every_schema_is_valid_under_the_2020_12_meta_schema(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for purpose in ["record", "create", "update"] {
        let schema = schema(&env, purpose).await;
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{purpose}: {error}"));
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema.get("required").is_none_or(|_| purpose != "update"), "{schema}");
    }
}

async fn a_schema_has_a_tag_and_is_not_sent_twice(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let path = schema_path(fixture, "record");
    let first = env.get(&path).send().await;
    assert_eq!(first.assert_status(200).header("cache-control"), Some("private, max-age=60"));
    let calls = env.call_count(CallKind::Schema);
    let again = env.get(&path).header("If-None-Match", first.etag()).send().await;
    assert_eq!((again.assert_status(304).text.as_str(), again.etag()), ("", first.etag()));
    assert_eq!(env.call_count(CallKind::Schema), calls, "the vendor gets one request");
    let other = env.get(&schema_path(fixture, "update")).send().await;
    assert_ne!(other.etag(), first.etag());
}

async fn a_record_links_to_the_schema_of_its_fields(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let record = env.read(fixture.key).send().await;
    let link = record.header("link").unwrap().to_owned();
    let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"describedby\"").unwrap();
    env.get(path).send().await.assert_status(200);
    let written = env.set_text(fixture.key, record.etag(), "mine").prefer("return=representation").send().await;
    assert_eq!(written.assert_status(200).header("link"), Some(link.as_str()));
    let created = env.create("a new one").send().await;
    assert_eq!(created.assert_status(201).header("link"), Some(link.as_str()));
}

async fn an_unknown_collection_is_404(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let path = format!("/systems/{}/collections/no%20such/schema", fixture.system);
    env.get(&path).send().await.assert_problem(404, "collection-not-found");
    env.assert_nothing_sent();
}

async fn a_sample_of_a_new_record_is_valid_under_the_schema_of_a_create(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let create = validator(&schema(&env, "create").await);
    assert!(create.is_valid(&(fixture.new_record)("text")));
    assert!(!create.is_valid(&json!({ "Unheard": 1 })));
}

#[actix_web::test]
async fn each_vendor_lists_its_collections() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        config.system("itsm", "collections", vec!["Ud_Configured", sandbox::matrix42::CATEGORY_CLASS])
    });
    for fixture in FIXTURES {
        let capabilities = fixture.registration().capabilities;
        let path = format!("/systems/{}/collections", fixture.system);
        let page = env.get(&path).send().await.assert_status(200).json();
        let items = page["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["collection"] == fixture.collection()).expect("the collection");
        assert_eq!(item["schema_source"], capabilities.schema_source.as_str());
        assert_eq!(item["actions"].as_array().unwrap().len(), capabilities.actions.len());
        env.get(item["schema"].as_str().unwrap()).send().await.assert_status(200);
    }
    for (fixture, title, records, complete) in [
        (&PRETECTUM, "Sales / Customer / Customers", json!(4), true),
        (&BLUEDOLPHIN, "Object definitions", json!(null), true),
        (&MATRIX42, "SPSScCategoryClassBase", json!(null), false),
        (&DATAVERSE, "Account", json!(null), true),
    ] {
        let page = env.get(&format!("/systems/{}/collections", fixture.system)).send().await.json();
        let item = &page["items"][0];
        assert_eq!((&item["title"], &item["records"]), (&json!(title), &records));
        assert_eq!(page["complete"], complete);
    }
    let page = env.get("/systems/itsm/collections?limit=2").send().await.json();
    let next = env.get(&format!("/systems/itsm/collections?limit=2&cursor={}", page["next"].as_str().unwrap()));
    let next = next.send().await.assert_status(200).json();
    assert_eq!((&next["items"][0]["collection"], &next["next"]), (&json!("Ud_Configured"), &json!(null)));
}

#[actix_web::test]
async fn a_class_that_matrix42_does_not_know_is_404() {
    let env = TestEnv::start(&MATRIX42);
    let unknown = env.get("/systems/itsm/collections/SPSUnheard/schema").send().await;
    unknown.assert_problem(404, "collection-not-found");
}

#[actix_web::test]
async fn a_schema_has_types_choices_and_what_may_be_reset() {
    let env = TestEnv::start(&PRETECTUM);
    let update = schema(&env, "update").await;
    let properties = &update["properties"];
    assert_eq!(properties["Status"]["enum"], json!(["Standard", "Premium", null]));
    assert_eq!(properties["First Name"]["maxLength"], 500);
    assert_eq!(properties["First Name"]["type"], "string", "a required field cannot be reset");
    assert_eq!(properties["Newsletter"]["type"], json!(["boolean", "null"]));
    assert_eq!(properties["Email"]["x-vendor"]["pii"], true);
    let create = schema(&env, "create").await;
    assert_eq!(create["required"], json!(["First Name", "Last Name", "Email"]));
    let env = TestEnv::start(&MATRIX42);
    let record = schema(&env, "record").await;
    assert_eq!(record["properties"]["Description"]["x-vendor"], json!({ "type": "String", "localizable": true }));
    assert_eq!(record["properties"]["Position"]["type"], json!(["integer", "null"]));
    let env = TestEnv::start(&BLUEDOLPHIN);
    let record = schema(&env, "record").await;
    assert_eq!(record["properties"]["type"]["readOnly"], true);
    assert_eq!(schema(&env, "update").await["properties"].get("type"), None);
}

#[actix_web::test]
async fn a_system_shows_how_many_schemas_it_has_read() {
    let env = TestEnv::start(&PRETECTUM);
    let schemas = async || env.get("/systems/crm").send().await.json()["schemas"].take();
    assert_eq!(schemas().await, json!({ "known": 0, "oldest": null, "unavailable": 0 }));
    schema(&env, "record").await;
    let known = schemas().await;
    assert_eq!((&known["known"], known["oldest"].is_string()), (&json!(1), true), "{known}");
}

#[actix_web::test]
async fn collections_and_schemas_need_the_permission_to_read() {
    let env = TestEnv::start_with(&PRETECTUM, |config| config.api_keys(&[("writer", "key-of-writer", "crm:update")]));
    let with_key = |path: &str| env.request(Method::GET, path).header("Authorization", "Bearer key-of-writer");
    with_key("/systems/crm/collections").send().await.assert_problem(403, "forbidden");
    with_key(&schema_path(&PRETECTUM, "record")).send().await.assert_problem(403, "forbidden");
    env.assert_nothing_sent();
}

#[actix_web::test]
async fn a_collection_whose_versions_are_not_compared_shows_its_own_guarantee() {
    let env = TestEnv::start(&DATAVERSE);
    let list = env.get("/systems/sales/collections").send().await.assert_status(200).json();
    let guarantee = |name: &str| {
        let found = list["items"].as_array().unwrap().iter().find(|one| one["collection"] == name);
        found.unwrap_or_else(|| panic!("{list}"))["guarantee"].clone()
    };
    assert_eq!(guarantee("accounts"), json!({ "update": "native", "delete": "native" }));
    assert_eq!(guarantee("new_notes"), json!({ "update": "guarded", "delete": "guarded" }));
}
