//! Asynchronous batches that are sent again with their key (contract 4.10).

use std::time::Duration;

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::stored_batch_outcomes::{StoredRows, record_count, start_with_short_keys};
use super::stored_batches::{creates, items, release, wait_until_over};
use super::support::{MATRIX42, TestEnv, TestProcess};

#[actix_web::test]
async fn a_repeated_batch_is_the_first_one_while_it_runs_and_after() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    env.faults().add(CallKind::Create, InjectedFault::Hold, 0, None);
    let send = |batch: Value| {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        request.json(&batch).send()
    };
    let (one, two) = futures_util::future::join(send(creates(4)), send(creates(4))).await;
    let path = one.assert_status(202).header("location").expect("a path").to_owned();
    assert_eq!(two.assert_status(202).header("location"), Some(path.as_str()));
    let replayed = [&one, &two].map(|response| response.header("idempotency-replayed"));
    assert!(replayed == [None, Some("true")] || replayed == [Some("true"), None], "{replayed:?}");
    send(creates(5)).await.assert_problem(422, "idempotency-key-reused");
    env.faults().clear();
    env.faults().release();
    let batch = wait_until_over(&env.second_client(), &path).await;
    assert_eq!(batch["summary"]["ok"], 4, "{batch}");
    let after = send(creates(4)).await;
    assert_eq!((after.assert_status(202).header("location"), &after.json()["state"]), (Some(&*path), &json!("done")));
    assert_eq!(after.header("idempotency-replayed"), Some("true"));
    assert_eq!(env.record_count(), before + 4);
}

#[actix_web::test]
async fn a_batch_that_left_something_to_do_replays_what_it_made_and_does_the_rest() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    let path = MATRIX42.path(MATRIX42.key);
    let mut batch = creates(3);
    let text = |id: &str, of: &str| {
        json!({"id": id, "method": "PATCH", "path": path, "headers": {"If-Match": "*"},
            "body": {"fields": {(MATRIX42.text): of}}})
    };
    let sent = batch["items"].as_array_mut().expect("items");
    sent.insert(1, text("first", "from the batch"));
    sent.insert(2, text("fails", "after the failure"));
    batch["on_failure"] = json!("stop");
    batch["concurrency"] = json!(1);
    let send = || {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        request.json(&batch).send()
    };
    env.faults().add(CallKind::Update, InjectedFault::status(403), 1, Some(1));
    let first = send().await.assert_status(202).header("location").expect("a path").to_owned();
    let ended = wait_until_over(&env.second_client(), &first).await;
    let statuses = |batch: &Value| -> Vec<Value> { items(batch).iter().map(|item| item["status"].clone()).collect() };
    assert_eq!(statuses(&ended), [201, 204, 403, 424, 424], "{ended}");
    env.set_text(MATRIX42.key, "*", "by somebody else").send().await.assert_status(204);
    // However many ask for the rest at once, one batch does it.
    let (one, two) = futures_util::future::join(send(), send()).await;
    let second = one.assert_status(202).header("location").expect("a path").to_owned();
    assert_eq!(two.assert_status(202).header("location"), Some(&*second));
    assert_ne!(second, first);
    let repeated = wait_until_over(&env.second_client(), &second).await;
    assert_eq!(statuses(&repeated), [201, 204, 204, 201, 201], "{repeated}");
    let replayed = |item: usize| repeated["items"][item]["headers"]["idempotency-replayed"].clone();
    assert_eq!([0, 1, 2, 3].map(replayed), [json!("true"), json!("true"), json!(null), json!(null)]);
    assert_eq!(repeated["items"][0]["headers"]["location"], ended["items"][0]["headers"]["location"]);
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("after the failure"));
    assert_eq!(env.record_count(), before + 3);
    assert_eq!(send().await.assert_status(202).header("location"), Some(&*second), "nothing is left to do");
}

#[actix_web::test]
async fn a_repeated_batch_knows_what_it_made_longer_than_its_keys() {
    let process = start_with_short_keys();
    let before = record_count(&process.vendors);
    let mut batch = creates(1);
    let missing = json!({"id": "missing", "method": "PATCH", "path": MATRIX42.path(MATRIX42.missing_key),
        "headers": {"If-Match": "*"}, "body": {"fields": {(MATRIX42.text): "x"}}});
    batch["items"].as_array_mut().expect("items").push(missing);
    let client = process.client();
    let send = |prefer: &str| {
        let request = client.request(Method::POST, "/batch").idempotency_key("nightly").prefer(prefer);
        request.json(&batch).send()
    };
    // The direct batch's keys live for a second; the asynchronous one begins within it.
    let direct = send("handling=strict").await.assert_status(207).json();
    let mut locations = vec![items(&direct)[0]["headers"]["location"].clone()];
    for pause in [0, 1500] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let path = send("respond-async").await.assert_status(202).header("location").expect("a path").to_owned();
        let ended = wait_until_over(&process.client(), &path).await;
        assert_eq!((&items(&ended)[0]["status"], &items(&ended)[1]["status"]), (&json!(201), &json!(404)), "{ended}");
        assert_eq!(items(&ended)[0]["headers"]["idempotency-replayed"], "true", "{ended}");
        locations.push(items(&ended)[0]["headers"]["location"].clone());
    }
    assert_eq!(locations, vec![locations[0].clone(); 3]);
    assert_eq!(record_count(&process.vendors), before + 1);
}

#[actix_web::test]
async fn a_cancelled_batch_that_is_sent_again_stays_cancelled() {
    let env = TestEnv::start(&MATRIX42);
    env.faults().add(CallKind::Create, InjectedFault::Hold, 0, None);
    let mut batch = creates(3);
    batch["concurrency"] = json!(1);
    let send = || {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        request.json(&batch).send()
    };
    let path = send().await.assert_status(202).header("location").expect("a path").to_owned();
    env.wait_for_calls(CallKind::Create, 1).await;
    env.request(Method::DELETE, &path).send().await.assert_status(202);
    env.faults().clear();
    env.faults().release();
    let cancelled = wait_until_over(&env.second_client(), &path).await;
    assert_eq!(cancelled["state"], "cancelled");
    let made = env.call_count(CallKind::Create);
    let again = send().await;
    assert_eq!(
        (again.assert_status(202).header("location"), &again.json()["state"]),
        (Some(&*path), &json!("cancelled"))
    );
    assert_eq!(env.call_count(CallKind::Create), made);
}

fn set_text(id: &str) -> Value {
    json!({"id": id, "method": "PATCH", "path": MATRIX42.path(MATRIX42.key), "headers": {"If-Match": "*"},
        "body": {"fields": {(MATRIX42.text): id}}})
}

#[actix_web::test]
async fn a_repeated_batch_reads_again_what_it_only_read() {
    let env = TestEnv::start(&MATRIX42);
    let mut failing = set_text("fails");
    failing["path"] = json!(MATRIX42.path(MATRIX42.missing_key));
    let read = json!({"id": "read", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let batch = json!({"items": [set_text("made"), read, failing], "concurrency": 1});
    let mut values = Vec::new();
    for _ in 0..2 {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        let path = request.json(&batch).send().await.assert_status(202).header("location").expect("a path").to_owned();
        let ended = wait_until_over(&env.second_client(), &path).await;
        assert_eq!((&items(&ended)[1]["status"], &items(&ended)[2]["status"]), (&json!(200), &json!(404)), "{ended}");
        assert_eq!(items(&ended)[1]["headers"].get("idempotency-replayed"), None);
        values.push(items(&ended)[1]["body"]["fields"][MATRIX42.text].clone());
        env.set_text(MATRIX42.key, "*", "by somebody else").send().await.assert_status(204);
    }
    assert_eq!(values, ["made", "by somebody else"]);
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("by somebody else"), "the write is not made again");
}

#[actix_web::test]
async fn what_a_repeated_batch_had_made_is_shown_if_it_is_cancelled() {
    let process = TestProcess::builder().start();
    let vendor = &process.vendors.matrix42;
    let batch = json!({"items": [set_text("fails"), set_text("made")]});
    let send = async || {
        let client = process.client();
        let request = client.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        let accepted = request.json(&batch).send().await;
        accepted.assert_status(202).header("location").expect("a path").to_owned()
    };
    vendor.faults.add(CallKind::Update, InjectedFault::status(403), 0, Some(1));
    let first = send().await;
    let ended = wait_until_over(&process.client(), &first).await;
    assert_eq!((&items(&ended)[0]["status"], &items(&ended)[1]["status"]), (&json!(403), &json!(204)), "{ended}");
    StoredRows::open(&process, &first).make_unknown(1);
    let sent = vendor.log.count(CallKind::Update);
    vendor.faults.add(CallKind::Update, InjectedFault::Hold, 0, Some(1));
    let second = send().await;
    assert_ne!(second, first);
    vendor.log.wait_for(CallKind::Update, sent + 1).await;
    process.client().request(Method::DELETE, &second).send().await.assert_status(202);
    release(&process.vendors);
    let repeated = wait_until_over(&process.client(), &second).await;
    assert_eq!((&items(&repeated)[0]["status"], &items(&repeated)[1]["status"]), (&json!(204), &json!(204)));
    assert_eq!(items(&repeated)[1]["headers"]["idempotency-replayed"], "true", "{repeated}");
    assert_eq!(vendor.log.count(CallKind::Update), sent + 1, "it is not made again");
}

#[actix_web::test]
async fn a_write_after_a_read_that_is_not_repeated_finds_its_record() {
    let env = TestEnv::start(&MATRIX42);
    let patch = |id: &str, of: &str| {
        json!({"id": id, "method": "PATCH", "path": format!("/records/itsm/{{{of}}}"), "headers": {"If-Match": "*"},
            "depends_on": [of], "body": {"fields": {(MATRIX42.text): id}}})
    };
    let read = json!({"id": "read", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let batch = json!({"items": [read, patch("first", "read"), patch("second", "first")]});
    env.faults().add(CallKind::Update, InjectedFault::status(403), 1, Some(1));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        let path = request.json(&batch).send().await.assert_status(202).header("location").expect("a path").to_owned();
        let ended = wait_until_over(&env.second_client(), &path).await;
        statuses.push(items(&ended).iter().map(|item| item["status"].clone()).collect::<Vec<_>>());
    }
    assert_eq!(statuses, [[200, 204, 403], [200, 204, 204]]);
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("second"));
}

#[actix_web::test]
async fn a_cancelled_batch_that_cannot_be_read_stays_cancelled() {
    for is_cancelled in [true, false] {
        let process = TestProcess::builder().start();
        let send = async || {
            let client = process.client();
            let request = client.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
            let accepted = request.json(&creates(2)).send().await;
            accepted.assert_status(202).header("location").expect("a path").to_owned()
        };
        let path = send().await;
        wait_until_over(&process.client(), &path).await;
        let made = record_count(&process.vendors);
        assert_eq!(process.terminate(), Some(0));
        let rows = StoredRows::open(&process, &path);
        rows.make_unreadable();
        if is_cancelled {
            rows.cancel();
        }
        drop(rows);
        process.restart();
        let ended = wait_until_over(&process.client(), &path).await;
        assert_eq!(
            (&ended["state"] == "cancelled", &ended["summary"]["unknown"]),
            (is_cancelled, &json!(2)),
            "{ended}"
        );
        let again = send().await;
        assert_eq!(again == path, is_cancelled);
        // Their keys show what was made.
        let repeated = wait_until_over(&process.client(), &again).await;
        assert!(is_cancelled || repeated["summary"]["ok"] == 2, "{repeated}");
        assert_eq!(record_count(&process.vendors), made);
    }
}

#[actix_web::test]
async fn an_item_with_the_key_of_another_request_gets_the_same_refusal_again() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    let draft = &creates(1)["items"][0]["body"];
    env.request(Method::POST, "/records/itsm").idempotency_key("taken").json(draft).send().await.assert_status(201);
    let mut batch = creates(2);
    batch["items"][1]["headers"] = json!({"Idempotency-Key": "taken"});
    for _ in 0..2 {
        let request = env.request(Method::POST, "/batch").prefer("respond-async").idempotency_key("nightly");
        let path = request.json(&batch).send().await.assert_status(202).header("location").expect("a path").to_owned();
        let ended = wait_until_over(&env.second_client(), &path).await;
        let refused = &items(&ended)[1];
        assert_eq!((&items(&ended)[0]["status"], &refused["status"]), (&json!(201), &json!(422)), "{ended}");
        assert_eq!(refused["body"]["type"], "/problems/idempotency-key-reused");
    }
    assert_eq!(env.record_count(), before + 2);
}
