//! What BlueDolphin destroys besides (contract 4.6). The other two destroy nothing.

use records_gateway::sandbox::CallKind;
use serde_json::json;

use crate::support::{BLUEDOLPHIN, House};

const KEY: &str = BLUEDOLPHIN.key;

fn names(document: &serde_json::Value) -> Vec<&str> {
    document["losses"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn hidden(house: &House) -> (usize, usize) {
    let definition = house.vendors.bluedolphin.state.definition(KEY).unwrap();
    (definition.linked_questions.len(), definition.source_connections.len())
}

#[actix_web::test]
async fn a_lossy_write_is_refused_by_name_and_nothing_is_sent() {
    let house = House::start(&BLUEDOLPHIN).await;
    let tag = house.tag(KEY).await;
    let patch = || house.set_text(KEY, &tag, "mine").without("Accept-Loss");
    let refused = patch().send().await;
    refused.is(409, "lossy-write");
    assert_eq!(names(&refused.json()), ["linked-questions", "source-connections"]);
    let half = patch().header("Accept-Loss", "linked-questions, unknown-name").send().await;
    half.is(409, "lossy-write");
    assert_eq!(names(&half.json()), ["source-connections"]);
    assert_eq!((house.writes(), hidden(&house)), (0, (3, 1)));
}

#[actix_web::test]
async fn a_loss_that_was_accepted_is_done_and_named_everywhere() {
    let house = House::start(&BLUEDOLPHIN).await;
    let tag = house.tag(KEY).await;
    let answer = house.set_text(KEY, &tag, "mine").send().await;
    // Warnings need a body: a direct write with warnings is never a 204.
    answer.is_done(200);
    let warnings: Vec<_> =
        answer.json()["warnings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(warnings, ["loss", "loss"]);
    assert_eq!(house.settled(&answer).await["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(hidden(&house), (1, 0), "locked properties stay out of the PUT, which keeps their questions");
    let ledger = house.ledger().await.json();
    assert_eq!(ledger["items"][0]["losses"], json!(["linked-questions", "source-connections"]));
    let metrics = house.get("/metrics").send().await.text;
    assert!(
        metrics.contains("losses_accepted_total{loss=\"linked-questions\",system=\"architecture\"} 1"),
        "{metrics}"
    );
}

#[actix_web::test]
async fn a_system_may_accept_losses_of_updates_but_not_of_dependent_objects() {
    let house = House::with(&BLUEDOLPHIN, &[("systems.architecture", "on_lossy_write", "\"warn\"")]).await;
    let answer = house.set_text(KEY, "*", "mine").without("Accept-Loss").send().await;
    answer.is_done(200);
    assert_eq!(answer.json()["warnings"][0]["code"], "loss");
    let doomed = BLUEDOLPHIN.doomed;
    let refused = house.delete(doomed, "*").without("Accept-Loss").send().await;
    refused.is(409, "lossy-write");
    assert_eq!(names(&refused.json()), ["dependent-objects"]);
    assert_eq!(house.calls(CallKind::Delete), 0);
    house
        .delete(doomed, "*")
        .without("Accept-Loss")
        .header("Accept-Loss", "dependent-objects")
        .send()
        .await
        .is_done(204);
    assert_eq!(house.vendors.bluedolphin.state.deleted_objects(), 3);
}

#[actix_web::test]
async fn losses_are_asked_about_only_when_a_write_would_be_sent() {
    let house = House::start(&BLUEDOLPHIN).await;
    let patch = |key: &str, tag: &str, text: &str| house.set_text(key, tag, text).without("Accept-Loss");
    patch(BLUEDOLPHIN.missing, "*", "mine").send().await.is(404, "record-not-found");
    patch(KEY, "\"stale\"", "mine").send().await.is(412, "precondition-failed");
    patch(KEY, "*", &house.held(KEY).unwrap()).send().await.is_done(204);
    house.delete(KEY, "\"stale\"").without("Accept-Loss").send().await.is(412, "precondition-failed");
    assert_eq!(house.writes(), 0);
}
