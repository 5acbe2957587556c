//! Request targets and methods: each malformed one is a problem, and no vendor receives a request.

use super::{ADA, ada_path, request_head, start_server};

#[test]
fn an_undecodable_target_is_400() {
    let server = start_server();
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
        server.assert_rejected(&request_head(&format!("GET /records/crm/{segment}"), ""), "malformed-request");
        server.assert_rejected(&request_head(&format!("GET /{segment}"), ""), "malformed-request");
    }
}

/// `actix-http` rejects raw octets that a target must not contain; the gateway rejects those that
/// it accepts.
#[test]
fn raw_octets_in_a_target_are_400() {
    let server = start_server();
    for raw in [&b"\xff"[..], b"\xc3\xa4", b"\xc3", b"\x7f", b"<", b"\\x", b"^", b"`"] {
        let request =
            [b"GET /records/crm/", raw, b" HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer admin\r\n\r\n"].concat();
        let response = server.try_exchange(&request).expect("a response");
        assert!((400..500).contains(&response.status), "{raw:?}: {response:?}");
    }
    server.assert_no_vendor_calls("raw octets");
}

#[test]
fn dots_and_empty_segments_are_never_resolved() {
    let server = start_server();
    for path in [
        "//".to_owned(),
        format!("/{}", ada_path()),
        format!("/records//crm/{ADA}"),
        format!("/records/crm//{ADA}"),
        format!("{}/", ada_path()),
        format!("/records/crm/../crm/{ADA}"),
        format!("/records/./crm/{ADA}"),
        format!("/x/..{}", ada_path()),
        format!("/%2e%2e{}", ada_path()),
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
        server.assert_rejected(&request_head(&format!("GET {path}"), ""), "not-found");
    }
    for id in ["..", "%2e%2e", "%2e%2e%2fx", "a%2F..%2Fb", ".", "%20", "a%252Fb", "%2e%2e:x:y:z"] {
        server.assert_rejected(&request_head(&format!("GET /records/crm/{id}"), ""), "record-not-found");
    }
    for system in ["..", "%2e%2e", ".", "CRM", "crm%20", "crm%2F", "none"] {
        server.assert_rejected(&request_head(&format!("GET /records/{system}/{ADA}"), ""), "system-not-found");
    }
}

#[test]
fn the_forms_of_a_request_target_are_distinguished() {
    let server = start_server();
    assert_eq!(server.exchange(request_head("GET http://elsewhere:1/healthz", "")).status, 200, "absolute form");
    let absolute =
        request_head(&format!("GET http://elsewhere{}", ada_path()), "").replace("Bearer admin", "Bearer wrong");
    server.assert_rejected(&absolute, "unauthenticated");
    let all = server.exchange(request_head("OPTIONS *", ""));
    assert_eq!((all.status, all.header("allow")), (204, Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS")));
    server.assert_rejected(&request_head("GET *", ""), "not-found");
    // Neither a path nor a URL: a form of RFC 9112 §3.2 for CONNECT alone.
    for target in ["healthz", "gateway", "gateway:80", "x"] {
        server.assert_rejected(&request_head(&format!("GET {target}"), ""), "malformed-request");
    }
    server.assert_no_vendor_calls("odd targets");
}

#[test]
fn an_unknown_method_is_501_and_a_disallowed_method_is_405() {
    let server = start_server();
    for method in ["FOO", "get", "Get", "patch", "M-SEARCH", "GETT", "A"] {
        for path in [ada_path().as_str(), "/healthz", "/nowhere", "*"] {
            server.assert_rejected(&request_head(&format!("{method} {path}"), ""), "not-implemented");
        }
    }
    for method in ["PUT", "TRACE", "POST", "QUERY", "PROPFIND"] {
        let response = server.assert_rejected(
            &request_head(&format!("{method} {}", ada_path()), "Content-Length: 0\r\n"),
            "method-not-allowed",
        );
        assert_eq!(response.header("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
    }
    let trace = server.exchange(request_head(&format!("TRACE {}", ada_path()), "X-Secret: do-not-echo\r\n"));
    assert!(!trace.text().contains("do-not-echo"), "TRACE echoes nothing");
    for target in [ada_path().as_str(), "gateway:443", "/healthz"] {
        let response = server.exchange(request_head(&format!("CONNECT {target}"), ""));
        assert!([400, 405].contains(&response.status), "{target}: {response:?}");
    }
    for (path, allow) in [
        ("/records/crm", "GET, HEAD, POST, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/docs/", "GET, HEAD, OPTIONS"),
        ("/ledger", "GET, HEAD, OPTIONS"),
    ] {
        let response = server.assert_rejected(&request_head(&format!("DELETE {path}"), ""), "method-not-allowed");
        assert_eq!(response.header("allow"), Some(allow), "{path}");
    }
}

#[test]
fn method_override_headers_are_ignored() {
    let server = start_server();
    let fields = "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nIf-Match: *\r\n";
    assert_eq!(server.exchange(request_head(&format!("GET {}?_method=DELETE", ada_path()), fields)).status, 400);
    assert_eq!(server.exchange(request_head(&format!("GET {}", ada_path()), fields)).status, 200);
    assert!(server.vendor_calls().iter().all(|call| !call.starts_with("DELETE")));
}

#[test]
fn an_upgrade_is_ignored() {
    let server = start_server();
    for upgrade in ["h2c", "websocket", "TLS/1.0"] {
        let fields =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n");
        let response = server.exchange(request_head("GET /healthz", &fields));
        assert_eq!(response.status, 200, "{upgrade}");
        assert!(response.header("upgrade").is_none(), "{upgrade}");
    }
    server.assert_no_vendor_calls("upgrades");
}
