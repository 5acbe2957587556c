//! The feed of changes (contract 4.14).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::rt::task::JoinHandle;
use serde_json::Value;

use crate::support::{
    EventStream, FIXTURES, PRETECTUM, Request, TestClient, TestEnv, TestProcess, TestResponse, VendorFixture,
    for_each_vendor,
};

for_each_vendor!(every_applied_write_is_in_the_feed_once_and_in_order,);

fn changes(env: &TestEnv, query: &str) -> Request {
    env.get(&format!("/changes?{query}"))
}

async fn page(env: &TestEnv, query: &str) -> Value {
    changes(env, query).send().await.assert_status(200).json()
}

async fn now(env: &TestEnv, query: &str) -> String {
    page(env, &format!("{query}since=now")).await["next"].as_str().unwrap().to_owned()
}

fn types(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("records-gateway.")).collect()
}

async fn set_text(env: &TestEnv, text: &str) {
    env.set_text(env.fixture.key, "*", text).send().await.assert_status(env.fixture.patch_status);
}

/// How many requests that concern no system are in flight, including the one for the metrics.
async fn in_flight(env: &TestEnv) -> u64 {
    let metrics = env.get("/metrics").send().await.text;
    let value = metrics.lines().find_map(|line| line.strip_prefix("gateway_in_flight{system=\"none\"} "));
    value.expect("the gauge").parse().expect("a number")
}

/// Sends a request that the gateway holds, and waits until it has arrived.
async fn hold(env: &TestEnv, query: &str) -> JoinHandle<TestResponse> {
    let before = in_flight(env).await;
    let request = changes(env, query);
    let held = actix_web::rt::spawn(async move { request.try_send().await.expect("a response") });
    let until = Instant::now() + Duration::from_secs(20);
    while in_flight(env).await == before {
        assert!(Instant::now() < until, "{query} has not arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A gateway that holds nothing would have responded by the end of another such request.
    changes(env, "since=now").send().await.assert_status(200);
    assert!(!held.is_finished(), "{query} is not held");
    held
}

async fn every_applied_write_is_in_the_feed_once_and_in_order(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let start = now(&env, "").await;
    set_text(&env, "very-secret-value").await;
    let stale = env.set_text(fixture.key, "\"c0.AAAA\"", "refused").send().await;
    assert!(stale.status >= 400, "{stale:?}");
    let created = env.create("very-secret-too").send().await;
    let id = created.assert_status(201).json()["id"].as_str().unwrap().to_owned();
    env.delete(fixture.deletable_key, "*").send().await.assert_status(204);
    let all = page(&env, &format!("since={start}")).await;
    assert_eq!(types(&all), ["record.updated", "record.created", "record.deleted"], "{all}");
    assert!(!all.to_string().contains("very-secret"), "{all}");
    assert_eq!(all["at_end"], true);
    let [updated, made, deleted] = [0, 1, 2].map(|index| &all["items"][index]);
    assert_eq!(updated["subject"], fixture.id(fixture.key));
    assert_eq!(updated["data"]["record"], fixture.path(fixture.key));
    assert_eq!(updated["source"], format!("/systems/{}", fixture.system));
    assert_eq!(updated["data"]["paths"][0], format!("/fields/{}", fixture.text));
    assert_eq!(
        (made["subject"].as_str(), deleted["subject"].as_str()),
        (Some(id.as_str()), Some(fixture.id(fixture.deletable_key).as_str()))
    );
    for event in [updated, made] {
        let read = env.get(event["data"]["record"].as_str().unwrap()).send().await;
        if let Some(etag) = event["data"]["etag"].as_str() {
            assert_eq!(read.assert_status(200).etag(), etag);
        }
        env.get(event["data"]["operation"].as_str().unwrap()).send().await.assert_status(200);
    }
    let sequences: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|event| event["sequence"].to_string()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    let end = all["next"].as_str().unwrap();
    let empty = page(&env, &format!("since={end}")).await;
    assert_eq!((types(&empty).len(), &empty["at_end"]), (0, &Value::Bool(true)));
    let first = page(&env, &format!("since={start}&limit=1")).await;
    let second = page(&env, &format!("since={}&limit=1", first["next"].as_str().unwrap())).await;
    assert_eq!((&first["items"][0], &second["items"][0]), (updated, made), "no event is lost between pages");
    assert_eq!(types(&page(&env, "limit=1000").await).len(), 3, "first is the default");
}

#[actix_web::test]
async fn a_held_response_comes_with_the_event() {
    let env = TestEnv::start(&PRETECTUM);
    let start = now(&env, "").await;
    let held = hold(&env, &format!("since={start}&wait=4")).await;
    set_text(&env, "awaited").await;
    let held = held.await.unwrap();
    assert_eq!(types(&held.assert_status(200).json()), ["record.updated"]);
    let begun = Instant::now();
    let next = held.json()["next"].as_str().unwrap().to_owned();
    let empty = page(&env, &format!("since={next}&wait=1")).await;
    assert!(types(&empty).is_empty() && begun.elapsed() >= Duration::from_secs(1));
    let begun = Instant::now();
    changes(&env, "since=now&wait=3600").send().await.assert_status(200);
    assert!(begun.elapsed() < Duration::from_secs(6), "not beyond the deadline");
}

#[actix_web::test]
async fn a_query_of_the_feed_that_is_wrong_is_refused() {
    let env = TestEnv::start(&PRETECTUM);
    let cursor = now(&env, "system=crm&").await;
    for query in ["since=nonsense", "since=", "limit=0", "wait=soon", "wait=-1", "cursor=x", &format!("since={cursor}")]
    {
        changes(&env, query).send().await.assert_problem(400, "malformed-request");
    }
    changes(&env, &format!("system=crm&since={cursor}&limit=7&wait=0")).send().await.assert_status(200);
    changes(&env, "system=nowhere").send().await.assert_problem(404, "system-not-found");
    changes(&env, "").header("Accept", "text/html").send().await.assert_problem(406, "not-acceptable");
    let wrong = changes(&env, "").header("Accept", "text/event-stream").header("Last-Event-ID", "x");
    let problem = wrong.send().await.assert_problem(400, "malformed-request").text.clone();
    assert!(problem.contains("Last-Event-ID must be") && !problem.contains("since must"), "{problem}");
}

#[actix_web::test]
async fn a_caller_sees_the_events_of_systems_that_it_may_read() {
    let env = TestEnv::start_with(&PRETECTUM, |config| {
        config.api_keys(&[("all", "k-all", "*:*"), ("reader", "k-crm", "crm:read"), ("other", "k-itsm", "itsm:read")])
    });
    let with_key = |request: Request, key: &str| request.header("Authorization", &format!("Bearer {key}"));
    with_key(env.set_text(PRETECTUM.key, "*", "x"), "k-all").send().await.assert_status(204);
    for (key, query, count) in [("k-all", "", 1), ("k-crm", "", 1), ("k-crm", "system=crm", 1), ("k-itsm", "", 0)] {
        let seen = with_key(changes(&env, query), key).send().await.assert_status(200).json();
        assert_eq!(types(&seen).len(), count, "{key} {query}");
    }
    with_key(changes(&env, "system=crm"), "k-itsm").send().await.assert_problem(403, "forbidden");
    changes(&env, "").send().await.assert_problem(401, "unauthenticated");
}

#[actix_web::test]
async fn a_cursor_that_is_too_old_names_the_way_back() {
    let env = TestEnv::start_with(&PRETECTUM, |config| config.server("changes_retention", "1s"));
    let start = now(&env, "").await;
    set_text(&env, "old").await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let gone = changes(&env, &format!("since={start}")).send().await;
    let problem = gone.assert_problem(410, "cursor-expired").json();
    let lists: Vec<_> = problem["lists"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert_eq!(lists.len(), FIXTURES.len(), "{problem}");
    for list in lists {
        env.get(list).send().await.assert_status(200);
    }
    let stream = changes(&env, "").header("Accept", "text/event-stream").header("Last-Event-ID", &start);
    stream.send().await.assert_problem(410, "cursor-expired");
    set_text(&env, "new").await;
    let restart = problem["restart"].as_str().unwrap();
    assert_eq!(types(&page(&env, &format!("since={restart}")).await), ["record.updated"]);
}

async fn open(env: &TestEnv, last_event_id: Option<&str>) -> EventStream {
    let request = changes(env, "since=now");
    match last_event_id {
        Some(id) => request.header("Last-Event-ID", id).open_stream().await,
        None => request.open_stream().await,
    }
}

#[actix_web::test]
async fn a_stream_continues_where_it_was_cut_even_before_an_event() {
    let env = TestEnv::start(&PRETECTUM);
    let mut stream = open(&env, None).await;
    let opening = stream.next().await.unwrap();
    let id = opening[0].strip_prefix("id: ").unwrap_or_else(|| panic!("{opening:?}")).to_owned();
    assert_eq!(opening.len(), 1, "no event");
    drop(stream);
    set_text(&env, "missed").await;
    let mut again = open(&env, Some(&id)).await;
    let (first_id, first) = again.next_event().await;
    assert_eq!(first["type"], "records-gateway.record.updated");
    set_text(&env, "seen").await;
    let (_, second) = again.next_event().await;
    assert_ne!(first["id"], second["id"]);
    drop(again);
    let (_, repeated) = open(&env, Some(&first_id)).await.next_event().await;
    assert_eq!(repeated, second, "what follows the last id");
}

#[actix_web::test]
async fn at_most_so_many_streams_are_open_and_a_closed_one_counts_no_more() {
    let env = TestEnv::start_with(&PRETECTUM, |config| config.server("max_streams", 2));
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = open(&env, None).await;
        stream.next().await.unwrap();
        streams.push(stream);
    }
    let third = changes(&env, "").header("Accept", "text/event-stream").send().await;
    assert!(third.assert_problem(503, "overloaded").header("retry-after").is_some());
    changes(&env, "").send().await.assert_status(200);
    let gauge =
        |metrics: &str| metrics.lines().find_map(|line| line.strip_prefix("changes_streams ")).map(str::to_owned);
    assert_eq!(gauge(&env.get("/metrics").send().await.text).as_deref(), Some("2"));
    streams.clear();
    // Before the gateway writes to a stream again, which it does every 15 s.
    let until = Instant::now() + Duration::from_secs(5);
    while gauge(&env.get("/metrics").send().await.text).as_deref() != Some("0") {
        assert!(Instant::now() < until, "still counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn a_stop_ends_streams_and_held_responses() {
    let mut env = TestEnv::start_with(&PRETECTUM, |config| config.server("shutdown_timeout", "30s"));
    let mut stream = open(&env, None).await;
    stream.next().await.unwrap();
    let held = hold(&env, "since=now&wait=4").await;
    let begun = Instant::now();
    env.restart().await;
    // Neither the held response's 4 s nor `shutdown_timeout` is used up.
    assert!(begun.elapsed() < Duration::from_millis(3500), "{:?}", begun.elapsed());
    assert_eq!(stream.next().await, None);
    held.await.unwrap().assert_status(200);
}

#[actix_web::test]
async fn head_of_the_feed_has_no_body() {
    let env = TestEnv::start(&PRETECTUM);
    for accept in ["application/json", "text/event-stream"] {
        let head = env.request(Method::HEAD, "/changes").header("Accept", accept).send().await;
        assert_eq!((head.assert_status(200).header("content-type"), head.text.as_str()), (Some(accept), ""));
    }
}

/// Opens a stream and reads the id of its position.
fn open_socket(address: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(b"GET /changes HTTP/1.1\r\nHost: gateway\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.windows(2).any(|two| two == b"\n\n") {
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    socket
}

/// The resident memory of a process in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[actix_web::test]
async fn idle_streams_take_at_most_20_kib_each_and_256_are_the_most() {
    const FIRST: u64 = 32;
    let process = TestProcess::builder().configure(|config| config.server("workers", 2)).start();
    let (address, id) = (process.address(), process.id());
    let opened = tokio::task::spawn_blocking(move || {
        let first: Vec<_> = (0..FIRST).map(|_| open_socket(&address)).collect();
        let before = resident_kib(id);
        let rest: Vec<_> = (FIRST..256).map(|_| open_socket(&address)).collect();
        (resident_kib(id).saturating_sub(before), first, rest)
    });
    let (grown, ..) = &opened.await.unwrap();
    assert!(*grown <= (256 - FIRST) * 20, "{grown} KiB for {} streams", 256 - FIRST);
    let client = TestClient::new(format!("http://{}", process.address()));
    let one_more = client.get("/changes").header("Accept", "text/event-stream").send().await;
    one_more.assert_problem(503, "overloaded");
    process.kill();
    process.vendors.stop().await;
}
