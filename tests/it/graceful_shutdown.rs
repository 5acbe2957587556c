//! A gateway that stops: it accepts no new connection and finishes running requests.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use actix_web::http::Method;
use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use super::support::{MATRIX42, PRETECTUM, TestEnv};

#[actix_web::test]
async fn an_unfinished_write_is_reported_unknown_before_shutdown() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("shutdown_timeout", "300ms"));
    let stopping = env.start_second_gateway();
    let tag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hang);
    let patch = stopping.client().request(Method::PATCH, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let stop = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        stopping.stop().await
    };
    let (response, finished) = join(patch.fields(&MATRIX42.text_patch("perhaps")).send(), stop).await;
    response.assert_problem(504, "outcome-unknown");
    assert!(response.header("operation").is_some() && !finished);
}

#[actix_web::test]
async fn shutdown_refuses_new_connections_and_finishes_running_writes() {
    let env = TestEnv::start(&MATRIX42);
    let stopping = env.start_second_gateway();
    let (caller, other) = (stopping.client(), stopping.client());
    let address = stopping.address();
    other.get("/readyz").send().await.assert_status(200);
    let tag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let patch = caller.request(Method::PATCH, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let running = patch.fields(&MATRIX42.text_patch("the last write")).send();
    let stop = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        let stopped = actix_web::rt::spawn(stopping.stop());
        let refused = loop {
            match TcpStream::connect(address) {
                // The gateway has not begun to stop, or is still counting its connections.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // On a connection opened before the stop.
        let unready = other.get("/readyz").send().await;
        assert_eq!(unready.assert_problem(503, "overloaded").json()["detail"], json!("the gateway is stopping"));
        assert_eq!(unready.header("connection"), Some("close"));
        env.faults().release();
        stopped.await.unwrap()
    };
    let (response, finished) = join(running, stop).await;
    assert_eq!(response.assert_status(204).header("connection"), Some("close"));
    assert!(finished, "a write was left unfinished");
    assert_eq!(env.vendor_value(MATRIX42.key).unwrap(), "the last write");
}

#[actix_web::test]
async fn a_write_that_waits_when_the_stop_is_over_is_refused_and_never_sent() {
    for accept in ["application/json", "application/x-ndjson"] {
        let env = TestEnv::start_with(&PRETECTUM, |config| config.server("shutdown_timeout", "300ms"));
        let stopping = env.start_second_gateway();
        // Both records are found by one scan, and then wait for the one slot of their batch.
        env.inject_once(CallKind::Update, InjectedFault::Hang);
        let patch = |id: &str, key: &str| {
            json!({"id": id, "method": "PATCH", "path": PRETECTUM.path(key), "headers": {"If-Match": "*"},
                "body": {"fields": PRETECTUM.text_patch("perhaps")}})
        };
        let items = [patch("sent", PRETECTUM.key), patch("waits", PRETECTUM.other_key)];
        let batch = stopping.client().request(Method::POST, "/batch").header("Accept", accept);
        let stop = async {
            env.wait_for_calls(CallKind::Update, 1).await;
            stopping.stop().await
        };
        let (response, finished) = join(batch.json(&json!({"items": items, "concurrency": 1})).send(), stop).await;
        assert!(!finished);
        let text = response.text.clone();
        for part in ["outcome-unknown", "/problems/overloaded", "shutting down", "\"unknown\":1", "\"failed\":1"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_ne!(env.vendor_value(PRETECTUM.other_key).as_deref(), Some("perhaps"), "{text}");
    }
}

#[actix_web::test]
async fn a_write_that_waits_for_another_writer_is_refused_when_the_stop_is_over() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("shutdown_timeout", "300ms"));
    let stopping = env.start_second_gateway();
    let tag = env.current_etag(MATRIX42.key).await;
    env.inject_once(CallKind::Delete, InjectedFault::Hang);
    let delete = stopping.client().request(Method::DELETE, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let delete = actix_web::rt::spawn(delete.send());
    env.wait_for_calls(CallKind::Delete, 1).await;
    // The delete has the record's lease.
    let patch = stopping.client().request(Method::PATCH, &MATRIX42.path(MATRIX42.key)).if_match(&tag);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stopping.stop().await
    };
    let (refused, finished) = join(patch.fields(&MATRIX42.text_patch("never")).send(), stop).await;
    refused.assert_problem(503, "overloaded");
    delete.await.unwrap().assert_problem(504, "outcome-unknown");
    assert!(!finished);
    assert_eq!(env.call_count(CallKind::Update), 0);
}

#[actix_web::test]
async fn a_stop_responds_to_a_caller_that_waits_for_a_stored_batch() {
    let env = TestEnv::start(&MATRIX42);
    let stopping = env.start_second_gateway();
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let patch = json!({"method": "PATCH", "path": MATRIX42.path(MATRIX42.key), "headers": {"If-Match": "*"},
        "body": {"fields": MATRIX42.text_patch("the last write")}});
    let batch = stopping.client().request(Method::POST, "/batch").prefer("respond-async").prefer("wait=20");
    let caller = actix_web::rt::spawn(batch.json(&json!({"items": [patch]})).send());
    env.wait_for_calls(CallKind::Update, 1).await;
    let stopped = actix_web::rt::spawn(stopping.stop());
    let response = caller.await.unwrap();
    assert!(response.assert_status(202).header("location").is_some_and(|path| path.starts_with("/batches/")));
    assert!(!stopped.is_finished(), "its write still runs");
    env.faults().release();
    assert!(stopped.await.unwrap(), "a write was left unfinished");
    assert_eq!(env.vendor_value(MATRIX42.key).unwrap(), "the last write");
}
