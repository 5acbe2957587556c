//! Chunked bodies that never end (RFC 9112 §7.1.1, §9.6): the caller gets its response, and the
//! connection ends soon after it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{PATCH_HEADERS, ada_path, request_head, start_server_with};
use crate::support::TestServer;

/// How fast the rest is sent: about 3 MB a second.
const PIECE_BYTES: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(20);
/// Far longer than the gateway reads on; exceeded only by a gateway that does not stop.
const MAX_READ_TIME: Duration = Duration::from_secs(15);

/// A body that never ends: its start, and what is sent again and again after the response.
const ENDLESS: [(&str, &str, &str); 5] = [
    ("a chunk extension", "2;", "a"),
    ("trailers", "2\r\n{}\r\n0\r\n", "X-More: y\r\n"),
    ("the zeros of a size", "0", "0"),
    ("chunks of one byte", "1\r\n{\r\n", "1\r\nx\r\n"),
    ("one chunk", "ffffffff\r\n{", "x"),
];

/// Sends the start, reads the response, and sends on until the connection ends.
fn assert_ends_after_response(server: &TestServer, head: &str, (name, start, rest): (&str, &str, &str), status: u16) {
    let mut connection = server.connect();
    connection.send(format!("{head}{start}"));
    let response = connection.read_response(false).expect("a response");
    assert_eq!(response.status, status, "{head}{name}");
    assert!(response.closes_connection(), "{head}{name}");
    let piece = rest.repeat(PIECE_BYTES / rest.len());
    let responded_at = Instant::now();
    while connection.try_send(&piece).is_ok() {
        assert!(responded_at.elapsed() < MAX_READ_TIME, "still read: {head}{name}");
        sleep(PAUSE);
    }
}

fn assert_each_ends(server: &TestServer, head: &str, status: u16) {
    let head = format!("{}\r\n", head.trim_end().to_owned() + "\r\nTransfer-Encoding: chunked\r\n");
    std::thread::scope(|scope| {
        for endless in ENDLESS {
            let head = &head;
            scope.spawn(move || assert_ends_after_response(server, head, endless, status));
        }
    });
}

#[test]
fn an_endless_chunked_body_is_not_read_on_after_its_response() {
    let server = start_server_with(|config| config.server("deadline", "300ms"));
    let patch = format!("PATCH {}", ada_path());
    assert_each_ends(&server, &request_head("GET /healthz", ""), 200);
    assert_each_ends(&server, &request_head("OPTIONS *", ""), 204);
    assert_each_ends(&server, &request_head("GET /nowhere", ""), 404);
    assert_each_ends(&server, &request_head(&patch, "Content-Type: text/plain\r\n"), 415);
    assert_each_ends(&server, &request_head(&patch, PATCH_HEADERS), 408);
    server.assert_no_vendor_calls("endless bodies");
    assert_eq!(server.exchange(request_head("GET /healthz", "")).status, 200);
}

#[test]
fn a_chunked_body_over_the_limit_is_not_read_on_after_its_413() {
    let server = start_server_with(|config| config.server("max_body", 10));
    let head =
        request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n"));
    let ones = "1\r\nx\r\n".repeat(11);
    for start in [format!("{ones}1;"), format!("{ones}0\r\n"), format!("{ones}00"), "ffff\r\n{          ".to_owned()] {
        assert_ends_after_response(&server, &head, (&start, &start, "0"), 413);
    }
    server.assert_no_vendor_calls("endless bodies");
}

#[test]
fn the_largest_chunk_size_is_never_accepted() {
    let server = start_server_with(|config| config.server("deadline", "300ms").server("max_body", 1000));
    let head =
        request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}Transfer-Encoding: chunked\r\n"));
    let body = r#"{"fields":{"Status":"x"}}"#;
    for (data, status) in [(body.to_owned(), 408), (body.repeat(100), 413)] {
        let mut connection = server.connect();
        connection.send(format!("{head}FFFFFFFFFFFFFFFF\r\n{data}\r\n0\r\n\r\n"));
        let response = connection.read_response(false).expect("a response");
        assert_eq!((response.status, response.closes_connection()), (status, true));
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"");
    }
    server.assert_no_vendor_calls("huge chunks");
}

#[test]
fn a_whole_chunked_body_keeps_the_connection() {
    let server = start_server_with(|config| config);
    let mut connection = server.connect();
    let patch = format!("PATCH {}", ada_path());
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (head, status) in [
        (request_head("GET /nowhere", chunked), 404),
        (request_head(&patch, &format!("Content-Type: text/plain\r\n{chunked}")), 415),
        (request_head(&patch, &format!("{PATCH_HEADERS}{chunked}")), 422),
    ] {
        connection.send(format!("{head}3;a=b\r\n[1]\r\n0\r\nX-Trailer: t\r\n\r\n"));
        assert_eq!(connection.read_response(false).expect("a response").status, status, "{head}");
    }
}
