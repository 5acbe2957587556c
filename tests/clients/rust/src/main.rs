//! Reads and changes a record with the Rust client of openapi-generator: client BASE_URL

use openapi::apis::Error;
use openapi::apis::configuration::Configuration;
use openapi::apis::records_api::{UpdateRecordError, UpdateRecordSuccess, get_record, update_record};
use openapi::models::{MergePatch, StoredRecord};
use serde_json::{Value, json};

const SYSTEM: &str = "itsm";
const ID: &str = "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e";

async fn get(configuration: &Configuration) -> StoredRecord {
    let response = get_record(configuration, SYSTEM, ID, None).await.expect("a record");
    let Some(openapi::apis::records_api::GetRecordSuccess::Status200(record)) = response.entity else {
        panic!("no record in {}", response.content)
    };
    record
}

type Patched = Result<openapi::apis::ResponseContent<UpdateRecordSuccess>, Error<UpdateRecordError>>;

async fn patch(configuration: &Configuration, description: &str, tag: &str, prefer: Option<&str>) -> Patched {
    let fields = std::collections::HashMap::from([("Description".to_owned(), json!(description))]);
    let body = MergePatch { fields: Some(fields) };
    update_record(configuration, SYSTEM, ID, tag, body, None, prefer, None, None, None).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let base = std::env::args().nth(1).expect("the gateway's address");
    let configuration = Configuration { base_path: base.clone(), ..Configuration::default() };
    let first = get(&configuration).await.etag.expect("a tag");
    let done = patch(&configuration, "Facilities, by openapi-generator (rust)", &first, None).await.expect("204");
    assert_eq!(done.status.as_u16(), 204);

    let tag = get(&configuration).await.etag.expect("a tag");
    let shown = patch(&configuration, "Facilities and rooms", &tag, Some("return=representation")).await.expect("200");
    let Some(UpdateRecordSuccess::Status200(record)) = shown.entity else { panic!("{}", shown.content) };
    assert_eq!(record.fields["Description"], "Facilities and rooms");

    let Err(Error::ResponseError(stale)) = patch(&configuration, "never", &first, None).await else {
        panic!("a stale tag was accepted")
    };
    assert_eq!(stale.status.as_u16(), 412);
    // Every problem has the same type, so the first of the statuses is as good as another.
    let problem: Value = serde_json::from_str(&stale.content).expect("a problem");
    assert!(stale.entity.is_some() && problem["type"] == "/problems/precondition-failed", "{problem}");

    // Of the media types of a body openapi-generator uses the first alone, here the merge patch.
    // Its function therefore takes no JSON Patch; the client's own HTTP client sends one.
    let operations = json!([{ "op": "replace", "path": "/fields/Description", "value": "Facilities, by a JSON Patch" }]);
    let request = configuration.client.patch(format!("{base}/records/{SYSTEM}/{ID}")).header("If-Match", "*");
    let request = request.header("Content-Type", "application/json-patch+json").body(operations.to_string());
    assert_eq!(request.send().await.expect("a response").status().as_u16(), 204);
    assert_eq!(get(&configuration).await.fields["Description"], "Facilities, by a JSON Patch");

    let accepted = patch(&configuration, "Facilities, later", "*", Some("respond-async")).await.expect("202");
    assert_eq!(accepted.status.as_u16(), 202);
    println!("openapi-generator, rust: 200, 204, 200 with the record, typed 412, JSON Patch, 202");
}
