//! The pages for browsers: they load resources of the gateway alone, run no foreign script and
//! cannot be framed.

use super::{RawResponse, request_head, start_server};
use crate::support::TestServer;

fn get(server: &TestServer, path: &str) -> RawResponse {
    server.exchange(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n"))
}

/// The values of an attribute in a page.
fn attribute_values<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn csp_directive<'a>(policy: &'a str, name: &str) -> Option<&'a str> {
    policy.split(';').map(str::trim).find_map(|part| part.strip_prefix(name)).map(str::trim)
}

#[test]
fn docs_redirects_to_docs_with_a_slash() {
    let server = start_server();
    for method in ["GET", "HEAD"] {
        let response = server.exchange(request_head(&format!("{method} /docs"), ""));
        assert_eq!((response.status, response.header("location")), (308, Some("/docs/")));
    }
    for missing in ["/docs/nothing.js", "/docs/../healthz", "/docs/a/b", "/docs//", "/docs/%2e%2e%2fCargo.toml"] {
        get(&server, missing).assert_problem("not-found", missing);
    }
}

#[test]
fn swagger_ui_loads_no_external_resources() {
    let server = start_server();
    let page = get(&server, "/docs/");
    assert!(page.status == 200 && page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let html = page.text();
    let sources = attribute_values(html, "src");
    let sheets = attribute_values(html, "href");
    assert!(!sources.is_empty() && !sheets.is_empty(), "{html}");
    for file in sources.iter().chain(&sheets) {
        assert!(!file.contains("//") && !file.starts_with("data:"), "{file} comes from elsewhere");
        let path = file.trim_start_matches("./");
        let response = get(&server, &if path.starts_with('/') { path.to_owned() } else { format!("/docs/{path}") });
        assert_eq!(response.status, 200, "{file}");
        let kind = response.header("content-type").expect("a type");
        assert!(
            ["text/css", "text/javascript", "application/javascript", "image/png"]
                .iter()
                .any(|one| kind.starts_with(one)),
            "{file}: {kind}"
        );
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{file}");
    }
    for script in html.split("<script").skip(1) {
        let (open, rest) = script.split_once('>').expect("a tag");
        assert!(open.contains("src=") && rest.trim_start().starts_with("</script>"), "an inline script: {open}");
    }
    let setup = get(&server, "/docs/swagger-initializer.js");
    assert!(setup.text().contains("/openapi.json"), "{}", setup.text());
    assert!(!setup.text().contains("http://") && !setup.text().contains("https://"), "{}", setup.text());
}

#[test]
fn every_page_has_a_strict_content_security_policy() {
    let server = start_server();
    for path in ["/", "/docs/", "/docs/index.html", "/problems/rejected", "/problems/outcome-unknown"] {
        let response = get(&server, path);
        assert_eq!(response.status, 200, "{path}");
        let policy = response.header("content-security-policy").expect("a policy");
        assert!(["'none'", "'self'"].contains(&csp_directive(policy, "default-src").expect("a default")), "{path}");
        assert!(!csp_directive(policy, "script-src").unwrap_or_default().contains("unsafe"), "{path}");
        assert!(!policy.contains("http:") && !policy.contains("https:") && !policy.contains('*'), "{path}");
        for (name, value) in [("frame-ancestors", "'none'"), ("base-uri", "'none'"), ("form-action", "'none'")] {
            assert_eq!(csp_directive(policy, name), Some(value), "{path}: {name}");
        }
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(
            response.header("set-cookie").is_none() && response.header("access-control-allow-origin").is_none(),
            "{path}"
        );
        for link in attribute_values(response.text(), "href").into_iter().filter(|link| link.starts_with('/')) {
            let linked = get(&server, link);
            assert!([200, 401].contains(&linked.status), "{path} links to {link}: {}", linked.status);
        }
    }
    server.assert_no_vendor_calls("pages");
}

#[test]
fn a_page_never_echoes_the_request_target() {
    let server = start_server();
    for path in
        ["/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/problems/%3Cscript%3E", "/docs/%3Cscript%3E", "/?%3Cscript%3E"]
    {
        let response = get(&server, path);
        assert!(!response.text().contains("<script>"), "{path}");
    }
}
