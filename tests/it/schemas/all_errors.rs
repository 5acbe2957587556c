//! What the adapter and the schema find wrong stands in one response, each with its rule.

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::support::{BLUEDOLPHIN, DATAVERSE, MATRIX42, TestEnv, TestResponse, VendorFixture};

/// The pointers and rules of a refusal.
fn findings(response: &TestResponse) -> Vec<(String, String)> {
    let errors = response.assert_problem(422, "rejected").json()["errors"].as_array().cloned().unwrap_or_default();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    errors.iter().map(|error| (text(error, "pointer"), text(error, "rule"))).collect()
}

async fn refusal_of(fixture: &'static VendorFixture, fields: Value) -> Vec<(String, String)> {
    let env = TestEnv::start(fixture);
    let response = env.patch(fixture.key).if_match("*").fields(&fields).send().await;
    assert_eq!(env.write_call_count(), 0);
    let found = findings(&response);
    let metrics = env.get("/metrics").send().await.text;
    for (_, rule) in &found {
        let count = found.iter().filter(|(_, other)| other == rule).count();
        let line = format!("schema_refusals_total{{rule=\"{rule}\",system=\"{}\"}} {count}\n", fixture.system);
        assert!(metrics.contains(&line), "{line} {metrics}");
    }
    found
}

fn expected<const N: usize>(findings: [(&str, &str); N]) -> Vec<(String, String)> {
    findings.map(|(pointer, rule)| (pointer.to_owned(), rule.to_owned())).into()
}

#[actix_web::test]
async fn a_refusal_names_what_the_adapter_and_the_schema_find() {
    let found = refusal_of(&BLUEDOLPHIN, json!({ "status": "off", "Naem": "x" })).await;
    assert_eq!(found, expected([("/fields/status", "enum"), ("/fields/Naem", "unknown")]));
    let fields = json!({ "properties": { "Supplier": "x" }, "Naem": "y", "name": "z".repeat(256) });
    let found = refusal_of(&BLUEDOLPHIN, fields).await;
    let all = [("/fields/properties/Supplier", "type"), ("/fields/Naem", "unknown"), ("/fields/name", "length")];
    assert_eq!(found, expected(all));
    let fields = json!({ "_primarycontactid_value": "x", "nmae": "y", "industrycode": 2 });
    let found = refusal_of(&DATAVERSE, fields).await;
    let all =
        [("/fields/_primarycontactid_value", "format"), ("/fields/nmae", "unknown"), ("/fields/industrycode", "enum")];
    assert_eq!(found, expected(all));
    let found = refusal_of(&MATRIX42, json!({ "Position": "x", "Name": "a", "name": "b" })).await;
    assert_eq!(
        found,
        expected([("/fields/Position", "type"), ("/fields/Name", "unknown"), ("/fields/name", "unknown")])
    );
}

#[actix_web::test]
async fn a_refused_create_names_what_both_find() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let fields = json!({ "name": "", "status": "active", "object_template_id": "x" });
    let body = json!({ "collection": "object-definitions", "fields": fields });
    let response = env.request(Method::POST, &format!("/records/{}", BLUEDOLPHIN.system)).json(&body).send().await;
    let all = [("/fields/name", "length"), ("/fields/status", "unknown"), ("/fields/object_template_id", "format")];
    assert_eq!(findings(&response), expected(all));
    env.assert_nothing_sent();
}

#[actix_web::test]
async fn without_validation_the_adapters_errors_have_their_rules() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.every_system("validate", "off"));
    let response =
        env.patch(BLUEDOLPHIN.key).if_match("*").fields(&json!({ "status": "off", "Naem": "x" })).send().await;
    assert_eq!(findings(&response), expected([("/fields/status", "enum")]));
}

#[actix_web::test]
async fn many_errors_are_cut_and_counted() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let fields: serde_json::Map<String, Value> = (0..5000).map(|number| (format!("no{number}"), json!(1))).collect();
    let response = env.patch(BLUEDOLPHIN.key).if_match("*").fields(&Value::Object(fields)).send().await;
    assert_eq!(findings(&response).len(), 100);
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("; and 4900 more"), "{detail}");
    assert!(response.text.len() < 40_000, "{}", response.text.len());
}
