//! The OpenAPI document of one system.

use serde_json::json;

use crate::support::{TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(the_document_of_a_system_has_its_fields_as_types);

async fn the_document_of_a_system_has_its_fields_as_types(fixture: &'static VendorFixture) {
    let env = TestEnv::start_with(fixture, |config| config.system(fixture.system, "collection", fixture.collection()));
    let response = env.get(&format!("/systems/{}/openapi.json", fixture.system)).send().await;
    let document = response.assert_status(200).json();
    let fields = &document["components"]["schemas"]["StoredRecordFields"];
    assert!(fields["properties"][fixture.text].is_object(), "{fields}");
    assert_eq!(fields["additionalProperties"], true, "a field that is added later breaks no client");
    for (name, field) in fields["properties"].as_object().unwrap() {
        let has = |kind: &str| field["type"] == kind || field["type"] == json!([kind, "null"]);
        assert!(!has("integer") || field["format"] == "int64", "{name} {field}");
        assert!(!has("number") || field["format"] == "double", "{name} {field}");
    }
    let reference = &document["components"]["schemas"]["StoredRecord"]["properties"]["fields"]["$ref"];
    assert_eq!(reference, "#/components/schemas/StoredRecordFields");
    let patch = &document["paths"]["/records/{system}/{id}"]["patch"];
    let system = patch["parameters"].as_array().unwrap().iter().find(|one| one["name"] == "system").unwrap();
    assert_eq!(system["schema"]["enum"], json!([fixture.system]));
    let example = &patch["requestBody"]["content"]["application/merge-patch+json"]["examples"][fixture.system]["value"];
    assert_eq!(example["fields"].as_object().map(serde_json::Map::len), Some(1), "{example}");
    let script = env.get("/docs/swagger-initializer.js").send().await.text;
    assert!(script.contains("../systems/${name}/openapi.json"), "{script}");
}
