//! A request gets the same response alone and as an item of a batch.

use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};

use super::test_api::{PATCH, TestApi, TestResponse, admin_request};
use crate::http::batch::route::{ItemOutcome, ItemRoutes, respond};
use crate::http::context::RequestContext;
use crate::http::item_request::ItemRequest;

/// The response to an item of a batch of `admin`.
async fn respond_to_item(api: &TestApi, method: &Method, path: &'static str, headers: &HeaderMap) -> TestResponse {
    let (method, headers) = (method.clone(), headers.clone());
    api.respond(move |context: RequestContext| {
        let (method, headers) = (method.clone(), headers.clone());
        async move {
            let (route, params) = ItemRoutes::new().find(path).expect("a path of records");
            let item = ItemRequest { method, path: path.to_owned(), params, headers, body: PATCH.into() };
            let ItemOutcome { response, problem } = respond(&context, &route, item).await;
            assert_eq!(problem.is_some(), response.status().is_client_error());
            let (status, headers) = (response.status(), response.headers().clone());
            let body = to_bytes(response.into_body()).await.expect("a body");
            let mut copy = HttpResponse::build(status).body(body);
            *copy.headers_mut() = headers;
            Ok(copy)
        }
    })
    .await
}

#[actix_web::test]
async fn a_patch_is_answered_alike_alone_and_as_an_item() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
    for (if_match, path, status) in [
        (Some("*"), "/records/crm/a:b", 204),
        (Some("\"stale\""), "/records/crm/a:b", 412),
        (None, "/records/crm/a:b", 428),
        (Some("*"), "/records/docs/a:b", 405),
        (Some("*"), "/records/none/a:b", 404),
        (Some("*"), "/records/crm", 405),
        (Some("*"), "/records/crm/a:%zz", 400),
    ] {
        headers.remove(IF_MATCH);
        let mut request = admin_request("PATCH", path)
            .insert_header((CONTENT_TYPE, "application/merge-patch+json"))
            .set_payload(PATCH);
        if let Some(if_match) = if_match {
            headers.insert(IF_MATCH, HeaderValue::from_static(if_match));
            request = request.insert_header((IF_MATCH, if_match));
        }
        let api = TestApi::start().await;
        let alone = api.send(request).await;
        let api = TestApi::start().await;
        let item = respond_to_item(&api, &Method::PATCH, path, &headers).await;
        assert_eq!((alone.status, item.status), (status, status), "{path} {if_match:?}: {item:?}");
        let name = |response: &TestResponse| (status != 204).then(|| response.json()["type"].clone());
        assert_eq!(name(&alone), name(&item), "{path}");
        let names = |response: &TestResponse| {
            let mut names: Vec<String> = response.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&alone), names(&item), "{path}");
    }
}
