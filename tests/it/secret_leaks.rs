//! Secrets stay where they belong: they are put into every place they have, much goes wrong, and then they are looked for in
//! all that the program says, shows and stores.

use std::collections::BTreeSet;
use std::path::Path;

use actix_web::http::Method;
use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, InjectedFault, ReceivedRequest, Sandbox, bluedolphin, matrix42, pretectum};
use serde_json::json;

use super::gateway_program::{GatewayProgram, JwtIssuer, configuration, jwt_access_config};
use super::support::{BLUEDOLPHIN, MATRIX42, PRETECTUM, TestResponse, VendorFixture};
use super::traces::Collector;

const CALLER_KEY: &str = "canary-caller-key-5e7d";
const COLLECTOR_KEY: &str = "canary-collector-key-7c21";
const UNKNOWN_KEY: &str = "canary-unknown-key-9a1b";

/// Everything that must not be seen: what is configured, what callers send, and the tokens that the vendors gave.
fn collect_secrets(vendors: &Sandbox, sent: &[&str]) -> BTreeSet<String> {
    let configured = [pretectum::CLIENT_SECRET, bluedolphin::API_KEY, matrix42::API_TOKEN];
    let mut secrets: BTreeSet<String> = configured.iter().chain(sent).map(|&secret| secret.to_owned()).collect();
    let received = vendors.pretectum.log.all().into_iter().chain(vendors.matrix42.log.all());
    for call in received.chain(vendors.bluedolphin.log.all()) {
        secrets.extend(sent_token(&call));
    }
    assert!(secrets.len() > configured.len() + sent.len(), "no token was made: {secrets:?}");
    secrets
}

fn sent_token(call: &ReceivedRequest) -> Option<String> {
    call.header("authorization")?.split_once(' ').map(|(_, token)| token.to_owned())
}

/// Requests that end well and requests that end badly, for one vendor.
async fn send_traffic(
    program: &GatewayProgram,
    vendors: &Sandbox,
    fixture: &'static VendorFixture,
    key: &str,
) -> Vec<TestResponse> {
    let caller = program.client();
    let bearer = format!("Bearer {key}");
    let read = || caller.get(&fixture.path(fixture.key)).header("Authorization", &bearer);
    let write = |method: Method, tag: &str| {
        let request = caller.request(method, &fixture.path(fixture.key)).if_match(tag).header("Authorization", &bearer);
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
        caller.get(&fixture.path(fixture.key)).header("Authorization", &format!("Bearer {UNKNOWN_KEY}")).send().await,
        caller.get(&fixture.path(fixture.key)).header("Authorization", &format!("Basic {UNKNOWN_KEY}")).send().await,
        caller.get(&fixture.path(fixture.missing_key)).header("Authorization", &bearer).send().await,
        caller.get(&format!("/records/{}?cursor=x", fixture.system)).header("Authorization", &bearer).send().await,
    ];
    vendors.pretectum.state.expire_all_tokens();
    vendors.matrix42.state.expire_all_tokens();
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
        // Last: a refused sign-in is remembered for a while.
        InjectedFault::status(401),
    ] {
        (fixture.faults)(vendors).next(None, 3, fault.clone());
        responses.push(read().send().await);
        (fixture.faults)(vendors).clear();
        (fixture.faults)(vendors).next(CallKind::SignIn, 1, fault.clone());
        vendors.pretectum.state.expire_all_tokens();
        vendors.matrix42.state.expire_all_tokens();
        responses.push(patch("second").send().await);
        (fixture.faults)(vendors).clear();
    }
    responses.extend(send_echo_requests(program, vendors, fixture, &bearer).await);
    // What repeats a secret is shown with the rest of it: the texts have come through.
    let told = |response: &TestResponse| response.status >= 400 && response.text.contains("the secret … is no good");
    assert!(responses.iter().any(told), "no vendor's text was shown");
    responses.extend(read_all_endpoints(program, &bearer).await);
    responses
}

/// A vendor that repeats the secrets it was sent.
async fn send_echo_requests(
    program: &GatewayProgram,
    vendors: &Sandbox,
    fixture: &VendorFixture,
    bearer: &str,
) -> Vec<TestResponse> {
    let caller = program.client();
    let read = caller.get(&fixture.path(fixture.key)).header("Authorization", bearer);
    let patch = caller.request(Method::PATCH, &fixture.path(fixture.key)).header("Authorization", bearer).if_match("*");
    let patch = patch.header("Accept-Loss", &fixture.losses.join(", ")).fields(&fixture.text_patch("third"));
    let mut responses = Vec::new();
    if fixture.system == PRETECTUM.system {
        let words = format!("the secret {} is no good", pretectum::CLIENT_SECRET);
        let warned = json!({ "_dataObjectId": fixture.key, "_version": 1, "Email": "x",
            "_errors": [{ "name": "Email", "errors": [words] }] });
        let page = InjectedFault::json(200, json!({ "items": [warned], "nextPageKey": null }).to_string());
        (fixture.faults)(vendors).once(CallKind::List, page);
        let response = read.clone().send().await;
        assert_eq!(response.json()["warnings"][0]["detail"], "the secret … is no good", "{response:?}");
        responses.push(response);
    }
    for (call, told) in echo_bodies(vendors, fixture) {
        for status in [200, 400, 403, 422, 500] {
            (fixture.faults)(vendors).always(call, InjectedFault::json(status, told.clone()));
            if call == Some(CallKind::SignIn) {
                vendors.pretectum.state.expire_all_tokens();
                vendors.matrix42.state.expire_all_tokens();
            }
            responses.push(patch.clone().send().await);
            responses.push(read.clone().send().await);
            (fixture.faults)(vendors).clear();
        }
    }
    responses
}

/// Everything that can be looked at.
async fn read_all_endpoints(program: &GatewayProgram, bearer: &str) -> Vec<TestResponse> {
    let paths = ["/systems", "/operations", "/ledger", "/metrics", "/openapi.json", "/readyz", "/"];
    let requests = paths.map(|path| program.client().get(path).header("Authorization", bearer).send());
    futures_util::future::join_all(requests).await
}

/// Error texts, in the vendors' forms, with each secret of this vendor on each kind of call (`None` = any): with the one that
/// brings it, and with the others.
fn echo_bodies(vendors: &Sandbox, fixture: &VendorFixture) -> Vec<(Option<CallKind>, String)> {
    let calls = (fixture.log)(vendors).all();
    let last = calls.iter().rev().find_map(|call| sent_token(call));
    let configured = match fixture.system {
        "crm" => pretectum::CLIENT_SECRET,
        "architecture" => bluedolphin::API_KEY,
        _ => matrix42::API_TOKEN,
    };
    let signs_in = fixture.system != "architecture";
    let told = |secret: &str| {
        let text = format!("the secret {secret} is no good");
        let named = json!({ "message": text, "Message": text, "error": text, "error_description": text, "title": text,
            "detail": text, "ExceptionName": text, "errors": [text], "_errors": { "Email": text } });
        named.to_string()
    };
    let of = |secret: &str| {
        // A text where an object should be.
        let bare = json!(format!("the secret {secret} is no good")).to_string();
        [None, Some(CallKind::SignIn).filter(|_| signs_in)]
            .into_iter()
            .flat_map(|call| [(call, told(secret)), (call, bare.clone())])
            .collect::<Vec<_>>()
    };
    last.as_deref().into_iter().chain([configured]).flat_map(of).collect()
}

fn assert_contains_no_secret(what: &str, text: &[u8], secrets: &BTreeSet<String>) {
    for secret in secrets {
        let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what} holds {secret}: {}", String::from_utf8_lossy(text));
    }
}

fn assert_no_secret_anywhere(
    program: &GatewayProgram,
    folder: &Path,
    responses: &[TestResponse],
    secrets: &BTreeSet<String>,
) {
    let log = program.log();
    assert!(log.contains("TRACE") && log.contains("request failed"), "the log was on: {log}");
    assert_contains_no_secret("the log", log.as_bytes(), secrets);
    for response in responses {
        assert_contains_no_secret("a response", format!("{:?}{}", response.headers, response.text).as_bytes(), secrets);
    }
    let stored = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let stored: Vec<_> = stored.filter(|path| path.to_string_lossy().contains("store")).collect();
    assert!(!stored.is_empty());
    for path in stored {
        assert_contains_no_secret("the store", &std::fs::read(path).unwrap(), secrets);
    }
}

/// Short times: what fails here fails on purpose.
fn with_short_timeouts(text: &str) -> String {
    let limits = "timeout = \"2s\"\nretry_backoff = \"1ms\"\ncircuit_failures = 10000\ncompletion_timeout = \"1s\"\n";
    let mut text = text.to_owned();
    for fixture in [PRETECTUM, BLUEDOLPHIN, MATRIX42] {
        let table = format!("[systems.{}]\n", fixture.system);
        text = text.replace(&table, &format!("{table}{limits}"));
    }
    text
}

#[actix_web::test]
async fn no_secret_leaks_when_callers_use_api_keys() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let digest = const_hex::encode(sha256([CALLER_KEY.as_bytes()]));
    let access =
        format!("mode = \"keys\"\n[[access.callers]]\nname = \"ada\"\nkey_sha256 = \"{digest}\"\nallow = [\"*:*\"]\n");
    let text = with_short_timeouts(&configuration(&vendors, folder.path(), "deadline = \"4s\"", &access));
    let collector = Collector::start();
    let mut environment = collector.environment();
    let header = format!("authorization=Bearer%20{COLLECTOR_KEY}");
    environment.push(("OTEL_EXPORTER_OTLP_HEADERS", &header));
    let program = GatewayProgram::serve_with(folder.path(), &text, "trace", &[], &environment);
    let mut responses = Vec::new();
    for fixture in [&PRETECTUM, &BLUEDOLPHIN, &MATRIX42] {
        responses.extend(send_traffic(&program, &vendors, fixture, CALLER_KEY).await);
    }
    // A configuration that is refused is told without what is in it.
    program.write_config(&text.replace("[systems.crm]", "[systems.crm]\nretries = 99").replace(&digest, CALLER_KEY));
    program.wait_for_log("the changed configuration is refused", 1).await;
    assert!(
        responses.iter().any(|response| response.status == 200)
            && responses.iter().any(|response| response.status >= 500)
    );
    let mut secrets = collect_secrets(&vendors, &[CALLER_KEY, UNKNOWN_KEY]);
    secrets.insert(digest);
    // The collector's own key goes to the collector and nowhere else; no other secret is told to it.
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
    assert_no_secret_anywhere(&program, folder.path(), &responses, &secrets);
}

#[actix_web::test]
async fn no_secret_leaks_when_callers_use_jwts() {
    let (vendors, folder, issuer) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap(), JwtIssuer::new());
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, issuer.jwks("one")).unwrap();
    let access = jwt_access_config(keys.to_str().unwrap());
    let text = with_short_timeouts(&configuration(&vendors, folder.path(), "deadline = \"4s\"", &access));
    let program = GatewayProgram::serve(folder.path(), &text, "trace");
    let good = issuer.token("one", "ada", "*:*");
    let bad = [issuer.token("unknown", "ada", "*:*"), JwtIssuer::new().token("one", "ada", "*:*"), format!("{good}x")];
    let mut responses = send_traffic(&program, &vendors, &MATRIX42, &good).await;
    for token in &bad {
        let request = program.client().get("/systems").header("Authorization", &format!("Bearer {token}"));
        responses.push(request.send().await);
    }
    assert!(responses.iter().rev().take(bad.len()).all(|response| response.status == 401));
    let all: Vec<&str> = [&good].into_iter().chain(&bad).flat_map(|token| [token, token_signature(token)]).collect();
    assert_no_secret_anywhere(&program, folder.path(), &responses, &collect_secrets(&vendors, &all));
    let problems = json!(responses.iter().map(|response| &response.text).collect::<Vec<_>>()).to_string();
    assert!(problems.contains("unauthenticated"));
}

fn token_signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap()
}
