//! Sizes and times: each limit has its status, is a problem where there is a request, and causes no
//! vendor call.

use super::{PATCH_HEADERS, ada_path, request_head, request_with_body, start_server, start_server_with};

#[test]
fn a_target_of_more_than_8000_bytes_is_414() {
    let server = start_server();
    let longest = format!("/records/crm/{}", "a".repeat(8000 - "/records/crm/".len()));
    server.assert_rejected(&request_head(&format!("GET {longest}"), ""), "record-not-found");
    server.assert_rejected(&request_head(&format!("GET {longest}a"), ""), "uri-too-long");
    server
        .assert_rejected(&request_head(&format!("GET {}?limit={}", ada_path(), "1".repeat(8000)), ""), "uri-too-long");
    server.assert_rejected(&request_head(&format!("GET /healthz?{}", "a".repeat(8000)), ""), "uri-too-long");
    server.assert_rejected(&request_head(&format!("GET /{}", "a".repeat(60_000)), ""), "uri-too-long");
}

/// `http::Uri` holds 65,534 bytes; `actix-http` rejects more by itself, without a body.
#[test]
fn a_target_of_more_than_64_kib_is_a_4xx_and_closes_the_connection() {
    let server = start_server();
    for (length, status) in [(65_600, 400), (200_000, 431)] {
        let mut connection = server.connect();
        connection.send(request_head(&format!("GET /{}", "a".repeat(length)), ""));
        let response = connection.read_response(false).expect("a response");
        response.assert_empty_response(status, "a long target");
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"");
    }
    server.assert_no_vendor_calls("long targets");
}

#[test]
fn a_header_over_8_kib_and_headers_over_32_kib_are_431() {
    let server = start_server();
    let get = format!("GET {}", ada_path());
    let response = server
        .assert_rejected(&request_head(&get, &format!("X-Large: {}\r\n", "v".repeat(9 * 1024))), "headers-too-large");
    assert!(response.text().contains("x-large"), "the header is named");
    let last = format!("Prefer: wait=1\r\nIf-Match: \"{}\"\r\n", "v".repeat(9 * 1024));
    server.assert_rejected(&request_head(&get, &last), "headers-too-large");
    let many = format!("X-Many: {}\r\n", "v".repeat(7 * 1024)).repeat(5);
    server.assert_rejected(&request_head(&get, &many), "headers-too-large");
    let most = "X-Many: v\r\n".repeat(90);
    server.assert_rejected(&request_head("GET /nowhere", &most), "not-found");
    let more = "X-Many: v\r\n".repeat(200);
    let bare = server.exchange(request_head(&get, &more));
    bare.assert_empty_response(431, "more than 96 header lines");
    server.assert_no_vendor_calls("large fields");
}

#[test]
fn a_body_over_the_limit_is_413_with_or_without_content_length() {
    let server = start_server_with(|config| config.server("max_body", 1000));
    let patch = format!("PATCH {}", ada_path());
    // With a length: rejected before the first byte of the body.
    let mut connection = server.connect();
    connection.send(request_head(&patch, &format!("{PATCH_HEADERS}Content-Length: 1001\r\n")));
    let response = connection.read_response(false).expect("a response");
    response.assert_problem("body-too-large", &patch);
    assert!(response.closes_connection());
    connection.shut_down_write();
    assert_eq!(connection.read_to_end(), b"");
    server.assert_rejected(
        &request_head(&patch, &format!("{PATCH_HEADERS}Content-Length: 18446744073709551615\r\n")),
        "body-too-large",
    );
    // In chunks: rejected at the first byte beyond the limit.
    let mut connection = server.connect();
    connection.send(request_head(&patch, &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n")));
    for _ in 0..4 {
        connection.send(format!("ff\r\n{}\r\n", " ".repeat(255)));
    }
    let response = connection.read_response(false).expect("a response while the body still comes");
    response.assert_problem("body-too-large", &patch);
    assert!(response.closes_connection());
    connection.shut_down_write();
    assert_eq!(connection.read_to_end(), b"");
    // The largest body is read: here it is the patch that is invalid.
    let largest = format!("{{\"x\":1{}}}", " ".repeat(993));
    server.assert_no_vendor_calls("large bodies");
    server.exchange(request_with_body(&patch, PATCH_HEADERS, &largest)).assert_problem("read-only-member", &largest);
}

#[test]
fn a_content_encoded_body_is_415_whatever_its_content() {
    let server = start_server();
    let patch = format!("PATCH {}", ada_path());
    let bomb = "\u{1f}\u{8}\0\0".repeat(64);
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "identity, gzip", "foo", "GZIP"]
    {
        let response = server.assert_rejected(
            &request_with_body(&patch, &format!("{PATCH_HEADERS}Content-Encoding: {coding}\r\n"), &bomb),
            "unsupported-media-type",
        );
        assert_eq!(response.header("accept-encoding"), Some("identity"), "{coding}");
    }
    let two = format!("{PATCH_HEADERS}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n");
    server.assert_rejected(&request_with_body(&patch, &two, &bomb), "unsupported-media-type");
    let plain = server.assert_rejected(
        &request_with_body(&patch, "If-Match: *\r\nContent-Type: text/plain\r\n", "{}"),
        "unsupported-media-type",
    );
    assert_eq!(plain.header("accept-encoding"), None, "another reason");
    assert_eq!(plain.header("accept-patch"), Some("application/merge-patch+json, application/json-patch+json"));
}

#[test]
fn json_with_deep_nesting_duplicate_names_or_bad_utf_8_is_400() {
    let server = start_server();
    let patch = format!("PATCH {}", ada_path());
    for body in [
        "{".repeat(100_000),
        "[".repeat(100_000),
        format!("{{\"fields\":{{\"a\":{}1{}}}}}", "[".repeat(5000), "]".repeat(5000)),
        r#"{"fields":{"a":1,"a":2}}"#.to_owned(),
        r#"{"fields":{"a":1,"\u0061":2}}"#.to_owned(),
        r#"{"fields":{"a":NaN}}"#.to_owned(),
        r#"{"fields":{"a":Infinity}}"#.to_owned(),
        r#"{"fields":{"a":01}}"#.to_owned(),
        r#"{"fields":{"a":"\ud800"}}"#.to_owned(),
        "{\"fields\":{\"a\":\"\u{1}\"}}".to_owned(),
        "{} {}".to_owned(),
        String::new(),
        "\u{feff}{}".to_owned(),
    ] {
        server.assert_rejected(&request_with_body(&patch, PATCH_HEADERS, &body), "malformed-request");
    }
    let bytes = [
        request_head(&patch, &format!("{PATCH_HEADERS}Content-Length: 23\r\n")).as_bytes(),
        b"{\"fields\":{\"a\":\"\xc3\x28\xff \"}}",
    ]
    .concat();
    server.exchange(&bytes).assert_problem("malformed-request", "bytes that are not UTF-8");
    server.assert_no_vendor_calls("bad JSON");
}

#[test]
fn an_incomplete_request_head_is_408_and_closes_the_connection() {
    let server = start_server();
    let mut connection = server.connect();
    connection.send(format!("PATCH {} HTTP/1.1\r\nHost: gateway\r\n", ada_path()));
    connection.read_response(false).expect("a response").assert_empty_response(408, "a slow head");
    connection.send("Content-Length: 0\r\n\r\n");
    assert_eq!(connection.read_to_end(), b"");
    server.assert_no_vendor_calls("a slow head");
}

#[test]
fn an_incomplete_body_is_408_and_closes_the_connection() {
    // The deadline of a request also limits the time of its body, where it is shorter than the
    // usual limit.
    let server = start_server_with(|config| config.server("deadline", "200ms"));
    let patch = format!("PATCH {}", ada_path());
    for (framing, start) in [("Content-Length: 30\r\n", "{\"fields\":"), ("Transfer-Encoding: chunked\r\n", "2\r\n{")] {
        let mut connection = server.connect();
        connection.send(request_head(&patch, &format!("{PATCH_HEADERS}{framing}")) + start);
        let response = connection.read_response(false).expect("a response");
        response.assert_problem("request-timeout", framing);
        assert!(response.closes_connection(), "{framing}");
        connection.send(request_head("GET /healthz", ""));
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "late bytes are not a request: {framing}");
    }
    server.assert_no_vendor_calls("slow bodies");
}

#[test]
fn the_body_of_a_get_is_not_read_beyond_a_small_part() {
    let server = start_server();
    let head = request_head(&format!("GET {}", ada_path()), "Content-Length: 67108864\r\n");
    let mut connection = server.connect();
    connection.send(head + &"x".repeat(100));
    assert_eq!(connection.read_response(false).expect("a response").status, 200);
    // More than the buffers of both sides hold.
    let sent = (0..256).try_for_each(|_| connection.try_send("x".repeat(64 * 1024)));
    assert!(sent.is_err() || connection.read_to_end().is_empty(), "the connection ends");
}
