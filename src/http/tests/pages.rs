//! Pages, health and metrics.

use std::time::Duration;

use actix_web::test::TestRequest;

use super::test_api::{TestApi, admin_request};
use crate::http::Listener;

#[actix_web::test]
async fn html_pages_are_public_and_load_only_local_resources() {
    let api = TestApi::start().await;
    for target in ["/", "/problems/rejected", "/docs/", "/docs/swagger-ui-bundle.js", "/openapi.json", "/healthz"] {
        let response = api.send(TestRequest::get().uri(target)).await;
        assert_eq!(response.status, 200, "{target}");
        if response.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            assert!(response.header("content-security-policy").is_some(), "{target}");
            assert!(!response.body.contains("src=\"http") && !response.body.contains("href=\"http"), "{target}");
        }
    }
    assert_eq!(api.send(TestRequest::get().uri("/docs")).await.header("location"), Some("/docs/"));
    assert_eq!(api.send(TestRequest::get().uri("/docs/nothing")).await.problem(), "not-found");
    let metrics = api.send(TestRequest::get().uri("/metrics")).await;
    assert!(metrics.body.contains("gateway_in_flight{system=\"none\"} 1\n"), "{}", metrics.body);
}

#[actix_web::test]
async fn swagger_ui_sends_the_key_of_the_tab_to_the_gateway_alone() {
    let api = TestApi::start().await;
    let script = api.send(TestRequest::get().uri("/docs/swagger-initializer.js")).await;
    assert_eq!(script.body, include_str!("../swagger/initializer.js"));
    // The console's key, for the one address that the page opens with.
    assert!(include_str!("../console/api.js").contains("const KEY = 'records-gateway.key';"));
    assert!(script.body.contains("const KEY = 'records-gateway.key';") && !script.body.contains("localStorage"));
    assert!(script.body.contains("request.loadSpec && request.url === address"));
    let policy = script.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("script-src"), "{policy}");
}

#[actix_web::test]
async fn the_gateway_is_ready_until_it_stops() {
    let api = TestApi::start().await;
    let ready = api.send(TestRequest::get().uri("/readyz")).await;
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"status":"ready"}"#));
    assert!(api.state.load().gateway.drain(Duration::from_secs(1)).await);
    let stopping = api.send(TestRequest::get().uri("/readyz")).await;
    assert_eq!((stopping.status, stopping.header("retry-after")), (503, Some("1")));
}

#[actix_web::test]
async fn health_and_metrics_move_to_their_own_listener() {
    let api = TestApi::start().await;
    for target in ["/healthz", "/readyz", "/metrics"] {
        let response = api.send_to(Listener::Api, TestRequest::get().uri(target)).await;
        assert_eq!(response.problem(), "not-found", "{target}");
    }
    for (target, status) in
        [("/healthz", 200), ("/metrics", 200), ("/", 404), ("/records/crm/a:b", 404), ("/systems", 404)]
    {
        let response = api.send_to(Listener::Ops, admin_request("GET", target)).await;
        assert_eq!(response.status, status, "{target}");
    }
}

#[actix_web::test]
async fn a_browser_gets_a_page_for_401_and_404_and_a_program_a_document() {
    let api = TestApi::start().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (target, status, name) in [("/records/crm/x", 401, "unauthenticated"), ("/<b>", 404, "not-found")] {
        let target = target.replace('<', "%3C").replace('>', "%3E");
        let get = |accept: &str| api.send(TestRequest::get().uri(&target).insert_header(("Accept", accept.to_owned())));
        let page = get(browser).await;
        assert_eq!((page.status, page.header("content-type")), (status, Some("text/html; charset=utf-8")));
        assert!(page.header("content-security-policy").is_some() && page.header("vary") == Some("Accept"));
        assert!(page.body.contains(&format!("/problems/{name}")) && !page.body.contains("<b>"), "{}", page.body);
        for accept in ["*/*", "application/json", "text/html, application/json", "text/plain"] {
            let document = get(accept).await;
            assert_eq!((document.status, document.problem().as_str()), (status, name), "{accept}");
        }
    }
    let put = TestRequest::put().uri("/records/crm/x").insert_header(("Accept", browser));
    assert_eq!(api.send(put).await.problem(), "method-not-allowed");
}
