//! Which paths exist, who may use them, and how the OpenAPI document describes them.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::test_api::{TestApi, admin_request};

/// The paths in `server.rs`, with parameters without their patterns.
fn served_paths() -> BTreeSet<String> {
    let source = include_str!("../server.rs");
    let calls = ["endpoint(\"", "public(\"", "ops(\""];
    let paths = calls.iter().flat_map(|call| source.split(call).skip(1)).filter_map(|rest| rest.split('"').next());
    paths.map(|path| path.replace(":[^/]*}", "}")).collect()
}

#[actix_web::test]
async fn the_openapi_document_describes_every_path_and_no_other() {
    // Swagger UI and the console are no part of the API.
    let undocumented = ["/docs", "/docs/{file}", "/console", "/console/{file}"].map(str::to_owned);
    let documented: BTreeSet<String> = crate::http::openapi().paths.paths.into_keys().collect();
    let served = served_paths();
    assert!(served.len() > undocumented.len());
    let expected: BTreeSet<String> = served.difference(&undocumented.into()).cloned().collect();
    assert_eq!(documented, expected);
}

#[actix_web::test]
async fn every_documented_method_is_served_and_allowed() {
    let api = TestApi::start().await;
    for (path, item) in crate::http::openapi().paths.paths {
        let target = path
            .replace("{model}", "m")
            .replace("{system}", "crm")
            .replace("{id}", "a:b")
            .replace("{name}", "rejected");
        let allow = api.send(admin_request("OPTIONS", &target)).await;
        let allow = allow.header("allow").unwrap_or_default().to_owned();
        let methods = [("GET", item.get), ("POST", item.post), ("PATCH", item.patch), ("DELETE", item.delete)];
        for (method, operation) in methods {
            let allowed = allow.split(", ").any(|one| one == method);
            assert_eq!(operation.is_some(), allowed, "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn only_the_paths_of_the_contract_exist() {
    let api = TestApi::start().await;
    for path in [
        "/records",
        "/records/",
        "/records/crm/",
        "/records/crm/a/",
        "/records/crm/a/b",
        "/records//a",
        "/systems/",
        "/operations/",
        "/ledger/",
        "/healthz/",
        "/problems",
        "/problems/unheard-of",
        "/docs/a/b",
        "/Records/crm",
        "//",
    ] {
        assert_eq!(api.send(admin_request("GET", path)).await.problem(), "not-found", "{path}");
    }
}

#[actix_web::test]
async fn every_path_but_the_public_ones_needs_a_caller() {
    let api = TestApi::start().await;
    let public = [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/{file}",
        "/console",
        "/console/{file}",
        "/problems/{name}",
    ];
    for path in served_paths() {
        let target =
            path.replace("{model}", "m").replace("{system}", "crm").replace("{file}", "").replace("{name}", "rejected");
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let response = api.send(TestRequest::default().method(method).uri(&target.replace("{id}", "a"))).await;
            // 405 comes before 401; OPTIONS is everywhere.
            if response.status == 405 {
                continue;
            }
            assert_eq!(response.status != 401, public.contains(&path.as_str()), "{path}");
        }
    }
}
