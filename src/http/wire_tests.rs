//! What only shows on the wire: framing of answers without content, and what becomes of connections after a refusal.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::testing::test_api;
use super::{ApiState, RequestLimits, SharedApiState, configure};

/// Sends `text` over one connection and reads until the server closes it or `answers` status lines have come.
async fn send_raw(text: &str, answers: usize) -> String {
    send_raw_with_limits(test_api().api.limits, text, answers).await
}

async fn send_raw_with_limits(limits: RequestLimits, text: &str, answers: usize) -> String {
    let doubles = test_api();
    let ApiState { records, access, operations, health, metrics, .. } = &*doubles.api;
    let api = SharedApiState::new(ApiState {
        records: Arc::clone(records),
        access: Arc::clone(access),
        operations: Arc::clone(operations),
        health: Arc::clone(health),
        metrics: Arc::clone(metrics),
        limits,
        tracer: None,
        separate_ops: false,
    });
    let server = HttpServer::new(move || App::new().configure(configure(&api))).workers(1).bind(("127.0.0.1", 0));
    let server = server.expect("a port");
    let address = server.addrs()[0];
    let running = server.disable_signals().run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut seen = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() < answers || !seen.ends_with(b"\n") {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(length) => seen.extend_from_slice(&chunk[..length]),
            }
            // A document ends without a line end; its last byte is the brace.
            if String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() >= answers && seen.ends_with(b"}") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("an answer in time");
    handle.stop(false).await;
    String::from_utf8(seen).expect("UTF-8").to_lowercase()
}

fn raw_request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer admin\r\n{fields}\r\n")
}

const PATCH: &str = "If-Match: *\r\nContent-Type: application/merge-patch+json\r\n";

#[actix_web::test]
async fn responses_without_content_have_no_content_length() {
    let known = send_raw(&raw_request("GET /records/crm/a:b", "If-None-Match: *\r\n"), 1).await;
    assert!(known.starts_with("http/1.1 304") && !known.contains("content-length"), "{known}");
    let deleted = send_raw(&raw_request("DELETE /records/crm/a:b", "If-Match: *\r\n"), 1).await;
    assert!(deleted.starts_with("http/1.1 204") && !deleted.contains("content-length"), "{deleted}");
    let head = send_raw(&raw_request("HEAD /records/crm/a:b", ""), 1).await;
    assert!(head.contains("content-length: "), "{head}");
    assert!(head.starts_with("http/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let missing = send_raw(&raw_request("HEAD /records/crm/a:missing", ""), 1).await;
    assert!(missing.starts_with("http/1.1 404") && missing.ends_with("\r\n\r\n"), "{missing}");
}

#[actix_web::test]
async fn an_oversized_content_length_is_rejected_and_the_connection_closed() {
    let length = format!("{PATCH}Content-Length: 101\r\n");
    let answer = send_raw(&raw_request("PATCH /records/crm/a:b", &length), 1).await;
    assert!(answer.starts_with("http/1.1 413") && answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("application/problem+json"));
}

#[actix_web::test]
async fn a_body_that_does_not_arrive_gets_408() {
    let length = format!("{PATCH}Content-Length: 10\r\n");
    let limits = RequestLimits { body_timeout: Duration::ZERO, ..test_api().api.limits };
    let answer = send_raw_with_limits(limits, &(raw_request("PATCH /records/crm/a:b", &length) + "{"), 1).await;
    assert!(answer.starts_with("http/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[actix_web::test]
async fn a_rejected_chunked_body_is_drained_and_the_connection_is_reused() {
    let chunked = "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n";
    let first = raw_request("PATCH /records/crm/a:b", chunked) + "3\r\nabc\r\n0\r\n\r\n";
    let both = send_raw(&(first + &raw_request("GET /records/crm/a:missing", "")), 2).await;
    assert!(both.starts_with("http/1.1 415") && both.contains("http/1.1 404"), "{both}");
}

#[actix_web::test]
async fn a_rejected_body_is_never_parsed_as_the_next_request() {
    let smuggled = raw_request("GET /records/crm/a:b", "");
    let length = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", smuggled.len());
    let next = raw_request("GET /records/crm/a:missing", "");
    let answers = send_raw(&(raw_request("PATCH /records/crm/a:b", &length) + &smuggled + &next), 2).await;
    assert!(answers.starts_with("http/1.1 415") && answers.contains("http/1.1 404"), "{answers}");
    assert!(!answers.contains("http/1.1 200"), "{answers}");
}

#[actix_web::test]
async fn the_chunks_of_a_body_are_joined_and_counted_against_the_limit() {
    let chunked = format!("{PATCH}Transfer-Encoding: chunked\r\n");
    let pieces = "b\r\n{\"fields\":{\r\n5\r\n\"n\":1\r\n2\r\n}}\r\n0\r\n\r\n";
    let joined = send_raw(&(raw_request("PATCH /records/crm/a:b", &chunked) + pieces), 1).await;
    assert!(joined.starts_with("http/1.1 204"), "{joined}");
    let piece = format!("33\r\n{}\r\n", " ".repeat(51));
    let long = send_raw(&(raw_request("PATCH /records/crm/a:b", &chunked) + &piece + &piece + "0\r\n\r\n"), 1).await;
    assert!(long.starts_with("http/1.1 413"), "{long}");
}

#[actix_web::test]
async fn every_line_of_a_repeated_header_counts() {
    let fields = "If-Match: \"no\"\r\nX-Between: 1\r\nIf-Match: \"c7.x\"\r\n";
    let read = send_raw(&raw_request("GET /records/crm/a:b", fields), 1).await;
    assert!(read.starts_with("http/1.1 200"), "{read}");
}
