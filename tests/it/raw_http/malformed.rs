//! Malformed HTTP: each malformed request gets a 4xx or the end of its connection, and no vendor
//! receives a request.

use super::{PATCH_HEADERS, ada_path, request_head, start_server};

/// `actix-http` rejects these by itself: 400 without a body, and the end of the connection.
#[test]
fn a_malformed_request_head_is_400_and_closes_the_connection() {
    let server = start_server();
    let lines = "Host: gateway\r\nAuthorization: Bearer admin\r\n";
    let get = format!("GET {} HTTP/1.1\r\n{lines}", ada_path());
    for broken in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET {} HTTP/1.2\r\n{lines}\r\n", ada_path()),
        format!("GET {} HTTP/2.0\r\n{lines}\r\n", ada_path()),
        format!("GET {} HTTP/0.9\r\n{lines}\r\n", ada_path()),
        format!("GET {} http/1.1\r\n{lines}\r\n", ada_path()),
        format!("GET {} FOO/1.1\r\n{lines}\r\n", ada_path()),
        format!("GET {} HTTP/1.1 x\r\n{lines}\r\n", ada_path()),
        format!("GET {} x HTTP/1.1\r\n{lines}\r\n", ada_path()),
        format!("G@T {} HTTP/1.1\r\n{lines}\r\n", ada_path()),
        format!(" GET {} HTTP/1.1\r\n{lines}\r\n", ada_path()),
        format!("GET {}\0 HTTP/1.1\r\n{lines}\r\n", ada_path()),
        format!("GET {}\x01 HTTP/1.1\r\n{lines}\r\n", ada_path()),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET {} HTTP/1.1\r\nAuthorization: Bearer admin\r\n\r\n", ada_path()),
        format!("{get}Host: other\r\n\r\n"),
        format!("{get}X-A: b\r\n folded\r\n\r\n"),
        format!("{get} X-A: b\r\n\r\n"),
        format!("{get}X-A : b\r\n\r\n"),
        format!("{get}X A: b\r\n\r\n"),
        format!("{get}X-A\r\n\r\n"),
        format!("{get}: b\r\n\r\n"),
        format!("{get}X-A: b\0c\r\n\r\n"),
        format!("{get}X-A: b\x01c\r\n\r\n"),
        format!("{get}X-A: b\x7fc\r\n\r\n"),
        format!("{get}X-A: b\rc\r\n\r\n"),
        format!("{get}X-\x00: b\r\n\r\n"),
        format!("{get}X-\u{e4}: b\r\n\r\n"),
    ] {
        let mut connection = server.connect();
        connection.send(&broken);
        let response = connection.read_response(false).unwrap_or_else(|| panic!("no response to {broken:?}"));
        response.assert_empty_response(400, &broken);
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "{broken:?}");
    }
    server.assert_no_vendor_calls("broken heads");
}

/// Ambiguity about the end of a request allows request smuggling (RFC 9112 §6.3): none of these is
/// accepted.
#[test]
fn ambiguous_framing_is_400_and_nothing_after_it_is_executed() {
    let server = start_server();
    let hidden = request_head(&format!("GET {}", ada_path()), "");
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: five\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
    ] {
        let request = request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}{framing}"))
            + "0\r\n\r\n"
            + &hidden;
        let mut connection = server.connect();
        connection.send(&request);
        let response = connection.read_response(false).unwrap_or_else(|| panic!("no response to {framing:?}"));
        response.assert_empty_response(400, framing);
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "{framing:?}");
    }
    server.assert_no_vendor_calls("ambiguous framing");
}

#[test]
fn http_1_0_rejects_chunked_bodies_and_needs_no_host() {
    let server = start_server();
    let fields = "Authorization: Bearer admin\r\n";
    let chunked =
        format!("PATCH {} HTTP/1.0\r\n{fields}{PATCH_HEADERS}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ada_path());
    server.exchange(&chunked).assert_empty_response(400, &chunked);
    let mut connection = server.connect();
    connection.send(format!("GET /healthz HTTP/1.0\r\n{fields}\r\n"));
    assert_eq!(connection.read_response(false).expect("a response").status, 200);
    assert_eq!(connection.read_to_end(), b"", "HTTP/1.0 closes");
    server.assert_no_vendor_calls("HTTP/1.0");
}

#[test]
fn a_malformed_chunked_body_closes_the_connection() {
    let server = start_server();
    let hidden = request_head(&format!("GET {}", ada_path()), "");
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2 x\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "2;a=\x01\n\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
    ] {
        let request =
            request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n"))
                + chunks
                + &hidden;
        let mut connection = server.connect();
        connection.send(&request);
        // `actix-http` closes the connection itself where it finds the error while the body is
        // being read.
        if let Some(response) = connection.read_response(false) {
            assert_eq!(response.status, 400, "{chunks:?}: {response:?}");
            if !response.body.is_empty() {
                response.assert_problem("malformed-request", chunks);
            }
        }
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "{chunks:?}");
    }
    server.assert_no_vendor_calls("broken chunks");
}

/// `httparse` accepts a bare line feed as the end of a line, as RFC 9112 §2.2 allows; the header
/// counts.
#[test]
fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    let server = start_server();
    let bare = format!("PATCH {} HTTP/1.1\nHost: gateway\nContent-Length: 2\n\n{{}}", ada_path());
    server.exchange(&bare).assert_problem("unauthenticated", &bare);
    server.assert_no_vendor_calls("bare line feeds");
}

#[test]
fn repeated_singleton_headers_and_invalid_hosts_are_problems() {
    let server = start_server();
    let get = format!("GET {}", ada_path());
    server.assert_rejected(&request_head(&get, "Authorization: Bearer admin\r\n"), "malformed-request");
    server.assert_rejected(&request_head(&get, "Content-Type: a/b\r\nContent-Type: a/b\r\n"), "malformed-request");
    for host in ["a b", "a/b", "a\u{e4}", "a\tb", "user@host", "a:b:c", "[", "a:999999"] {
        server.assert_rejected(&format!("{get} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "malformed-request");
    }
    for host in ["", "gateway:8080", "[::1]:8080", "127.0.0.1", "a.b.", "x:", "a,b", "[::1]"] {
        server.assert_rejected(&format!("{get} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "unauthenticated");
    }
}
