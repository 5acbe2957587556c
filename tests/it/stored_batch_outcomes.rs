//! Asynchronous batches (contract 4.10): every item has the outcome of its own write, which is made
//! once, whatever happens while it is waited for.

use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};
use serde_json::{Value, json};
use toml::Table;

use super::history::create_postgres_database;
use super::history::database_failures::{allow_connections, connect, terminate};
use super::stored_batches::{creates, items, release, store, wait_until_over};
use super::support::{BLUEDOLPHIN, MATRIX42, ProcessBuilder, Request, TestConfig, TestEnv, TestProcess};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Creates whose writes are queued, so that the batch follows their operations.
fn queued_creates(count: usize) -> Value {
    let mut batch = creates(count);
    batch["headers"] = json!({"Prefer": "respond-async"});
    batch
}

pub(super) fn record_count(vendors: &Sandbox) -> usize {
    (MATRIX42.count)(vendors)
}

/// The rows of a batch in a SQLite file.
pub(super) struct StoredRows {
    file: rusqlite::Connection,
    id: String,
}

impl StoredRows {
    pub(super) fn open(process: &TestProcess, path: &str) -> Self {
        let file = rusqlite::Connection::open(process.folder().join("store.db")).expect("a store");
        Self { file, id: path.rsplit('/').next().expect("an id").to_owned() }
    }

    /// What a process leaves that dies before it has saved how this item ended.
    fn forget_end(&self, item: usize, request: &Value) {
        let statement = "UPDATE batch_row SET status = 0, response = NULL, request = ?3 WHERE id = ?1 AND item = ?2";
        let values = rusqlite::params![self.id, i64::try_from(item).expect("a position"), request.to_string()];
        assert_eq!(self.file.execute(statement, values), Ok(1));
        let statement = "UPDATE batch_row SET status = 1, response = NULL WHERE id = ?1 AND item = -1";
        assert_eq!(self.file.execute(statement, [&self.id]), Ok(1));
    }

    /// What an item of a batch leaves that is over, if its response was lost.
    pub(super) fn make_unknown(&self, item: usize) {
        let statement = "UPDATE batch_row SET status = 4 WHERE id = ?1 AND item = ?2";
        let values = rusqlite::params![self.id, i64::try_from(item).expect("a position")];
        assert_eq!(self.file.execute(statement, values), Ok(1));
    }

    /// What another version could leave of a batch that has not ended.
    pub(super) fn make_unreadable(&self) {
        let statement = "UPDATE batch_row SET request = 'of another version', status = 0, response = NULL
            WHERE id = ?1 AND item >= 0";
        assert!(self.file.execute(statement, [&self.id]).is_ok_and(|rows| rows > 0));
        let statement = "UPDATE batch_row SET status = 1, response = NULL WHERE id = ?1 AND item = -1";
        assert_eq!(self.file.execute(statement, [&self.id]), Ok(1));
    }

    /// What the cancellation of a batch leaves that has not ended.
    pub(super) fn cancel(&self) {
        let statement = "INSERT INTO batch_row (id, item, status, at, request) VALUES (?1, -2, 0, 0, '')";
        assert_eq!(self.file.execute(statement, [&self.id]), Ok(1));
    }
}

/// Two changes of one record, the second to the version that the first, queued, has made.
fn queued_and_after() -> Value {
    let patch = |id: &str, tag: &str| {
        json!({"id": id, "method": "PATCH", "path": BLUEDOLPHIN.path(BLUEDOLPHIN.key),
            "headers": {"If-Match": tag, "Prefer": "respond-async", "Accept-Loss": BLUEDOLPHIN.losses.join(", ")},
            "body": {"fields": BLUEDOLPHIN.text_patch(id)}})
    };
    let mut after = patch("after", "{queued}");
    after["depends_on"] = json!(["queued"]);
    json!({"items": [patch("queued", "*"), after]})
}

#[actix_web::test]
async fn a_cancelled_batch_that_resumes_knows_the_write_after_a_queued_one() {
    let process = TestProcess::builder().start();
    let batch = queued_and_after();
    let path = store(&process.client(), &batch).await;
    let first = wait_until_over(&process.client(), &path).await;
    assert_eq!((&items(&first)[0]["status"], &items(&first)[1]["status"]), (&json!(202), &json!(202)), "{first}");
    assert_eq!(process.terminate(), Some(0));
    let rows = StoredRows::open(&process, &path);
    rows.forget_end(1, &batch["items"][1]);
    rows.cancel();
    drop(rows);
    process.restart();
    let second = wait_until_over(&process.client(), &path).await;
    assert_eq!(items(&second)[1]["status"], 202, "{second}");
    assert_eq!(items(&second)[1]["headers"]["location"], items(&first)[1]["headers"]["location"]);
}

/// Runs a batch to its end, and once more as after a crash that came before the end of one item was
/// saved. Returns both ends.
async fn run_twice(process: &TestProcess, batch: &Value, item: usize) -> [Value; 2] {
    let vendor = &process.vendors.matrix42;
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let path = store(&process.client(), batch).await;
    vendor.log.wait_for(CallKind::Create, 1).await;
    release(&process.vendors);
    let first = wait_until_over(&process.client(), &path).await;
    assert_eq!(process.terminate(), Some(0));
    // Longer than a key of a single request lives here.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    StoredRows::open(process, &path).forget_end(item, &batch["items"][item]);
    process.restart();
    [first, wait_until_over(&process.client(), &path).await]
}

pub(super) fn start_with_short_keys() -> TestProcess {
    TestProcess::start_with(|config| config.store("idempotency_ttl", "1s"))
}

#[actix_web::test]
async fn a_batch_that_resumes_after_the_life_of_keys_repeats_nothing() {
    let process = start_with_short_keys();
    let before = record_count(&process.vendors);
    let [first, second] = run_twice(&process, &creates(3), 0).await;
    assert_eq!((&first["summary"]["ok"], &second["summary"]["ok"]), (&json!(3), &json!(3)), "{second}");
    assert_eq!(record_count(&process.vendors), before + 3);
    assert_eq!(items(&second)[0]["headers"]["location"], items(&first)[0]["headers"]["location"]);
    assert_eq!(items(&second)[0]["headers"]["idempotency-replayed"], "true");
}

#[actix_web::test]
async fn an_item_that_had_begun_is_not_skipped_for_a_failure_beside_it() {
    let process = start_with_short_keys();
    let mut batch = creates(1);
    let fails = json!({"id": "fails", "method": "PATCH", "path": MATRIX42.path(MATRIX42.missing_key),
        "headers": {"If-Match": "*"}, "body": {"fields": MATRIX42.text_patch("nowhere")}});
    batch["items"].as_array_mut().expect("items").insert(0, fails);
    batch["on_failure"] = json!("stop");
    let [first, second] = run_twice(&process, &batch, 1).await;
    for batch in [first, second] {
        assert_eq!((&items(&batch)[0]["status"], &items(&batch)[1]["status"]), (&json!(404), &json!(201)), "{batch}");
    }
}

#[actix_web::test]
async fn the_write_of_another_request_with_the_key_is_no_outcome_of_an_item() {
    let process = TestProcess::builder().start();
    let path = MATRIX42.path(MATRIX42.key);
    let patch = |text: &str| json!({"fields": MATRIX42.text_patch(text)});
    let single = process.client().request(Method::PATCH, &path).if_match("*").idempotency_key("used");
    single.fields(&MATRIX42.text_patch("first")).send().await.assert_status(204);
    let mut batch = creates(1);
    let reused = json!({"id": "reused", "method": "PATCH", "path": path, "body": patch("second"),
        "headers": {"If-Match": "*", "Idempotency-Key": "used"}});
    batch["items"].as_array_mut().expect("items").push(reused);
    for batch in run_twice(&process, &batch, 1).await {
        assert_eq!(items(&batch)[1]["body"]["type"], "/problems/idempotency-key-reused", "{batch}");
    }
    assert_eq!((MATRIX42.read_text)(&process.vendors, MATRIX42.key).as_deref(), Some("first"));
}

#[actix_web::test]
async fn a_verdict_by_hand_sends_no_item_again() {
    let env = TestEnv::start_with(&MATRIX42, |config| {
        let config = config.server("deadline", "1s").every_system("timeout", "300ms").every_system("retries", 0);
        config.every_system("connect_timeout", "300ms").every_system("settle_timeout", "3s")
    });
    let tag = env.current_etag(MATRIX42.key).await;
    env.faults().always(CallKind::Update, InjectedFault::HangAfter);
    env.faults().always(MATRIX42.read_call_kind, InjectedFault::ResetBefore);
    let patch = json!({"method": "PATCH", "path": MATRIX42.path(MATRIX42.key), "headers": {"If-Match": tag},
        "body": {"fields": MATRIX42.text_patch("mine")}});
    let path = store(&env.second_client(), &json!({"items": [patch]})).await;
    let until = Instant::now() + TIMEOUT;
    let operation = loop {
        let unknown = env.get("/operations?state=unknown").send().await.assert_status(200).json();
        if let Some(operation) = unknown["items"].get(0) {
            break operation["id"].as_str().expect("an id").to_owned();
        }
        assert!(Instant::now() < until, "{unknown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let sent = env.call_count(CallKind::Update);
    // A key whose write was not applied is free.
    let verdict = env.request(Method::POST, &format!("/operations/{operation}/resolve"));
    verdict.json(&json!({"state": "not-applied", "note": "looked"})).send().await.assert_status(200);
    let batch = wait_until_over(&env.second_client(), &path).await;
    let item = &items(&batch)[0];
    assert_eq!(item["headers"]["operation"], format!("/operations/{operation}"));
    assert_eq!(batch["summary"]["ok"], 0, "{batch}");
    assert_eq!(env.call_count(CallKind::Update), sent, "nothing is sent again");
}

/// The items that are done have each made their record; the others say that nothing was made, and
/// are not of the first eight, which were at the vendor before the store failed.
fn assert_nothing_lost(batch: &Value, new_records: usize) {
    let is_done = |item: &&Value| item["status"] == 201 || item["body"]["state"] == "applied";
    let done = items(batch).iter().filter(is_done).count();
    assert_eq!((done, done >= 8), (new_records, true), "{batch}");
    // The store may have had the intent of one without confirming it.
    let is_refused = |item: &&Value| item["status"] == 503 || item["body"]["state"] == "not-applied";
    let refused = items(batch).iter().filter(is_refused).count();
    assert_eq!(done + refused, items(batch).len(), "{batch}");
    assert_eq!(batch["summary"]["ok"], done, "{batch}");
}

#[actix_web::test]
async fn a_locked_store_loses_no_item_and_repeats_none() {
    let process = TestProcess::builder().start();
    let (before, vendor) = (record_count(&process.vendors), &process.vendors.matrix42);
    vendor.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let path = store(&process.client(), &queued_creates(12)).await;
    vendor.log.wait_for(CallKind::Create, 8).await;
    let rows = StoredRows::open(&process, &path);
    rows.file.execute_batch("BEGIN IMMEDIATE").expect("locked");
    release(&process.vendors);
    // Longer than a statement waits for the lock.
    tokio::time::sleep(Duration::from_secs(6)).await;
    rows.file.execute_batch("ROLLBACK").expect("free again");
    let batch = wait_until_over(&process.client(), &path).await;
    assert_nothing_lost(&batch, record_count(&process.vendors) - before);
    assert!(process.run(&["ledger", "verify"]).status.success());
}

#[actix_web::test]
async fn a_store_that_is_away_loses_no_item_and_repeats_none() {
    let database = std::thread::spawn(create_postgres_database);
    let Some(url) = database.join().expect("a database") else { return };
    let (vendors, folder) = (Sandbox::start().expect("fake vendors"), tempfile::tempdir().expect("a folder"));
    let builder = ProcessBuilder::new(vendors.clone(), folder.path());
    let process = builder.configure(|config| config.store("url", url.as_str())).start();
    let before = record_count(&vendors);
    vendors.matrix42.faults.add(CallKind::Create, InjectedFault::Hold, 0, None);
    let path = store(&process.client(), &queued_creates(12)).await;
    vendors.matrix42.log.wait_for(CallKind::Create, 8).await;
    let (server, name) = url.rsplit_once('/').expect("a database in the address");
    let admin = connect(&format!("{server}/postgres")).await;
    allow_connections(&admin, name, false).await;
    terminate(&admin, name).await;
    release(&vendors);
    tokio::time::sleep(Duration::from_secs(4)).await;
    allow_connections(&admin, name, true).await;
    let until = Instant::now() + TIMEOUT;
    while process.client().get("/readyz").send().await.status != 200 {
        assert!(Instant::now() < until, "not ready: {}", process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let batch = wait_until_over(&process.client(), &path).await;
    assert_nothing_lost(&batch, record_count(&vendors) - before);
}

/// A caller with limits, and one without any.
fn with_limits(config: TestConfig, limits: &[(&str, i64)]) -> TestConfig {
    let limits: Table = limits.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let keys = [("limited", "key-of-limited", "*:*"), ("other", "key-of-other", "*:*")];
    config.api_keys(&keys).caller("limited", "limits", toml::Value::Table(limits))
}

fn authorized(request: Request, caller: &str) -> Request {
    request.header("Authorization", &format!("Bearer key-of-{caller}"))
}

/// Stores a batch of the limited caller.
async fn store_limited(env: &TestEnv, batch: &Value) -> String {
    let request = env.request(Method::POST, "/batch").prefer("respond-async").json(batch);
    authorized(request, "limited").send().await.assert_status(202).header("location").expect("a path").to_owned()
}

async fn wait_until_limited_is_over(env: &TestEnv, path: &str) -> Value {
    let until = Instant::now() + TIMEOUT;
    loop {
        let batch = authorized(env.get(path), "other").send().await.assert_status(200).json();
        if !batch["finished_at"].is_null() {
            return batch;
        }
        assert!(Instant::now() < until, "{batch}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn writes_of_a_caller_over_its_rate_wait_and_are_made_once() {
    let env =
        TestEnv::start_with(&MATRIX42, |config| with_limits(config, &[("rate", 15), ("burst", 2), ("in_flight", 0)]));
    let before = env.record_count();
    let path = store_limited(&env, &queued_creates(15)).await;
    let batch = wait_until_limited_is_over(&env, &path).await;
    assert_eq!(batch["summary"]["ok"], 15, "{batch}");
    assert!(items(&batch).iter().all(|item| item["body"]["state"] == "applied"), "{batch}");
    assert_eq!(env.record_count(), before + 15);
}

/// A stored batch of five creates, of which the first is at the vendor and takes its caller's only
/// place: the environment, the number of records before, and the batch's path.
async fn hold_the_first_of_five() -> (TestEnv, usize, String) {
    let env =
        TestEnv::start_with(&MATRIX42, |config| with_limits(config, &[("rate", 0), ("burst", 0), ("in_flight", 1)]));
    let before = env.record_count();
    env.faults().add(CallKind::Create, InjectedFault::Hold, 0, None);
    let path = store_limited(&env, &creates(5)).await;
    env.wait_for_calls(CallKind::Create, 1).await;
    (env, before, path)
}

#[actix_web::test]
async fn an_item_that_waits_for_a_place_does_not_begin_after_a_cancellation() {
    let (env, before, path) = hold_the_first_of_five().await;
    authorized(env.request(Method::DELETE, &path), "other").send().await.assert_status(202);
    env.faults().clear();
    env.faults().release();
    let batch = wait_until_limited_is_over(&env, &path).await;
    assert_eq!(batch["state"], "cancelled");
    assert_eq!((&batch["summary"]["ok"], &batch["summary"]["skipped"]), (&json!(1), &json!(4)), "{batch}");
    assert_eq!(env.record_count(), before + 1);
}

#[actix_web::test]
async fn a_caller_can_cancel_its_batch_that_takes_all_its_places() {
    let (env, before, path) = hold_the_first_of_five().await;
    let cancel = || authorized(env.request(Method::DELETE, &path), "limited").send();
    cancel().await.assert_problem(429, "quota-exceeded");
    env.faults().clear();
    env.faults().release();
    let until = Instant::now() + TIMEOUT;
    while cancel().await.status != 202 {
        assert!(Instant::now() < until, "it is never admitted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let batch = wait_until_limited_is_over(&env, &path).await;
    assert_eq!((&batch["summary"]["ok"], &batch["summary"]["skipped"]), (&json!(1), &json!(4)), "{batch}");
    assert_eq!(env.record_count(), before + 1);
}
