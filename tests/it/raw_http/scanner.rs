//! Requests of scanners create no metric series: the values of labels are closed sets.

use std::collections::BTreeSet;

use super::{ADA, RawConnection, request_head, start_server};
use crate::support::{FIXTURES, TestServer};

/// Sent once before the first measurement, so that later requests of these kinds are not new.
const KINDS: [&str; 13] = [
    "GET /nowhere",
    "FOO /nowhere",
    "GET /%zz",
    "PUT /healthz",
    "GET /healthz",
    "GET /records/nope/x",
    "GET /records/nope",
    "POST /records/nope",
    "PATCH /records/nope/x",
    "DELETE /records/nope/x",
    "PUT /records/nope/x",
    "OPTIONS /records/nope",
    "GET /operations/nope",
];

fn read_series(server: &TestServer) -> Vec<(String, f64)> {
    let text = server.exchange(request_head("GET /metrics", "")).text().to_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').expect("a sample"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

fn series_names(series: &[(String, f64)]) -> BTreeSet<String> {
    series.iter().map(|(name, _)| name.clone()).collect()
}

fn unrouted_count(series: &[(String, f64)]) -> f64 {
    let is_unrouted =
        |name: &&(String, f64)| name.0.starts_with("gateway_requests_total{") && name.0.contains("system=\"none\"");
    series.iter().filter(is_unrouted).map(|(_, value)| value).sum()
}

fn send(connection: &mut RawConnection, request: &str) {
    connection.send(request);
    let response =
        connection.read_response_to(request.as_bytes()).unwrap_or_else(|| panic!("no response to {request}"));
    assert!(response.status < 500 || response.status == 501, "{request}: {response:?}");
}

#[test]
fn scanner_traffic_adds_no_series_and_is_counted_under_none() {
    let server = start_server();
    for kind in KINDS {
        server.exchange(request_head(kind, ""));
    }
    read_series(&server);
    let before = read_series(&server);
    let mut random = fastrand::Rng::with_seed(7);
    let words = [
        "wp-login.php",
        ".env",
        ".git/config",
        "admin",
        "..%2f..%2fetc%2fpasswd",
        "cgi-bin/",
        "api/v1/users",
        "%00",
        "%zz",
        "records",
        "records/x/y/z",
        "actuator/health",
        "phpmyadmin/",
        "none",
        "records/none",
        "records/Crm",
        "healthz/x",
    ];
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "DEBUG", "get"];
    let mut connection = server.connect();
    let mut sent = 0;
    for _ in 0..300 {
        let noise: String = (0..random.usize(0..12)).map(|_| random.alphanumeric()).collect();
        let word = words[random.usize(..words.len())];
        let method = methods[random.usize(..methods.len())];
        let path = if random.bool() { format!("/{word}{noise}") } else { format!("/{noise}-/{word}") };
        let agent = format!("User-Agent: {noise}\r\nX-{noise}-: {noise}\r\nX-Request-Id: {noise}\r\n");
        send(&mut connection, &request_head(&format!("{method} {path}?{noise}={noise}"), &agent));
        sent += 1;
    }
    let after = read_series(&server);
    let grown: Vec<_> = series_names(&after).difference(&series_names(&before)).cloned().collect();
    assert!(grown.is_empty(), "{grown:#?}");
    // The measurement itself is one request more.
    assert!(
        (unrouted_count(&after) - unrouted_count(&before) - f64::from(sent + 1)).abs() < 0.5,
        "all requests are counted under none"
    );
    server.assert_no_vendor_calls("a scan");
}

#[test]
fn no_metric_label_contains_client_input() {
    let server = start_server();
    for request in [
        request_head("GET /records/marker7/marker7", "X-Request-Id: marker7\r\n"),
        request_head("GET /records/crm/marker7", "Authorization: Bearer marker7\r\n"),
        request_head("MARKER7 /marker7", ""),
        request_head(&format!("GET /records/crm/{ADA}?marker7=1"), "Prefer: marker7\r\n"),
        request_head(
            &format!("DELETE /records/crm/{ADA}"),
            "If-Match: \"marker7\"\r\nAccept-Loss: marker7\r\nIdempotency-Key: marker7\r\n",
        ),
    ] {
        server.exchange(&request);
    }
    for (name, _) in read_series(&server) {
        assert!(!name.to_ascii_lowercase().contains("marker7"), "{name}");
        if let Some((_, rest)) = name.split_once("system=\"") {
            let system = rest.split('"').next().expect("a label");
            let is_configured = FIXTURES.iter().any(|fixture| fixture.system == system);
            assert!(is_configured || system == "none", "{name}");
        }
    }
}
