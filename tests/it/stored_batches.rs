//! Asynchronous batches (contract 4.10): what a crash and another caller do to them.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};
use serde_json::{Value, json};

use super::history::create_postgres_database;
use super::support::{BLUEDOLPHIN, MATRIX42, ProcessBuilder, Request, TestClient, TestEnv, TestProcess, TestResponse};

const TIMEOUT: Duration = Duration::from_mins(1);

pub(super) fn creates(count: usize) -> Value {
    let item = |n: usize| {
        json!({"id": format!("n{n}"), "method": "POST", "path": "/records/itsm",
            "body": {"collection": MATRIX42.collection(), "fields": (MATRIX42.new_record)(&format!("text {n}"))}})
    };
    json!({"items": (0..count).map(item).collect::<Vec<_>>()})
}

pub(super) async fn store(client: &TestClient, batch: &Value) -> String {
    let accepted = client.request(Method::POST, "/batch").prefer("respond-async").json(batch).send().await;
    assert_eq!(accepted.assert_status(202).header("retry-after"), Some("1"));
    let path = accepted.header("location").expect("a location").to_owned();
    assert_eq!(accepted.json()["id"], path.rsplit('/').next().expect("an id"));
    path
}

pub(super) async fn wait_until_over(client: &TestClient, path: &str) -> Value {
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

pub(super) fn items(batch: &Value) -> &[Value] {
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

/// A process that soon says of a lost response that its outcome is unknown.
fn start_process() -> TestProcess {
    TestProcess::start_with(|config| config.every_system("settle_timeout", "1s"))
}

/// Of the creates after the first 20 the vendor makes four and does not respond, and holds the
/// others.
fn hold_creates(vendors: &Sandbox) {
    let faults = &vendors.matrix42.faults;
    faults.add(CallKind::Create, InjectedFault::HoldAfter, 20, Some(4));
    faults.add(CallKind::Create, InjectedFault::Hold, 20, None);
}

/// Lets the vendor continue with all that it holds.
pub(super) fn release(vendors: &Sandbox) {
    vendors.matrix42.faults.clear();
    vendors.matrix42.faults.release();
}

/// Each item has made its record or is unknown: at most the eight whose creates were at the vendor
/// when the process died.
fn assert_created_once(batch: &Value, total: usize, new_records: usize) {
    let status = |expected: u64| items(batch).iter().filter(|item| item["status"] == expected).count();
    assert_eq!(status(201) + status(504), total, "{}", batch["summary"]);
    assert!(status(201) >= total - 8, "{}", batch["summary"]);
    assert!((status(201)..=total).contains(&new_records), "{new_records} records");
}

/// The batch of the process on its 40 creates, of which the vendor holds the first ones.
async fn store_held(process: &TestProcess) -> String {
    let vendor = &process.vendors.matrix42;
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let path = store(&process.client(), &creates(40)).await;
    vendor.log.wait_for(CallKind::Create, 8).await;
    path
}

/// What the store of a process holds of its batches, as text.
fn stored_text(process: &TestProcess) -> String {
    let store = rusqlite::Connection::open(process.folder().join("store.db")).expect("a store");
    let mut rows = store.prepare("SELECT request FROM batch_row").expect("a statement");
    let texts = rows.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    texts.map(|text| text.expect("text")).collect::<Vec<_>>().join("\n")
}

#[actix_web::test]
async fn a_cancelled_batch_runs_until_its_begun_items_have_ended() {
    let process = TestProcess::builder().start();
    let vendor = &process.vendors.matrix42;
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let mut batch = creates(3);
    batch["concurrency"] = json!(1);
    let path = store(&process.client(), &batch).await;
    vendor.log.wait_for(CallKind::Create, 1).await;
    let client = process.client();
    let cancelled = client.request(Method::DELETE, &path).send().await;
    assert_eq!(cancelled.assert_status(202).json()["state"], "running", "one is at the vendor");
    release(&process.vendors);
    let batch = wait_until_over(&client, &path).await;
    assert_eq!(batch["state"], "cancelled", "{batch}");
    assert_eq!((&batch["summary"]["ok"], &batch["summary"]["skipped"]), (&json!(1), &json!(2)), "{batch}");
}

#[actix_web::test]
async fn a_cancelled_batch_begins_nothing_more() {
    let process = TestProcess::builder().start();
    let count = || (MATRIX42.count)(&process.vendors);
    let (before, path) = (count(), store_held(&process).await);
    let client = process.client();
    client.request(Method::DELETE, &path).send().await.assert_status(202);
    // Only then do the items end that have begun.
    process.wait_for_log("a batch is cancelled", 1).await;
    release(&process.vendors);
    let batch = wait_until_over(&client, &path).await;
    let ended = items(&batch).iter().filter(|item| item["status"] == 201).count();
    assert_eq!((&batch["state"], ended), (&json!("cancelled"), 8), "{batch}");
    assert_eq!((&batch["summary"]["ok"], &batch["summary"]["skipped"]), (&json!(8), &json!(32)));
    assert_eq!(count(), before + 8);
    client.request(Method::DELETE, &path).send().await.assert_status(202);
    assert_eq!(wait_until_over(&client, &path).await, batch, "what is over stays as it is");
    assert_eq!(process.terminate(), Some(0));
    assert!(!stored_text(&process).contains("text 3"), "no body is kept");
}

#[actix_web::test]
async fn what_had_begun_of_a_cancelled_batch_is_not_skipped() {
    let process = start_process();
    let count = || (MATRIX42.count)(&process.vendors);
    let (before, path) = (count(), store_held(&process).await);
    process.client().request(Method::DELETE, &path).send().await.assert_status(202);
    process.kill();
    release(&process.vendors);
    process.restart();
    let batch = wait_until_over(&process.client(), &path).await;
    let followed = items(&batch).iter().filter(|item| item["status"] == 201 || item["status"] == 504).count();
    assert_eq!((followed, &batch["summary"]["skipped"]), (8, &json!(32)), "{batch}");
    let made = items(&batch).iter().filter(|item| item["status"] == 201).count();
    assert!((made..=8).contains(&(count() - before)), "{} records, {made} known", count() - before);
}

#[actix_web::test]
async fn a_stored_batch_survives_kill_9_and_creates_each_record_once() {
    let process = start_process();
    let count = || (MATRIX42.count)(&process.vendors);
    let before = count();
    hold_creates(&process.vendors);
    let path = store(&process.client(), &creates(100)).await;
    // Eight creates are at the vendor, some done and some not, when the process dies.
    process.vendors.matrix42.log.wait_for(CallKind::Create, 28).await;
    process.kill();
    assert!((20..=24).contains(&(count() - before)), "{} records", count() - before);
    release(&process.vendors);
    process.restart();
    let batch = wait_until_over(&process.client(), &path).await;
    assert_created_once(&batch, 100, count() - before);
    assert!(process.run(&["ledger", "verify"]).status.success());
}

#[actix_web::test]
async fn a_batch_with_a_key_survives_kill_9_and_is_sent_again() {
    let process = start_process();
    let count = || (MATRIX42.count)(&process.vendors);
    let before = count();
    hold_creates(&process.vendors);
    let send = || process.client().request(Method::POST, "/batch").idempotency_key("k").json(&creates(100));
    let first = actix_web::rt::spawn(send().try_send());
    process.vendors.matrix42.log.wait_for(CallKind::Create, 28).await;
    process.kill();
    assert!(first.await.expect("no panic").is_err(), "the caller has no response");
    release(&process.vendors);
    process.restart();
    let until = Instant::now() + TIMEOUT;
    // Items whose first beginning still runs are 409 until it has ended.
    let batch = loop {
        let batch = send().send().await.json();
        if items(&batch).iter().all(|item| item["status"] == 201 || item["status"] == 504) {
            break batch;
        }
        assert!(Instant::now() < until, "{}", batch["summary"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_created_once(&batch, 100, count() - before);
}

#[actix_web::test]
async fn an_item_has_the_permissions_that_its_caller_has_when_it_begins() {
    let process = TestProcess::start_with(|config| config.api_keys(&[("ada", "key-of-ada", "*:*")]));
    let authorized = |request: Request| request.header("Authorization", "Bearer key-of-ada");
    let vendor = &process.vendors.matrix42;
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let request = process.client().request(Method::POST, "/batch").prefer("respond-async").json(&creates(12));
    let path = authorized(request).send().await.assert_status(202).header("location").expect("a path").to_owned();
    vendor.log.wait_for(CallKind::Create, 8).await;
    process.write_config(&process.config().api_keys(&[("ada", "key-of-ada", "itsm:read")]));
    process.wait_for_log("a batch continues with the new configuration", 1).await;
    release(&process.vendors);
    let until = Instant::now() + TIMEOUT;
    let batch = loop {
        let batch = authorized(process.client().get(&path)).send().await.assert_status(200).json();
        if batch["state"] == "done" {
            break batch;
        }
        assert!(Instant::now() < until, "{batch}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let status = |expected: u64| items(&batch).iter().filter(|item| item["status"] == expected).count();
    assert_eq!((status(201), status(403)), (8, 4), "{batch}");
}

#[actix_web::test]
async fn a_stored_batch_that_cannot_be_read_ends_as_unknown() {
    let process = TestProcess::builder().start();
    let paths = [store_held(&process).await, store(&process.client(), &creates(2)).await];
    process.kill();
    let store = rusqlite::Connection::open(process.folder().join("store.db")).expect("a store");
    let ids = paths.each_ref().map(|path| path.rsplit('/').next().expect("an id"));
    store.execute("UPDATE batch_row SET request = '{}' WHERE id = ?1 AND item = -1", [ids[0]]).expect("a row");
    store.execute("UPDATE batch_row SET request = '{}' WHERE id = ?1 AND item = 1", [ids[1]]).expect("a row");
    drop(store);
    process.vendors.matrix42.faults.clear();
    process.restart();
    let batch = wait_until_over(&process.client(), &paths[1]).await;
    assert_eq!(batch["summary"]["unknown"], 2, "{batch}");
    assert_eq!(items(&batch)[0]["body"]["type"], "/problems/outcome-unknown");
    process.client().get(&paths[0]).send().await.assert_problem(500, "internal-error");
    process.wait_for_log("a stored batch cannot be read", 2).await;
    // No poll resumes a batch that is not open.
    let store = rusqlite::Connection::open(process.folder().join("store.db")).expect("a store");
    let count_open = || {
        let statement = "SELECT count(*) FROM batch_row WHERE item = -1 AND status = 1";
        store.query_row(statement, [], |row| row.get::<_, i64>(0)).expect("a number")
    };
    let until = Instant::now() + TIMEOUT;
    while count_open() > 0 {
        assert!(Instant::now() < until, "{} batches stay open", count_open());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_queued_item_of_a_stored_batch_ends_with_its_operation() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let patch = |key: &str, text: &str| {
        let headers = json!({"If-Match": "*", "Accept-Loss": BLUEDOLPHIN.losses.join(", ")});
        json!({"method": "PATCH", "path": BLUEDOLPHIN.path(key), "headers": headers,
            "body": {"fields": BLUEDOLPHIN.text_patch(text)}})
    };
    let batch = json!({"items": [patch(BLUEDOLPHIN.key, "one"), patch(BLUEDOLPHIN.other_key, "two")]});
    let path = store(&env.second_client(), &batch).await;
    let batch = wait_until_over(&env.second_client(), &path).await;
    assert_eq!((&batch["summary"]["ok"], &batch["summary"]["running"]), (&json!(2), &json!(0)), "{batch}");
    assert!(items(&batch).iter().all(|item| item["body"]["state"] == "applied"), "{batch}");
    let is_replay = |item: &Value| item["headers"].get("idempotency-replayed").is_some();
    assert!(!items(&batch).iter().any(is_replay), "each is its first: {batch}");
    assert_eq!(env.vendor_value(BLUEDOLPHIN.key).as_deref(), Some("one"));
}

#[actix_web::test]
async fn another_replica_takes_over_a_batch_and_each_record_is_made_once() {
    let database = std::thread::spawn(create_postgres_database);
    let Some(url) = database.join().expect("a database") else { return };
    let (vendors, folders) =
        (Sandbox::start().expect("fake vendors"), [(); 2].map(|()| tempfile::tempdir().expect("a folder")));
    let replica = |folder: &tempfile::TempDir| {
        let builder = ProcessBuilder::new(vendors.clone(), folder.path());
        builder.configure(|config| config.store("url", url.as_str()).every_system("settle_timeout", "1s")).start()
    };
    let [first, second] = folders.each_ref().map(replica);
    let count = || (MATRIX42.count)(&vendors);
    let before = count();
    hold_creates(&vendors);
    let path = store(&first.client(), &creates(60)).await;
    vendors.matrix42.log.wait_for(CallKind::Create, 28).await;
    let shown = second.client().get(&path).send().await.assert_status(200).json();
    assert_eq!(shown["state"], "running", "the other replica shows it and does not run it");
    assert_eq!(vendors.matrix42.log.count(CallKind::Create), 28);
    first.kill();
    release(&vendors);
    // The lease of the batch, and the heartbeat of its owner, end first.
    let batch = wait_until_over(&second.client(), &path).await;
    assert_created_once(&batch, 60, count() - before);
    assert!(second.run(&["ledger", "verify"]).status.success());
}
