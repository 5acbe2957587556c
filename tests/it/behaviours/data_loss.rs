//! What BlueDolphin destroys besides (contract 4.6). The other two destroy nothing.

use records_gateway::sandbox::CallKind;
use serde_json::json;

use crate::support::{BLUEDOLPHIN, TestEnv};

const KEY: &str = BLUEDOLPHIN.key;

fn loss_names(document: &serde_json::Value) -> Vec<&str> {
    document["losses"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn hidden_counts(house: &TestEnv) -> (usize, usize) {
    let definition = house.vendors.bluedolphin.state.definition(KEY).unwrap();
    (definition.linked_questions.len(), definition.source_connections.len())
}

#[actix_web::test]
async fn a_lossy_write_is_rejected_with_its_losses_and_nothing_is_sent() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let current_etag = house.current_etag(KEY).await;
    let patch = || house.set_text(KEY, &current_etag, "mine").without_header("Accept-Loss");
    let refused = patch().send().await;
    refused.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&refused.json()), ["linked-questions", "source-connections"]);
    let half = patch().header("Accept-Loss", "linked-questions, unknown-name").send().await;
    half.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&half.json()), ["source-connections"]);
    assert_eq!((house.write_call_count(), hidden_counts(&house)), (0, (3, 1)));
}

#[actix_web::test]
async fn an_accepted_loss_is_applied_and_reported_everywhere() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let current_etag = house.current_etag(KEY).await;
    let answer = house.set_text(KEY, &current_etag, "mine").send().await;
    // Warnings need a body: a direct write with warnings is never a 204.
    answer.assert_status(200);
    let warnings: Vec<_> =
        answer.json()["warnings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(warnings, ["loss", "loss"]);
    assert_eq!(house.wait_for_operation(&answer).await["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(hidden_counts(&house), (1, 0), "locked properties stay out of the PUT, which keeps their questions");
    let ledger = house.read_ledger().await.json();
    assert_eq!(ledger["items"][0]["losses"], json!(["linked-questions", "source-connections"]));
    let metrics = house.get("/metrics").send().await.text;
    assert!(
        metrics.contains("losses_accepted_total{loss=\"linked-questions\",system=\"architecture\"} 1"),
        "{metrics}"
    );
}

#[actix_web::test]
async fn warn_mode_accepts_update_losses_but_not_dependent_objects() {
    let house = TestEnv::start_with(&BLUEDOLPHIN, &[("systems.architecture", "on_lossy_write", "\"warn\"")]).await;
    let answer = house.set_text(KEY, "*", "mine").without_header("Accept-Loss").send().await;
    answer.assert_status(200);
    assert_eq!(answer.json()["warnings"][0]["code"], "loss");
    let doomed = BLUEDOLPHIN.deletable_key;
    let refused = house.delete(doomed, "*").without_header("Accept-Loss").send().await;
    refused.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&refused.json()), ["dependent-objects"]);
    assert_eq!(house.call_count(CallKind::Delete), 0);
    house
        .delete(doomed, "*")
        .without_header("Accept-Loss")
        .header("Accept-Loss", "dependent-objects")
        .send()
        .await
        .assert_status(204);
    assert_eq!(house.vendors.bluedolphin.state.deleted_objects(), 3);
}

#[actix_web::test]
async fn losses_are_checked_only_when_a_write_would_be_sent() {
    let house = TestEnv::start(&BLUEDOLPHIN).await;
    let patch = |key: &str, tag: &str, text: &str| house.set_text(key, tag, text).without_header("Accept-Loss");
    patch(BLUEDOLPHIN.missing_key, "*", "mine").send().await.assert_problem(404, "record-not-found");
    patch(KEY, "\"stale\"", "mine").send().await.assert_problem(412, "precondition-failed");
    patch(KEY, "*", &house.vendor_value(KEY).unwrap()).send().await.assert_status(204);
    house
        .delete(KEY, "\"stale\"")
        .without_header("Accept-Loss")
        .send()
        .await
        .assert_problem(412, "precondition-failed");
    assert_eq!(house.write_call_count(), 0);
}
