//! Operations, the ledger and systems.

use serde_json::json;

use super::test_api::{TestApi, admin_request, patch_request, request_of};
use crate::journal::Intent;
use crate::record::{Action, OperationId};

/// Begins an operation that stays running.
async fn begin_operation(api: &TestApi, system: &str) -> OperationId {
    let operation = OperationId::new();
    let intent = Intent {
        operation: operation.clone(),
        request_id: "request".into(),
        batch_item: None,
        model: None,
        caller: "admin".into(),
        system: system.into(),
        record: Some("a:b".into()),
        action: Action::Update,
        precondition: None,
        compared_etag: None,
        rebased_onto: None,
        has_if_plan: false,
        paths: [].into(),
        losses: Vec::new(),
        is_async: true,
        lease: None,
        idempotency: None,
        recovery: None,
    };
    api.state.load().gateway.journal().begin(intent).await.expect("an operation");
    operation
}

#[actix_web::test]
async fn operations_of_unreadable_systems_are_not_found() {
    let api = TestApi::start().await;
    let (readable, hidden) = (begin_operation(&api, "crm").await, begin_operation(&api, "itsm").await);
    let reader = |target: &str| request_of("reader", "GET", target);
    let running = api.send(reader(&readable.path())).await;
    assert_eq!((running.status, running.header("retry-after")), (200, Some("1")));
    for hidden in [hidden.as_str(), "03920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11", "x"] {
        assert_eq!(api.send(reader(&format!("/operations/{hidden}"))).await.problem(), "operation-not-found");
    }
    let all = api.send(reader("/operations?state=running")).await;
    assert_eq!(all.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.send(reader("/operations?system=itsm")).await.problem(), "forbidden");
    for wrong in ["state=odd", "state=", "until=", "action=read", "order=up", "since=now", "operation=x"] {
        assert_eq!(api.send(reader(&format!("/operations?{wrong}"))).await.problem(), "malformed-request", "{wrong}");
    }
    for (query, count) in [("action=update", 1), ("action=delete", 0), ("caller=admin", 1), ("caller=nobody", 0)] {
        let page = api.send(reader(&format!("/operations?{query}&since=2026-01-01T00:00:00Z&order=desc"))).await;
        assert_eq!(page.json()["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
    assert_eq!(api.send(reader("/ledger")).await.problem(), "forbidden");
    let ledger = api.send(admin_request("GET", "/ledger?system=crm&since=2026-01-01T00:00:00Z")).await;
    assert_eq!(ledger.json()["items"][0]["system"], "crm");
    assert_eq!(ledger.json()["items"].as_array().map(Vec::len), Some(1));
    for wrong in ["since=yesterday", "until=", "problem=odd", "operation=x", "order=up"] {
        assert_eq!(api.send(admin_request("GET", &format!("/ledger?{wrong}"))).await.problem(), "malformed-request");
    }
    let of_operation = api.send(admin_request("GET", &format!("/ledger?operation={readable}&order=desc"))).await;
    assert_eq!(of_operation.json()["items"].as_array().map(Vec::len), Some(1));
}

#[actix_web::test]
async fn pages_of_the_ledger_continue_where_the_last_one_ended() {
    let api = TestApi::start().await;
    assert_eq!(api.send(patch_request()).await.status, 204);
    let first = api.send(admin_request("GET", "/ledger?limit=1")).await;
    let next = first.json()["next"].as_str().expect("a cursor").to_owned();
    let second = api.send(admin_request("GET", &format!("/ledger?limit=1&cursor={next}"))).await;
    let events = [&first, &second].map(|page| page.json()["items"][0]["event"].clone());
    assert_eq!(events, [json!("intent"), json!("outcome")]);
    let foreign = api.send(admin_request("GET", &format!("/ledger?limit=2&cursor={next}"))).await;
    assert_eq!(foreign.problem(), "malformed-request");
}

#[actix_web::test]
async fn a_system_resource_lists_its_capabilities() {
    let api = TestApi::start().await;
    let shown = api.send(admin_request("GET", "/systems/docs")).await.json();
    assert_eq!(shown["capabilities"], json!(["read"]));
    assert!(shown["guarantee"]["update"].is_null());
    let health = json!({
        "circuit": "closed", "last_success": null, "last_failure": null, "token_expires": null, "key_expires": null,
        "in_flight": 0, "queued": 0, "writes_unknown": 0, "oldest_unknown": null,
    });
    assert_eq!(shown["health"], health);
    let all = api.send(admin_request("GET", "/systems")).await;
    assert_eq!(all.json()["items"].as_array().map(Vec::len), Some(3));
}
