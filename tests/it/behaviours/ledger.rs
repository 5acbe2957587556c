//! The ledger: who did what, without the values (contract 4.9).

use serde_json::json;

use crate::support::{TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    every_write_has_two_entries_in_a_chain,
    no_ledger_entry_contains_a_field_value,
    entries_can_be_filtered_by_record
);

async fn every_write_has_two_entries_in_a_chain(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let response = env.set_text(fixture.key, &current_etag, "new").header("X-Request-Id", "request-1").send().await;
    response.assert_status(fixture.patch_status);
    env.delete(fixture.deletable_key, "*").send().await.assert_status(204);
    let entries = env.read_ledger().await.json()["items"].as_array().unwrap().clone();
    let events: Vec<_> =
        entries.iter().map(|entry| (entry["event"].as_str().unwrap(), entry["action"].as_str().unwrap())).collect();
    assert_eq!(events, [("intent", "update"), ("outcome", "update"), ("intent", "delete"), ("outcome", "delete")]);
    let (intent, outcome) = (&entries[0], &entries[1]);
    for entry in [intent, outcome] {
        assert_eq!(entry["record"], fixture.id(fixture.key));
        assert_eq!((&entry["request_id"], &entry["caller"]), (&json!("request-1"), &json!("anonymous")));
        assert_eq!(entry["precondition"], current_etag);
        assert_eq!(entry["paths"], json!([format!("/fields/{}", fixture.text)]));
        assert!(response.header("operation").unwrap().ends_with(entry["operation"].as_str().unwrap()));
    }
    assert_eq!((&intent["state"], &outcome["state"]), (&json!("running"), &json!("applied")), "{intent}");
    let calls: Vec<_> = outcome["calls"].as_array().unwrap().iter().map(|call| call["call"].clone()).collect();
    assert!(calls.contains(&json!("update")), "{outcome}");
    for pair in entries.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["hash"]);
    }
}

async fn no_ledger_entry_contains_a_field_value(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.set_text(fixture.key, &current_etag, "very-secret-value").send().await.assert_status(fixture.patch_status);
    env.set_text(fixture.key, &current_etag, "very-secret-value-2")
        .send()
        .await
        .assert_problem(412, "precondition-failed");
    env.create("very-secret-value-3").send().await.assert_status(201);
    let ledger = env.read_ledger().await;
    assert!(!ledger.text.contains("very-secret"), "{}", ledger.text);
    for operation in env.list_operations().await {
        assert!(!operation.to_string().contains("very-secret"), "{operation}");
    }
    assert!(!env.get("/metrics").send().await.text.contains("very-secret"));
}

async fn entries_can_be_filtered_by_record(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.set_text(fixture.key, "*", "one").send().await.assert_status(fixture.patch_status);
    env.set_text(fixture.other_key, "*", "two").send().await.assert_status(fixture.patch_status);
    let path = format!("/ledger?system={}&record={}", fixture.system, fixture.id(fixture.other_key));
    let entries = env.get(&path).send().await.assert_status(200).json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 2);
    let first = env.get(&format!("{path}&limit=1")).send().await.json();
    let next = env.get(&format!("{path}&limit=1&cursor={}", first["next"].as_str().unwrap())).send().await.json();
    assert_eq!((&first["items"][0]["event"], &next["items"][0]["event"]), (&json!("intent"), &json!("outcome")));
}
