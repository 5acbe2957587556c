//! Items of asynchronous batches whose key another request holds (contract 4.10).

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::stored_batches::{creates, items, release, store, wait_until_over};
use super::support::{MATRIX42, TestProcess};

/// A create with a key of the caller's own.
fn create_with_key(id: &str, key: &str) -> Value {
    let mut item = creates(1)["items"][0].clone();
    item["id"] = json!(id);
    item["headers"] = json!({"Idempotency-Key": key});
    item
}

#[actix_web::test]
async fn items_with_one_key_make_one_record_and_show_it() {
    let process = TestProcess::builder().start();
    let before = (MATRIX42.count)(&process.vendors);
    let vendor = &process.vendors.matrix42;
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let same = json!([create_with_key("a", "one"), create_with_key("b", "one"), create_with_key("c", "one")]);
    let path = store(&process.client(), &json!({"items": same})).await;
    vendor.log.wait_for(CallKind::Create, 1).await;
    release(&process.vendors);
    let batch = wait_until_over(&process.client(), &path).await;
    assert_eq!(batch["summary"]["ok"], 3, "{batch}");
    let locations: Vec<&Value> = items(&batch).iter().map(|item| &item["headers"]["location"]).collect();
    assert!(locations[0].is_string() && locations.iter().all(|one| *one == locations[0]), "{batch}");
    assert_eq!((MATRIX42.count)(&process.vendors), before + 1);
}
