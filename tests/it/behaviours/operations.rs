//! Operations: the outcome of every write that reached a vendor (contract 4.4).

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

async fn every_write_that_reaches_the_vendor_is_an_operation(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    let deletable_etag = env.current_etag(fixture.deletable_key).await;
    for (action, response) in [
        ("update", env.set_text(fixture.key, &current_etag, "new").send().await),
        ("delete", env.delete(fixture.deletable_key, &deletable_etag).send().await),
        ("create", env.create("new one").send().await),
    ] {
        assert!(response.status < 300, "{response:?}");
        let operation = env.get(response.header("operation").unwrap()).send().await.assert_status(200).json();
        assert_eq!((&operation["state"], &operation["action"]), (&json!("applied"), &json!(action)), "{operation}");
        assert_eq!((&operation["system"], &operation["caller"]), (&json!(fixture.system), &json!("anonymous")));
        assert_eq!(operation["problem"], Value::Null);
        for time in ["started_at", "finished_at"] {
            assert!(operation[time].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{operation}");
        }
        assert!(operation["record"].as_str().unwrap().starts_with(&fixture.collection()), "{operation}");
    }
}

async fn a_rejected_write_is_an_operation_with_the_returned_problem(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::json(403, r#"{"message":"no"}"#));
    let response = env.set_text(fixture.key, &current_etag, "mine").send().await;
    response.assert_problem(403, "vendor-forbidden");
    let operation = env.wait_for_operation(&response).await;
    assert_eq!(operation["state"], "not-applied");
    for member in ["type", "title", "status", "detail", "instance", "request_id", "system", "vendor"] {
        assert_eq!(operation["problem"][member], response.json()[member], "{member}");
    }
}

async fn a_write_rejected_before_the_vendor_call_is_no_operation(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.set_text(fixture.key, "abc", "mine").send().await.assert_problem(400, "malformed-request");
    env.set_text(fixture.key, "\"stale\"", "mine").send().await.assert_problem(412, "precondition-failed");
    env.set_text(fixture.missing_key, "*", "mine").send().await.assert_problem(404, "record-not-found");
    env.patch(fixture.key).if_match("*").merge_patch("{}").send().await.assert_status(204);
    assert_eq!(env.list_operations().await, Vec::<Value>::new());
    assert_eq!(env.read_ledger().await.json()["items"], json!([]));
}

async fn operations_are_listed_by_record_and_state(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.set_text(fixture.key, "*", "one").send().await.assert_status(fixture.patch_status);
    env.set_text(fixture.other_key, "*", "two").send().await.assert_status(fixture.patch_status);
    let count = |page: &Value| page["items"].as_array().unwrap().len();
    let list = async |query: &str| {
        env.get(&format!("/operations?system={}{query}", fixture.system)).send().await.assert_status(200).json()
    };
    assert_eq!(count(&list("").await), 2);
    let of_one = list(&format!("&record={}", fixture.id(fixture.key))).await;
    assert_eq!((count(&of_one), &of_one["items"][0]["record"]), (1, &json!(fixture.id(fixture.key))));
    assert_eq!(count(&list("&state=applied").await), 2);
    assert_eq!(count(&list("&state=running").await), 0);
    let first = list("&limit=1").await;
    let second = list(&format!("&limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((count(&first), count(&second)), (1, 1));
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
}

async fn an_operation_cursor_is_valid_only_for_its_own_query(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for text in ["one", "two"] {
        env.set_text(fixture.key, "*", text).send().await;
    }
    let system = fixture.system;
    for path in ["/operations", "/ledger"] {
        let page = env.get(&format!("{path}?system={system}&limit=1")).send().await.json();
        let cursor = page["next"].as_str().expect("a next page").to_owned();
        let next = env.get(&format!("{path}?limit=1&system={system}&cursor={cursor}")).send().await;
        assert_ne!(next.assert_status(200).json()["items"], page["items"]);
        let id = fixture.id(fixture.key);
        for other in [
            format!("{path}?limit=1&cursor={cursor}"),
            format!("{path}?limit=2&system={system}&cursor={cursor}"),
            format!("{path}?limit=1&system={system}&record={id}&cursor={cursor}"),
            format!("{path}?limit=1&system={system}&cursor=1"),
            format!("{path}?limit=1&system={system}&cursor=ffffffff-ffff-7fff-8fff-ffffffffffff"),
        ] {
            env.get(&other).send().await.assert_problem(400, "malformed-request");
        }
    }
}

async fn an_unknown_operation_is_404(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    for id in ["nonsense", "01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11"] {
        env.get(&format!("/operations/{id}")).send().await.assert_problem(404, "operation-not-found");
    }
}
