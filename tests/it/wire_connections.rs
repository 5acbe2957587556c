//! What becomes of connections: several requests on one, refusals with a body still coming, and ends in odd places.

use super::wire_answer::Answer;
use super::wire_support::{Gateway, PATCH, Wire, ada, head, with_body};

/// A patch that reaches the vendor if it is executed.
fn write() -> String {
    with_body(&format!("PATCH {}", ada()), PATCH, r#"{"fields":{"Status":"Smuggled"}}"#)
}

fn assert_nothing_written(gateway: &Gateway, after: &str) {
    assert!(gateway.vendor_calls().iter().all(|call| !call.starts_with("PUT")), "written after {after}");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let gateway = Gateway::start();
    let mut wire = gateway.connect();
    let requests = [
        (head("GET /healthz", ""), 200),
        (head("GET /nowhere", ""), 404),
        (head("HEAD /healthz", ""), 200),
        (head("OPTIONS *", ""), 204),
        (with_body(&format!("PATCH {}", ada()), "Content-Type: text/plain\r\n", "x"), 415),
    ];
    wire.send(requests.iter().map(|(request, _)| request.as_str()).collect::<String>());
    for (request, status) in &requests {
        assert_eq!(wire.answer_to(request.as_bytes()).expect("an answer").status, *status, "{request}");
    }
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let gateway = Gateway::start();
    let mut wire = gateway.connect();
    for byte in with_body(&format!("PATCH {}", ada()), PATCH, "[1]").as_bytes() {
        wire.send([*byte]);
    }
    wire.answer(false).expect("an answer").assert_problem("read-only-member", "single bytes");
    gateway.assert_vendors_heard_nothing("single bytes");
}

/// Each of these is answered from its head alone; its body holds a whole PATCH, which must stay a body.
#[test]
fn a_request_hidden_in_a_body_that_nobody_reads_is_never_executed() {
    let gateway = Gateway::start();
    let hidden = write();
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
        format!("PATCH {} {line}", ada()),
        format!("PATCH {} {line}{admin}Content-Type: text/plain\r\n", ada()),
        format!("PATCH {} {line}{admin}Content-Encoding: gzip\r\n", ada()),
        format!("PATCH {} {line}{admin}X-Large: {}\r\n", ada(), "v".repeat(9000)),
        format!("PUT {} {line}{admin}", ada()),
        format!("TRACE {} {line}{admin}", ada()),
        format!("GET {} {line}{admin}If-Match: nonsense\r\n", ada()),
        format!("DELETE {} {line}{admin}", ada()),
        format!("DELETE {} {line}{admin}If-Match: \"stale\"\r\n", ada()),
        format!("GET {} {line}{admin}", ada()),
        format!("GET /systems {line}{admin}"),
        format!("GET /healthz {line}Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        format!("GET /healthz {line}Expect: 100-continue\r\n"),
        format!("PATCH {} {line}Expect: 100-continue\r\n", ada()),
    ] {
        for body in [&chunked, &counted, &long] {
            let request = format!("{start}{body}");
            let mut wire = gateway.connect();
            wire.send(&request);
            wire.send(head("GET /problems/not-found", ""));
            wire.finish_sending();
            let answers = all_answers(&mut wire, &request);
            let finals: Vec<u16> = answers.iter().map(|answer| answer.status).filter(|status| *status >= 200).collect();
            assert!((1..=2).contains(&finals.len()), "{start:?}: {finals:?}");
            assert_nothing_written(&gateway, &start);
        }
    }
}

fn all_answers(wire: &mut Wire, request: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut to_head = request.starts_with("HEAD ");
    while let Some(answer) = wire.answer(to_head) {
        if answer.status >= 200 {
            to_head = false;
        }
        answers.push(answer);
    }
    answers
}

#[test]
fn expect_100_continue_is_answered_and_another_expectation_ignored() {
    let gateway = Gateway::start();
    let patch = format!("PATCH {}", ada());
    let mut wire = gateway.connect();
    wire.send(head(&patch, &format!("{PATCH}Expect: 100-continue\r\nContent-Length: 3\r\n")));
    assert_eq!(wire.answer(false).expect("go on").status, 100);
    wire.send("[1]");
    wire.answer(false).expect("an answer").assert_problem("read-only-member", &patch);
    gateway.refuses(&with_body(&patch, &format!("{PATCH}Expect: something\r\n"), "[1]"), "read-only-member");
    // A caller that waits for 100 learns of a refusal without having sent the body.
    let mut wire = gateway.connect();
    wire.send(head(&patch, "Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"));
    let mut answer = wire.answer(false).expect("an answer");
    if answer.status == 100 {
        answer = wire.answer(false).expect("an answer");
    }
    answer.assert_problem("unsupported-media-type", &patch);
    gateway.assert_vendors_heard_nothing("expectations");
}

#[test]
fn a_connection_cut_in_the_middle_changes_nothing_and_the_gateway_goes_on() {
    let gateway = Gateway::start();
    let whole = write();
    let body = whole.find("\r\n\r\n").expect("a head") + 4;
    for cut in [1, 3, 20, body - 30, body - 2, body, body + 1, whole.len() - 1] {
        let mut wire = gateway.connect();
        wire.send(&whole.as_bytes()[..cut]);
        drop(wire);
        assert_eq!(gateway.ask(head("GET /healthz", "")).status, 200, "cut at {cut}");
    }
    let chunked = head(&format!("PATCH {}", ada()), &format!("{PATCH}Transfer-Encoding: chunked\r\n"));
    for piece in ["", "2", "2\r\n{", "2\r\n{}\r\n", "2\r\n{}\r\n0\r\n"] {
        let mut wire = gateway.connect();
        wire.send(format!("{chunked}{piece}"));
        drop(wire);
    }
    assert_eq!(gateway.ask(head("GET /healthz", "")).status, 200);
    gateway.assert_vendors_heard_nothing("cut connections");
}

#[test]
fn a_body_that_ends_too_early_is_400_or_the_end_and_never_a_shorter_patch() {
    let gateway = Gateway::start();
    let patch = format!("PATCH {}", ada());
    // What has come is a patch by itself: it must not be taken for the whole.
    let counted = head(&patch, &format!("{PATCH}Content-Length: 400\r\n")) + r#"{"fields":{"Status":"Half"}}"#;
    let chunks = "1c\r\n{\"fields\":{\"Status\":\"Half\"}}\r\n";
    let chunked = head(&patch, &format!("{PATCH}Transfer-Encoding: chunked\r\n")) + chunks;
    for request in [counted, chunked.clone(), chunked + "0\r\n"] {
        let mut wire = gateway.connect();
        wire.send(&request);
        wire.finish_sending();
        if let Some(answer) = wire.answer(false) {
            assert_eq!(answer.status, 400, "{request}");
        }
        assert_eq!(wire.rest(), b"", "{request}");
    }
    gateway.assert_vendors_heard_nothing("half bodies");
}

#[test]
fn a_caller_that_has_finished_sending_still_gets_its_answer() {
    let gateway = Gateway::start();
    for (request, status) in
        [(head("GET /healthz", ""), 200), (head(&format!("GET {}", ada()), ""), 200), (write(), 204)]
    {
        let mut wire = gateway.connect();
        wire.send(&request);
        wire.finish_sending();
        assert_eq!(wire.answer(false).expect("an answer").status, status, "{request}");
        assert_eq!(wire.rest(), b"", "{request}");
    }
}

#[test]
fn a_head_in_a_pipeline_has_no_content_whatever_follows_it() {
    let gateway = Gateway::start();
    for path in [ada().as_str(), "/healthz", "/nowhere", "/records/crm/no-id", "/docs/"] {
        let first = head(&format!("HEAD {path}"), "");
        let mut wire = gateway.connect();
        wire.send(format!("{first}{}{first}{}", head("OPTIONS *", ""), head("GET /healthz", "")));
        for (request, status) in [(first.as_str(), None), ("OPTIONS", Some(204)), (&first, None), ("GET", Some(200))] {
            let answer = wire.answer_to(request.as_bytes()).expect("an answer");
            assert!(answer.field("content-length").is_some() || answer.status == 204, "{path}: {answer:?}");
            assert!(status.is_none_or(|status| status == answer.status), "{path}: {answer:?}");
        }
    }
}

#[test]
fn nothing_is_executed_after_a_request_that_said_it_was_the_last() {
    let gateway = Gateway::start();
    for first in [
        head("GET /healthz", "Connection: close\r\n"),
        head(&format!("GET {}", ada()), "Connection: close\r\n"),
        head("GET /nowhere", "Connection: Keep-Alive, Close\r\n"),
        "GET /healthz HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let mut wire = gateway.connect();
        wire.send(format!("{first}{}", write()));
        assert!(wire.answer(false).expect("an answer").closes() || first.contains("1.0"), "{first}");
        wire.rest();
        assert_nothing_written(&gateway, &first);
    }
}

/// `actix-http` reads the body of a request that offers this upgrade to the end of the connection. Its length counts.
#[test]
fn nothing_is_executed_after_an_answer_that_said_it_was_the_last() {
    let gateway = Gateway::start_with("max_body = 40");
    let mut wire = gateway.connect();
    let too_long = with_body(&format!("PATCH {}", ada()), PATCH, &" ".repeat(100));
    wire.send(too_long + &write());
    let refused = wire.answer(false).expect("an answer");
    assert!(refused.status == 413 && refused.closes(), "{}", refused.status);
    wire.rest();
    assert_nothing_written(&gateway, "an answer that closes");
}

#[test]
fn an_offered_upgrade_changes_nothing_about_a_body() {
    let gateway = Gateway::start();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let patch = format!("PATCH {}", ada());
    for (fields, body, name) in [
        (format!("{PATCH}{upgrade}"), "[1]", "read-only-member"),
        (format!("{PATCH}{upgrade}"), "{bad", "malformed-request"),
        (format!("{PATCH}{upgrade}"), "", "malformed-request"),
        (upgrade.to_owned(), "{}", "unsupported-media-type"),
    ] {
        let mut wire = gateway.connect();
        wire.send(with_body(&patch, &fields, body) + &write());
        let answer = wire.answer(false).expect("an answer");
        answer.assert_problem(name, body);
        assert!(answer.closes(), "{body}");
        assert_eq!(wire.rest(), b"", "{body}");
    }
    gateway.assert_vendors_heard_nothing("upgrades");
    let offered = with_body(&patch, &format!("{PATCH}{upgrade}"), r#"{"fields":{"Status":"Offered"}}"#);
    let mut wire = gateway.connect();
    wire.send(offered + &write());
    let answer = wire.answer(false).expect("an answer");
    assert!(answer.status == 204 && answer.closes(), "{answer:?}");
    assert_eq!(wire.rest(), b"");
    let sent = &gateway.vendors.pretectum.log;
    let written = sent.all().iter().filter(|call| call.method == "PUT").map(|call| call.text()).collect::<String>();
    assert!(written.contains("Offered") && !written.contains("Smuggled"), "{written}");
}
