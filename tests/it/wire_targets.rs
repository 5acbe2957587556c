//! Targets and methods as they come over the wire: one rule for each oddity, told as a problem, nothing at a vendor.

use super::wire_support::{ADA, Gateway, ada, head};

#[test]
fn what_cannot_be_decoded_is_400() {
    let gateway = Gateway::start();
    for segment in [
        "%zz",
        "%",
        "%4",
        "%%30",
        "%u0041",
        "a%00b",
        "%00",
        "a%0d%0aX-Injected:%201",
        "%7f",
        "%ff",
        "%c3%28",
        "%e0%80%af",
        "%ed%a0%80",
    ] {
        gateway.refuses(&head(&format!("GET /records/crm/{segment}"), ""), "malformed-request");
        gateway.refuses(&head(&format!("GET /{segment}"), ""), "malformed-request");
    }
}

/// `actix-http` refuses raw octets that no target may hold; where it lets one through, the gateway refuses it.
#[test]
fn raw_octets_in_a_target_are_400() {
    let gateway = Gateway::start();
    for raw in [&b"\xff"[..], b"\xc3\xa4", b"\xc3", b"\x7f", b"<", b"\\x", b"^", b"`"] {
        let request =
            [b"GET /records/crm/", raw, b" HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer admin\r\n\r\n"].concat();
        let answer = gateway.try_ask(&request).expect("an answer");
        assert!((400..500).contains(&answer.status), "{raw:?}: {answer:?}");
    }
    gateway.assert_vendors_heard_nothing("raw octets");
}

#[test]
fn dots_and_empty_segments_are_never_resolved() {
    let gateway = Gateway::start();
    for path in [
        "//".to_owned(),
        format!("/{}", ada()),
        format!("/records//crm/{ADA}"),
        format!("/records/crm//{ADA}"),
        format!("{}/", ada()),
        format!("/records/crm/../crm/{ADA}"),
        format!("/records/./crm/{ADA}"),
        format!("/x/..{}", ada()),
        format!("/%2e%2e{}", ada()),
        format!("/records/crm/%2e%2e/{ADA}"),
        format!("/records%2Fcrm%2F{ADA}"),
        "/records/".to_owned(),
        "/healthz/".to_owned(),
        "/docs/../healthz".to_owned(),
        "/docs/%2e%2e%2fhealthz".to_owned(),
        "/docs/..".to_owned(),
        "/problems/../healthz".to_owned(),
        "/problems/%2e%2e".to_owned(),
        "/RECORDS/crm/x".to_owned(),
        "/records;a=b/crm/x".to_owned(),
    ] {
        gateway.refuses(&head(&format!("GET {path}"), ""), "not-found");
    }
    for id in ["..", "%2e%2e", "%2e%2e%2fx", "a%2F..%2Fb", ".", "%20", "a%252Fb", "%2e%2e:x:y:z"] {
        gateway.refuses(&head(&format!("GET /records/crm/{id}"), ""), "record-not-found");
    }
    for system in ["..", "%2e%2e", ".", "CRM", "crm%20", "crm%2F", "none"] {
        gateway.refuses(&head(&format!("GET /records/{system}/{ADA}"), ""), "system-not-found");
    }
}

#[test]
fn the_forms_of_a_target_are_told_apart() {
    let gateway = Gateway::start();
    assert_eq!(gateway.ask(head("GET http://elsewhere:1/healthz", "")).status, 200, "absolute form");
    let absolute = head(&format!("GET http://elsewhere{}", ada()), "").replace("Bearer admin", "Bearer wrong");
    gateway.refuses(&absolute, "unauthenticated");
    let all = gateway.ask(head("OPTIONS *", ""));
    assert_eq!((all.status, all.field("allow")), (204, Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS")));
    gateway.refuses(&head("GET *", ""), "not-found");
    // Neither a path nor a URL: not a form of RFC 9112 §3.2 but for CONNECT.
    for target in ["healthz", "gateway", "gateway:80", "x"] {
        gateway.refuses(&head(&format!("GET {target}"), ""), "malformed-request");
    }
    gateway.assert_vendors_heard_nothing("odd targets");
}

#[test]
fn a_method_that_http_does_not_know_is_501_and_one_that_the_path_does_not_take_405() {
    let gateway = Gateway::start();
    for method in ["FOO", "get", "Get", "patch", "PROPFIND", "QUERY", "M-SEARCH", "GETT", "A"] {
        for path in [ada().as_str(), "/healthz", "/nowhere", "*"] {
            gateway.refuses(&head(&format!("{method} {path}"), ""), "not-implemented");
        }
    }
    for method in ["PUT", "TRACE", "POST"] {
        let answer =
            gateway.refuses(&head(&format!("{method} {}", ada()), "Content-Length: 0\r\n"), "method-not-allowed");
        assert_eq!(answer.field("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
    }
    let trace = gateway.ask(head(&format!("TRACE {}", ada()), "X-Secret: tell-me\r\n"));
    assert!(!trace.text().contains("tell-me"), "TRACE echoes nothing");
    for target in [ada().as_str(), "gateway:443", "/healthz"] {
        let answer = gateway.ask(head(&format!("CONNECT {target}"), ""));
        assert!([400, 405].contains(&answer.status), "{target}: {answer:?}");
    }
    for (path, allow) in [
        ("/records/crm", "GET, HEAD, POST, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/docs/", "GET, HEAD, OPTIONS"),
        ("/ledger", "GET, HEAD, OPTIONS"),
    ] {
        let answer = gateway.refuses(&head(&format!("DELETE {path}"), ""), "method-not-allowed");
        assert_eq!(answer.field("allow"), Some(allow), "{path}");
    }
}

#[test]
fn an_overridden_method_is_not_the_method() {
    let gateway = Gateway::start();
    let fields = "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nIf-Match: *\r\n";
    assert_eq!(gateway.ask(head(&format!("GET {}?_method=DELETE", ada()), fields)).status, 400);
    assert_eq!(gateway.ask(head(&format!("GET {}", ada()), fields)).status, 200);
    assert!(gateway.vendor_calls().iter().all(|call| !call.starts_with("DELETE")));
}

#[test]
fn an_upgrade_is_ignored() {
    let gateway = Gateway::start();
    for upgrade in ["h2c", "websocket", "TLS/1.0"] {
        let fields =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n");
        let answer = gateway.ask(head("GET /healthz", &fields));
        assert_eq!(answer.status, 200, "{upgrade}");
        assert!(answer.field("upgrade").is_none(), "{upgrade}");
    }
    gateway.assert_vendors_heard_nothing("upgrades");
}
