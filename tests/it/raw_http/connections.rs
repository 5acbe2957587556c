//! Connections: several requests on one, rejections while the body is still being sent, and
//! truncated requests.

use super::{
    PATCH_HEADERS, RawConnection, RawResponse, ada_path, request_head, request_with_body, start_server,
    start_server_with,
};
use crate::support::TestServer;

/// A patch that reaches the vendor if it is executed.
fn patch_request() -> String {
    request_with_body(&format!("PATCH {}", ada_path()), PATCH_HEADERS, r#"{"fields":{"Last Name":"Smuggled"}}"#)
}

fn assert_nothing_written(server: &TestServer, after: &str) {
    assert!(server.vendor_calls().iter().all(|call| !call.starts_with("PUT")), "written after {after}");
}

#[test]
fn pipelined_requests_get_their_responses_in_order() {
    let server = start_server();
    let mut connection = server.connect();
    let requests = [
        (request_head("GET /healthz", ""), 200),
        (request_head("GET /nowhere", ""), 404),
        (request_head("HEAD /healthz", ""), 200),
        (request_head("OPTIONS *", ""), 204),
        (request_with_body(&format!("PATCH {}", ada_path()), "Content-Type: text/plain\r\n", "x"), 415),
    ];
    connection.send(requests.iter().map(|(request, _)| request.as_str()).collect::<String>());
    for (request, status) in &requests {
        assert_eq!(connection.read_response_to(request.as_bytes()).expect("a response").status, *status, "{request}");
    }
}

#[test]
fn a_request_sent_byte_by_byte_is_accepted() {
    let server = start_server();
    let mut connection = server.connect();
    for byte in request_with_body(&format!("PATCH {}", ada_path()), PATCH_HEADERS, "[1]").as_bytes() {
        connection.send([*byte]);
    }
    connection.read_response(false).expect("a response").assert_problem("read-only-member", "single bytes");
    server.assert_no_vendor_calls("single bytes");
}

/// Each of these gets its response from the head alone; its body contains a whole PATCH, which must
/// stay a body.
#[test]
fn a_request_hidden_in_an_unread_body_is_never_executed() {
    let server = start_server();
    let hidden = patch_request();
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let counted = format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len());
    let long = format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len() + 300_000);
    let line = "HTTP/1.1\r\nHost: gateway\r\n";
    let admin = "Authorization: Bearer admin\r\n";
    for start in [
        format!("GET /healthz {line}"),
        format!("HEAD /healthz {line}"),
        format!("OPTIONS * {line}"),
        format!("GET /docs {line}"),
        format!("GET /nowhere {line}"),
        format!("FOO /healthz {line}"),
        format!("GET /%zz {line}"),
        format!("PATCH {} {line}", ada_path()),
        format!("PATCH {} {line}{admin}Content-Type: text/plain\r\n", ada_path()),
        format!("PATCH {} {line}{admin}Content-Encoding: gzip\r\n", ada_path()),
        format!("PATCH {} {line}{admin}X-Large: {}\r\n", ada_path(), "v".repeat(9000)),
        format!("PUT {} {line}{admin}", ada_path()),
        format!("TRACE {} {line}{admin}", ada_path()),
        format!("GET {} {line}{admin}If-Match: nonsense\r\n", ada_path()),
        format!("DELETE {} {line}{admin}", ada_path()),
        format!("DELETE {} {line}{admin}If-Match: \"stale\"\r\n", ada_path()),
        format!("GET {} {line}{admin}", ada_path()),
        format!("GET /systems {line}{admin}"),
        format!("GET /healthz {line}Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        format!("GET /healthz {line}Expect: 100-continue\r\n"),
        format!("PATCH {} {line}Expect: 100-continue\r\n", ada_path()),
    ] {
        for body in [&chunked, &counted, &long] {
            let request = format!("{start}{body}");
            let mut connection = server.connect();
            connection.send(&request);
            connection.send(request_head("GET /problems/not-found", ""));
            connection.shut_down_write();
            let responses = read_all_responses(&mut connection, &request);
            let finals: Vec<u16> =
                responses.iter().map(|response| response.status).filter(|status| *status >= 200).collect();
            assert!((1..=2).contains(&finals.len()), "{start:?}: {finals:?}");
            assert_nothing_written(&server, &start);
        }
    }
}

fn read_all_responses(connection: &mut RawConnection, request: &str) -> Vec<RawResponse> {
    let mut responses = Vec::new();
    let mut to_head = request.starts_with("HEAD ");
    while let Some(response) = connection.read_response(to_head) {
        if response.status >= 200 {
            to_head = false;
        }
        responses.push(response);
    }
    responses
}

#[test]
fn expect_100_continue_is_honored_and_other_expectations_ignored() {
    let server = start_server();
    let patch = format!("PATCH {}", ada_path());
    let mut connection = server.connect();
    connection.send(request_head(&patch, &format!("{PATCH_HEADERS}Expect: 100-continue\r\nContent-Length: 3\r\n")));
    assert_eq!(connection.read_response(false).expect("100 Continue").status, 100);
    connection.send("[1]");
    connection.read_response(false).expect("a response").assert_problem("read-only-member", &patch);
    server.assert_rejected(
        &request_with_body(&patch, &format!("{PATCH_HEADERS}Expect: something\r\n"), "[1]"),
        "read-only-member",
    );
    // A caller that waits for 100 gets a rejection before it sends the body.
    let mut connection = server.connect();
    connection.send(request_head(&patch, "Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"));
    let mut response = connection.read_response(false).expect("a response");
    if response.status == 100 {
        response = connection.read_response(false).expect("a response");
    }
    response.assert_problem("unsupported-media-type", &patch);
    server.assert_no_vendor_calls("expectations");
}

#[test]
fn a_truncated_request_changes_nothing_and_stops_nothing() {
    let server = start_server();
    let whole = patch_request();
    let body = whole.find("\r\n\r\n").expect("a head") + 4;
    for cut in [1, 3, 20, body - 30, body - 2, body, body + 1, whole.len() - 1] {
        let mut connection = server.connect();
        connection.send(&whole.as_bytes()[..cut]);
        drop(connection);
        assert_eq!(server.exchange(request_head("GET /healthz", "")).status, 200, "cut at {cut}");
    }
    let chunked =
        request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n"));
    for piece in ["", "2", "2\r\n{", "2\r\n{}\r\n", "2\r\n{}\r\n0\r\n"] {
        let mut connection = server.connect();
        connection.send(format!("{chunked}{piece}"));
        drop(connection);
    }
    assert_eq!(server.exchange(request_head("GET /healthz", "")).status, 200);
    server.assert_no_vendor_calls("cut connections");
}

#[test]
fn a_truncated_body_is_never_taken_for_a_shorter_patch() {
    let server = start_server();
    let patch = format!("PATCH {}", ada_path());
    // The received part is a valid patch: it must not be taken for the whole body.
    let counted =
        request_head(&patch, &format!("{PATCH_HEADERS}Content-Length: 400\r\n")) + r#"{"fields":{"Status":"Half"}}"#;
    let chunks = "1c\r\n{\"fields\":{\"Status\":\"Half\"}}\r\n";
    let chunked = request_head(&patch, &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n")) + chunks;
    for request in [counted, chunked.clone(), chunked + "0\r\n"] {
        let mut connection = server.connect();
        connection.send(&request);
        connection.shut_down_write();
        if let Some(response) = connection.read_response(false) {
            response.assert_problem("malformed-request", &request);
            let detail =
                "the body could not be read to its end: the connection ended before it, or its chunks are malformed";
            assert_eq!(response.json()["detail"], detail);
        }
        assert_eq!(connection.read_to_end(), b"", "{request}");
    }
    server.assert_no_vendor_calls("half bodies");
}

#[test]
fn a_half_closed_client_still_gets_its_response() {
    let server = start_server();
    for (request, status) in [
        (request_head("GET /healthz", ""), 200),
        (request_head(&format!("GET {}", ada_path()), ""), 200),
        (patch_request(), 204),
    ] {
        let mut connection = server.connect();
        connection.send(&request);
        connection.shut_down_write();
        assert_eq!(connection.read_response(false).expect("a response").status, status, "{request}");
        assert_eq!(connection.read_to_end(), b"", "{request}");
    }
}

#[test]
fn a_pipelined_head_response_has_no_body() {
    let server = start_server();
    for path in [ada_path().as_str(), "/healthz", "/nowhere", "/records/crm/no-id", "/docs/"] {
        let first = request_head(&format!("HEAD {path}"), "");
        let mut connection = server.connect();
        connection.send(format!("{first}{}{first}{}", request_head("OPTIONS *", ""), request_head("GET /healthz", "")));
        for (request, status) in [(first.as_str(), None), ("OPTIONS", Some(204)), (&first, None), ("GET", Some(200))] {
            let response = connection.read_response_to(request.as_bytes()).expect("a response");
            assert!(response.header("content-length").is_some() || response.status == 204, "{path}: {response:?}");
            assert!(status.is_none_or(|status| status == response.status), "{path}: {response:?}");
        }
    }
}

#[test]
fn nothing_is_executed_after_a_request_with_connection_close() {
    let server = start_server();
    for first in [
        request_head("GET /healthz", "Connection: close\r\n"),
        request_head(&format!("GET {}", ada_path()), "Connection: close\r\n"),
        request_head("GET /nowhere", "Connection: Keep-Alive, Close\r\n"),
        "GET /healthz HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let mut connection = server.connect();
        connection.send(format!("{first}{}", patch_request()));
        assert!(
            connection.read_response(false).expect("a response").closes_connection() || first.contains("1.0"),
            "{first}"
        );
        connection.read_to_end();
        assert_nothing_written(&server, &first);
    }
}

/// A response with `Connection: close` is the last one: a pipelined request after it is not
/// executed.
#[test]
fn nothing_is_executed_after_a_response_with_connection_close() {
    let server = start_server_with(|config| config.server("max_body", 40));
    let mut connection = server.connect();
    let too_long = request_with_body(&format!("PATCH {}", ada_path()), PATCH_HEADERS, &" ".repeat(100));
    connection.send(too_long + &patch_request());
    let rejected = connection.read_response(false).expect("a response");
    assert!(rejected.status == 413 && rejected.closes_connection(), "{}", rejected.status);
    connection.read_to_end();
    assert_nothing_written(&server, "a response that closes");
}

/// `actix-http` would read the body of a request that offers an upgrade to the end of the
/// connection; its length counts.
#[test]
fn an_offered_upgrade_does_not_change_body_framing() {
    let server = start_server();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let patch = format!("PATCH {}", ada_path());
    for (fields, body, name) in [
        (format!("{PATCH_HEADERS}{upgrade}"), "[1]", "read-only-member"),
        (format!("{PATCH_HEADERS}{upgrade}"), "{bad", "malformed-request"),
        (format!("{PATCH_HEADERS}{upgrade}"), "", "malformed-request"),
        (upgrade.to_owned(), "{}", "unsupported-media-type"),
    ] {
        let mut connection = server.connect();
        connection.send(request_with_body(&patch, &fields, body) + &patch_request());
        let response = connection.read_response(false).expect("a response");
        response.assert_problem(name, body);
        assert!(response.closes_connection(), "{body}");
        assert_eq!(connection.read_to_end(), b"", "{body}");
    }
    server.assert_no_vendor_calls("upgrades");
    let offered =
        request_with_body(&patch, &format!("{PATCH_HEADERS}{upgrade}"), r#"{"fields":{"Last Name":"Offered"}}"#);
    let mut connection = server.connect();
    connection.send(offered + &patch_request());
    let response = connection.read_response(false).expect("a response");
    assert!(response.status == 204 && response.closes_connection(), "{response:?}");
    assert_eq!(connection.read_to_end(), b"");
    let sent = &server.vendors.pretectum.log;
    let written = sent.all().iter().filter(|call| call.method == "PUT").map(|call| call.text()).collect::<String>();
    assert!(written.contains("Offered") && !written.contains("Smuggled"), "{written}");
}
