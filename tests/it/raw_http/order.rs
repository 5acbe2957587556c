//! The order of checks (contract 4): of two errors in one request, the earlier one is reported.

use records_gateway::sandbox::{bluedolphin, pretectum};

use super::{ADA, FACILITY, ada_path, request_head, request_with_body, start_server, start_server_with};
use crate::support::FIXTURES;

const MERGE: &str = "Content-Type: application/merge-patch+json\r\n";
const JSON_PATCH: &str = "Content-Type: application/json-patch+json\r\n";
const HTML: &str = "Accept: text/html\r\n";
/// Not acceptable either; unlike HTML it is no browser's, which gets a page where nothing is found.
const PLAIN: &str = "Accept: text/plain\r\n";
const STALE: &str = "If-Match: \"stale\"\r\n";
const MISSING_RECORD: &str = "/records/itsm/7777780d-71a0-df11-708c-0000000000ff";

fn with_credentials(caller: &str, request: &str) -> String {
    request.replacen("Authorization: Bearer admin\r\n", caller, 1)
}

fn as_reader(request: &str) -> String {
    with_credentials("Authorization: Bearer reader\r\n", request)
}

fn without_credentials(request: &str) -> String {
    with_credentials("", request)
}

#[test]
fn http_and_route_are_checked_before_authentication() {
    let server = start_server();
    for (build_request, name) in [
        (request_head("GET /records/crm/%zz", ""), "malformed-request"),
        (request_head("GET /nowhere", ""), "not-found"),
        (request_head(&format!("PUT {}", ada_path()), ""), "method-not-allowed"),
        (request_head(&format!("FOO {}", ada_path()), ""), "not-implemented"),
        (request_head(&format!("GET /{}", "a".repeat(8000)), ""), "uri-too-long"),
        (request_head(&format!("GET {}", ada_path()), &format!("X: {}\r\n", "v".repeat(9000))), "headers-too-large"),
    ] {
        server.assert_rejected(&without_credentials(&build_request), name);
    }
}

#[test]
fn caller_system_permission_id_and_accept_are_checked_in_order() {
    let server = start_server();
    let unknown = server.assert_rejected(
        &without_credentials(&request_head(&format!("GET /records/nope/{ADA}"), "")),
        "unauthenticated",
    );
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"records-gateway\""));
    let wrong = server.assert_rejected(
        &with_credentials("Authorization: Bearer wrong\r\n", &request_head("GET /systems", "")),
        "unauthenticated",
    );
    assert!(wrong.header("www-authenticate").is_some_and(|value| value.contains("error=\"invalid_token\"")));
    server.assert_rejected(&as_reader(&request_head(&format!("DELETE /records/nope/{ADA}"), "")), "system-not-found");
    server.assert_rejected(&as_reader(&request_head("DELETE /records/crm/no-id", "")), "forbidden");
    server.assert_rejected(&as_reader(&request_head("GET /records/itsm/no-id", PLAIN)), "forbidden");
    for method in ["GET", "DELETE", "PATCH"] {
        server.assert_rejected(&request_head(&format!("{method} /records/itsm/no-id"), PLAIN), "record-not-found");
    }
    server.assert_rejected(&request_head("GET /operations/no-id", PLAIN), "operation-not-found");
    server.assert_rejected(
        &request_head("GET /operations/01a20020-edfb-7727-863b-de28a5e7a0a2?x=1", PLAIN),
        "not-acceptable",
    );
}

#[test]
fn accept_size_type_and_syntax_are_checked_in_order() {
    let server = start_server_with(|config| config.server("max_body", 100));
    let patch = format!("PATCH {}", ada_path());
    let long = "x".repeat(101);
    server.assert_rejected(&request_with_body(&patch, &format!("{HTML}{MERGE}"), &long), "not-acceptable");
    server.assert_rejected(
        &request_with_body(&patch, &format!("{HTML}Content-Type: text/plain\r\n"), "x"),
        "not-acceptable",
    );
    server.assert_rejected(&request_with_body(&patch, "Content-Type: text/plain\r\n", &long), "body-too-large");
    server.assert_rejected(&request_with_body(&patch, "Content-Encoding: gzip\r\n", &long), "body-too-large");
    for fields in ["Content-Type: text/plain\r\nIf-Match: bad\r\n", "", "Content-Encoding: br\r\nIf-Match: bad\r\n"] {
        server.assert_rejected(&request_with_body(&patch, fields, "{bad"), "unsupported-media-type");
        server.assert_rejected(&request_with_body("POST /records/crm", fields, "{bad"), "unsupported-media-type");
    }
}

#[test]
fn syntax_is_checked_before_428_and_428_before_422() {
    let server = start_server();
    let patch = format!("PATCH {}", ada_path());
    server.assert_rejected(&request_with_body(&patch, MERGE, "{bad"), "malformed-request");
    server.assert_rejected(&request_with_body(&patch, JSON_PATCH, "{}"), "malformed-request");
    server.assert_rejected(&request_with_body(&format!("{patch}?x=1"), MERGE, "{}"), "malformed-request");
    for fields in ["Idempotency-Key: \"\r\n", "If-None-Match: bad\r\n", "Require-Guarantee: some\r\n"] {
        server.assert_rejected(&request_with_body(&patch, &format!("{MERGE}{fields}"), "{}"), "malformed-request");
        server.assert_rejected(&request_head(&format!("DELETE {}", ada_path()), fields), "malformed-request");
    }
    for bad in ["", "stale", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", ",", "\"unterminated"] {
        let fields = format!("{MERGE}If-Match: {bad}\r\n");
        server.assert_rejected(&request_with_body(&patch, &fields, r#"{"fields":null}"#), "malformed-request");
    }
    server.assert_rejected(&request_with_body(&patch, MERGE, r#"{"fields":null}"#), "precondition-required");
    server.assert_rejected(
        &request_with_body(&patch, JSON_PATCH, r#"[{"op":"remove","path":"/id"}]"#),
        "precondition-required",
    );
    server
        .assert_rejected(&request_with_body(&format!("PATCH {MISSING_RECORD}"), MERGE, "{}"), "precondition-required");
}

/// An error of the body alone is reported before the record is read, whatever the ETag, at every
/// vendor.
#[test]
fn what_no_patch_can_change_is_422_before_the_record_is_read() {
    let server = start_server();
    let records = FIXTURES.iter().flat_map(|fixture| [fixture.key, fixture.missing_key].map(|key| fixture.path(key)));
    for record in records {
        for body in [
            r#"{"fields":null}"#,
            r#"{"fields":[1]}"#,
            r#"{"other":1}"#,
            "[1]",
            r#"{"id":"another"}"#,
            r#"{"system":null}"#,
        ] {
            for tag in [STALE, "If-Match: *\r\n"] {
                let request = request_with_body(&format!("PATCH {record}"), &format!("{MERGE}{tag}"), body);
                server.assert_rejected(&request, "read-only-member");
            }
        }
        for body in [
            r#"[{"op":"replace","path":"/id","value":1}]"#,
            r#"[{"op":"remove","path":"/fields"}]"#,
            r#"[{"op":"add","path":"","value":{}}]"#,
            r#"[{"op":"move","from":"/etag","path":"/fields/a"}]"#,
        ] {
            server.assert_rejected(
                &request_with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), body),
                "read-only-member",
            );
        }
    }
    // Its value may be repeated, which only the record shows.
    let read_only = |tag| {
        let record = format!("PATCH /records/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
        request_with_body(&record, &format!("{MERGE}{tag}"), r#"{"fields":{"type":"other"}}"#)
    };
    let target = format!("/records/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    server.exchange(read_only("If-Match: *\r\n")).assert_problem("read-only-member", &target);
    server.exchange(read_only(STALE)).assert_problem("precondition-failed", &target);
}

#[test]
fn not_found_precedes_412_and_412_precedes_vendor_rejection() {
    let server = start_server_with(|config| config.every_system("validate", "off"));
    let change = r#"{"fields":{"Description":"x"}}"#;
    server
        .exchange(request_with_body(&format!("PATCH {MISSING_RECORD}"), &format!("{MERGE}{STALE}"), change))
        .assert_problem("record-not-found", MISSING_RECORD);
    server
        .exchange(request_head(&format!("DELETE {MISSING_RECORD}"), STALE))
        .assert_problem("record-not-found", MISSING_RECORD);
    server
        .exchange(request_head(&format!("GET {MISSING_RECORD}"), STALE))
        .assert_problem("record-not-found", MISSING_RECORD);
    let deleted = format!("/records/crm/{}", pretectum::MARY_ID);
    server
        .exchange(request_with_body(&format!("PATCH {deleted}"), &format!("{MERGE}{STALE}"), change))
        .assert_problem("record-not-found", &deleted);
    // A stale ETag with an attribute that the vendor would reject; a stale ETag with a missing
    // path.
    let record = format!("/records/itsm/{FACILITY}");
    let rejected = r#"{"fields":{"NoSuchAttribute":"x"}}"#;
    let stale = server.exchange(request_with_body(&format!("PATCH {record}"), &format!("{MERGE}{STALE}"), rejected));
    stale.assert_problem("precondition-failed", &record);
    assert!(stale.json()["current_etag"].is_string());
    let missing = r#"[{"op":"remove","path":"/fields/zzz"}]"#;
    server
        .exchange(request_with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), missing))
        .assert_problem("precondition-failed", missing);
    let untrue = r#"[{"op":"test","path":"/fields/Description","value":"other"}]"#;
    server
        .exchange(request_with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), untrue))
        .assert_problem("precondition-failed", untrue);
    assert!(server.vendor_calls().iter().all(|call| !call.starts_with("PUT") && !call.starts_with("DELETE")));
}

#[test]
fn a_running_operation_is_checked_after_422_and_before_the_etag() {
    let server = start_server();
    // The queued change does not take effect during this test.
    let vendor = &server.vendors.bluedolphin;
    records_gateway::sandbox::VendorModel::set_option(&*vendor.state, "queue_delay_ms", &serde_json::json!(3_600_000))
        .expect("a setting");
    let record = format!("/records/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    let patch = format!("PATCH {record}");
    let change = r#"{"fields":{"name":"Another name"}}"#;
    let consent = "Accept-Loss: linked-questions, source-connections\r\n";
    let accepted = server.exchange(request_with_body(&patch, &format!("{MERGE}{consent}If-Match: *\r\n"), change));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let running = server.exchange(request_with_body(&patch, &format!("{MERGE}{consent}{STALE}"), change));
    running.assert_problem("operation-in-progress", "a stale ETag while an operation runs");
    assert!(running.header("retry-after").is_some());
    let impossible = server.exchange(request_with_body(&patch, &format!("{MERGE}{STALE}"), r#"{"fields":null}"#));
    impossible.assert_problem("read-only-member", "an impossible patch while an operation runs");
}

#[test]
fn a_post_is_checked_in_the_same_order() {
    let server = start_server();
    let json = "Content-Type: application/json\r\n";
    let post = "POST /records/itsm";
    server.assert_rejected(
        &without_credentials(&request_with_body("POST /records/nope", json, "{bad")),
        "unauthenticated",
    );
    server.assert_rejected(&as_reader(&request_with_body("POST /records/nope", json, "{bad")), "system-not-found");
    server.assert_rejected(&as_reader(&request_with_body(post, HTML, "{bad")), "forbidden");
    server.assert_rejected(&request_with_body(post, HTML, "{bad"), "not-acceptable");
    server.assert_rejected(&request_with_body(post, MERGE, "{bad"), "unsupported-media-type");
    server.assert_rejected(&request_with_body(post, json, "{bad"), "malformed-request");
    server.assert_rejected(
        &request_with_body(post, &format!("{json}Idempotency-Key: \"\r\n"), "[]"),
        "malformed-request",
    );
    server.assert_rejected(&request_with_body(&format!("{post}?x=1"), json, "[]"), "malformed-request");
    server.assert_rejected(&request_with_body(post, json, "[]"), "rejected");
    server.assert_rejected(&request_with_body(post, &format!("{json}If-None-Match: *\r\n"), "{}"), "rejected");
    server.assert_rejected(
        &request_with_body(post, &format!("{json}If-None-Match: *\r\n"), r#"{"fields":{}}"#),
        "precondition-failed",
    );
}
