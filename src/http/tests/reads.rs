//! Reading records.

use super::test_api::{TestApi, TestResponse, admin_request};

#[actix_web::test]
async fn a_record_is_read_with_its_tag_and_revalidated_with_304() {
    let api = TestApi::start().await;
    let tag = api.tag(7);
    let read = api.send(admin_request("GET", "/records/crm/a:b")).await;
    assert_eq!(read.status, 200);
    let quoted = serde_json::Value::from(tag.as_str());
    let record = format!(r#"{{"system":"crm","id":"a:b","etag":{quoted},"fields":{{"n":1.10}},"read_only":[]}}"#);
    assert_eq!(read.body, record);
    let headers = |response: &TestResponse| {
        ["etag", "cache-control", "vary"].map(|name| response.header(name).map(str::to_owned)).to_vec()
    };
    let expected = [Some(tag.as_str()), Some("private, no-cache, no-transform"), Some("Authorization, Prefer")];
    assert_eq!(headers(&read), expected.map(|one| one.map(str::to_owned)));
    assert_eq!(read.header("content-type"), Some("application/json"));

    let weak = format!("W/{tag}");
    let known = api.send(admin_request("GET", "/records/crm/a:b").insert_header(("if-none-match", weak))).await;
    assert_eq!(known.status, 304);
    assert_eq!(headers(&known), headers(&read));
    assert!(known.body.is_empty() && known.header("content-type").is_none());

    let stale = api.send(admin_request("GET", "/records/crm/a:b").insert_header(("if-match", "\"old\""))).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(stale.json()["current_etag"], tag.as_str());
    assert!(stale.header("etag").is_none());
    let head = api.send(admin_request("HEAD", "/records/crm/a:b")).await;
    assert_eq!((head.status, head.header("etag")), (200, Some(tag.as_str())));
}

#[actix_web::test]
async fn every_page_but_the_last_links_to_the_next_page() {
    let api = TestApi::start().await;
    let page = api.send(admin_request("GET", "/records/crm?collection=a%3Ab&limit=1")).await;
    let next = page.json()["next"].as_str().expect("a cursor").to_owned();
    let link = format!("</records/crm?collection=a:b&limit=1&cursor={next}>; rel=\"next\"");
    assert_eq!(page.header("link"), Some(link.as_str()));
    let target = format!("/records/crm?collection=a:b&limit=1&cursor={next}");
    let last = api.send(admin_request("GET", &target)).await;
    assert!(last.json()["next"].is_null() && last.header("link").is_none());
    assert_eq!(api.send(admin_request("GET", "/records/crm?limit=0")).await.problem(), "malformed-request");
}

#[actix_web::test]
async fn a_path_segment_is_decoded_once() {
    let api = TestApi::start().await;
    for (segment, id) in [("a%3Ab", "a:b"), ("a:b%2Fc", "a:b/c"), ("a:b%252Fc", "a:b%2Fc"), ("a:%C3%A4+", "a:ä+")] {
        let read = api.send(admin_request("GET", &format!("/records/cr%6D/{segment}"))).await;
        assert_eq!((read.status, read.json()["id"].as_str()), (200, Some(id)), "{segment}");
    }
}

#[actix_web::test]
async fn a_panic_is_a_500_and_counted() {
    let api = TestApi::start().await;
    let request = admin_request("GET", "/records/crm/a:panic").insert_header(("x-request-id", "abc"));
    let response = api.send(request).await;
    assert_eq!((response.status, response.problem().as_str()), (500, "internal-error"));
    assert_eq!(response.header("x-request-id"), Some("abc"));
    let counted = r#"gateway_requests_total{action="read",outcome="internal-error",system="crm"} 1"#;
    assert_eq!(api.counted(), [counted]);
}

#[actix_web::test]
async fn unconfigured_system_names_never_become_metric_labels() {
    let api = TestApi::start().await;
    api.send(admin_request("GET", "/records/nowhere/a:b")).await;
    api.send(admin_request("GET", "/nowhere")).await;
    let expected = [("other", "not-found"), ("read", "system-not-found")].map(|(action, outcome)| {
        format!(r#"gateway_requests_total{{action="{action}",outcome="{outcome}",system="none"}} 1"#)
    });
    assert_eq!(api.counted(), expected);
}
