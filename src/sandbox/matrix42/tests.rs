use serde_json::{Value, json};

use super::*;
use crate::sandbox::common::client::ClientResponse;

const EXCHANGE: &str = "POST /m42Services/api/ApiToken/GenerateAccessTokenFromApiToken";
const CATEGORIES: &str = "/m42Services/api/data/fragments/SPSScCategoryClassBase";

fn request_access_token(vendor: &Vendor, api_token: &str) -> Value {
    vendor.call(&format!("{EXCHANGE}/"), &[("authorization", &format!("Bearer {api_token}"))], None).json()
}

fn sign_in(vendor: &Vendor) -> String {
    format!("Bearer {}", request_access_token(vendor, API_TOKEN)["RawToken"].as_str().unwrap())
}

fn call_with_access_token(vendor: &Vendor, call: &str, body: Option<&Value>) -> ClientResponse {
    let token = sign_in(vendor);
    let headers =
        [("authorization", token.as_str()), ("content-type", "application/json"), ("Explicit-Language", "en")];
    vendor.call(call, &headers, body.map(Value::to_string).as_deref())
}

fn put(vendor: &Vendor, body: &Value) -> ClientResponse {
    call_with_access_token(vendor, &format!("PUT {CATEGORIES}"), Some(body))
}

fn facility(vendor: &Vendor) -> Fragment {
    vendor.state.fragment(CATEGORY_CLASS, FACILITY_ID).unwrap()
}

#[test]
fn the_token_exchange_returns_null_for_a_bad_api_token() {
    let vendor = Vendor::start().unwrap();
    assert_eq!(request_access_token(&vendor, "nonsense"), Value::Null);
    let good = request_access_token(&vendor, API_TOKEN);
    assert!(good["RawToken"].is_string());
    assert!(good["LifeTime"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > jiff::Timestamp::now());
    vendor.state.configure(|settings| settings.api_token_withdrawn = true);
    assert_eq!(request_access_token(&vendor, API_TOKEN), Value::Null);
}

#[test]
fn a_raw_api_token_is_406_and_an_expired_access_token_401() {
    let vendor = Vendor::start().unwrap();
    let read = format!("GET {CATEGORIES}/{FACILITY_ID}");
    let with = |token: &str| vendor.call(&read, &[("authorization", token)], None).status;
    let token = sign_in(&vendor);
    assert_eq!((with(&format!("Bearer {API_TOKEN}")), with(&token), with("Basic eDp5")), (406, 200, 401));
    vendor.state.expire_all_tokens();
    assert_eq!(with(&token), 401);
    assert_eq!(vendor.call(&read, &[], None).status, 401);
}

#[test]
fn a_fragment_has_the_documented_time_stamp_and_a_missing_one_is_null() {
    let vendor = Vendor::start().unwrap();
    let body =
        call_with_access_token(&vendor, &format!("GET {CATEGORIES}/{}", FACILITY_ID.to_uppercase()), None).json();
    assert_eq!((body["ID"].as_str(), body["TimeStamp"].as_str()), (Some(FACILITY_ID), Some(FACILITY_TIMESTAMP)));
    assert_eq!(body["Description"], "Facility Management");
    let missing =
        call_with_access_token(&vendor, &format!("GET {CATEGORIES}/00000000-0000-0000-0000-000000000000"), None);
    assert_eq!((missing.status, missing.body.as_str()), (200, "null"));
    assert_eq!(call_with_access_token(&vendor, &format!("GET {CATEGORIES}/nonsense"), None).status, 404);
    assert_eq!(call_with_access_token(&vendor, &format!("GET {CATEGORIES}x/{FACILITY_ID}"), None).status, 500);
}

#[test]
fn numbers_keep_their_textual_form() {
    let vendor = Vendor::start().unwrap();
    let body = call_with_access_token(&vendor, &format!("GET {CATEGORIES}/{HARDWARE_ID}"), None).body;
    assert!(body.contains(r#""Costs":1.10,"#) && body.contains("12345678901234567890"), "{body}");
}

#[test]
fn put_changes_only_named_attributes_and_returns_no_body() {
    let vendor = Vendor::start().unwrap();
    let body = json!({ "id": FACILITY_ID, "timestamp": FACILITY_TIMESTAMP, "description": null, "Position": 9 });
    let response = put(&vendor, &body);
    assert_eq!((response.status, response.body.as_str()), (204, ""));
    let now = facility(&vendor);
    assert_eq!((&now.attributes["Description"], &now.attributes["Position"]), (&Value::Null, &json!(9)));
    assert_eq!((&now.attributes["Name"], now.time_stamp().as_str()), (&json!("Facility Management"), "AAAAAEa7mU8="));
}

#[test]
fn a_stale_time_stamp_is_500_in_the_requested_language() {
    let vendor = Vendor::start().unwrap();
    let body = json!({ "ID": FACILITY_ID, "TimeStamp": "AAAAAEa7mU0=", "Description": "x" });
    let english = put(&vendor, &body);
    assert_eq!(english.status, 500);
    assert_eq!(
        english.json()["ExceptionMessage"],
        "Concurrency. The object you want to update has been updated by another process."
    );
    let token = sign_in(&vendor);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json"), ("accept-language", "en")];
    let german = vendor.call(&format!("PUT {CATEGORIES}/"), &headers, Some(&body.to_string()));
    assert!(
        german.status == 500 && german.body.contains("anderen Prozess") && !german.body.contains("another process")
    );
    assert_eq!(facility(&vendor).time_stamp(), FACILITY_TIMESTAMP);
}

#[test]
fn without_a_time_stamp_the_last_writer_wins() {
    let vendor = Vendor::start().unwrap();
    vendor
        .state
        .write(CATEGORY_CLASS, FACILITY_ID, |attributes| drop(attributes.insert("Position".to_owned(), json!(5))));
    assert_eq!(put(&vendor, &json!({ "ID": FACILITY_ID, "Position": 6 })).status, 204);
    assert_eq!(facility(&vendor).attributes["Position"], 6);
}

#[test]
fn every_other_invalid_request_is_500_too() {
    let vendor = Vendor::start().unwrap();
    for (body, text) in [
        (json!({ "ID": "00000000-0000-0000-0000-000000000000" }), "not found"),
        (json!({ "Name": "x" }), "ID is required"),
        (json!({ "ID": FACILITY_ID, "Colour": 1 }), "Class SPSScCategoryClassBase does not contain attribute Colour"),
        (json!({ "ID": FACILITY_ID, "Position": "x" }), "cannot be converted"),
        (json!({ "ID": FACILITY_ID, "Name": null }), "mandatory"),
        (json!([]), "Object reference"),
    ] {
        let response = put(&vendor, &body);
        assert!(response.status == 500 && response.body.contains(text), "{body} {}", response.body);
    }
    let token = sign_in(&vendor);
    let put = format!("PUT {CATEGORIES}");
    assert_eq!(vendor.call(&put, &[("authorization", &token)], Some("{}")).status, 415);
    assert_eq!(
        call_with_access_token(&vendor, &format!("{put}/{FACILITY_ID}"), Some(&json!({}))).status,
        405,
        "the id is in the body"
    );
}

#[test]
fn a_fragment_is_created_and_deleted() {
    let vendor = Vendor::start().unwrap();
    let created = call_with_access_token(&vendor, &format!("POST {CATEGORIES}"), Some(&json!({ "name": "Fresh" })));
    let id = created.json().as_str().unwrap().to_owned();
    assert_eq!((created.status, created.body.as_str()), (200, format!("\"{id}\"").as_str()));
    assert_eq!(vendor.state.fragment(CATEGORY_CLASS, &id).unwrap().attributes["Name"], "Fresh");
    let delete = |id: &str| call_with_access_token(&vendor, &format!("DELETE {CATEGORIES}/{id}"), None).status;
    assert_eq!([delete(&id), delete(&id), delete("nonsense")], [204, 500, 404]);
    assert_eq!(
        call_with_access_token(&vendor, &format!("POST {CATEGORIES}"), Some(&json!({}))).status,
        500,
        "a mandatory attribute is missing"
    );
}

#[test]
fn list_pages_count_from_zero_and_require_the_id_column() {
    let vendor = Vendor::start().unwrap();
    let list = |query: &str| call_with_access_token(&vendor, &format!("GET {CATEGORIES}?{query}"), None);
    let ids = |query: &str| -> Vec<String> {
        let items = list(query).json();
        items.as_array().unwrap().iter().map(|item| item["ID"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("").json()[0], json!({ "ID": SOFTWARE_ID }), "only ids without columns");
    assert_eq!(ids("pageSize=2&pageNumber=0"), [SOFTWARE_ID, FACILITY_ID]);
    assert_eq!(ids("PAGESIZE=2&pagenumber=1"), [HARDWARE_ID]);
    let columns = "columns=[ID],[TimeStamp],[End],name";
    let item = list(columns).json()[1].clone();
    assert_eq!(
        (item["TimeStamp"].as_str(), item["DisplayString"].as_str()),
        (Some(FACILITY_TIMESTAMP), Some("Facility Management"))
    );
    assert_eq!(ids("columns=ID,Name&sort=Name%20DESC"), [SOFTWARE_ID, HARDWARE_ID, FACILITY_ID]);
    assert_eq!(ids("where=[Name]%3D'Hardware'%20AND%20Position%20%3E%201"), [HARDWARE_ID]);
    assert_eq!(ids("where=Description%20IS%20NULL"), [SOFTWARE_ID]);
    assert!(ids("where=Name='O''Hara'").is_empty());
    for bad in [
        "columns=Name",
        "columns=ID,DisplayString",
        "columns=ID,End",
        "columns=ID,Colour",
        "columns=ID&sort=Name",
        "columns=ID,Name&sort=[Name]",
        "where=Name='x",
        "where=1=1;DROP",
    ] {
        assert_eq!(list(bad).status, 500, "{bad}");
    }
}

#[test]
fn schema_info_includes_the_result() {
    let vendor = Vendor::start().unwrap();
    let one = call_with_access_token(&vendor, &format!("GET {CATEGORIES}/{FACILITY_ID}/schema-info"), None).json();
    assert_eq!(one["Result"]["ID"], FACILITY_ID);
    assert_eq!(one["Schema"][0], json!({ "ColumnName": "ID", "ColumnType": "Guid", "Localizable": false }));
    assert_eq!(
        call_with_access_token(&vendor, &format!("GET {CATEGORIES}/schema-info"), None).json()["Result"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}
