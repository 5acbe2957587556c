//! Arbitrary bytes in the headers that the gateway parses: each request gets a response, and never
//! a 5xx.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::{RawConnection, start_server};
use crate::support::TestServer;

/// A record that does not exist, so that no request changes anything.
const RECORD_PATH: &str = "/records/itsm/7777780d-71a0-df11-708c-0000000000ff";

/// Parts of well-formed values, so that many generated values are nearly valid.
const VALUE_PARTS: &[&[u8]] = &[
    b"\"",
    b"\"a\"",
    b"W/",
    b"*",
    b",",
    b";",
    b"=",
    b" ",
    b"\t",
    b"\\",
    b"\\\"",
    b"q=0",
    b"q=1.001",
    b"wait=",
    b"wait=1",
    b"return=minimal",
    b"return=representation",
    b"respond-async",
    b"application/json",
    b"application/*",
    b"*/*",
    b"application/merge-patch+json",
    b"application/json-patch+json",
    b"charset=",
    b"utf-8",
    b"00-",
    b"-01",
    b"0af7651916cd43dd8448eb211c80319c",
    b"b7ad6b7169203331",
    b"00000000000000000000000000000000",
    b"ff",
    b"?1",
    b":",
    b"99999999999999999999",
    b"-1",
    b"\xff",
    b"\xc3\xa4",
    b"\x80",
    b"c7.x",
    b"r7.",
    b"linked-questions",
    b"native",
];

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![any::<u8>().prop_filter("a line end ends the field", |octet| !b"\r\n".contains(octet))];
    let piece = prop_oneof![
        4 => select(VALUE_PARTS).prop_map(<[u8]>::to_vec),
        1 => octet.prop_map(|octet| vec![octet]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

const TARGET_PARTS: &[&str] = &[
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2f",
    "%00",
    "%zz",
    "%",
    "%ff",
    "%c3%a4",
    "records",
    "crm",
    "itsm",
    "architecture",
    "systems",
    "operations",
    "ledger",
    "docs",
    "problems",
    "healthz",
    "?",
    "&",
    "=",
    "limit=",
    "cursor=",
    "collection=",
    "1",
    "1000",
    "99999999999999999999",
    "record=",
    "state=",
    "since=",
    "until=",
    "2026-01-01T00:00:00Z",
    "*",
    ":",
    ";",
    "a",
    "+",
    "@",
    "[",
    "]",
    "{",
    "\"",
    "|",
    "~",
    "#",
    "object-definitions:",
    "000000000000000000000000",
];

const HEADER_NAMES: &[&str] = &[
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Idempotency-Key",
    "Accept",
    "Content-Type",
    "Content-Encoding",
    "traceparent",
    "tracestate",
    "X-Request-Id",
    "Accept-Loss",
    "Require-Guarantee",
    "Authorization",
    "Expect",
    "Connection",
    "Cookie",
];

fn build_request(method: &str, fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = format!("{method} {RECORD_PATH} HTTP/1.1\r\nHost: gateway\r\n").into_bytes();
    let has = |name: &str| fields.iter().any(|(other, _)| *other == name);
    for (name, value) in [
        ("Authorization", "Bearer admin"),
        ("If-Match", "\"stale\""),
        ("Content-Type", "application/merge-patch+json"),
        ("Prefer", "wait=1"),
    ] {
        if !has(name) {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"Content-Length: 25\r\n\r\n{\"fields\":{\"Field\":\"new\"}}");
    bytes
}

fn send_for_status(server: &TestServer, request: &[u8]) -> u16 {
    let mut connection: RawConnection = server.connect();
    connection.send(request);
    loop {
        let response = connection.read_response_to(request).expect("a response");
        if response.status >= 200 {
            return response.status;
        }
    }
}

#[test]
fn no_header_value_causes_a_5xx_or_goes_unanswered() {
    let server = start_server();
    let fields = prop::collection::vec((select(HEADER_NAMES), header_value()), 1..4);
    let all = (select(&["GET", "PATCH", "DELETE"][..]), fields);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&all, |(method, fields)| {
        let request = build_request(method, &fields);
        let status = send_for_status(&server, &request);
        prop_assert!(status < 500, "{} for {}", status, String::from_utf8_lossy(&request));
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    let written = |call: &String| call.starts_with("PUT") || call.starts_with("DELETE");
    assert!(!server.vendor_calls().iter().any(written), "a write despite a stale ETag or a missing record");
}

#[test]
fn no_request_target_causes_a_5xx_or_goes_unanswered() {
    let server = start_server();
    let target = prop::collection::vec(select(TARGET_PARTS), 0..10).prop_map(|pieces| format!("/{}", pieces.concat()));
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&target, |target| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer admin\r\n\r\n");
        let status = send_for_status(&server, request.as_bytes());
        prop_assert!(status < 500, "{} for {}", status, target);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}
