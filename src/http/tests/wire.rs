//! What only shows on the wire: framing of responses without content, and connections after a
//! refusal.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::test_api::TestApi;
use crate::http::{Listener, RequestLimits, app};

/// Sends `text` over one connection and reads until the server closes it or `responses` status
/// lines have come.
async fn send_raw(text: &str, responses: usize) -> String {
    send_raw_with(|_| {}, text, responses).await
}

async fn send_raw_with(change: impl FnOnce(&mut RequestLimits), text: &str, responses: usize) -> String {
    let api = TestApi::start_with(change).await;
    let state = Arc::clone(&api.state);
    let server = HttpServer::new(move || app(&state, Listener::Everything)).workers(1).bind(("127.0.0.1", 0));
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
        while String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() < responses || !seen.ends_with(b"\n") {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(length) => seen.extend_from_slice(&chunk[..length]),
            }
            // A document ends without a line end; its last byte is the brace.
            if String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() >= responses && seen.ends_with(b"}") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("a response in time");
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
    let response = send_raw(&raw_request("PATCH /records/crm/a:b", &length), 1).await;
    assert!(response.starts_with("http/1.1 413") && response.contains("connection: close"), "{response}");
    assert!(response.contains("application/problem+json"));
}

#[actix_web::test]
async fn a_body_that_does_not_arrive_gets_408() {
    let length = format!("{PATCH}Content-Length: 10\r\n");
    let no_time = |limits: &mut RequestLimits| limits.body_timeout = Duration::ZERO;
    let response = send_raw_with(no_time, &(raw_request("PATCH /records/crm/a:b", &length) + "{"), 1).await;
    assert!(response.starts_with("http/1.1 408") && response.contains("connection: close"), "{response}");
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
    let responses = send_raw(&(raw_request("PATCH /records/crm/a:b", &length) + &smuggled + &next), 2).await;
    assert!(responses.starts_with("http/1.1 415") && responses.contains("http/1.1 404"), "{responses}");
    assert!(!responses.contains("http/1.1 200"), "{responses}");
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
    let tag = TestApi::start().await.tag(7);
    let fields = format!("If-Match: \"no\"\r\nX-Between: 1\r\nIf-Match: {tag}\r\n");
    let read = send_raw(&raw_request("GET /records/crm/a:b", &fields), 1).await;
    assert!(read.starts_with("http/1.1 200"), "{read}");
}
