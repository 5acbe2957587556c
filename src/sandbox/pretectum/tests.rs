use serde_json::{Value, json};

use super::*;
use crate::sandbox::common::client::ClientResponse;

const OBJECTS: &str = "/v1/businessareas/202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i/schemas/20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6/datasets/20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7/dataobjects";

fn sign_in(vendor: &Vendor) -> String {
    let body = json!({ "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET }).to_string();
    let response = vendor.call("POST /v1/oauth2/token", &[("content-type", "application/json")], Some(&body));
    response.json()["access_token"].as_str().unwrap().to_owned()
}

/// Sends one request with a token.
fn call_with_token(vendor: &Vendor, token: &str, call: &str, body: Option<&Value>) -> ClientResponse {
    let body = body.map(Value::to_string);
    let headers = [("authorization", token), ("content-type", "application/json")];
    vendor.call(call, &headers, body.as_deref())
}

fn put(vendor: &Vendor, id: &str, body: &Value) -> ClientResponse {
    call_with_token(vendor, &sign_in(vendor), &format!("PUT {OBJECTS}/{id}"), Some(body))
}

#[test]
fn sample_ids_have_the_vendors_format() {
    for id in [BUSINESS_AREA_ID, SCHEMA_ID, DATASET_ID, ADA_ID, GRACE_ID, ALAN_ID, MARY_ID, EMMY_ID] {
        let (digits, rest) = id.split_at(17);
        assert!(id.len() == 47 && digits.bytes().all(|b| b.is_ascii_digit()), "{id}");
        assert!(rest.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()), "{id}");
    }
}

#[test]
fn the_token_is_sent_without_a_scheme_and_expires() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    let list = format!("GET {OBJECTS}");
    assert_eq!(call_with_token(&vendor, &token, &list, None).status, 200);
    assert_eq!(call_with_token(&vendor, &format!("Bearer {token}"), &list, None).status, 401);
    vendor.state.expire_all_tokens();
    assert_eq!(call_with_token(&vendor, &token, &list, None).status, 401);
}

#[test]
fn both_token_paths_reject_wrong_credentials_and_require_json() {
    let vendor = Vendor::start().unwrap();
    for path in ["POST /v1/oauth2/token", "POST /oauth2/token"] {
        let credentials = r#"{"client_id":"a","client_secret":"b"}"#;
        let response = vendor.call(path, &[("content-type", "application/json")], Some(credentials));
        assert_eq!((response.status, response.json()["message"].is_string()), (401, true));
        assert_eq!(vendor.call(path, &[], Some(credentials)).status, 415);
    }
}

#[test]
fn put_is_partial_requires_the_version_and_returns_no_body() {
    let vendor = Vendor::start().unwrap();
    let response = put(&vendor, ADA_ID, &json!({ "_version": 7, "Status": "Premium", "Phone": null }));
    assert_eq!((response.status, response.body.as_str()), (204, ""));
    let ada = vendor.state.object(ADA_ID).unwrap();
    assert_eq!((ada.version, &ada.fields["Status"]), (8, &json!("Premium")));
    assert!(!ada.fields.contains_key("Phone") && ada.fields.contains_key("Email"));
}

#[test]
fn stale_missing_and_malformed_are_400_with_different_texts() {
    let vendor = Vendor::start().unwrap();
    let stale = put(&vendor, ADA_ID, &json!({ "_version": 6, "Status": "Premium" }));
    let missing = put(&vendor, ADA_ID, &json!({ "Status": "Premium" }));
    let token = sign_in(&vendor);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let malformed = vendor.call(&format!("PUT {OBJECTS}/{ADA_ID}"), &headers, Some("{"));
    assert_eq!([stale.status, missing.status, malformed.status], [400; 3]);
    assert!(stale.body.contains("version") && missing.body.contains("version") && !malformed.body.contains("version"));
    assert_eq!(vendor.state.object(ADA_ID).unwrap().version, 7);
    assert_eq!(put(&vendor, &ADA_ID.replace('1', "2"), &json!({ "_version": 1 })).status, 404);
}

#[test]
fn invalid_values_are_stored_and_flagged() {
    let vendor = Vendor::start().unwrap();
    assert_eq!(put(&vendor, ADA_ID, &json!({ "_version": 7, "Email": "invalid" })).status, 204);
    assert_eq!(vendor.state.object(ADA_ID).unwrap().errors[0]["name"], "Email");
    let sent = json!({ "First Name": "Karl", "Status": "Gold" });
    let response = call_with_token(&vendor, &sign_in(&vendor), &format!("POST {OBJECTS}"), Some(&sent));
    let created = response.json();
    let flagged: Vec<_> = created["_errors"].as_array().unwrap().iter().map(|error| error["name"].clone()).collect();
    assert_eq!((response.status, flagged), (201, vec![json!("Last Name"), json!("Email"), json!("Status")]));
    assert_eq!((created["_version"].as_u64(), created["_dataObjectId"].as_str().unwrap().len()), (Some(1), 47));
    vendor.state.configure(|settings| settings.refuse_invalid = true);
    assert_eq!(put(&vendor, GRACE_ID, &json!({ "_version": 1, "Status": "Gold" })).status, 400);
}

#[test]
fn the_list_has_an_empty_page_that_still_has_a_next_key() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    let (mut pages, mut ids, mut key) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = call_with_token(&vendor, &token, &format!("GET {OBJECTS}?pageKey={key}"), None).json();
        let items = page["items"].as_array().unwrap().clone();
        pages.push(items.len());
        ids.extend(items.iter().map(|item| item["_dataObjectId"].as_str().unwrap().to_owned()));
        match page["nextPageKey"].as_str() {
            Some(next) => next.clone_into(&mut key),
            None => break,
        }
    }
    assert_eq!((pages, ids), (vec![2, 0, 1, 1], [ADA_ID, GRACE_ID, ALAN_ID, EMMY_ID].map(str::to_owned).to_vec()));
    assert_eq!(call_with_token(&vendor, &token, &format!("GET {OBJECTS}?pageKey=invalid"), None).status, 400);
}

#[test]
fn numbers_keep_their_textual_form() {
    let vendor = Vendor::start().unwrap();
    let page = call_with_token(&vendor, &sign_in(&vendor), &format!("GET {OBJECTS}"), None).body;
    assert!(page.contains(r#""Credit Limit":1.10,"#) && page.contains(r#""Loyalty Points":12345678901234567890"#));
}

#[test]
fn there_is_no_route_for_one_record() {
    let vendor = Vendor::start().unwrap();
    let response = call_with_token(&vendor, &sign_in(&vendor), &format!("GET {OBJECTS}/{ADA_ID}"), None);
    assert_eq!((response.status, response.json()), (403, json!({ "message": "Missing Authentication Token" })));
}

#[test]
fn a_delete_hides_the_record_and_a_second_delete_is_404() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    let call = format!("DELETE {OBJECTS}/{ADA_ID}");
    assert_eq!(call_with_token(&vendor, &token, &call, None).status, 204);
    assert_eq!(call_with_token(&vendor, &token, &call, None).status, 404);
    assert!(vendor.state.object(ADA_ID).unwrap().deleted);
    assert!(!call_with_token(&vendor, &token, &format!("GET {OBJECTS}"), None).body.contains(ADA_ID));
}

#[test]
fn writes_require_a_content_type_and_an_existing_area() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    assert_eq!(vendor.call(&format!("POST {OBJECTS}"), &[("authorization", &token)], Some("{}")).status, 415);
    assert_eq!(
        call_with_token(&vendor, &token, &format!("GET {}", OBJECTS.replace("2024011510", "2024011511")), None).status,
        404
    );
}

#[test]
fn search_hits_have_no_version() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    let hits = |query: &str| {
        let found = call_with_token(&vendor, &token, &format!("GET /dataobjects/search?query={query}"), None).json();
        assert!(!found.to_string().contains("_version"));
        found["total"].as_u64().unwrap()
    };
    assert_eq!(hits("email:*@example.com"), 3);
    assert_eq!(hits("ada%20OR%20grace"), 2);
    assert_eq!(hits("example%20NOT%20ada"), 3);
    assert_eq!(hits("mary"), 0, "deleted");
}

#[test]
fn the_schema_endpoints_describe_fields_and_datasets() {
    let vendor = Vendor::start().unwrap();
    let token = sign_in(&vendor);
    let path = format!("GET /v1/businessareas/{BUSINESS_AREA_ID}/schemas");
    let schema = call_with_token(&vendor, &token, &format!("{path}/{SCHEMA_ID}"), None).json();
    assert_eq!(schema["fields"][3]["staticPicklist"][1]["code"], "Premium");
    assert_eq!(call_with_token(&vendor, &token, &path, None).json()["items"][0]["schemaId"], SCHEMA_ID);
    assert_eq!(
        call_with_token(&vendor, &token, &format!("{path}/{SCHEMA_ID}/datasets"), None).json()["items"][0]["recordCount"],
        4
    );
    assert_eq!(
        call_with_token(&vendor, &token, "GET /v1/my/businessareas", None).json()[0]["businessAreaId"],
        BUSINESS_AREA_ID
    );
}

#[test]
fn an_external_update_increments_the_version() {
    let vendor = Vendor::start().unwrap();
    assert!(vendor.state.write(ADA_ID, |fields| drop(fields.insert("Status".to_owned(), json!("Premium")))));
    assert_eq!(vendor.state.object(ADA_ID).unwrap().version, 8);
}
