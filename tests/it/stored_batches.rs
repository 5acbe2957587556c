//! Asynchronous batches (contract 4.10): what a crash and another caller do to them.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::InjectedFault;
use serde_json::{Value, json};

use super::support::{MATRIX42, TestClient, TestEnv, TestProcess, TestResponse};

const TIMEOUT: Duration = Duration::from_mins(1);

fn creates(count: usize) -> Value {
    let item = |n: usize| {
        json!({"id": format!("n{n}"), "method": "POST", "path": "/records/itsm",
            "body": {"collection": MATRIX42.collection(), "fields": (MATRIX42.new_record)(&format!("text {n}"))}})
    };
    json!({"items": (0..count).map(item).collect::<Vec<_>>()})
}

async fn store(client: &TestClient, batch: &Value) -> String {
    let accepted = client.request(Method::POST, "/batch").prefer("respond-async").json(batch).send().await;
    assert_eq!(accepted.assert_status(202).header("retry-after"), Some("1"));
    let path = accepted.header("location").expect("a location").to_owned();
    assert_eq!(accepted.json()["id"], path.rsplit('/').next().expect("an id"));
    path
}

async fn wait_until_over(client: &TestClient, path: &str) -> Value {
    let until = Instant::now() + TIMEOUT;
    loop {
        let batch = client.get(&format!("{path}?limit=1000")).send().await.assert_status(200).json();
        if !batch["finished_at"].is_null() {
            return batch;
        }
        assert!(Instant::now() < until, "still running: {}", batch["summary"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn items(batch: &Value) -> &[Value] {
    batch["items"].as_array().expect("items")
}

#[actix_web::test]
async fn a_stored_batch_runs_to_its_end_and_shows_every_item() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    let client = env.second_client();
    let path = store(&client, &creates(30)).await;
    let batch = wait_until_over(&client, &path).await;
    assert_eq!((&batch["state"], &batch["summary"]["ok"]), (&json!("done"), &json!(30)));
    assert!(items(&batch).iter().all(|item| item["status"] == 201), "{batch}");
    assert_eq!(env.record_count(), before + 30);
    let page = client.get(&format!("{path}?limit=20")).send().await.json();
    assert_eq!(items(&page).len(), 20);
    let next = page["next"].as_str().expect("a cursor");
    let rest = client.get(&format!("{path}?limit=20&cursor={next}")).send().await.json();
    assert_eq!((items(&rest).len(), &rest["next"]), (10, &Value::Null));
    client.get("/batches/none").send().await.assert_problem(404, "batch-not-found");
}

#[actix_web::test]
async fn a_caller_can_wait_for_a_stored_batch() {
    let env = TestEnv::start(&MATRIX42);
    let get = json!({"items": [{"method": "GET", "path": MATRIX42.path(MATRIX42.key)}]});
    let request = env.request(Method::POST, "/batch").prefer("respond-async").prefer("wait=10").json(&get);
    let response: TestResponse = request.send().await;
    assert_eq!(response.assert_status(200).json()["summary"]["ok"], 1);
    assert_eq!(response.header("preference-applied"), Some("wait=10"));
}

#[actix_web::test]
async fn a_cancelled_batch_begins_nothing_more() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    env.faults().add(records_gateway::sandbox::CallKind::Create, InjectedFault::Hold, 0, None);
    let client = env.second_client();
    let path = store(&client, &creates(40)).await;
    env.wait_for_calls(records_gateway::sandbox::CallKind::Create, 1).await;
    client.request(Method::DELETE, &path).send().await.assert_status(202);
    // The batch polls for this every half second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    env.faults().clear();
    env.faults().release();
    let batch = wait_until_over(&client, &path).await;
    let ended = items(&batch).iter().filter(|item| item["status"] == 201).count();
    assert_eq!(batch["state"], "cancelled");
    assert!((1..=8).contains(&ended), "{batch}");
    assert_eq!(batch["summary"]["skipped"], 40 - ended);
    assert_eq!(env.record_count(), before + ended);
}

#[actix_web::test]
async fn a_stored_batch_survives_kill_9_and_creates_each_record_once() {
    let process = TestProcess::builder().start();
    let count = || (MATRIX42.count)(&process.vendors);
    let before = count();
    let path = store(&process.client(), &creates(100)).await;
    let until = Instant::now() + TIMEOUT;
    while count() < before + 20 {
        assert!(Instant::now() < until, "the batch does not run");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    process.kill();
    process.restart();
    let batch = wait_until_over(&process.client(), &path).await;
    let status = |expected: u64| items(&batch).iter().filter(|item| item["status"] == expected).count();
    assert_eq!(status(201) + status(504), 100, "{}", batch["summary"]);
    assert!(count() <= before + 100 && count() >= before + status(201), "{} records", count() - before);
    assert!(process.run(&["ledger", "verify"]).status.success());
}
