//! Requests that two parsers are known to frame differently (RFC 9112 §11.2): each is framed as the
//! RFC says or rejected, and nothing after a rejected one is executed.

use super::{PATCH_HEADERS, ada_path, request_head, request_with_body, start_server};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const BODY: &str = "2\r\n{}\r\n0\r\n\r\n";

/// A write that must never be executed.
fn smuggled_patch() -> String {
    request_with_body(&format!("PATCH {}", ada_path()), PATCH_HEADERS, r#"{"fields":{"Last Name":"Smuggled"}}"#)
}

fn patch_request(framing: &str, body: &str) -> String {
    request_head(&format!("PATCH {}", ada_path()), &format!("{PATCH_HEADERS}{framing}")) + body
}

#[test]
fn framing_that_proxies_may_read_differently_is_rejected() {
    let server = start_server();
    for (framing, body) in [
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", BODY),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", BODY),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", BODY),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", BODY),
        ("Transfer-Encoding: ,chunked\r\n", BODY),
        ("Transfer-Encoding: chunked,\r\n", BODY),
        ("Transfer-Encoding: chunked;a=b\r\n", BODY),
        ("Transfer-Encoding: chunked\x0b\r\n", BODY),
        ("Transfer-Encoding: chunked\x0c\r\n", BODY),
        ("Transfer-Encoding: \u{a0}chunked\r\n", BODY),
        ("Transfer-Encoding:\r\n chunked\r\n", BODY),
        ("Transfer-Encoding\t: chunked\r\n", BODY),
        ("\tTransfer-Encoding: chunked\r\n", BODY),
        ("X-A: b\r\n\tTransfer-Encoding: chunked\r\n", BODY),
        ("X-A: b\rTransfer-Encoding: chunked\r\n", BODY),
        ("X-A\0: b\r\nTransfer-Encoding: chunked\r\n", BODY),
        ("Content-Length: 2.0\r\n", "{}"),
        ("Content-Length: 2e0\r\n", "{}"),
        ("Content-Length: 2;a=b\r\n", "{}"),
        ("Content-Length: ,2\r\n", "{}"),
        ("Content-Length: 2,\r\n", "{}"),
        ("Content-Length: \"2\"\r\n", "{}"),
        ("Content-Length: \u{b2}\r\n", "{}"),
        ("Content-Length:\r\n 2\r\n", "{}"),
        ("Content-Length : 2\r\n", "{}"),
        ("Content-Length\t: 2\r\n", "{}"),
        ("Content-Length: \r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length: 2\r\nContent-Length: \r\n", "{}"),
        ("Content-Length: 2\r\ncontent-length: 3\r\n", "{}"),
    ] {
        let mut connection = server.connect();
        connection.send(patch_request(framing, body) + &smuggled_patch());
        let response = connection.read_response(false).unwrap_or_else(|| panic!("no response to {framing:?}"));
        response.assert_empty_response(400, framing);
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "{framing:?}");
        server.assert_no_vendor_calls(framing);
    }
}

#[test]
fn chunks_that_proxies_may_split_differently_close_the_connection() {
    let server = start_server();
    for body in [
        // 2^64 + 2.
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0_2\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r\n0\n\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "2;a\rb\r\n{}\r\n0\r\n\r\n",
        "2;a\0b\r\n{}\r\n0\r\n\r\n",
        "2;\n{}\r\n0\r\n\r\n",
    ] {
        let mut connection = server.connect();
        connection.send(patch_request(CHUNKED, body) + &smuggled_patch());
        if let Some(response) = connection.read_response(false) {
            assert_eq!(response.status, 400, "{body:?}");
        }
        connection.shut_down_write();
        assert_eq!(connection.read_to_end(), b"", "{body:?}");
        server.assert_no_vendor_calls(body);
    }
}

/// Two requests, separated where the RFC says.
#[test]
fn unambiguous_framing_is_accepted() {
    let server = start_server();
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(20_000));
    let zeros = format!("{}2\r\n{{}}\r\n0\r\n\r\n", "0".repeat(40));
    for (framing, body) in [
        ("Content-Length: 2\r\n", "{}"),
        ("Content-Length: \t2 \r\n", "{}"),
        ("Content-Length: 0000000000000000000000002\r\n", "{}"),
        ("Connection: Content-Length\r\nContent-Length: 2\r\n", "{}"),
        ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", BODY),
        ("Content-Length: 2\r\nContent_Length: 900\r\nTransfer_Encoding: chunked\r\n", "{}"),
        ("transfer-ENCODING:\tChUnKeD \r\n", BODY),
        (CHUNKED, "2;a=b\r\n{}\r\n0;x\r\n\r\n"),
        (CHUNKED, "2;a=\"b;c\"\r\n{}\r\n0\r\n\r\n"),
        (CHUNKED, "1\r\n{\r\n1\r\n}\r\n000\r\n\r\n"),
        // Any trailer is skipped.
        (CHUNKED, "2\r\n{}\r\n0\r\nContent-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (CHUNKED, long.as_str()),
        (CHUNKED, zeros.as_str()),
    ] {
        let mut connection = server.connect();
        connection.send(patch_request(framing, body) + &request_head("GET /problems/not-found", ""));
        connection.shut_down_write();
        let statuses: Vec<u16> =
            std::iter::from_fn(|| connection.read_response(false)).map(|response| response.status).collect();
        assert_eq!(statuses, [204, 200], "{framing:?} {body:.60?}");
    }
}
