//! The framing of responses, and values of callers that could inject a header.

use super::{ADA, FACILITY, PATCH_HEADERS, ada_path, request_head, request_with_body, start_server};

const BODY_HEADERS: [&str; 3] = ["content-length", "transfer-encoding", "content-type"];

#[test]
fn a_response_without_content_has_no_content_headers() {
    let server = start_server();
    let record = format!("/records/itsm/{FACILITY}");
    let tag = server.exchange(request_head(&format!("GET {record}"), "")).header("etag").expect("a tag").to_owned();
    let mut connection = server.connect();
    let known = request_head(&format!("GET {record}"), &format!("If-None-Match: {tag}\r\n"));
    let known_by_head = known.replacen("GET", "HEAD", 1);
    let changed =
        request_with_body(&format!("PATCH {record}"), PATCH_HEADERS, r#"{"fields":{"Description":"framed"}}"#);
    for (request, status) in [
        (known, 304),
        (known_by_head, 304),
        (changed, 204),
        (request_head(&format!("OPTIONS {record}"), ""), 204),
        (request_head("OPTIONS *", ""), 204),
        (request_head(&format!("DELETE {record}"), "If-Match: *\r\n"), 204),
    ] {
        connection.send(&request);
        let response = connection.read_response(false).expect("a response");
        assert_eq!(response.status, status, "{request}: {response:?}");
        for name in BODY_HEADERS {
            assert_eq!(response.header(name), None, "{request}");
        }
        if status == 304 {
            assert_eq!(response.header("etag"), Some(tag.as_str()));
            for name in ["cache-control", "vary", "date", "x-request-id"] {
                assert!(response.header(name).is_some(), "304 lacks {name}");
            }
        }
    }
    // A surplus byte after any of these would be read as the start of this response.
    connection.send(request_head("GET /healthz", ""));
    assert_eq!(connection.read_response(false).expect("a response").status, 200);
}

#[test]
fn head_has_the_headers_of_get_and_no_content() {
    let server = start_server();
    let mut connection = server.connect();
    for path in [
        ada_path().as_str(),
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
        connection.send(request_head(&format!("GET {path}"), fields));
        let get = connection.read_response(false).expect("a response");
        connection.send(request_head(&format!("HEAD {path}"), fields));
        let response = connection.read_response(true).expect("a response");
        assert_eq!(response.status, get.status, "{path}");
        assert_eq!(response.header_names(), get.header_names(), "{path}");
        for name in get.header_names().into_iter().filter(|name| *name != "date") {
            assert_eq!(response.header(name), get.header(name), "{path}: {name}");
        }
    }
}

#[test]
fn line_breaks_in_ids_cursors_and_headers_inject_nothing() {
    let server = start_server();
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
        let response = server.assert_rejected(&request_head(&request, ""), "malformed-request");
        assert_eq!(response.header("x-injected"), None, "{request}");
    }
    // Percent escapes have no meaning in a header: they stay unchanged.
    let escaped = server.exchange(request_head("GET /healthz", "X-Request-Id: a%0d%0aX-Injected:yes\r\n"));
    assert_eq!(escaped.header("x-request-id"), Some("a%0d%0aX-Injected:yes"));
    assert_eq!(escaped.header("x-injected"), None);
    let patch = request_with_body(
        &format!("PATCH {}", ada_path()),
        &format!("{PATCH_HEADERS}Idempotency-Key: \"a\\r\\nX-Injected: yes\"\r\n"),
        "{}",
    );
    server.assert_rejected(&patch, "malformed-request");
}

#[test]
fn an_invalid_request_id_is_replaced() {
    let server = start_server();
    let long = "i".repeat(129);
    for sent in ["", "a b", "\u{e4}", "a\tb", long.as_str()] {
        let response = server.exchange(request_head("GET /nowhere", &format!("X-Request-Id: {sent}\r\n")));
        response.assert_problem("not-found", sent);
        assert_eq!(response.header("x-request-id").map(str::len), Some(36), "{sent:?}");
    }
    let response = server.exchange(request_head("GET /nowhere", "X-Request-Id: one\r\nX-Request-Id: two\r\n"));
    assert_eq!(response.header("x-request-id").map(str::len), Some(36), "two are invalid");
}

#[test]
fn a_range_and_an_empty_line_before_the_request_are_ignored() {
    let server = start_server();
    let part = server.exchange(request_head(&format!("GET {}", ada_path()), "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"));
    assert_eq!((part.status, part.header("accept-ranges"), part.header("content-range")), (200, None, None));
    assert_eq!(part.json()["system"], "crm");
    assert_eq!(server.exchange(format!("\r\n{}", request_head("GET /healthz", ""))).status, 200);
}
