//! Broken HTTP: every broken request gets a 4xx or the end of its connection, and none of it reaches a vendor.

use super::wire_support::{Gateway, PATCH, ada, head};

/// What `actix-http` refuses by itself: 400 without a body, and the connection ends.
#[test]
fn a_head_that_is_not_http_is_400_and_the_end_of_the_connection() {
    let gateway = Gateway::start();
    let lines = "Host: gateway\r\nAuthorization: Bearer admin\r\n";
    let get = format!("GET {} HTTP/1.1\r\n{lines}", ada());
    for broken in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET {} HTTP/1.2\r\n{lines}\r\n", ada()),
        format!("GET {} HTTP/2.0\r\n{lines}\r\n", ada()),
        format!("GET {} HTTP/0.9\r\n{lines}\r\n", ada()),
        format!("GET {} http/1.1\r\n{lines}\r\n", ada()),
        format!("GET {} FOO/1.1\r\n{lines}\r\n", ada()),
        format!("GET {} HTTP/1.1 x\r\n{lines}\r\n", ada()),
        format!("GET {} x HTTP/1.1\r\n{lines}\r\n", ada()),
        format!("G@T {} HTTP/1.1\r\n{lines}\r\n", ada()),
        format!(" GET {} HTTP/1.1\r\n{lines}\r\n", ada()),
        format!("GET {}\0 HTTP/1.1\r\n{lines}\r\n", ada()),
        format!("GET {}\x01 HTTP/1.1\r\n{lines}\r\n", ada()),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET {} HTTP/1.1\r\nAuthorization: Bearer admin\r\n\r\n", ada()),
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
        let mut wire = gateway.connect();
        wire.send(&broken);
        let answer = wire.answer(false).unwrap_or_else(|| panic!("no answer to {broken:?}"));
        answer.assert_bare(400, &broken);
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{broken:?}");
    }
    gateway.assert_vendors_heard_nothing("broken heads");
}

/// Two readings of where a request ends are how requests are smuggled (RFC 9112 §6.3): none of these is taken.
#[test]
fn framing_that_can_be_read_in_two_ways_is_400_and_nothing_behind_it_is_executed() {
    let gateway = Gateway::start();
    let hidden = head(&format!("GET {}", ada()), "");
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
        let request = head(&format!("PATCH {}", ada()), &format!("{PATCH}{framing}")) + "0\r\n\r\n" + &hidden;
        let mut wire = gateway.connect();
        wire.send(&request);
        let answer = wire.answer(false).unwrap_or_else(|| panic!("no answer to {framing:?}"));
        answer.assert_bare(400, framing);
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{framing:?}");
    }
    gateway.assert_vendors_heard_nothing("ambiguous framing");
}

#[test]
fn http_1_0_has_no_chunks_and_needs_no_host() {
    let gateway = Gateway::start();
    let fields = "Authorization: Bearer admin\r\n";
    let chunked = format!("PATCH {} HTTP/1.0\r\n{fields}{PATCH}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ada());
    gateway.ask(&chunked).assert_bare(400, &chunked);
    let mut wire = gateway.connect();
    wire.send(format!("GET /healthz HTTP/1.0\r\n{fields}\r\n"));
    assert_eq!(wire.answer(false).expect("an answer").status, 200);
    assert_eq!(wire.rest(), b"", "HTTP/1.0 closes");
    gateway.assert_vendors_heard_nothing("HTTP/1.0");
}

#[test]
fn a_chunked_body_with_garbage_in_its_frames_ends_the_connection_and_nothing_behind_it_is_executed() {
    let gateway = Gateway::start();
    let hidden = head(&format!("GET {}", ada()), "");
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
            head(&format!("PATCH {}", ada()), &format!("{PATCH}Transfer-Encoding: chunked\r\n")) + chunks + &hidden;
        let mut wire = gateway.connect();
        wire.send(&request);
        // `actix-http` closes by itself where it finds the fault while the body is being read.
        if let Some(answer) = wire.answer(false) {
            assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
            if !answer.body.is_empty() {
                answer.assert_problem("malformed-request", chunks);
            }
        }
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{chunks:?}");
    }
    gateway.assert_vendors_heard_nothing("broken chunks");
}

/// `httparse` takes a line feed alone as the end of a line (RFC 9112 §2.2 allows it). One reading only: the field counts.
#[test]
fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    let gateway = Gateway::start();
    let bare = format!("PATCH {} HTTP/1.1\nHost: gateway\nContent-Length: 2\n\n{{}}", ada());
    gateway.ask(&bare).assert_problem("unauthenticated", &bare);
    gateway.assert_vendors_heard_nothing("bare line feeds");
}

#[test]
fn singletons_and_an_invalid_host_are_told_as_problems() {
    let gateway = Gateway::start();
    let get = format!("GET {}", ada());
    gateway.refuses(&head(&get, "Authorization: Bearer admin\r\n"), "malformed-request");
    gateway.refuses(&head(&get, "Content-Type: a/b\r\nContent-Type: a/b\r\n"), "malformed-request");
    for host in ["a b", "a/b", "a\u{e4}", "a\tb", "user@host", "a:b:c", "[", "a:999999"] {
        gateway.refuses(&format!("{get} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "malformed-request");
    }
    for host in ["", "gateway:8080", "[::1]:8080", "127.0.0.1", "a.b.", "x:", "a,b", "[::1]"] {
        gateway.refuses(&format!("{get} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "unauthenticated");
    }
}
