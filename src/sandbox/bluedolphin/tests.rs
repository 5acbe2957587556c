use serde_json::{Value, json};

use super::*;
use crate::sandbox::common::client::ClientResponse;

const DEFINITIONS: &str = "/v1/object-definitions";

fn call_with_api_key(vendor: &Vendor, call: &str, body: Option<&Value>) -> ClientResponse {
    let headers = [("x-api-key", API_KEY), ("TENANT", TENANT), ("content-type", "application/json")];
    vendor.call(call, &headers, body.map(Value::to_string).as_deref())
}

fn put(vendor: &Vendor, id: &str, body: &Value) -> ClientResponse {
    call_with_api_key(vendor, &format!("PUT {DEFINITIONS}/{id}"), Some(body))
}

fn get(vendor: &Vendor, id: &str) -> Value {
    call_with_api_key(vendor, &format!("GET {DEFINITIONS}/{id}"), None).json()
}

fn start_with_held_queue() -> Vendor {
    let vendor = Vendor::start().unwrap();
    vendor.state.hold_queue();
    vendor
}

fn error_texts(response: &ClientResponse) -> String {
    response.json()["errors"].to_string()
}

#[test]
fn a_wrong_tenant_or_key_is_401_with_the_documented_text() {
    let vendor = Vendor::start().unwrap();
    let with = |headers: &[(&str, &str)]| vendor.call("GET /v1/object-definitions", headers, None);
    let missing = with(&[("x-api-key", API_KEY)]);
    let body = missing.json();
    assert_eq!((missing.status, &body["status"]), (401, &json!(401)));
    assert_eq!(body["type"], "https://tools.ietf.org/html/rfc7235#section-3.1");
    assert_eq!(body["title"], "One or more validation errors occurred");
    assert_eq!(body["errors"], json!({ "tenant": ["Tenant header missing or empty"] }));
    assert_eq!(with(&[("tenant", "x")]).json()["errors"], json!({ "tenant": ["Unknown tenant specified"] }));
    assert!(error_texts(&with(&[("tenant", TENANT), ("x-api-key", "x")])).contains("Invalid apikey"));
}

#[test]
fn a_put_is_queued_and_get_returns_the_old_record_until_it_applies() {
    let vendor = start_with_held_queue();
    let response = put(
        &vendor,
        NEW_APPLICATION_ID,
        &json!({ "name": "Newer", "object_properties": [{ "name": "Supplier", "value": "IBM" }] }),
    );
    assert_eq!((response.status, response.json()), (202, json!({ "result": "OK" })));
    assert_eq!(get(&vendor, NEW_APPLICATION_ID)["name"], "New Application");
    let second = put(&vendor, NEW_APPLICATION_ID, &json!({ "name": "Newest" }));
    assert_eq!(second.status, 400);
    assert!(error_texts(&second).contains("There might be an ongoing update in progress. Please try again later."));
    assert_eq!(put(&vendor, EMPTY_DEFINITION_ID, &json!({ "name": "Other" })).status, 202, "busy is per definition");
    assert_eq!(vendor.state.apply_queued(), 2);
    assert_eq!(get(&vendor, NEW_APPLICATION_ID)["name"], "Newer");
}

#[test]
fn an_update_without_queue_delay_is_visible_at_once() {
    let vendor = Vendor::start().unwrap();
    vendor.state.configure(|settings| settings.queue_delay = Some(Duration::ZERO));
    put(&vendor, EMPTY_DEFINITION_ID, &json!({ "name": "Other" }));
    assert_eq!((get(&vendor, EMPTY_DEFINITION_ID)["name"].as_str(), vendor.state.queued_count()), (Some("Other"), 0));
}

#[test]
fn a_put_removes_omitted_properties_except_locked_ones() {
    let vendor = start_with_held_queue();
    put(
        &vendor,
        NEW_APPLICATION_ID,
        &json!({ "name": "New Application", "object_properties": [{ "name": "Cost", "value": "1" }] }),
    );
    vendor.state.apply_queued();
    let body = get(&vendor, NEW_APPLICATION_ID);
    assert_eq!(
        body["object_properties"],
        json!([
            { "name": "Lifecycle", "value": "Production", "is_mandatory": true },
            { "name": "Cost", "value": "1", "is_mandatory": false }
        ])
    );
    assert_eq!(body["related_boem"], json!([]));
    let hidden = vendor.state.definition(NEW_APPLICATION_ID).unwrap();
    assert!(hidden.source_connections.is_empty());
    assert_eq!(
        hidden.linked_questions.iter().map(|linked| linked.attached_to.as_str()).collect::<Vec<_>>(),
        ["Lifecycle"]
    );
}

#[test]
fn a_locked_value_changes_only_when_sent_as_mandatory() {
    let vendor = start_with_held_queue();
    let body = |mandatory: bool| {
        json!({ "name": "New Application", "id": NEW_APPLICATION_ID,
        "object_properties": [{ "name": "Lifecycle", "value": "Retired", "is_mandatory": mandatory }],
        "related_boem": [{ "id": OTHER_QUESTIONNAIRE_ID }, { "id": OTHER_QUESTIONNAIRE_ID }] })
    };
    for (mandatory, value) in [(false, "Production"), (true, "Retired")] {
        put(&vendor, NEW_APPLICATION_ID, &body(mandatory));
        vendor.state.apply_queued();
        let now = vendor.state.definition(NEW_APPLICATION_ID).unwrap();
        assert_eq!((now.property("Lifecycle"), now.properties[0].locked), (Some(value), true));
        assert_eq!((now.questionnaires.len(), now.linked_questions.len()), (1, 0));
    }
}

#[test]
fn bad_bodies_and_ids_are_400_before_anything_is_queued() {
    let vendor = start_with_held_queue();
    let long = "x".repeat(256);
    let property = |name: &str, value: &str| json!({ "name": name, "value": value });
    let named = |properties: Value| json!({ "name": "New Application", "object_properties": properties });
    for bad in [
        json!([]),
        json!({ "object_properties": [] }),
        json!({ "name": "" }),
        json!({ "name": long }),
        json!({ "name": "Retired Server" }),
        json!({ "name": "New Application", "id": EMPTY_DEFINITION_ID }),
        named(json!([property("", "x")])),
        named(json!([property("x", "")])),
        named(json!([property("x", &long)])),
        named(json!([property("x", "1"), property("x", "2")])),
        json!({ "name": "New Application", "related_boem": [{ "id": "short" }] }),
    ] {
        assert_eq!(put(&vendor, NEW_APPLICATION_ID, &bad).status, 400, "{bad}");
    }
    let unknown = "000000000000000000000000";
    let response = put(&vendor, unknown, &json!({ "name": "x" }));
    assert_eq!(response.status, 400);
    assert!(
        error_texts(&response).contains(&format!(
            "The requested object definition with ID '{unknown}' could not be found in the database"
        ))
    );
    assert_eq!(put(&vendor, "nonsense", &json!({ "name": "x" })).status, 400);
    assert_eq!(vendor.state.queued_count(), 0);
    let response = call_with_api_key(&vendor, &format!("GET {DEFINITIONS}/{unknown}"), None);
    assert!(
        response.status == 400 && error_texts(&response).contains("Unable to load BlueDolphin Object configuration.")
    );
}

#[test]
fn a_queued_update_can_fail_silently_or_skip_one_property() {
    let vendor = start_with_held_queue();
    let body = json!({ "name": "New Application", "object_properties": [
        { "name": "Supplier", "value": "IBM" }, { "name": "Owner", "value": "IT" }] });
    vendor.state.configure(|settings| settings.silent_failure = true);
    assert_eq!(put(&vendor, NEW_APPLICATION_ID, &body).status, 202);
    vendor.state.apply_queued();
    assert_eq!(vendor.state.definition(NEW_APPLICATION_ID).unwrap().property("Supplier"), Some("Microsoft"));
    vendor.state.configure(|settings| {
        settings.silent_failure = false;
        settings.ignored_property = Some("Supplier".to_owned());
    });
    put(&vendor, NEW_APPLICATION_ID, &body);
    vendor.state.apply_queued();
    let now = vendor.state.definition(NEW_APPLICATION_ID).unwrap();
    assert_eq!((now.property("Supplier"), now.property("Owner")), (Some("Microsoft"), Some("IT")));
}

#[test]
fn the_list_omits_details_and_disabled_definitions() {
    let vendor = Vendor::start().unwrap();
    let body = call_with_api_key(&vendor, "GET /v1/object-definitions?start=1&take=1", None).json();
    assert_eq!((body["total_items"].as_u64(), body["items"][0]["id"].as_str()), (Some(3), Some(BUSINESS_OBJECT_ID)));
    let members: Vec<_> = body["items"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["id", "name", "type"]);
    assert_eq!(
        call_with_api_key(&vendor, "GET /v1/object-definitions?include_disabled=true", None).json()["total_items"],
        4
    );
    let response = call_with_api_key(&vendor, "GET /v1/object-definitions?take=-1", None);
    assert!(response.status == 400 && error_texts(&response).contains("'take' must be greater than or equal to '0'"));
}

#[test]
fn only_disabled_definitions_are_deleted_along_with_their_objects() {
    let vendor = Vendor::start().unwrap();
    let delete = |id: &str| call_with_api_key(&vendor, &format!("DELETE {DEFINITIONS}/{id}"), None).status;
    let set_status =
        |id: &str, action: &str| call_with_api_key(&vendor, &format!("POST {DEFINITIONS}/{id}/{action}"), None).status;
    assert_eq!(delete(NEW_APPLICATION_ID), 400);
    assert_eq!(set_status(NEW_APPLICATION_ID, "disable"), 200);
    assert_eq!(set_status(NEW_APPLICATION_ID, "disable"), 200, "disabling twice is not an error");
    assert_eq!(get(&vendor, NEW_APPLICATION_ID)["status"], 1);
    assert_eq!((delete(NEW_APPLICATION_ID), delete(NEW_APPLICATION_ID)), (200, 400));
    assert_eq!(vendor.state.deleted_objects(), 12);
    assert_eq!(set_status(BUSINESS_OBJECT_ID, "disable"), 400);
    assert_eq!((set_status(RETIRED_SERVER_ID, "enable"), delete(RETIRED_SERVER_ID)), (200, 400));
}

#[test]
fn a_definition_is_created_from_a_template_with_an_unused_name() {
    let vendor = Vendor::start().unwrap();
    let post = |body: &Value| call_with_api_key(&vendor, "POST /v1/object-definitions", Some(body));
    let body = json!({ "name": "Fresh", "object_template_id": TEMPLATE_ID, "roles": [ROLE_ID] });
    let created = post(&body);
    assert_eq!(created.status, 201);
    assert_eq!(get(&vendor, created.json()["id"].as_str().unwrap())["status"], 0);
    assert_eq!(post(&body).status, 400, "the name is taken");
    assert_eq!(post(&json!({ "name": "Other", "object_template_id": "x" })).status, 400);
}
