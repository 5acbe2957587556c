//! The ledger: who did what, never with which values (contract 4.9).

use serde_json::json;

use crate::support::{Bench, House, for_each_vendor};

for_each_vendor!(every_write_has_two_entries_in_a_chain, no_entry_holds_a_value, entries_can_be_asked_for_by_record);

async fn every_write_has_two_entries_in_a_chain(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    let answer = house.set_text(bench.key, &tag, "new").header("X-Request-Id", "request-1").send().await;
    answer.is_done(bench.patched);
    house.delete(bench.doomed, "*").send().await.is_done(204);
    let entries = house.ledger().await.json()["items"].as_array().unwrap().clone();
    let events: Vec<_> =
        entries.iter().map(|entry| (entry["event"].as_str().unwrap(), entry["action"].as_str().unwrap())).collect();
    assert_eq!(events, [("intent", "update"), ("outcome", "update"), ("intent", "delete"), ("outcome", "delete")]);
    let (intent, outcome) = (&entries[0], &entries[1]);
    for entry in [intent, outcome] {
        assert_eq!(entry["record"], bench.id(bench.key));
        assert_eq!((&entry["request_id"], &entry["caller"]), (&json!("request-1"), &json!("anonymous")));
        assert_eq!(entry["precondition"], tag);
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

async fn no_entry_holds_a_value(bench: &'static Bench) {
    let house = House::start(bench).await;
    let tag = house.tag(bench.key).await;
    house.set_text(bench.key, &tag, "very-secret-value").send().await.is_done(bench.patched);
    house.set_text(bench.key, &tag, "very-secret-value-2").send().await.is(412, "precondition-failed");
    house.create("very-secret-value-3").send().await.is_done(201);
    let ledger = house.ledger().await;
    assert!(!ledger.text.contains("very-secret"), "{}", ledger.text);
    for operation in house.operations().await {
        assert!(!operation.to_string().contains("very-secret"), "{operation}");
    }
    assert!(!house.get("/metrics").send().await.text.contains("very-secret"));
}

async fn entries_can_be_asked_for_by_record(bench: &'static Bench) {
    let house = House::start(bench).await;
    house.set_text(bench.key, "*", "one").send().await.is_done(bench.patched);
    house.set_text(bench.other, "*", "two").send().await.is_done(bench.patched);
    let path = format!("/ledger?system={}&record={}", bench.system, bench.id(bench.other));
    let entries = house.get(&path).send().await.is_done(200).json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 2);
    let first = house.get(&format!("{path}&limit=1")).send().await.json();
    let next = house.get(&format!("{path}&limit=1&cursor={}", first["next"].as_str().unwrap())).send().await.json();
    assert_eq!((&first["items"][0]["event"], &next["items"][0]["event"]), (&json!("intent"), &json!("outcome")));
}
