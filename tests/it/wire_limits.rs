//! Sizes and times: each limit has its status, is told as a problem where there is a request, and costs no vendor a call.

use super::wire_support::{Gateway, PATCH, ada, head, with_body};

#[test]
fn a_target_of_more_than_8000_bytes_is_414() {
    let gateway = Gateway::start();
    let longest = format!("/records/crm/{}", "a".repeat(8000 - "/records/crm/".len()));
    gateway.refuses(&head(&format!("GET {longest}"), ""), "record-not-found");
    gateway.refuses(&head(&format!("GET {longest}a"), ""), "uri-too-long");
    gateway.refuses(&head(&format!("GET {}?limit={}", ada(), "1".repeat(8000)), ""), "uri-too-long");
    gateway.refuses(&head(&format!("GET /healthz?{}", "a".repeat(8000)), ""), "uri-too-long");
    gateway.refuses(&head(&format!("GET /{}", "a".repeat(60_000)), ""), "uri-too-long");
}

/// `http::Uri` holds 65,534 bytes; more is for `actix-http` no request at all, and is answered without a body.
#[test]
fn a_target_of_more_than_64_kib_is_a_4xx_and_the_end_of_the_connection() {
    let gateway = Gateway::start();
    for (length, status) in [(65_600, 400), (200_000, 431)] {
        let mut wire = gateway.connect();
        wire.send(head(&format!("GET /{}", "a".repeat(length)), ""));
        let answer = wire.answer(false).expect("an answer");
        answer.assert_bare(status, "a long target");
        wire.finish_sending();
        assert_eq!(wire.rest(), b"");
    }
    gateway.assert_vendors_heard_nothing("long targets");
}

#[test]
fn a_field_of_more_than_8_kib_and_a_section_of_more_than_32_kib_are_431() {
    let gateway = Gateway::start();
    let get = format!("GET {}", ada());
    let answer = gateway.refuses(&head(&get, &format!("X-Large: {}\r\n", "v".repeat(9 * 1024))), "headers-too-large");
    assert!(answer.text().contains("x-large"), "the field is named");
    let last = format!("Prefer: wait=1\r\nIf-Match: \"{}\"\r\n", "v".repeat(9 * 1024));
    gateway.refuses(&head(&get, &last), "headers-too-large");
    let many = format!("X-Many: {}\r\n", "v".repeat(7 * 1024)).repeat(5);
    gateway.refuses(&head(&get, &many), "headers-too-large");
    let most = "X-Many: v\r\n".repeat(90);
    gateway.refuses(&head("GET /nowhere", &most), "not-found");
    let more = "X-Many: v\r\n".repeat(200);
    let bare = gateway.ask(head(&get, &more));
    bare.assert_bare(431, "more than 96 field lines");
    gateway.assert_vendors_heard_nothing("large fields");
}

#[test]
fn a_body_over_the_limit_is_413_announced_or_not() {
    let gateway = Gateway::start_with("max_body = 1000");
    let patch = format!("PATCH {}", ada());
    // Announced: refused before a byte of it has come.
    let mut wire = gateway.connect();
    wire.send(head(&patch, &format!("{PATCH}Content-Length: 1001\r\n")));
    let answer = wire.answer(false).expect("an answer");
    answer.assert_problem("body-too-large", &patch);
    assert!(answer.closes());
    wire.finish_sending();
    assert_eq!(wire.rest(), b"");
    gateway.refuses(&head(&patch, &format!("{PATCH}Content-Length: 18446744073709551615\r\n")), "body-too-large");
    // In chunks: refused when one byte more has come than fits.
    let mut wire = gateway.connect();
    wire.send(head(&patch, &format!("{PATCH}Transfer-Encoding: chunked\r\n")));
    for _ in 0..4 {
        wire.send(format!("ff\r\n{}\r\n", " ".repeat(255)));
    }
    let answer = wire.answer(false).expect("an answer while the body still comes");
    answer.assert_problem("body-too-large", &patch);
    assert!(answer.closes());
    wire.finish_sending();
    assert_eq!(wire.rest(), b"");
    // The largest that fits is read: it is the patch that is wrong.
    let largest = format!("{{\"x\":1{}}}", " ".repeat(993));
    gateway.assert_vendors_heard_nothing("large bodies");
    gateway.ask(with_body(&patch, PATCH, &largest)).assert_problem("read-only-member", &largest);
}

#[test]
fn a_coded_body_is_415_whatever_is_in_it() {
    let gateway = Gateway::start();
    let patch = format!("PATCH {}", ada());
    let bomb = "\u{1f}\u{8}\0\0".repeat(64);
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "identity, gzip", "foo", "GZIP"]
    {
        let answer = gateway.refuses(
            &with_body(&patch, &format!("{PATCH}Content-Encoding: {coding}\r\n"), &bomb),
            "unsupported-media-type",
        );
        assert_eq!(answer.field("accept-encoding"), Some("identity"), "{coding}");
    }
    let two = format!("{PATCH}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n");
    gateway.refuses(&with_body(&patch, &two, &bomb), "unsupported-media-type");
    let plain = gateway
        .refuses(&with_body(&patch, "If-Match: *\r\nContent-Type: text/plain\r\n", "{}"), "unsupported-media-type");
    assert_eq!(plain.field("accept-encoding"), None, "another reason");
    assert_eq!(plain.field("accept-patch"), Some("application/merge-patch+json, application/json-patch+json"));
}

#[test]
fn json_that_is_deep_doubled_or_not_utf_8_is_400() {
    let gateway = Gateway::start();
    let patch = format!("PATCH {}", ada());
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
        gateway.refuses(&with_body(&patch, PATCH, &body), "malformed-request");
    }
    let bytes =
        [head(&patch, &format!("{PATCH}Content-Length: 23\r\n")).as_bytes(), b"{\"fields\":{\"a\":\"\xc3\x28\xff \"}}"]
            .concat();
    gateway.ask(&bytes).assert_problem("malformed-request", "bytes that are not UTF-8");
    gateway.assert_vendors_heard_nothing("bad JSON");
}

#[test]
fn a_head_that_does_not_arrive_is_408_and_the_end_of_the_connection() {
    let gateway = Gateway::start();
    let mut wire = gateway.connect();
    wire.send(format!("PATCH {} HTTP/1.1\r\nHost: gateway\r\n", ada()));
    wire.answer(false).expect("an answer").assert_bare(408, "a slow head");
    wire.send("Content-Length: 0\r\n\r\n");
    assert_eq!(wire.rest(), b"");
    gateway.assert_vendors_heard_nothing("a slow head");
}

#[test]
fn a_body_that_does_not_arrive_is_408_and_the_end_of_the_connection() {
    // The deadline of a request is the longest a body may take, if it is shorter than what bodies usually get.
    let gateway = Gateway::start_with("deadline = \"200ms\"");
    let patch = format!("PATCH {}", ada());
    for (framing, start) in [("Content-Length: 30\r\n", "{\"fields\":"), ("Transfer-Encoding: chunked\r\n", "2\r\n{")] {
        let mut wire = gateway.connect();
        wire.send(head(&patch, &format!("{PATCH}{framing}")) + start);
        let answer = wire.answer(false).expect("an answer");
        answer.assert_problem("request-timeout", framing);
        assert!(answer.closes(), "{framing}");
        wire.send(head("GET /healthz", ""));
        wire.finish_sending();
        assert_eq!(wire.rest(), b"", "what comes late is not a request: {framing}");
    }
    gateway.assert_vendors_heard_nothing("slow bodies");
}
