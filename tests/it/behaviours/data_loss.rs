//! Data losses (contract 4.6). BlueDolphin alone has any.

use records_gateway::sandbox::CallKind;
use serde_json::json;

use crate::support::{BLUEDOLPHIN, TestEnv};

const KEY: &str = BLUEDOLPHIN.key;

fn loss_names(document: &serde_json::Value) -> Vec<&str> {
    document["losses"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn hidden_counts(env: &TestEnv) -> (usize, usize) {
    let definition = env.vendors.bluedolphin.state.definition(KEY).unwrap();
    (definition.linked_questions.len(), definition.source_connections.len())
}

#[actix_web::test]
async fn a_lossy_write_is_rejected_with_its_losses_and_nothing_is_sent() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let current_etag = env.current_etag(KEY).await;
    let patch = || env.set_text(KEY, &current_etag, "mine").without_header("Accept-Loss");
    let rejected = patch().send().await;
    rejected.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&rejected.json()), ["linked-questions", "source-connections"]);
    let half = patch().header("Accept-Loss", "linked-questions, unknown-name").send().await;
    half.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&half.json()), ["source-connections"]);
    assert_eq!((env.write_call_count(), hidden_counts(&env)), (0, (3, 1)));
}

#[actix_web::test]
async fn an_accepted_loss_is_applied_and_reported_everywhere() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let current_etag = env.current_etag(KEY).await;
    let response = env.set_text(KEY, &current_etag, "mine").send().await;
    // Warnings need a body: a direct write with warnings is never a 204.
    response.assert_status(200);
    let warnings: Vec<_> =
        response.json()["warnings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(warnings, ["loss", "loss"]);
    assert_eq!(env.wait_for_operation(&response).await["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(hidden_counts(&env), (1, 0), "locked properties stay out of the PUT, which keeps their questions");
    let ledger = env.read_ledger().await.json();
    assert_eq!(ledger["items"][0]["losses"], json!(["linked-questions", "source-connections"]));
    let metrics = env.get("/metrics").send().await.text;
    assert!(
        metrics.contains("losses_accepted_total{loss=\"linked-questions\",system=\"architecture\"} 1"),
        "{metrics}"
    );
}

#[actix_web::test]
async fn warn_mode_accepts_update_losses_but_not_dependent_objects() {
    let env = TestEnv::start_with(&BLUEDOLPHIN, |config| config.system("architecture", "on_lossy_write", "warn"));
    let response = env.set_text(KEY, "*", "mine").without_header("Accept-Loss").send().await;
    response.assert_status(200);
    assert_eq!(response.json()["warnings"][0]["code"], "loss");
    let deletable = BLUEDOLPHIN.deletable_key;
    let rejected = env.delete(deletable, "*").without_header("Accept-Loss").send().await;
    rejected.assert_problem(409, "lossy-write");
    assert_eq!(loss_names(&rejected.json()), ["dependent-objects"]);
    assert_eq!(env.call_count(CallKind::Delete), 0);
    env.delete(deletable, "*")
        .without_header("Accept-Loss")
        .header("Accept-Loss", "dependent-objects")
        .send()
        .await
        .assert_status(204);
    assert_eq!(env.vendors.bluedolphin.state.deleted_objects(), 3);
}

#[actix_web::test]
async fn losses_are_checked_only_when_a_write_would_be_sent() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let patch = |key: &str, tag: &str, text: &str| env.set_text(key, tag, text).without_header("Accept-Loss");
    patch(BLUEDOLPHIN.missing_key, "*", "mine").send().await.assert_problem(404, "record-not-found");
    patch(KEY, "\"stale\"", "mine").send().await.assert_problem(412, "precondition-failed");
    patch(KEY, "*", &env.vendor_value(KEY).unwrap()).send().await.assert_status(204);
    env.delete(KEY, "\"stale\"").without_header("Accept-Loss").send().await.assert_problem(412, "precondition-failed");
    assert_eq!(env.write_call_count(), 0);
}
