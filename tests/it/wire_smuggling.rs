//! Shapes of requests that two readers have been known to cut in two ways (RFC 9112 §11.2): each has one reading here, which
//! is the RFC's, or is refused, and then nothing behind it is executed.

use super::wire_support::{Gateway, PATCH, ada, head, with_body};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const BODY: &str = "2\r\n{}\r\n0\r\n\r\n";

/// A write that must never be executed.
fn hidden() -> String {
    with_body(&format!("PATCH {}", ada()), PATCH, r#"{"fields":{"Status":"Smuggled"}}"#)
}

fn patch(framing: &str, body: &str) -> String {
    head(&format!("PATCH {}", ada()), &format!("{PATCH}{framing}")) + body
}

#[test]
fn framing_that_somebody_else_may_read_otherwise_is_refused() {
    let gateway = Gateway::start();
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
        let mut wire = gateway.connect();
        wire.send(patch(framing, body) + &hidden());
        let answer = wire.answer(false).unwrap_or_else(|| panic!("no answer to {framing:?}"));
        answer.assert_bare(400, framing);
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{framing:?}");
        gateway.assert_vendors_heard_nothing(framing);
    }
}

#[test]
fn chunks_that_somebody_else_may_cut_otherwise_end_the_connection() {
    let gateway = Gateway::start();
    for body in [
        // 2 to the power of 64, and 2 more.
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
        let mut wire = gateway.connect();
        wire.send(patch(CHUNKED, body) + &hidden());
        if let Some(answer) = wire.answer(false) {
            assert_eq!(answer.status, 400, "{body:?}");
        }
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "{body:?}");
        gateway.assert_vendors_heard_nothing(body);
    }
}

/// Two requests, and the second is told from the first where the RFC says.
#[test]
fn framing_that_has_one_reading_is_read_so() {
    let gateway = Gateway::start();
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
        // A trailer is read over, whatever it claims.
        (CHUNKED, "2\r\n{}\r\n0\r\nContent-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (CHUNKED, long.as_str()),
        (CHUNKED, zeros.as_str()),
    ] {
        let mut wire = gateway.connect();
        wire.send(patch(framing, body) + &head("GET /problems/not-found", ""));
        wire.finish_sending();
        let statuses: Vec<u16> = std::iter::from_fn(|| wire.answer(false)).map(|answer| answer.status).collect();
        assert_eq!(statuses, [204, 200], "{framing:?} {body:.60?}");
    }
}
