//! A vendor whose records move to other pages while the gateway reads the list.

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::support::{PRETECTUM, TestEnv};

#[actix_web::test]
async fn a_record_that_moves_up_during_a_scan_is_read_and_not_404() {
    let env = TestEnv::start(&PRETECTUM);
    env.vendors.pretectum.state.configure(|settings| {
        (settings.page_size, settings.empty_page, settings.moves_up) = (1, false, true);
    });
    // The record of the second page moves to the first one while the second page is requested.
    env.faults().add(CallKind::List, InjectedFault::Hold, 1, Some(1));
    let delete = async {
        env.wait_for_calls(CallKind::List, 2).await;
        (PRETECTUM.external_delete)(&env.vendors, PRETECTUM.key);
        env.faults().release();
    };
    let (read, ()) = futures_util::future::join(env.read(PRETECTUM.other_key).send(), delete).await;
    read.assert_status(200);
    env.read(PRETECTUM.key).send().await.assert_problem(404, "record-not-found");
}

#[actix_web::test]
async fn twenty_deletes_in_a_batch_cost_one_scan_and_no_false_404() {
    let env = TestEnv::start(&PRETECTUM);
    let create = |n: usize| {
        json!({"method": "POST", "path": "/records/crm", "body":
            {"collection": PRETECTUM.collection(), "fields": (PRETECTUM.new_record)(&format!("Batch {n}"))}})
    };
    let creates: Vec<Value> = (0..20).map(create).collect();
    let created = env.request(Method::POST, "/batch").json(&json!({"items": creates})).send().await;
    created.assert_status(200);
    env.vendors.pretectum.state.configure(|settings| {
        (settings.page_size, settings.empty_page, settings.moves_up) = (5, false, true);
    });
    let before = env.record_count();
    let delete = |item: &Value| {
        let path = format!("/records/crm/{}", item["body"]["id"].as_str().expect("an id"));
        json!({"method": "DELETE", "path": path, "headers": {"If-Match": item["body"]["etag"]}})
    };
    let created = created.json();
    let deletes: Vec<Value> = created["items"].as_array().expect("items").iter().map(delete).collect();
    env.forget_calls();
    let deleted = env.request(Method::POST, "/batch").json(&json!({"items": deletes})).send().await;
    assert_eq!(deleted.assert_status(200).json()["summary"]["ok"], 20, "{deleted:?}");
    assert_eq!((env.record_count(), env.call_count(CallKind::Delete)), (before - 20, 20));
    let pages = before.div_ceil(5);
    assert!(env.call_count(CallKind::List) <= pages, "{} of {pages} pages", env.call_count(CallKind::List));
}
