//! Callers that present JWTs, over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use records_gateway::sandbox::matrix42;
use records_gateway::transport;
use serde_json::json;

use super::support::{JwtIssuer, ProcessBuilder, TestProcess};

fn bearer_header(token: &str) -> String {
    format!("Bearer {token}")
}

fn record_path() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

/// A gateway that trusts the issuer of this key set, which is read from a file.
fn with_jwks_file(jwks: &str) -> ProcessBuilder {
    let builder = TestProcess::builder();
    let file = builder.folder().join("keys.json");
    std::fs::write(&file, jwks).unwrap();
    builder.configure(|config| config.jwt(file.to_str().unwrap()))
}

#[actix_web::test]
async fn a_tokens_scope_grants_access_and_its_subject_is_in_the_ledger() {
    let issuer = JwtIssuer::new();
    let process = with_jwks_file(&issuer.jwks("one")).start();
    let vendors = &process.vendors;
    let client = process.client();
    let token_with = |scope: &str| bearer_header(&issuer.token("one", "auth0|ada", scope));

    let anonymous = client.get(&record_path()).send().await;
    assert_eq!(
        anonymous.assert_problem(401, "unauthenticated").header("www-authenticate"),
        Some("Bearer realm=\"records-gateway\"")
    );
    let foreign = bearer_header(&JwtIssuer::new().token("one", "auth0|ada", "*:*"));
    let rejected = client.get(&record_path()).header("Authorization", &foreign).send().await;
    let challenge = rejected.assert_problem(401, "unauthenticated").header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"records-gateway\", error=\"invalid_token\""));
    assert!(vendors.matrix42.log.all().is_empty(), "nothing was sent");

    let read = client.get(&record_path()).header("Authorization", &token_with("openid itsm:read")).send().await;
    let tag = read.assert_status(200).etag().to_owned();
    let patch = |scope: &str| {
        let request = client.request(actix_web::http::Method::PATCH, &record_path()).if_match(&tag);
        request.fields(&json!({ "Description": "by token" })).header("Authorization", &token_with(scope))
    };
    patch("itsm:read crm:update").send().await.assert_problem(403, "forbidden");
    patch("itsm:update").send().await.assert_status(204);
    let ledger = client.get("/ledger?system=itsm").header("Authorization", &token_with("*:ledger")).send().await;
    assert_eq!(ledger.assert_status(200).json()["items"][0]["caller"], "auth0|ada");
}

#[actix_web::test]
async fn keys_from_a_file_are_reloaded_when_it_changes() {
    let (old, new) = (JwtIssuer::new(), JwtIssuer::new());
    let process = with_jwks_file(&old.jwks("old")).log_level("info,records_gateway::access=debug").start();
    let keys = process.folder().join("keys.json");
    let status = async |issuer: &JwtIssuer, id: &str| {
        let token = bearer_header(&issuer.token(id, "ada", "*:*"));
        process.client().get(&record_path()).header("Authorization", &token).send().await.status
    };
    assert_eq!(status(&old, "old").await, 200);
    std::fs::write(&keys, new.jwks("new")).unwrap();
    process.wait_for_log("the JWKS was read", 2).await;
    assert_eq!((status(&new, "new").await, status(&old, "old").await), (200, 401));
    std::fs::write(&keys, "half a fi").unwrap();
    process.wait_for_log("the JWKS cannot be read", 1).await;
    assert_eq!(status(&new, "new").await, 200);
}

/// A server that sends `response(NUMBER)` to request NUMBER, and counts the requests.
fn start_http_server(response: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, mut head) = (stream, [0; 4096]);
            let _ = stream.read(&mut head);
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let _ = stream.write_all(response(number).as_bytes());
        }
    });
    (address, requests)
}

fn ok_response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[actix_web::test]
async fn keys_are_fetched_from_the_issuer_once_for_many_tokens() {
    let issuer = JwtIssuer::new();
    let jwks = issuer.jwks("one");
    let (url, fetches) = start_http_server(move |_| ok_response(&jwks));
    let process = TestProcess::start_with(|config| config.server("workers", 2).jwt(&url));
    let requests = (0..20).map(|number| {
        let (id, expected) = if number % 2 == 0 { ("one", 200) } else { ("made-up", 401) };
        let token = bearer_header(&issuer.token(id, "ada", "*:*"));
        let request = process.client().get(&record_path()).header("Authorization", &token);
        async move { (request.send().await.status, expected) }
    });
    for (status, expected) in futures_util::future::join_all(requests).await {
        assert_eq!(status, expected);
    }
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn a_request_is_503_and_not_401_while_the_issuer_is_unavailable() {
    let issuer = JwtIssuer::new();
    let jwks = issuer.jwks("one");
    let (url, _) =
        start_http_server(
            move |number| if number == 1 { "HTTP/1.1 500 Oh\r\n\r\n".to_owned() } else { ok_response(&jwks) },
        );
    let builder = TestProcess::builder().configure(|config| config.jwt(&url));
    let process = builder.log_level("info,records_gateway::access=debug").start();
    process.wait_for_log("the JWKS cannot be read", 1).await;
    let read = || {
        process.client().get(&record_path()).header("Authorization", &bearer_header(&issuer.token("one", "ada", "*:*")))
    };
    let early = read().send().await;
    assert!(early.assert_problem(503, "overloaded").header("retry-after").is_some());
    process.wait_for_log("the JWKS was read", 1).await;
    read().send().await.assert_status(200);
}

#[actix_web::test]
async fn a_key_document_is_fetched_completely_or_not_at_all() {
    let fetch = async |url: &str| transport::fetch(url, Duration::from_secs(5), 1000).await;
    let (good, _) = start_http_server(|_| ok_response("{}"));
    assert_eq!(fetch(&good).await.unwrap(), "{}");
    let (elsewhere, requests) = start_http_server(|_| ok_response("{}"));
    let (redirect, _) =
        start_http_server(move |_| format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n"));
    assert!(fetch(&redirect).await.unwrap_err().contains("302"));
    assert_eq!(requests.load(Ordering::SeqCst), 0);
    let (long, _) = start_http_server(|_| ok_response(&"x".repeat(1001)));
    assert!(fetch(&long).await.unwrap_err().contains("longer than 1000 bytes"));
    let (cut, _) = start_http_server(|_| "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"keys\":".to_owned());
    assert!(fetch(&cut).await.is_err());
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let timed_out = transport::fetch(&url, Duration::from_millis(50), 1000).await;
    assert_eq!(timed_out.unwrap_err(), "no response in time");
}
