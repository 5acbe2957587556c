//! Callers with tokens, through HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use records_gateway::sandbox::{Sandbox, matrix42};
use records_gateway::transport;
use serde_json::json;

use super::gateway_program::{GatewayProgram, JwtIssuer, configuration, jwt_access_config};

fn bearer_header(token: &str) -> String {
    format!("Bearer {token}")
}

fn record_path() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

#[actix_web::test]
async fn a_tokens_scope_grants_access_and_its_subject_is_in_the_ledger() {
    let (vendors, folder, issuer) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap(), JwtIssuer::new());
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, issuer.jwks("one")).unwrap();
    let access = jwt_access_config(keys.to_str().unwrap());
    let program = GatewayProgram::serve(folder.path(), &configuration(&vendors, folder.path(), "", &access), "info");
    let caller = program.client();
    let as_whom = |scope: &str| bearer_header(&issuer.token("one", "auth0|ada", scope));

    let nobody = caller.get(&record_path()).send().await;
    assert_eq!(
        nobody.assert_problem(401, "unauthenticated").header("www-authenticate"),
        Some("Bearer realm=\"records-gateway\"")
    );
    let stranger = bearer_header(&JwtIssuer::new().token("one", "auth0|ada", "*:*"));
    let refused = caller.get(&record_path()).header("Authorization", &stranger).send().await;
    let challenge = refused.assert_problem(401, "unauthenticated").header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"records-gateway\", error=\"invalid_token\""));
    assert!(vendors.matrix42.log.all().is_empty(), "nothing was sent");

    let read = caller.get(&record_path()).header("Authorization", &as_whom("openid itsm:read")).send().await;
    let tag = read.assert_status(200).etag().to_owned();
    let patch = |scope: &str| {
        let request = caller.request(actix_web::http::Method::PATCH, &record_path()).if_match(&tag);
        request.fields(&json!({ "Description": "by token" })).header("Authorization", &as_whom(scope))
    };
    patch("itsm:read crm:update").send().await.assert_problem(403, "forbidden");
    patch("itsm:update").send().await.assert_status(204);
    let ledger = caller.get("/ledger?system=itsm").header("Authorization", &as_whom("*:ledger")).send().await;
    assert_eq!(ledger.assert_status(200).json()["items"][0]["caller"], "auth0|ada");
}

#[actix_web::test]
async fn keys_from_a_file_are_reloaded_when_it_changes() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let (old, new) = (JwtIssuer::new(), JwtIssuer::new());
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, old.jwks("old")).unwrap();
    let access = jwt_access_config(keys.to_str().unwrap());
    let level = "info,records_gateway::access=debug";
    let program = GatewayProgram::serve(folder.path(), &configuration(&vendors, folder.path(), "", &access), level);
    let status = async |issuer: &JwtIssuer, id: &str| {
        let token = bearer_header(&issuer.token(id, "ada", "*:*"));
        program.client().get(&record_path()).header("Authorization", &token).send().await.status
    };
    assert_eq!(status(&old, "old").await, 200);
    std::fs::write(&keys, new.jwks("new")).unwrap();
    program.wait_for_log("the JWKS was read", 2).await;
    assert_eq!((status(&new, "new").await, status(&old, "old").await), (200, 401));
    std::fs::write(&keys, "half a fi").unwrap();
    program.wait_for_log("the JWKS cannot be read", 1).await;
    assert_eq!(status(&new, "new").await, 200);
}

/// Answers every connection with this, as often as it is asked, and counts.
fn start_http_server(response: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, mut head) = (stream, [0; 4096]);
            let _ = stream.read(&mut head);
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let _ = stream.write_all(response(number).as_bytes());
        }
    });
    (address, asked)
}

fn ok_response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[actix_web::test]
async fn keys_are_fetched_from_the_issuer_once_for_many_tokens() {
    let (vendors, folder, issuer) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap(), JwtIssuer::new());
    let jwks = issuer.jwks("one");
    let (url, asked) = start_http_server(move |_| ok_response(&jwks));
    let text = configuration(&vendors, folder.path(), "workers = 2", &jwt_access_config(&url));
    let program = GatewayProgram::serve(folder.path(), &text, "info");
    let requests = (0..20).map(|number| {
        let (id, expected) = if number % 2 == 0 { ("one", 200) } else { ("made-up", 401) };
        let token = bearer_header(&issuer.token(id, "ada", "*:*"));
        let request = program.client().get(&record_path()).header("Authorization", &token);
        async move { (request.send().await.status, expected) }
    });
    for (status, expected) in futures_util::future::join_all(requests).await {
        assert_eq!(status, expected);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn a_request_is_503_and_not_401_while_the_issuer_is_unavailable() {
    let (vendors, folder, issuer) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap(), JwtIssuer::new());
    let jwks = issuer.jwks("one");
    let (url, _) =
        start_http_server(
            move |number| if number == 1 { "HTTP/1.1 500 Oh\r\n\r\n".to_owned() } else { ok_response(&jwks) },
        );
    let text = configuration(&vendors, folder.path(), "", &jwt_access_config(&url));
    let program = GatewayProgram::serve(folder.path(), &text, "info,records_gateway::access=debug");
    program.wait_for_log("the JWKS cannot be read", 1).await;
    let ask = || {
        program.client().get(&record_path()).header("Authorization", &bearer_header(&issuer.token("one", "ada", "*:*")))
    };
    let early = ask().send().await;
    assert!(early.assert_problem(503, "overloaded").header("retry-after").is_some());
    program.wait_for_log("the JWKS was read", 1).await;
    ask().send().await.assert_status(200);
}

#[actix_web::test]
async fn a_key_document_is_fetched_completely_or_not_at_all() {
    let fetch = async |url: &str| transport::fetch(url, Duration::from_secs(5), 1000).await;
    let (good, _) = start_http_server(|_| ok_response("{}"));
    assert_eq!(fetch(&good).await.unwrap(), "{}");
    let (elsewhere, asked) = start_http_server(|_| ok_response("{}"));
    let (redirect, _) =
        start_http_server(move |_| format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n"));
    assert!(fetch(&redirect).await.unwrap_err().contains("302"));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let (long, _) = start_http_server(|_| ok_response(&"x".repeat(1001)));
    assert!(fetch(&long).await.unwrap_err().contains("longer than 1000 bytes"));
    let (cut, _) = start_http_server(|_| "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"keys\":".to_owned());
    assert!(fetch(&cut).await.is_err());
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let given_up = transport::fetch(&url, Duration::from_millis(50), 1000).await;
    assert_eq!(given_up.unwrap_err(), "no response in time");
}
