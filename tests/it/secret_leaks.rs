//! Secrets do not leak: after much traffic, with and without faults, none of them stands in the
//! log, the responses, the exported traces or the store.

use std::collections::BTreeSet;

use actix_web::http::Method;
use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, InjectedFault, ReceivedRequest};
use serde_json::json;

use super::support::{FIXTURES, JwtIssuer, MATRIX42, PRETECTUM, TestConfig, TestProcess, TestResponse, VendorFixture};
use super::traces::Collector;

const CALLER_KEY: &str = "canary-caller-key-5e7d";
const COLLECTOR_KEY: &str = "canary-collector-key-7c21";
const UNKNOWN_KEY: &str = "canary-unknown-key-9a1b";

/// Every secret: what is configured, what callers send, and the tokens that the vendors issued.
fn collect_secrets(process: &TestProcess, sent: &[&str]) -> BTreeSet<String> {
    let configured = process.config().vendor_secrets();
    assert!(configured.len() >= FIXTURES.len(), "a vendor without a secret: {configured:?}");
    let known = configured.len() + sent.len();
    let mut secrets: BTreeSet<String> =
        configured.into_iter().chain(sent.iter().map(|&secret| secret.to_owned())).collect();
    for fixture in FIXTURES {
        secrets.extend(fixture.log(&process.vendors).all().iter().filter_map(|call| sent_token(call)));
    }
    assert!(secrets.len() > known, "no token was issued: {secrets:?}");
    secrets
}

fn expire_all_tokens(process: &TestProcess) {
    for fixture in FIXTURES {
        fixture.expire_tokens(&process.vendors);
    }
}

fn sent_token(call: &ReceivedRequest) -> Option<String> {
    call.header("authorization")?.split_once(' ').map(|(_, token)| token.to_owned())
}

/// Successful and failing requests to one vendor.
async fn send_traffic(process: &TestProcess, fixture: &'static VendorFixture, key: &str) -> Vec<TestResponse> {
    let client = process.client();
    let faults = fixture.faults(&process.vendors);
    let bearer = format!("Bearer {key}");
    let read = || client.get(&fixture.path(fixture.key)).header("Authorization", &bearer);
    let write = |method: Method, tag: &str| {
        let request = client.request(method, &fixture.path(fixture.key)).if_match(tag).header("Authorization", &bearer);
        let request = request.header("Accept-Loss", &fixture.losses.join(", "));
        if fixture.queued { request.prefer("wait=2") } else { request }
    };
    let patch = |text: &str| write(Method::PATCH, "*").fields(&fixture.text_patch(text));
    let mut responses = vec![
        read().send().await,
        patch("first").idempotency_key("one").send().await,
        patch("first").idempotency_key("one").send().await,
        write(Method::PATCH, "\"stale\"").fields(&fixture.text_patch("stale")).send().await,
        write(Method::PATCH, "*").merge_patch("{\"fields\":").send().await,
        read().header("Authorization", "Bearer twice").send().await,
        client.get(&fixture.path(fixture.key)).header("Authorization", &format!("Bearer {UNKNOWN_KEY}")).send().await,
        client.get(&fixture.path(fixture.key)).header("Authorization", &format!("Basic {UNKNOWN_KEY}")).send().await,
        client.get(&fixture.path(fixture.missing_key)).header("Authorization", &bearer).send().await,
        client.get(&format!("/records/{}?cursor=x", fixture.system)).header("Authorization", &bearer).send().await,
    ];
    expire_all_tokens(process);
    responses.push(read().send().await);
    for fault in [
        InjectedFault::status(500),
        InjectedFault::HtmlPage,
        InjectedFault::WrongJson,
        InjectedFault::HalfBody,
        InjectedFault::ResetBefore,
        InjectedFault::ResetAfter,
        InjectedFault::Redirect { location: "http://127.0.0.1:1/elsewhere".to_owned() },
        InjectedFault::json(400, r#"{"message":"no","errors":["no"]}"#),
        // Last: a rejected sign-in is cached for a while.
        InjectedFault::status(401),
    ] {
        faults.next(None, 3, fault.clone());
        responses.push(read().send().await);
        faults.clear();
        faults.next(CallKind::SignIn, 1, fault.clone());
        expire_all_tokens(process);
        responses.push(patch("second").send().await);
        faults.clear();
    }
    responses.extend(send_echo_requests(process, fixture, &bearer).await);
    // The vendor's error text is passed on with the secret masked.
    let is_masked =
        |response: &TestResponse| response.status >= 400 && response.text.contains("the secret … is no good");
    assert!(responses.iter().any(is_masked), "no response contains the vendor's text");
    responses.extend(read_all_endpoints(process, &bearer).await);
    responses
}

/// Requests to a vendor whose responses repeat the secrets it was sent.
async fn send_echo_requests(process: &TestProcess, fixture: &VendorFixture, bearer: &str) -> Vec<TestResponse> {
    let client = process.client();
    let faults = fixture.faults(&process.vendors);
    let read = client.get(&fixture.path(fixture.key)).header("Authorization", bearer);
    let patch = client.request(Method::PATCH, &fixture.path(fixture.key)).header("Authorization", bearer).if_match("*");
    let patch = patch.header("Accept-Loss", &fixture.losses.join(", ")).fields(&fixture.text_patch("third"));
    let mut responses = Vec::new();
    if fixture.system == PRETECTUM.system {
        let words = format!("the secret {} is no good", process.config().secrets(fixture.system)[0]);
        let warned = json!({ "_dataObjectId": fixture.key, "_version": 1, "Email": "x",
            "_errors": [{ "name": "Email", "errors": [words] }] });
        let page = InjectedFault::json(200, json!({ "items": [warned], "nextPageKey": null }).to_string());
        faults.once(CallKind::List, page);
        let response = read.clone().send().await;
        assert_eq!(response.json()["warnings"][0]["detail"], "the secret … is no good", "{response:?}");
        responses.push(response);
    }
    for (call, body) in echo_bodies(process, fixture) {
        for status in [200, 400, 403, 422, 500] {
            faults.always(call, InjectedFault::json(status, body.clone()));
            if call == Some(CallKind::SignIn) {
                expire_all_tokens(process);
            }
            responses.push(patch.clone().send().await);
            responses.push(read.clone().send().await);
            faults.clear();
        }
    }
    responses
}

/// Every endpoint that shows something of the gateway.
async fn read_all_endpoints(process: &TestProcess, bearer: &str) -> Vec<TestResponse> {
    let paths = ["/systems", "/operations", "/ledger", "/metrics", "/openapi.json", "/readyz", "/"];
    let requests = paths.map(|path| process.client().get(path).header("Authorization", bearer).send());
    futures_util::future::join_all(requests).await
}

/// Error texts, in the vendors' forms, that repeat each secret of this vendor; each for any call
/// (`None`) and for the sign-in.
fn echo_bodies(process: &TestProcess, fixture: &VendorFixture) -> Vec<(Option<CallKind>, String)> {
    let calls = fixture.log(&process.vendors).all();
    let last = calls.iter().rev().find_map(|call| sent_token(call));
    let configured = process.config().secrets(fixture.system);
    let error_object = |secret: &str| {
        let text = format!("the secret {secret} is no good");
        let members = json!({ "message": text, "Message": text, "error": text, "error_description": text, "title": text,
            "detail": text, "ExceptionName": text, "errors": [text], "_errors": { "Email": text } });
        members.to_string()
    };
    let bodies_of = |secret: &str| {
        // A string where an object is expected.
        let bare = json!(format!("the secret {secret} is no good")).to_string();
        [None, fixture.expire_tokens.map(|_| CallKind::SignIn)]
            .into_iter()
            .flat_map(|call| [(call, error_object(secret)), (call, bare.clone())])
            .collect::<Vec<_>>()
    };
    last.iter().chain(&configured).flat_map(|secret| bodies_of(secret)).collect()
}

fn assert_contains_no_secret(place: &str, text: &[u8], secrets: &BTreeSet<String>) {
    for secret in secrets {
        let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{place} contains {secret}: {}", String::from_utf8_lossy(text));
    }
}

fn assert_no_secret_anywhere(process: &TestProcess, responses: &[TestResponse], secrets: &BTreeSet<String>) {
    let log = process.log();
    assert!(log.contains("TRACE") && log.contains("request failed"), "the log was on: {log}");
    assert_contains_no_secret("the log", log.as_bytes(), secrets);
    for response in responses {
        assert_contains_no_secret("a response", format!("{:?}{}", response.headers, response.text).as_bytes(), secrets);
    }
    let stored = std::fs::read_dir(process.folder()).unwrap().map(|entry| entry.unwrap().path());
    let stored: Vec<_> = stored.filter(|path| path.to_string_lossy().contains("store")).collect();
    assert!(!stored.is_empty());
    for path in stored {
        assert_contains_no_secret("the store", &std::fs::read(path).unwrap(), secrets);
    }
}

/// Short timeouts: what fails here fails on purpose.
fn with_short_timeouts(config: TestConfig) -> TestConfig {
    let config = config.server("deadline", "4s").every_system("timeout", "2s").every_system("retry_backoff", "1ms");
    config
        .every_system("circuit_failures", 10_000)
        .every_system("completion_timeout", "1s")
        .every_system("settle_timeout", "1s")
}

#[actix_web::test]
async fn no_secret_leaks_when_callers_use_api_keys() {
    let collector = Collector::start();
    let mut environment = collector.environment();
    let header = format!("authorization=Bearer%20{COLLECTOR_KEY}");
    environment.push(("OTEL_EXPORTER_OTLP_HEADERS", &header));
    let builder = TestProcess::builder().log_level("trace").environment(&environment);
    let builder = builder.configure(|config| with_short_timeouts(config).api_keys(&[("ada", CALLER_KEY, "*:*")]));
    let process = builder.start();
    let mut responses = Vec::new();
    for fixture in FIXTURES {
        responses.extend(send_traffic(&process, fixture, CALLER_KEY).await);
    }
    // The errors of a rejected configuration do not repeat its values.
    process.write_config(&process.config().system("crm", "retries", 99).key_in_place_of_digest(CALLER_KEY));
    process.wait_for_log("the changed configuration is invalid", 1).await;
    assert!(
        responses.iter().any(|response| response.status == 200)
            && responses.iter().any(|response| response.status >= 500)
    );
    let mut secrets = collect_secrets(&process, &[CALLER_KEY, UNKNOWN_KEY]);
    secrets.insert(const_hex::encode(sha256([CALLER_KEY.as_bytes()])));
    // The collector receives its own key and no other secret.
    let exports = collector.exports();
    assert!(exports.len() > 10);
    for (head, body) in exports {
        assert_eq!(head.get("authorization").unwrap().to_str().unwrap(), format!("Bearer {COLLECTOR_KEY}"));
        assert_contains_no_secret("an export", &body, &secrets);
        assert_contains_no_secret(
            "an export",
            &body,
            &BTreeSet::from([MATRIX42.key.to_owned(), PRETECTUM.key.to_owned()]),
        );
    }
    secrets.insert(COLLECTOR_KEY.to_owned());
    assert_no_secret_anywhere(&process, &responses, &secrets);
}

#[actix_web::test]
async fn no_secret_leaks_when_callers_use_jwts() {
    let issuer = JwtIssuer::new();
    let builder = TestProcess::builder().log_level("trace");
    let keys = builder.folder().join("keys.json");
    std::fs::write(&keys, issuer.jwks("one")).unwrap();
    let process = builder.configure(|config| with_short_timeouts(config).jwt(keys.to_str().unwrap())).start();
    let good = issuer.token("one", "ada", "*:*");
    let bad = [issuer.token("unknown", "ada", "*:*"), JwtIssuer::new().token("one", "ada", "*:*"), format!("{good}x")];
    let mut responses = send_traffic(&process, &MATRIX42, &good).await;
    for token in &bad {
        let request = process.client().get("/systems").header("Authorization", &format!("Bearer {token}"));
        responses.push(request.send().await);
    }
    assert!(responses.iter().rev().take(bad.len()).all(|response| response.status == 401));
    let all: Vec<&str> = [&good].into_iter().chain(&bad).flat_map(|token| [token, token_signature(token)]).collect();
    assert_no_secret_anywhere(&process, &responses, &collect_secrets(&process, &all));
    let problems = json!(responses.iter().map(|response| &response.text).collect::<Vec<_>>()).to_string();
    assert!(problems.contains("unauthenticated"));
}

fn token_signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap()
}
