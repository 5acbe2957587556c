//! The ledger: who did what, never with which values (contract 4.9).

use serde_json::json;

use crate::support::{TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    every_write_has_two_entries_in_a_chain,
    no_ledger_entry_contains_a_field_value,
    entries_can_be_filtered_by_record
);

async fn every_write_has_two_entries_in_a_chain(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let answer = house.set_text(bench.key, &current_etag, "new").header("X-Request-Id", "request-1").send().await;
    answer.assert_status(bench.patch_status);
    house.delete(bench.deletable_key, "*").send().await.assert_status(204);
    let entries = house.read_ledger().await.json()["items"].as_array().unwrap().clone();
    let events: Vec<_> =
        entries.iter().map(|entry| (entry["event"].as_str().unwrap(), entry["action"].as_str().unwrap())).collect();
    assert_eq!(events, [("intent", "update"), ("outcome", "update"), ("intent", "delete"), ("outcome", "delete")]);
    let (intent, outcome) = (&entries[0], &entries[1]);
    for entry in [intent, outcome] {
        assert_eq!(entry["record"], bench.id(bench.key));
        assert_eq!((&entry["request_id"], &entry["caller"]), (&json!("request-1"), &json!("anonymous")));
        assert_eq!(entry["precondition"], current_etag);
        assert_eq!(entry["paths"], json!([format!("/fields/{}", bench.text)]));
        assert!(answer.header("operation").unwrap().ends_with(entry["operation"].as_str().unwrap()));
    }
    assert_eq!((&intent["state"], &outcome["state"]), (&json!("running"), &json!("applied")), "{intent}");
    let calls: Vec<_> = outcome["calls"].as_array().unwrap().iter().map(|call| call["call"].clone()).collect();
    assert!(calls.contains(&json!("update")), "{outcome}");
    for pair in entries.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["hash"]);
    }
}

async fn no_ledger_entry_contains_a_field_value(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.set_text(bench.key, &current_etag, "very-secret-value").send().await.assert_status(bench.patch_status);
    house
        .set_text(bench.key, &current_etag, "very-secret-value-2")
        .send()
        .await
        .assert_problem(412, "precondition-failed");
    house.create("very-secret-value-3").send().await.assert_status(201);
    let ledger = house.read_ledger().await;
    assert!(!ledger.text.contains("very-secret"), "{}", ledger.text);
    for operation in house.list_operations().await {
        assert!(!operation.to_string().contains("very-secret"), "{operation}");
    }
    assert!(!house.get("/metrics").send().await.text.contains("very-secret"));
}

async fn entries_can_be_filtered_by_record(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.set_text(bench.key, "*", "one").send().await.assert_status(bench.patch_status);
    house.set_text(bench.other_key, "*", "two").send().await.assert_status(bench.patch_status);
    let path = format!("/ledger?system={}&record={}", bench.system, bench.id(bench.other_key));
    let entries = house.get(&path).send().await.assert_status(200).json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 2);
    let first = house.get(&format!("{path}&limit=1")).send().await.json();
    let next = house.get(&format!("{path}&limit=1&cursor={}", first["next"].as_str().unwrap())).send().await.json();
    assert_eq!((&first["items"][0]["event"], &next["items"][0]["event"]), (&json!("intent"), &json!("outcome")));
}
