//! The framing of answers, and values of the caller that could break out of a field.

use super::wire_support::{ADA, FACILITY, Gateway, PATCH, ada, head, with_body};

const BODILESS: [&str; 3] = ["content-length", "transfer-encoding", "content-type"];

#[test]
fn an_answer_without_content_announces_none() {
    let gateway = Gateway::start();
    let record = format!("/records/itsm/{FACILITY}");
    let tag = gateway.ask(head(&format!("GET {record}"), "")).field("etag").expect("a tag").to_owned();
    let mut wire = gateway.connect();
    let known = head(&format!("GET {record}"), &format!("If-None-Match: {tag}\r\n"));
    let known_by_head = known.replacen("GET", "HEAD", 1);
    let changed = with_body(&format!("PATCH {record}"), PATCH, r#"{"fields":{"Description":"framed"}}"#);
    for (request, status) in [
        (known, 304),
        (known_by_head, 304),
        (changed, 204),
        (head(&format!("OPTIONS {record}"), ""), 204),
        (head("OPTIONS *", ""), 204),
        (head(&format!("DELETE {record}"), "If-Match: *\r\n"), 204),
    ] {
        wire.send(&request);
        let answer = wire.answer(false).expect("an answer");
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        for name in BODILESS {
            assert_eq!(answer.field(name), None, "{request}");
        }
        if status == 304 {
            assert_eq!(answer.field("etag"), Some(tag.as_str()));
            for name in ["cache-control", "vary", "date", "x-request-id"] {
                assert!(answer.field(name).is_some(), "304 has {name}");
            }
        }
    }
    // A byte too many after any of these would be read as the start of this answer.
    wire.send(head("GET /healthz", ""));
    assert_eq!(wire.answer(false).expect("an answer").status, 200);
}

#[test]
fn head_has_the_fields_of_get_and_no_content() {
    let gateway = Gateway::start();
    let mut wire = gateway.connect();
    for path in [
        ada().as_str(),
        "/records/crm",
        "/records/crm/no-such",
        "/nowhere",
        "/",
        "/healthz",
        "/readyz",
        "/systems",
        "/systems/crm",
        "/openapi.json",
        "/docs",
        "/docs/",
        "/problems/rejected",
        "/operations",
        "/ledger",
    ] {
        let fields = "X-Request-Id: same\r\n";
        wire.send(head(&format!("GET {path}"), fields));
        let get = wire.answer(false).expect("an answer");
        wire.send(head(&format!("HEAD {path}"), fields));
        let answer = wire.answer(true).expect("an answer");
        assert_eq!(answer.status, get.status, "{path}");
        assert_eq!(answer.names(), get.names(), "{path}");
        for name in get.names().into_iter().filter(|name| *name != "date") {
            assert_eq!(answer.field(name), get.field(name), "{path}: {name}");
        }
    }
}

#[test]
fn line_ends_in_an_id_a_cursor_or_a_field_end_nothing() {
    let gateway = Gateway::start();
    for request in [
        format!("GET /records/crm/{ADA}%0d%0aX-Injected:%20yes"),
        "GET /records/crm?cursor=a%0d%0aX-Injected:%20yes".to_owned(),
        "GET /records/crm?collection=a%0aX-Injected:%20yes".to_owned(),
        "GET /operations/a%0d%0aX-Injected:%20yes".to_owned(),
        "GET /operations?record=%0d%0aX-Injected:%20yes".to_owned(),
        "GET /ledger?caller=%0d%0aX-Injected:%20yes".to_owned(),
        "GET /systems/crm%0d%0aX-Injected:%20yes".to_owned(),
        "GET /problems/a%0d%0aX-Injected:%20yes".to_owned(),
        "GET /docs/a%0d%0aX-Injected:%20yes".to_owned(),
    ] {
        let answer = gateway.refuses(&head(&request, ""), "malformed-request");
        assert_eq!(answer.field("x-injected"), None, "{request}");
    }
    // Escapes mean nothing in a field: they stay as they are, and are visible ASCII.
    let escaped = gateway.ask(head("GET /healthz", "X-Request-Id: a%0d%0aX-Injected:yes\r\n"));
    assert_eq!(escaped.field("x-request-id"), Some("a%0d%0aX-Injected:yes"));
    assert_eq!(escaped.field("x-injected"), None);
    let patch = with_body(
        &format!("PATCH {}", ada()),
        &format!("{PATCH}Idempotency-Key: \"a\\r\\nX-Injected: yes\"\r\n"),
        "{}",
    );
    gateway.refuses(&patch, "malformed-request");
}

#[test]
fn a_request_id_that_cannot_be_taken_is_replaced() {
    let gateway = Gateway::start();
    let long = "i".repeat(129);
    for sent in ["", "a b", "\u{e4}", "a\tb", long.as_str()] {
        let answer = gateway.ask(head("GET /nowhere", &format!("X-Request-Id: {sent}\r\n")));
        answer.assert_problem("not-found", sent);
        assert_eq!(answer.field("x-request-id").map(str::len), Some(36), "{sent:?}");
    }
    let answer = gateway.ask(head("GET /nowhere", "X-Request-Id: one\r\nX-Request-Id: two\r\n"));
    assert_eq!(answer.field("x-request-id").map(str::len), Some(36), "two are none");
}

#[test]
fn a_range_and_an_empty_line_before_the_request_are_ignored() {
    let gateway = Gateway::start();
    let part = gateway.ask(head(&format!("GET {}", ada()), "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"));
    assert_eq!((part.status, part.field("accept-ranges"), part.field("content-range")), (200, None, None));
    assert_eq!(part.json()["system"], "crm");
    assert_eq!(gateway.ask(format!("\r\n{}", head("GET /healthz", ""))).status, 200);
}
