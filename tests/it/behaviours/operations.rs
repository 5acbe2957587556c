//! Operations: what became of every write that reached a vendor (contract 4.4).

use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{TestEnv, VendorFixture, for_each_vendor};

for_each_vendor!(
    every_write_that_reaches_the_vendor_is_an_operation,
    a_rejected_write_is_an_operation_with_the_returned_problem,
    a_write_rejected_before_the_vendor_call_is_no_operation,
    operations_are_listed_by_record_and_state,
    an_unknown_operation_is_404,
    an_operation_cursor_is_valid_only_for_its_own_query,
);

async fn every_write_that_reaches_the_vendor_is_an_operation(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    let deletable_key = house.current_etag(bench.deletable_key).await;
    for (action, answer) in [
        ("update", house.set_text(bench.key, &current_etag, "new").send().await),
        ("delete", house.delete(bench.deletable_key, &deletable_key).send().await),
        ("create", house.create("new one").send().await),
    ] {
        assert!(answer.status < 300, "{answer:?}");
        let operation = house.get(answer.header("operation").unwrap()).send().await.assert_status(200).json();
        assert_eq!((&operation["state"], &operation["action"]), (&json!("applied"), &json!(action)), "{operation}");
        assert_eq!((&operation["system"], &operation["caller"]), (&json!(bench.system), &json!("anonymous")));
        assert_eq!(operation["problem"], Value::Null);
        for time in ["started_at", "finished_at"] {
            assert!(operation[time].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{operation}");
        }
        assert!(operation["record"].as_str().unwrap().starts_with(&bench.collection()), "{operation}");
    }
}

async fn a_rejected_write_is_an_operation_with_the_returned_problem(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    let current_etag = house.current_etag(bench.key).await;
    house.inject_once(CallKind::Update, InjectedFault::json(403, r#"{"message":"no"}"#));
    let answer = house.set_text(bench.key, &current_etag, "mine").send().await;
    answer.assert_problem(403, "vendor-forbidden");
    let operation = house.wait_for_operation(&answer).await;
    assert_eq!(operation["state"], "not-applied");
    for member in ["type", "title", "status", "detail", "instance", "request_id", "system", "vendor"] {
        assert_eq!(operation["problem"][member], answer.json()[member], "{member}");
    }
}

async fn a_write_rejected_before_the_vendor_call_is_no_operation(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.set_text(bench.key, "abc", "mine").send().await.assert_problem(400, "malformed-request");
    house.set_text(bench.key, "\"stale\"", "mine").send().await.assert_problem(412, "precondition-failed");
    house.set_text(bench.missing_key, "*", "mine").send().await.assert_problem(404, "record-not-found");
    house.patch(bench.key).if_match("*").merge_patch("{}").send().await.assert_status(204);
    assert_eq!(house.list_operations().await, Vec::<Value>::new());
    assert_eq!(house.read_ledger().await.json()["items"], json!([]));
}

async fn operations_are_listed_by_record_and_state(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    house.set_text(bench.key, "*", "one").send().await.assert_status(bench.patch_status);
    house.set_text(bench.other_key, "*", "two").send().await.assert_status(bench.patch_status);
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    let list = async |query: &str| {
        house.get(&format!("/operations?system={}{query}", bench.system)).send().await.assert_status(200).json()
    };
    assert_eq!(count(&list("").await), 2);
    let of_one = list(&format!("&record={}", bench.id(bench.key))).await;
    assert_eq!((count(&of_one), &of_one["items"][0]["record"]), (1, &json!(bench.id(bench.key))));
    assert_eq!(count(&list("&state=applied").await), 2);
    assert_eq!(count(&list("&state=running").await), 0);
    let first = list("&limit=1").await;
    let second = list(&format!("&limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((count(&first), count(&second)), (1, 1));
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
}

async fn an_operation_cursor_is_valid_only_for_its_own_query(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for text in ["one", "two"] {
        house.set_text(bench.key, "*", text).send().await;
    }
    let system = bench.system;
    for path in ["/operations", "/ledger"] {
        let page = house.get(&format!("{path}?system={system}&limit=1")).send().await.json();
        let cursor = page["next"].as_str().expect("a next page").to_owned();
        let next = house.get(&format!("{path}?limit=1&system={system}&cursor={cursor}")).send().await;
        assert_ne!(next.assert_status(200).json()["items"], page["items"]);
        let id = bench.id(bench.key);
        for other in [
            format!("{path}?limit=1&cursor={cursor}"),
            format!("{path}?limit=2&system={system}&cursor={cursor}"),
            format!("{path}?limit=1&system={system}&record={id}&cursor={cursor}"),
            format!("{path}?limit=1&system={system}&cursor=1"),
            format!("{path}?limit=1&system={system}&cursor=ffffffff-ffff-7fff-8fff-ffffffffffff"),
        ] {
            house.get(&other).send().await.assert_problem(400, "malformed-request");
        }
    }
}

async fn an_unknown_operation_is_404(bench: &'static VendorFixture) {
    let house = TestEnv::start(bench).await;
    for id in ["nonsense", "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11"] {
        house.get(&format!("/operations/{id}")).send().await.assert_problem(404, "operation-not-found");
    }
}
