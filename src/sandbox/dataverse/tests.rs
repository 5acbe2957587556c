//! Each documented behaviour, over HTTP.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::common::client::ClientResponse;

fn sign_in_form(vendor: &Vendor, secret: &str) -> String {
    let scope = format!("{}/.default", vendor.base_url());
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
        encode(CLIENT_ID),
        encode(secret),
        encode(&scope)
    )
}

fn sign_in(vendor: &Vendor, secret: &str) -> ClientResponse {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    vendor.call(&format!("POST /{TENANT_ID}/oauth2/v2.0/token"), &headers, Some(&sign_in_form(vendor, secret)))
}

struct Client {
    vendor: Vendor,
    authorization: String,
}

impl Client {
    fn new() -> Self {
        let vendor = Vendor::start().unwrap();
        let token = sign_in(&vendor, CLIENT_SECRET).json()["access_token"].as_str().unwrap().to_owned();
        Self { vendor, authorization: format!("Bearer {token}") }
    }

    fn call(&self, call: &str, headers: &[(&str, &str)], body: Option<&Value>) -> ClientResponse {
        let mut all = vec![("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        all.extend(headers);
        let text = body.map(ToString::to_string);
        let (method, resource) = call.split_once(' ').unwrap();
        self.vendor.call(&format!("{method} {}{resource}", routes::API), &all, text.as_deref())
    }

    fn account(&self) -> Value {
        self.call(&format!("GET accounts({FOURTH_COFFEE_ID})"), &[], None).json()
    }
}

fn code(response: &ClientResponse) -> (u16, String) {
    (response.status, response.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_sign_in_is_a_form_and_its_errors_have_a_trace_id() {
    let vendor = Vendor::start().unwrap();
    let refused = sign_in(&vendor, "wrong");
    assert_eq!((refused.status, refused.json()["error"].as_str()), (401, Some("invalid_client")));
    assert!(refused.json()["error_description"].as_str().unwrap().contains("Trace ID"));
    let granted = sign_in(&vendor, CLIENT_SECRET).json();
    assert_eq!((granted["token_type"].as_str(), granted["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
}

#[test]
fn an_expired_token_is_401_with_a_challenge() {
    let client = Client::new();
    client.vendor.state.expire_all_tokens();
    let response = client.call(&format!("GET accounts({FOURTH_COFFEE_ID})"), &[], None);
    assert_eq!(response.status, 401);
    assert!(response.head.contains("www-authenticate: bearer authorization_uri="));
}

#[test]
fn a_row_has_a_weak_validator_and_lookups_under_their_read_names() {
    let client = Client::new();
    let account = client.account();
    assert!(account["@odata.etag"].as_str().unwrap().starts_with("W/\""));
    assert_eq!(account["_primarycontactid_value"], YVONNE_ID);
    assert_eq!(account["accountid"], FOURTH_COFFEE_ID);
    let missing = client.call("GET accounts(00aa00aa-0000-0000-0000-000000000000)", &[], None);
    assert_eq!(code(&missing), (404, "0x80040217".to_owned()));
}

#[test]
fn patch_without_if_match_is_an_upsert() {
    let client = Client::new();
    let resource = "PATCH accounts(00aa00aa-0000-4000-8000-000000000001)";
    let refused = client.call(resource, &[("If-Match", "*")], Some(&json!({ "name": "New" })));
    assert_eq!(code(&refused), (404, "0x80040217".to_owned()));
    let created = client.call(resource, &[], Some(&json!({ "name": "New" })));
    assert_eq!(created.status, 204);
    assert!(client.vendor.state.row(ACCOUNTS, "00aa00aa-0000-4000-8000-000000000001").is_some());
}

#[test]
fn a_stale_version_is_412_on_patch_and_delete() {
    let client = Client::new();
    let etag = client.account()["@odata.etag"].as_str().unwrap().to_owned();
    let resource = format!("accounts({FOURTH_COFFEE_ID})");
    let patch = |etag: &str| {
        client.call(&format!("PATCH {resource}"), &[("If-Match", etag)], Some(&json!({ "description": "Roasts" })))
    };
    let done = patch(&etag);
    assert_eq!((done.status, done.body.as_str()), (204, ""));
    assert!(done.head.contains(&format!("odata-entityid: http://vendor/api/data/v9.2/{resource}")));
    assert_eq!(code(&patch(&etag)), (412, "0x80060882".to_owned()));
    let delete = client.call(&format!("DELETE {resource}"), &[("If-Match", &etag)], None);
    assert_eq!(code(&delete), (412, "0x80060882".to_owned()));
    let etag = client.account()["@odata.etag"].as_str().unwrap().to_owned();
    assert_eq!(client.call(&format!("DELETE {resource}"), &[("If-Match", &etag)], None).status, 204);
}

#[test]
fn a_table_without_optimistic_concurrency_rejects_versions() {
    let client = Client::new();
    let resource = format!("PATCH new_notes({FIRST_NOTE_ID})");
    let body = json!({ "new_text": "Changed" });
    let refused = client.call(&resource, &[("If-Match", "W/\"1\"")], Some(&body));
    assert_eq!(code(&refused), (400, "0x80060883".to_owned()));
    assert_eq!(client.call(&resource, &[("If-Match", "*")], Some(&body)).status, 204);
}

#[test]
fn stamped_columns_move_with_every_write_and_cannot_be_set() {
    let client = Client::new();
    let before = client.account();
    let body = json!({ "telephone1": "1", "versionnumber": 1, "createdon": "2000-01-01T00:00:00Z" });
    let headers = [("If-Match", "*"), ("Prefer", "return=representation")];
    let after = client.call(&format!("PATCH accounts({FOURTH_COFFEE_ID})"), &headers, Some(&body)).json();
    assert_eq!(after["createdon"], before["createdon"]);
    assert_ne!(after["versionnumber"], before["versionnumber"]);
    assert_ne!(after["@odata.etag"], before["@odata.etag"]);
}

#[test]
fn a_lookup_is_written_by_its_navigation_property_alone() {
    let client = Client::new();
    let patch = |body: Value| {
        let headers = [("If-Match", "*"), ("Prefer", "return=representation")];
        client.call(&format!("PATCH accounts({FOURTH_COFFEE_ID})"), &headers, Some(&body))
    };
    let bound = patch(json!({ "primarycontactid@odata.bind": format!("/contacts({MARIA_ID})") }));
    assert_eq!(bound.json()["_primarycontactid_value"], MARIA_ID);
    for wrong in [json!({ "_primarycontactid_value": MARIA_ID }), json!({ "primaryContactId@odata.bind": null })] {
        assert_eq!(code(&patch(wrong)), (400, "0x80048d19".to_owned()));
    }
    let missing = patch(json!({ "primarycontactid@odata.bind": format!("/contacts({FIRST_NOTE_ID})") }));
    assert_eq!(code(&missing), (404, "0x80040217".to_owned()));
    assert!(missing.body.contains("'contact'"));
    let cleared = patch(json!({ "primarycontactid@odata.bind": null }));
    assert!(cleared.json()["_primarycontactid_value"].is_null());
}

#[test]
fn invalid_values_are_400_with_the_vendors_codes() {
    let client = Client::new();
    for (body, code_of) in [
        (json!({ "nam": "x" }), "0x80048d19"),
        (json!({ "numberofemployees": "many" }), "0x80048d19"),
        (json!({ "industrycode": 99 }), "0x80044331"),
        (json!({ "name": "x".repeat(161) }), "0x80044331"),
    ] {
        let response = client.call(&format!("PATCH accounts({LITWARE_ID})"), &[("If-Match", "*")], Some(&body));
        assert_eq!(code(&response), (400, code_of.to_owned()), "{body}");
    }
}

#[test]
fn a_create_gives_the_address_or_the_row() {
    let client = Client::new();
    let body = json!({ "name": "New" });
    let plain = client.call("POST accounts", &[], Some(&body));
    assert_eq!((plain.status, plain.head.contains("odata-entityid: ")), (204, true));
    let shown = client.call("POST accounts", &[("Prefer", "return=representation")], Some(&body));
    assert_eq!((shown.status, shown.json()["name"].as_str()), (201, Some("New")));
    let again = json!({ "name": "New", "accountid": shown.json()["accountid"] });
    assert_eq!(code(&client.call("POST accounts", &[], Some(&again))), (412, "0x80040237".to_owned()));
}

#[test]
fn a_list_has_pages_with_absolute_links() {
    let client = Client::new();
    let first = client.call("GET accounts", &[("Prefer", "odata.maxpagesize=2")], None).json();
    assert_eq!(first["value"].as_array().unwrap().len(), 2);
    let link = first["@odata.nextLink"].as_str().unwrap().to_owned();
    let resource = link.strip_prefix(&format!("http://vendor{}", routes::API)).unwrap();
    let second = client.call(&format!("GET {resource}"), &[("Prefer", "odata.maxpagesize=2")], None).json();
    assert_eq!((second["value"].as_array().unwrap().len(), second.get("@odata.nextLink")), (1, None));
    let found =
        client.call("GET accounts?$filter=name%20eq%20%27Litware%27%20and%20numberofemployees%20eq%207", &[], None);
    assert_eq!(found.json()["value"][0]["accountid"], LITWARE_ID);
    let unknown = client.call("GET accounts?$filter=nam%20eq%20%27x%27", &[], None);
    assert_eq!(unknown.status, 400);
}

#[test]
fn a_burst_of_requests_is_429_with_a_wait() {
    let client = Client::new();
    client.vendor.state.configure(|settings| settings.throttled = 1);
    let refused = client.call(&format!("GET accounts({LITWARE_ID})"), &[], None);
    assert_eq!(code(&refused), (429, "0x80072322".to_owned()));
    assert!(refused.head.contains("retry-after: 1"));
    assert_eq!(client.call(&format!("GET accounts({LITWARE_ID})"), &[], None).status, 200);
}

#[test]
fn metadata_describes_tables_columns_and_lookups() {
    let client = Client::new();
    let tables = client.call("GET EntityDefinitions?$select=LogicalName", &[], None).json();
    assert_eq!(tables["value"][2]["IsOptimisticConcurrencyEnabled"], json!(false));
    let columns = client.call("GET EntityDefinitions(LogicalName='account')/Attributes", &[], None).json();
    let names: Vec<&str> =
        columns["value"].as_array().unwrap().iter().filter_map(|one| one["LogicalName"].as_str()).collect();
    assert!(names.contains(&"name") && names.contains(&"accountid"));
    let cast = "Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$expand=OptionSet";
    let choices = client.call(&format!("GET EntityDefinitions(LogicalName='account')/{cast}"), &[], None).json();
    assert_eq!(choices["value"][0]["OptionSet"]["Options"][0]["Value"], json!(1));
    let lookups = client.call("GET EntityDefinitions(LogicalName='contact')/ManyToOneRelationships", &[], None).json();
    assert_eq!(lookups["value"][0]["ReferencingEntityNavigationPropertyName"], "parentcustomerid_account");
    client.vendor.state.configure(|settings| settings.no_metadata = true);
    assert_eq!(client.call("GET EntityDefinitions", &[], None).status, 403);
}
