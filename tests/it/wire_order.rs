//! The order of checks (contract 4) over the wire: two faults in one request, and the earlier one is told.

use super::wire_support::{ADA, FACILITY, Gateway, ada, head, with_body};
use records_gateway::sandbox::{bluedolphin, pretectum};

const MERGE: &str = "Content-Type: application/merge-patch+json\r\n";
const JSON_PATCH: &str = "Content-Type: application/json-patch+json\r\n";
const HTML: &str = "Accept: text/html\r\n";
const STALE: &str = "If-Match: \"stale\"\r\n";
const NOBODY: &str = "/records/itsm/7777780d-71a0-df11-708c-0000000000ff";

fn by(caller: &str, request: &str) -> String {
    request.replacen("Authorization: Bearer admin\r\n", caller, 1)
}

fn reader(request: &str) -> String {
    by("Authorization: Bearer reader\r\n", request)
}

fn nobody(request: &str) -> String {
    by("", request)
}

#[test]
fn http_and_route_come_before_the_caller() {
    let gateway = Gateway::start();
    for (request, name) in [
        (head("GET /records/crm/%zz", ""), "malformed-request"),
        (head("GET /nowhere", ""), "not-found"),
        (head(&format!("PUT {}", ada()), ""), "method-not-allowed"),
        (head(&format!("FOO {}", ada()), ""), "not-implemented"),
        (head(&format!("GET /{}", "a".repeat(8000)), ""), "uri-too-long"),
        (head(&format!("GET {}", ada()), &format!("X: {}\r\n", "v".repeat(9000))), "headers-too-large"),
    ] {
        gateway.refuses(&nobody(&request), name);
    }
}

#[test]
fn caller_system_rights_id_and_accept_come_in_this_order() {
    let gateway = Gateway::start();
    let unknown = gateway.refuses(&nobody(&head(&format!("GET /records/nope/{ADA}"), "")), "unauthenticated");
    assert_eq!(unknown.field("www-authenticate"), Some("Bearer realm=\"records-gateway\""));
    let wrong = gateway.refuses(&by("Authorization: Bearer wrong\r\n", &head("GET /systems", "")), "unauthenticated");
    assert!(wrong.field("www-authenticate").is_some_and(|value| value.contains("error=\"invalid_token\"")));
    gateway.refuses(&reader(&head(&format!("DELETE /records/nope/{ADA}"), "")), "system-not-found");
    gateway.refuses(&reader(&head("DELETE /records/crm/no-id", "")), "forbidden");
    gateway.refuses(&reader(&head("GET /records/itsm/no-id", HTML)), "forbidden");
    for method in ["GET", "DELETE", "PATCH"] {
        gateway.refuses(&head(&format!("{method} /records/itsm/no-id"), HTML), "record-not-found");
    }
    gateway.refuses(&head("GET /operations/no-id", HTML), "operation-not-found");
    gateway.refuses(&head("GET /operations/01a20020-edfb-7727-863b-de28a5e7a0a2?x=1", HTML), "not-acceptable");
}

#[test]
fn accept_size_type_and_syntax_come_in_this_order() {
    let gateway = Gateway::start_with("max_body = 100");
    let patch = format!("PATCH {}", ada());
    let long = "x".repeat(101);
    gateway.refuses(&with_body(&patch, &format!("{HTML}{MERGE}"), &long), "not-acceptable");
    gateway.refuses(&with_body(&patch, &format!("{HTML}Content-Type: text/plain\r\n"), "x"), "not-acceptable");
    gateway.refuses(&with_body(&patch, "Content-Type: text/plain\r\n", &long), "body-too-large");
    gateway.refuses(&with_body(&patch, "Content-Encoding: gzip\r\n", &long), "body-too-large");
    for fields in ["Content-Type: text/plain\r\nIf-Match: bad\r\n", "", "Content-Encoding: br\r\nIf-Match: bad\r\n"] {
        gateway.refuses(&with_body(&patch, fields, "{bad"), "unsupported-media-type");
        gateway.refuses(&with_body("POST /records/crm", fields, "{bad"), "unsupported-media-type");
    }
}

#[test]
fn syntax_comes_before_428_and_428_before_422() {
    let gateway = Gateway::start();
    let patch = format!("PATCH {}", ada());
    gateway.refuses(&with_body(&patch, MERGE, "{bad"), "malformed-request");
    gateway.refuses(&with_body(&patch, JSON_PATCH, "{}"), "malformed-request");
    gateway.refuses(&with_body(&format!("{patch}?x=1"), MERGE, "{}"), "malformed-request");
    for fields in ["Idempotency-Key: \"\r\n", "If-None-Match: bad\r\n", "Require-Guarantee: some\r\n"] {
        gateway.refuses(&with_body(&patch, &format!("{MERGE}{fields}"), "{}"), "malformed-request");
        gateway.refuses(&head(&format!("DELETE {}", ada()), fields), "malformed-request");
    }
    for bad in ["", "stale", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", ",", "\"unterminated"] {
        let fields = format!("{MERGE}If-Match: {bad}\r\n");
        gateway.refuses(&with_body(&patch, &fields, r#"{"fields":null}"#), "malformed-request");
    }
    gateway.refuses(&with_body(&patch, MERGE, r#"{"fields":null}"#), "precondition-required");
    gateway.refuses(&with_body(&patch, JSON_PATCH, r#"[{"op":"remove","path":"/id"}]"#), "precondition-required");
    gateway.refuses(&with_body(&format!("PATCH {NOBODY}"), MERGE, "{}"), "precondition-required");
}

/// What the body alone shows to be impossible is told before anything is read, whatever the tag, at every vendor.
#[test]
fn what_can_never_change_is_422_before_the_record_and_its_tag_are_looked_at() {
    let gateway = Gateway::start();
    let absent = "0".repeat(24);
    for record in [
        ada(),
        format!("/records/crm/{}", ADA.replace('1', "9")),
        format!("/records/itsm/{FACILITY}"),
        NOBODY.to_owned(),
        format!("/records/architecture/{}", bluedolphin::NEW_APPLICATION_ID),
        format!("/records/architecture/{absent}"),
    ] {
        for body in [
            r#"{"fields":null}"#,
            r#"{"fields":[1]}"#,
            r#"{"other":1}"#,
            "[1]",
            r#"{"id":"another"}"#,
            r#"{"system":null}"#,
        ] {
            for tag in [STALE, "If-Match: *\r\n"] {
                let request = with_body(&format!("PATCH {record}"), &format!("{MERGE}{tag}"), body);
                gateway.refuses(&request, "read-only-member");
            }
        }
        for body in [
            r#"[{"op":"replace","path":"/id","value":1}]"#,
            r#"[{"op":"remove","path":"/fields"}]"#,
            r#"[{"op":"add","path":"","value":{}}]"#,
            r#"[{"op":"move","from":"/etag","path":"/fields/a"}]"#,
        ] {
            gateway.refuses(
                &with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), body),
                "read-only-member",
            );
        }
    }
    let read_only = with_body(
        &format!("PATCH /records/architecture/{}", bluedolphin::NEW_APPLICATION_ID),
        &format!("{MERGE}{STALE}"),
        r#"{"fields":{"type":{}}}"#,
    );
    gateway.refuses(&read_only, "read-only-member");
}

#[test]
fn the_record_comes_before_its_tag_and_the_tag_before_the_vendors_verdict() {
    let gateway = Gateway::start();
    let change = r#"{"fields":{"Description":"x"}}"#;
    gateway
        .ask(with_body(&format!("PATCH {NOBODY}"), &format!("{MERGE}{STALE}"), change))
        .assert_problem("record-not-found", NOBODY);
    gateway.ask(head(&format!("DELETE {NOBODY}"), STALE)).assert_problem("record-not-found", NOBODY);
    gateway.ask(head(&format!("GET {NOBODY}"), STALE)).assert_problem("record-not-found", NOBODY);
    let deleted = format!("/records/crm/{}", pretectum::MARY_ID);
    gateway
        .ask(with_body(&format!("PATCH {deleted}"), &format!("{MERGE}{STALE}"), change))
        .assert_problem("record-not-found", &deleted);
    // Stale, and an attribute that the vendor would refuse; stale, and a path that is not there.
    let record = format!("/records/itsm/{FACILITY}");
    let refused = r#"{"fields":{"NoSuchAttribute":"x"}}"#;
    let stale = gateway.ask(with_body(&format!("PATCH {record}"), &format!("{MERGE}{STALE}"), refused));
    stale.assert_problem("precondition-failed", &record);
    assert!(stale.json()["current_etag"].is_string());
    let missing = r#"[{"op":"remove","path":"/fields/zzz"}]"#;
    gateway
        .ask(with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), missing))
        .assert_problem("precondition-failed", missing);
    let untrue = r#"[{"op":"test","path":"/fields/Description","value":"other"}]"#;
    gateway
        .ask(with_body(&format!("PATCH {record}"), &format!("{JSON_PATCH}{STALE}"), untrue))
        .assert_problem("precondition-failed", untrue);
    assert!(gateway.vendor_calls().iter().all(|call| !call.starts_with("PUT") && !call.starts_with("DELETE")));
}

#[test]
fn a_running_operation_comes_after_422_and_before_the_tag() {
    let gateway = Gateway::start();
    // The queued change never takes effect in this test's time.
    let vendor = &gateway.vendors.bluedolphin;
    records_gateway::sandbox::Model::set(&*vendor.state, "queue_delay_ms", &serde_json::json!(3_600_000))
        .expect("a setting");
    let record = format!("/records/architecture/{}", bluedolphin::NEW_APPLICATION_ID);
    let patch = format!("PATCH {record}");
    let change = r#"{"fields":{"name":"Another name"}}"#;
    let consent = "Accept-Loss: linked-questions, source-connections\r\n";
    let accepted = gateway.ask(with_body(&patch, &format!("{MERGE}{consent}If-Match: *\r\n"), change));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let running = gateway.ask(with_body(&patch, &format!("{MERGE}{consent}{STALE}"), change));
    running.assert_problem("operation-in-progress", "a stale tag while an operation runs");
    assert!(running.field("retry-after").is_some());
    let impossible = gateway.ask(with_body(&patch, &format!("{MERGE}{STALE}"), r#"{"fields":null}"#));
    impossible.assert_problem("read-only-member", "an impossible patch while an operation runs");
}

#[test]
fn a_post_is_checked_in_the_same_order() {
    let gateway = Gateway::start();
    let json = "Content-Type: application/json\r\n";
    let post = "POST /records/itsm";
    gateway.refuses(&nobody(&with_body("POST /records/nope", json, "{bad")), "unauthenticated");
    gateway.refuses(&reader(&with_body("POST /records/nope", json, "{bad")), "system-not-found");
    gateway.refuses(&reader(&with_body(post, HTML, "{bad")), "forbidden");
    gateway.refuses(&with_body(post, HTML, "{bad"), "not-acceptable");
    gateway.refuses(&with_body(post, MERGE, "{bad"), "unsupported-media-type");
    gateway.refuses(&with_body(post, json, "{bad"), "malformed-request");
    gateway.refuses(&with_body(post, &format!("{json}Idempotency-Key: \"\r\n"), "[]"), "malformed-request");
    gateway.refuses(&with_body(&format!("{post}?x=1"), json, "[]"), "malformed-request");
    gateway.refuses(&with_body(post, json, "[]"), "rejected");
    gateway.refuses(&with_body(post, &format!("{json}If-None-Match: *\r\n"), "{}"), "rejected");
    gateway
        .refuses(&with_body(post, &format!("{json}If-None-Match: *\r\n"), r#"{"fields":{}}"#), "precondition-failed");
}
