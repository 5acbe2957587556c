//! Batches: what their callers and the vendors see beside the items' own responses (contract 4.10).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::{CallKind, InjectedFault, matrix42};
use serde_json::{Value, json};

use super::support::{MATRIX42, PRETECTUM, Request, TestEnv, TestServer};

fn batch(env: &TestEnv, body: &Value) -> Request {
    env.request(Method::POST, "/batch").json(body)
}

fn patch(id: &str, key: &str, text: &str) -> Value {
    json!({"id": id, "method": "PATCH", "path": MATRIX42.path(key), "headers": {"If-Match": "*"},
        "body": {"fields": MATRIX42.text_patch(text)}})
}

/// Creates records and returns the response to each.
async fn create_records(env: &TestEnv, count: usize) -> Vec<Value> {
    let fixture = env.fixture;
    let create = |n: usize| {
        json!({"method": "POST", "path": format!("/records/{}", fixture.system),
            "body": {"collection": fixture.collection(), "fields": (fixture.new_record)(&format!("Batch {n}"))}})
    };
    let items: Vec<Value> = (0..count).map(create).collect();
    let created = batch(env, &json!({"items": items})).send().await.assert_status(200).json();
    created["items"].as_array().expect("items").iter().map(|item| item["body"].clone()).collect()
}

fn delete(env: &TestEnv, record: &Value) -> Value {
    let path = format!("/records/{}/{}", env.fixture.system, record["id"].as_str().expect("an id"));
    json!({"method": "DELETE", "path": path, "headers": {"If-Match": record["etag"]}})
}

#[actix_web::test]
async fn a_caller_that_hangs_up_lets_nothing_new_begin() {
    for accept in ["application/json", "application/x-ndjson"] {
        let env = TestEnv::start(&MATRIX42);
        env.inject_once(CallKind::Update, InjectedFault::Hold);
        let items: Vec<Value> = (0..3).map(|n| patch(&n.to_string(), MATRIX42.key, &format!("text {n}"))).collect();
        let request = env.second_client().request(Method::POST, "/batch").header("Accept", accept);
        let caller = actix_web::rt::spawn(request.json(&json!({"items": items, "concurrency": 1})).try_send());
        env.wait_for_calls(CallKind::Update, 1).await;
        caller.abort();
        assert!(caller.await.is_err(), "the client has disconnected");
        tokio::time::sleep(Duration::from_millis(400)).await;
        env.faults().release();
        env.wait_until("the update", |env| env.vendor_value(MATRIX42.key).as_deref() == Some("text 0")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((env.call_count(CallKind::Update), env.list_operations().await.len()), (1, 1), "{accept}");
    }
}

#[actix_web::test]
async fn a_stream_that_is_cut_and_sent_again_repeats_no_write() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    env.faults().add(CallKind::Create, InjectedFault::Hold, 5, Some(1));
    let create = |n: usize| {
        json!({"id": format!("n{n}"), "method": "POST", "path": "/records/itsm",
            "body": {"collection": MATRIX42.collection(), "fields": (MATRIX42.new_record)(&format!("text {n}"))}})
    };
    let body = json!({"items": (0..10).map(create).collect::<Vec<_>>(), "concurrency": 1});
    let request = env.second_client().request(Method::POST, "/batch").header("Accept", "application/x-ndjson");
    let caller = actix_web::rt::spawn(request.idempotency_key("k").json(&body).try_send());
    env.wait_for_calls(CallKind::Create, 6).await;
    caller.abort();
    assert!(caller.await.is_err(), "the stream was cut");
    // The batch polls for this every tenth of a second.
    tokio::time::sleep(Duration::from_millis(400)).await;
    env.faults().release();
    env.wait_until("the create", |env| env.record_count() == before + 6).await;
    let until = Instant::now() + Duration::from_secs(20);
    let last = loop {
        let request = env.request(Method::POST, "/batch").header("Accept", "application/x-ndjson");
        let lines = request.idempotency_key("k").json(&body).send().await.assert_status(200).text.clone();
        let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
        // An item is 409 until the outcome of its first beginning is stored.
        if last["summary"]["ok"] == 10 || Instant::now() > until {
            break last;
        }
    };
    assert_eq!((&last["summary"]["ok"], env.record_count()), (&json!(10), before + 10), "{last}");
    assert_eq!(env.call_count(CallKind::Create), 10);
}

#[actix_web::test]
async fn a_record_keeps_its_order_whatever_path_names_it() {
    let server = TestServer::start_with(|config| config.text_of("models", MODELS));
    let vendor = &server.vendors.matrix42;
    vendor.faults.once(CallKind::Update, InjectedFault::Hold);
    let full = format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID);
    let patch = json!({"method": "PATCH", "path": format!("/models/asset/itsm/{}", matrix42::FACILITY_ID),
        "headers": {"If-Match": "*"}, "body": {"fields": {"name": "Second"}}});
    let body = json!({"items": [patch, {"method": "GET", "path": full}]});
    let request = server.client().request(Method::POST, "/batch").json(&body);
    let caller = actix_web::rt::spawn(request.send());
    vendor.log.wait_for(CallKind::Update, 1).await;
    // A read that did not wait for the update would be over by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    vendor.faults.release();
    let response = caller.await.expect("a response");
    assert_eq!(response.assert_status(200).json()["items"][1]["body"]["fields"]["Name"], "Second", "{response:?}");
}

#[actix_web::test]
async fn twenty_deletes_name_the_three_missing_and_the_stale_one() {
    let env = TestEnv::start(&MATRIX42);
    let records = create_records(&env, 20).await;
    let before = env.record_count();
    let key = |record: &Value| record["id"].as_str().and_then(|id| id.rsplit(':').next()).expect("a key").to_owned();
    for record in &records[..3] {
        (MATRIX42.external_delete)(&env.vendors, &key(record));
    }
    (MATRIX42.external_touch)(&env.vendors, &key(&records[7]));
    let deletes: Vec<Value> = records.iter().map(|record| delete(&env, record)).collect();
    let response = batch(&env, &json!({"items": deletes})).send().await;
    let document = response.assert_status(207).json();
    assert_eq!((&document["summary"]["ok"], &document["summary"]["failed"]), (&json!(16), &json!(4)), "{document}");
    let statuses: Vec<u64> =
        document["items"].as_array().expect("items").iter().filter_map(|item| item["status"].as_u64()).collect();
    let expected = |n: usize| {
        if n < 3 {
            404
        } else if n == 7 {
            412
        } else {
            204
        }
    };
    assert_eq!(statuses, (0..20).map(expected).collect::<Vec<_>>());
    assert_eq!(env.record_count(), before - 3 - 16);
}

#[actix_web::test]
async fn parallel_deletes_on_a_list_that_shifts_give_no_false_404() {
    let env = TestEnv::start(&PRETECTUM);
    env.vendors.pretectum.state.configure(|settings| {
        (settings.page_size, settings.empty_page, settings.moves_up) = (2, false, true);
    });
    // `tests/nightly` runs 1,000 rounds.
    let rounds = std::env::var("SHIFTING_DELETES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    for round in 0..rounds {
        let records = create_records(&env, 8).await;
        let before = env.record_count();
        // Beside the batch, others delete and read by themselves.
        let (in_batch, alone) = records.split_at(5);
        let deletes: Vec<Value> = in_batch.iter().map(|record| delete(&env, record)).collect();
        let client = env.second_client();
        let singles = alone.iter().map(|record| {
            let path = format!("/records/crm/{}", record["id"].as_str().expect("an id"));
            client.request(Method::DELETE, &path).if_match(record["etag"].as_str().expect("a tag")).send()
        });
        let body = json!({"items": deletes});
        let together = futures_util::future::join(batch(&env, &body).send(), futures_util::future::join_all(singles));
        let (deleted, singles) = together.await;
        assert_eq!(deleted.assert_status(200).json()["summary"]["ok"], 5, "round {round}: {deleted:?}");
        for single in &singles {
            single.assert_status(204);
        }
        assert_eq!(env.record_count(), before - 8, "round {round}");
    }
}

#[actix_web::test]
async fn the_first_item_of_a_scan_does_not_wait_for_later_scans() {
    let env = TestEnv::start(&PRETECTUM);
    let get = |n: usize| {
        let key = if n.is_multiple_of(2) { PRETECTUM.key } else { PRETECTUM.other_key };
        json!({"id": n.to_string(), "method": "GET", "path": PRETECTUM.path(key)})
    };
    // Items that name one record run one after another, so each item names another missing record.
    let missing = |n: usize| {
        let key = format!("20240601090000009z9z9z9z9z9z9z9z9z9z9z9z9{n:06}");
        json!({"id": n.to_string(), "method": "GET", "path": PRETECTUM.path(&key)})
    };
    let items: Vec<Value> = (0..2).map(get).chain((2..100).map(missing)).collect();
    let request = batch(&env, &json!({"items": items})).header("Accept", "application/x-ndjson");
    let text = request.send().await.assert_status(200).text.clone();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = lines.iter().position(|line| line["id"] == "0").expect("the first item");
    assert_eq!(lines[first]["status"], 200, "{text}");
    assert!(first < 64, "it ended as number {first}");
}

/// The names and labels of all series.
async fn series(env: &TestEnv) -> BTreeSet<String> {
    let text = env.get("/metrics").send().await.assert_status(200).text.clone();
    let name = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
    text.lines().filter(|line| !line.starts_with('#')).filter_map(name).collect()
}

#[actix_web::test]
async fn odd_batches_add_no_metric_series() {
    let env = TestEnv::start(&MATRIX42);
    let mut random = fastrand::Rng::with_seed(4);
    let mut odd = |round: usize| {
        let text = |random: &mut fastrand::Rng| -> String {
            (0..random.usize(1..20)).map(|_| random.alphanumeric()).collect()
        };
        let path = match random.usize(..4) {
            0 => format!("/records/{}/{}", text(&mut random), text(&mut random)),
            1 => format!("/records/itsm/{}", text(&mut random)),
            2 => format!("/models/{}/itsm/{}", text(&mut random), text(&mut random)),
            _ => format!("/{}", text(&mut random)),
        };
        let method = ["GET", "PATCH", "DELETE", "POST", "PUT"][random.usize(..5)];
        json!({"items": [{"id": text(&mut random), "method": method, "path": path, "body": {}}], "concurrency": 1 + round % 32})
    };
    // Every kind of outcome has been seen after the first hundreds.
    for round in 0..400 {
        batch(&env, &odd(round)).send().await;
    }
    // A request for the metrics is counted after its response.
    series(&env).await;
    let before = series(&env).await;
    assert!(before.iter().any(|name| name.starts_with("gateway_batch_items_total")), "no batch ran");
    // `tests/nightly` sends 10,000.
    let rounds = std::env::var("ODD_BATCHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(800);
    for round in 0..rounds {
        batch(&env, &odd(round)).send().await;
    }
    let after = series(&env).await;
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[actix_web::test]
async fn a_batch_is_previewed_and_nothing_is_written() {
    let env = TestEnv::start(&MATRIX42);
    let before = env.record_count();
    let create = json!({"id": "c", "method": "POST", "path": "/records/itsm",
        "body": {"collection": MATRIX42.collection(), "fields": (MATRIX42.new_record)("new")}});
    let remove = json!({"id": "d", "method": "DELETE", "path": MATRIX42.path(MATRIX42.deletable_key),
        "headers": {"If-Match": "*"}});
    let stale = json!({"id": "s", "method": "DELETE", "path": MATRIX42.path(MATRIX42.deletable_key),
        "headers": {"If-Match": "\"x\""}});
    let of_created = json!({"id": "e", "method": "PATCH", "path": "/records/itsm/{c}", "depends_on": ["c"],
        "headers": {"If-Match": "*"}, "body": {"fields": {}}});
    let get = json!({"id": "g", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let items = [patch("p", MATRIX42.key, "previewed"), create, remove, stale, of_created, get];
    let request = env.request(Method::POST, "/batch/preview").idempotency_key("k").json(&json!({"items": items}));
    let document = request.send().await.assert_status(207).json();
    let statuses: Vec<_> =
        document["items"].as_array().expect("items").iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [200, 200, 200, 412, 424, 200], "{document}");
    for (item, action) in [(0, "update"), (1, "create"), (2, "delete")] {
        let body = &document["items"][item]["body"];
        assert_eq!((&body["action"], body["plan"].is_string()), (&json!(action), true), "{body}");
    }
    assert_eq!((env.write_call_count(), env.record_count()), (0, before));
    assert!(env.list_operations().await.is_empty());
    assert_eq!(env.read_ledger().await.json()["items"], json!([]));
    // Each plan makes the write of its item.
    let mut planned = items[0].clone();
    planned["headers"]["If-Plan"] = document["items"][0]["body"]["plan"].clone();
    let applied = batch(&env, &json!({"items": [planned]})).idempotency_key("k").send().await;
    applied.assert_status(200);
    assert_eq!(env.vendor_value(MATRIX42.key).as_deref(), Some("previewed"));
}

#[actix_web::test]
async fn an_item_without_the_permission_is_403_and_the_others_run() {
    let env =
        TestEnv::start_with(&MATRIX42, |config| config.api_keys(&[("some", "some-key-0123456789ab", "itsm:read")]));
    let get = json!({"id": "g", "method": "GET", "path": MATRIX42.path(MATRIX42.key)});
    let remove = json!({"id": "d", "method": "DELETE", "path": MATRIX42.path(MATRIX42.deletable_key),
        "headers": {"If-Match": "*"}});
    let elsewhere = json!({"id": "e", "method": "GET", "path": PRETECTUM.path(PRETECTUM.key)});
    let request = batch(&env, &json!({"items": [patch("p", MATRIX42.key, "never"), get, remove, elsewhere]}));
    let response = request.header("Authorization", "Bearer some-key-0123456789ab").send().await;
    let document = response.assert_status(207).json();
    let items = document["items"].as_array().expect("items");
    let statuses: Vec<&Value> = items.iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [403, 200, 403, 403], "{document}");
    assert_eq!(items[0]["body"]["type"], "/problems/forbidden");
    assert_eq!((&document["summary"]["ok"], &document["summary"]["failed"]), (&json!(1), &json!(3)));
    assert_eq!(env.write_call_count(), 0);
    assert_eq!(PRETECTUM.log(&env.vendors).count(CallKind::List), 0);
}

#[actix_web::test]
async fn twenty_deletes_in_a_dataset_of_1208_records_cost_one_scan() {
    let env = TestEnv::start(&PRETECTUM);
    let vendor = &env.vendors.pretectum.state;
    vendor.configure(|settings| (settings.page_size, settings.empty_page) = (100, false));
    let mut ids = Vec::new();
    while env.record_count() < 1208 {
        let fields = json!({"First Name": "New", "Last Name": format!("Record {}", ids.len())});
        ids.push(vendor.insert(fields.as_object().expect("fields")));
    }
    let step = ids.len() / 20;
    let deletes: Vec<Value> = ids
        .iter()
        .step_by(step)
        .take(20)
        .map(|key| json!({"method": "DELETE", "path": PRETECTUM.path(key), "headers": {"If-Match": "*"}}))
        .collect();
    env.forget_calls();
    let response = batch(&env, &json!({"items": deletes})).send().await;
    assert_eq!(response.assert_status(200).json()["summary"]["ok"], 20, "{response:?}");
    assert_eq!((env.call_count(CallKind::Delete), env.record_count()), (20, 1188));
    // A scan ends with the last record that is looked for.
    assert!(env.call_count(CallKind::List) <= 1208_usize.div_ceil(100), "{:?}", env.requests());
}
