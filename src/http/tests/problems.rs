//! The headers that problems carry.

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::test_api::{TestApi, admin_request, patch_request};
use crate::problem::ProblemKind;

#[actix_web::test]
async fn problem_responses_have_the_headers_that_their_status_requires() {
    let api = TestApi::start().await;
    let unknown = api.send(TestRequest::get().uri("/systems")).await;
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"records-gateway\""));
    let wrong = TestRequest::get().uri("/systems").insert_header(("authorization", "Bearer x"));
    let challenge = "Bearer realm=\"records-gateway\", error=\"invalid_token\"";
    assert_eq!(api.send(wrong).await.header("www-authenticate"), Some(challenge));

    let put = api.send(admin_request("PUT", "/records/crm/a:b")).await;
    assert_eq!(put.header("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
    let read_only = api.send(admin_request("DELETE", "/records/docs/a:b").insert_header(("if-match", "*"))).await;
    assert_eq!((read_only.status, read_only.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let trace = api.send(admin_request("TRACE", "/records/crm/a:b")).await;
    assert_eq!(trace.problem(), "method-not-allowed");

    let text = api.send(patch_request().insert_header(("content-type", "text/plain"))).await;
    assert_eq!(text.header("accept-patch"), Some("application/merge-patch+json, application/json-patch+json"));
    assert!(text.header("accept-encoding").is_none());
    let zipped = api.send(patch_request().insert_header(("content-encoding", "gzip"))).await;
    assert_eq!((zipped.status, zipped.header("accept-encoding")), (415, Some("identity")));
    assert_eq!(zipped.header("accept-patch"), text.header("accept-patch"));
    assert_eq!(api.send(admin_request("GET", "/records/crm/a%00:b")).await.problem(), "malformed-request");
    assert_eq!(api.send(admin_request("GET", "/records/crm/a:b?x=1")).await.problem(), "malformed-request");
    assert_eq!(api.send(admin_request("GET", "/records/crm/a:b/more")).await.problem(), "not-found");
    assert_eq!(api.write_count(), 0);
}

#[actix_web::test]
async fn a_body_over_the_limit_is_rejected_even_without_a_length() {
    let response = TestApi::start().await.send(patch_request().set_payload(" ".repeat(101))).await;
    assert_eq!((response.status, response.problem().as_str()), (413, "body-too-large"));
}

#[actix_web::test]
async fn the_detail_of_a_refused_body_is_in_plain_words() {
    let api = TestApi::start().await;
    let (merge, patch) = ("application/merge-patch+json", "application/json-patch+json");
    for (content_type, body, detail) in [
        (merge, "", "the body is empty"),
        (patch, "", "the body is empty"),
        (merge, "\u{feff}{}", "the body begins with a byte order mark; send it without (RFC 8259 §8.1)"),
        (merge, "{\"fields\":{", "not JSON: the text ends inside an object (line 1, column 11)"),
        (
            merge,
            r#"{"fields":{"a":"\ud83d"}}"#,
            "a string holds half of a surrogate pair, such as \\ud83d alone; send both halves, such as \\ud83d\\ude00, \
             or the character itself",
        ),
        (
            merge,
            "[1]",
            "a merge patch of a record must be an object such as {\"fields\":{\"Name\":\"new\"}}; any other value would \
             replace the whole record",
        ),
        (
            patch,
            r#"[{"op":1,"path":"/a"}]"#,
            "operation 0 is not an operation of RFC 6902: its op is 1; it must be add, remove, replace, move, copy or test",
        ),
        (patch, r#"[{"op":"remove","path":""}]"#, "only members of /fields can change"),
    ] {
        let response = api.send(patch_request().insert_header(("content-type", content_type)).set_payload(body)).await;
        assert_eq!(response.json()["detail"], detail, "{body:?}");
    }
    let missing = r#"[{"op":"remove","path":"/fields/nn"}]"#;
    let response = api.send(patch_request().insert_header(("content-type", patch)).set_payload(missing)).await;
    assert_eq!(response.problem(), "patch-failed");
    assert_eq!(response.json()["detail"], "/fields/nn: operation 0: the record has no value here");
    assert_eq!(api.write_count(), 0);
}

#[actix_web::test]
async fn options_lists_the_methods_that_the_system_allows() {
    let api = TestApi::start().await;
    let all = api.send(admin_request("OPTIONS", "/records/crm/a:b").insert_header(("if-match", "\"no\""))).await;
    assert_eq!((all.status, all.header("allow")), (204, Some("GET, HEAD, PATCH, DELETE, OPTIONS")));
    assert!(all.header("accept-patch").is_some());
    let read_only = api.send(admin_request("OPTIONS", "/records/docs/a:b")).await;
    assert_eq!(read_only.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(read_only.header("accept-patch").is_none());
    assert_eq!(api.send(TestRequest::default().method(Method::OPTIONS).uri("*")).await.status, 204);
    assert_eq!(api.send(admin_request("GET", "*")).await.problem(), "not-found");
    assert_eq!(api.send(admin_request("PUT", "*")).await.problem(), "method-not-allowed");
    assert_eq!(api.send(admin_request("GET", "/*")).await.problem(), "not-found");
}

#[actix_web::test]
async fn problems_that_require_retry_after_always_have_it() {
    let api = TestApi::start().await;
    for name in [ProblemKind::OperationInProgress, ProblemKind::VendorBusy, ProblemKind::RateLimited] {
        let response = api.respond(move |_| async move { Err(name.with_detail("busy").into()) }).await;
        assert_eq!(response.header("retry-after"), Some("1"), "{name:?}");
    }
}
