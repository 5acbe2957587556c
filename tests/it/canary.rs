//! Secrets stay where they belong: they are put into every place they have, much goes wrong, and then they are looked for in
//! all that the program says, shows and stores.

use std::collections::BTreeSet;
use std::path::Path;

use actix_web::http::Method;
use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, Fault, Received, Sandbox, bluedolphin, matrix42, pretectum};
use serde_json::json;

use super::access_program::{Issuer, Program, configuration, jwt_access};
use super::support::{Answer, BLUEDOLPHIN, Bench, MATRIX42, PRETECTUM};
use super::traces::Collector;

const KEY: &str = "canary-caller-key-5e7d";
const COLLECTORS_KEY: &str = "canary-collector-key-7c21";
const UNKNOWN: &str = "canary-unknown-key-9a1b";

/// Everything that must not be seen: what is configured, what callers send, and the tokens that the vendors gave.
fn secrets(vendors: &Sandbox, sent: &[&str]) -> BTreeSet<String> {
    let configured = [pretectum::CLIENT_SECRET, bluedolphin::API_KEY, matrix42::API_TOKEN];
    let mut secrets: BTreeSet<String> = configured.iter().chain(sent).map(|&secret| secret.to_owned()).collect();
    let received = vendors.pretectum.log.all().into_iter().chain(vendors.matrix42.log.all());
    for call in received.chain(vendors.bluedolphin.log.all()) {
        secrets.extend(signature(&call));
    }
    assert!(secrets.len() > configured.len() + sent.len(), "no token was made: {secrets:?}");
    secrets
}

fn signature(call: &Received) -> Option<String> {
    call.header("authorization")?.split_once(' ').map(|(_, token)| token.to_owned())
}

/// Requests that end well and requests that end badly, for one vendor.
async fn traffic(program: &Program, vendors: &Sandbox, bench: &'static Bench, key: &str) -> Vec<Answer> {
    let caller = program.caller();
    let bearer = format!("Bearer {key}");
    let read = || caller.get(&bench.path(bench.key)).header("Authorization", &bearer);
    let write = |method: Method, tag: &str| {
        let request = caller.request(method, &bench.path(bench.key)).if_match(tag).header("Authorization", &bearer);
        let request = request.header("Accept-Loss", &bench.losses.join(", "));
        if bench.queued { request.prefer("wait=2") } else { request }
    };
    let patch = |text: &str| write(Method::PATCH, "*").fields(&bench.text_is(text));
    let mut answers = vec![
        read().send().await,
        patch("first").key("one").send().await,
        patch("first").key("one").send().await,
        write(Method::PATCH, "\"stale\"").fields(&bench.text_is("stale")).send().await,
        write(Method::PATCH, "*").merge("{\"fields\":").send().await,
        read().header("Authorization", "Bearer twice").send().await,
        caller.get(&bench.path(bench.key)).header("Authorization", &format!("Bearer {UNKNOWN}")).send().await,
        caller.get(&bench.path(bench.key)).header("Authorization", &format!("Basic {UNKNOWN}")).send().await,
        caller.get(&bench.path(bench.missing)).header("Authorization", &bearer).send().await,
        caller.get(&format!("/records/{}?cursor=x", bench.system)).header("Authorization", &bearer).send().await,
    ];
    vendors.pretectum.state.expire_all_tokens();
    vendors.matrix42.state.expire_all_tokens();
    answers.push(read().send().await);
    for fault in [
        Fault::status(500),
        Fault::HtmlPage,
        Fault::WrongJson,
        Fault::HalfBody,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Redirect { location: "http://127.0.0.1:1/elsewhere".to_owned() },
        Fault::json(400, r#"{"message":"no","errors":["no"]}"#),
        // Last: a refused sign-in is remembered for a while.
        Fault::status(401),
    ] {
        (bench.faults)(vendors).next(None, 3, fault.clone());
        answers.push(read().send().await);
        (bench.faults)(vendors).clear();
        (bench.faults)(vendors).next(CallKind::SignIn, 1, fault.clone());
        vendors.pretectum.state.expire_all_tokens();
        vendors.matrix42.state.expire_all_tokens();
        answers.push(patch("second").send().await);
        (bench.faults)(vendors).clear();
    }
    answers.extend(echoed(program, vendors, bench, &bearer).await);
    // What repeats a secret is shown with the rest of it: the texts have come through.
    let told = |answer: &Answer| answer.status >= 400 && answer.text.contains("the secret … is no good");
    assert!(answers.iter().any(told), "no vendor's text was shown");
    answers.extend(looks(program, &bearer).await);
    answers
}

/// A vendor that repeats the secrets it was sent.
async fn echoed(program: &Program, vendors: &Sandbox, bench: &Bench, bearer: &str) -> Vec<Answer> {
    let caller = program.caller();
    let read = caller.get(&bench.path(bench.key)).header("Authorization", bearer);
    let patch = caller.request(Method::PATCH, &bench.path(bench.key)).header("Authorization", bearer).if_match("*");
    let patch = patch.header("Accept-Loss", &bench.losses.join(", ")).fields(&bench.text_is("third"));
    let mut answers = Vec::new();
    if bench.system == PRETECTUM.system {
        let words = format!("the secret {} is no good", pretectum::CLIENT_SECRET);
        let warned = json!({ "_dataObjectId": bench.key, "_version": 1, "Email": "x",
            "_errors": [{ "name": "Email", "errors": [words] }] });
        let page = Fault::json(200, json!({ "items": [warned], "nextPageKey": null }).to_string());
        (bench.faults)(vendors).once(CallKind::List, page);
        let answer = read.clone().send().await;
        assert_eq!(answer.json()["warnings"][0]["detail"], "the secret … is no good", "{answer:?}");
        answers.push(answer);
    }
    for (call, told) in echoes(vendors, bench) {
        for status in [200, 400, 403, 422, 500] {
            (bench.faults)(vendors).always(call, Fault::json(status, told.clone()));
            if call == Some(CallKind::SignIn) {
                vendors.pretectum.state.expire_all_tokens();
                vendors.matrix42.state.expire_all_tokens();
            }
            answers.push(patch.clone().send().await);
            answers.push(read.clone().send().await);
            (bench.faults)(vendors).clear();
        }
    }
    answers
}

/// Everything that can be looked at.
async fn looks(program: &Program, bearer: &str) -> Vec<Answer> {
    let paths = ["/systems", "/operations", "/ledger", "/metrics", "/openapi.json", "/readyz", "/"];
    let requests = paths.map(|path| program.caller().get(path).header("Authorization", bearer).send());
    futures_util::future::join_all(requests).await
}

/// Error texts, in the vendors' forms, with each secret of this vendor on each kind of call (`None` = any): with the one that
/// brings it, and with the others.
fn echoes(vendors: &Sandbox, bench: &Bench) -> Vec<(Option<CallKind>, String)> {
    let calls = (bench.log)(vendors).all();
    let last = calls.iter().rev().find_map(|call| signature(call));
    let configured = match bench.system {
        "crm" => pretectum::CLIENT_SECRET,
        "architecture" => bluedolphin::API_KEY,
        _ => matrix42::API_TOKEN,
    };
    let signs_in = bench.system != "architecture";
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

fn look(what: &str, text: &[u8], secrets: &BTreeSet<String>) {
    for secret in secrets {
        let found = text.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what} holds {secret}: {}", String::from_utf8_lossy(text));
    }
}

fn look_everywhere(program: &Program, folder: &Path, answers: &[Answer], secrets: &BTreeSet<String>) {
    let log = program.log();
    assert!(log.contains("TRACE") && log.contains("request failed"), "the log was on: {log}");
    look("the log", log.as_bytes(), secrets);
    for answer in answers {
        look("an answer", format!("{:?}{}", answer.headers, answer.text).as_bytes(), secrets);
    }
    let stored = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let stored: Vec<_> = stored.filter(|path| path.to_string_lossy().contains("store")).collect();
    assert!(!stored.is_empty());
    for path in stored {
        look("the store", &std::fs::read(path).unwrap(), secrets);
    }
}

/// Short times: what fails here fails on purpose.
fn impatient(text: &str) -> String {
    let limits = "timeout = \"2s\"\nretry_backoff = \"1ms\"\ncircuit_failures = 10000\ncompletion_timeout = \"1s\"\n";
    let mut text = text.to_owned();
    for bench in [PRETECTUM, BLUEDOLPHIN, MATRIX42] {
        let table = format!("[systems.{}]\n", bench.system);
        text = text.replace(&table, &format!("{table}{limits}"));
    }
    text
}

#[actix_web::test]
async fn no_secret_is_seen_where_callers_have_keys() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let digest = const_hex::encode(sha256([KEY.as_bytes()]));
    let access =
        format!("mode = \"keys\"\n[[access.callers]]\nname = \"ada\"\nkey_sha256 = \"{digest}\"\nallow = [\"*:*\"]\n");
    let text = impatient(&configuration(&vendors, folder.path(), "deadline = \"4s\"", &access));
    let collector = Collector::start();
    let mut environment = collector.environment();
    let header = format!("authorization=Bearer%20{COLLECTORS_KEY}");
    environment.push(("OTEL_EXPORTER_OTLP_HEADERS", &header));
    let program = Program::serve_with(folder.path(), &text, "trace", &[], &environment);
    let mut answers = Vec::new();
    for bench in [&PRETECTUM, &BLUEDOLPHIN, &MATRIX42] {
        answers.extend(traffic(&program, &vendors, bench, KEY).await);
    }
    // A configuration that is refused is told without what is in it.
    program.write(&text.replace("[systems.crm]", "[systems.crm]\nretries = 99").replace(&digest, KEY));
    program.says("the changed configuration is refused", 1).await;
    assert!(answers.iter().any(|answer| answer.status == 200) && answers.iter().any(|answer| answer.status >= 500));
    let mut secrets = secrets(&vendors, &[KEY, UNKNOWN]);
    secrets.insert(digest);
    // The collector's own key goes to the collector and nowhere else; no other secret is told to it.
    let exports = collector.all();
    assert!(exports.len() > 10);
    for (head, body) in exports {
        assert_eq!(head.get("authorization").unwrap().to_str().unwrap(), format!("Bearer {COLLECTORS_KEY}"));
        look("an export", &body, &secrets);
        look("an export", &body, &BTreeSet::from([MATRIX42.key.to_owned(), PRETECTUM.key.to_owned()]));
    }
    secrets.insert(COLLECTORS_KEY.to_owned());
    look_everywhere(&program, folder.path(), &answers, &secrets);
}

#[actix_web::test]
async fn no_secret_is_seen_where_callers_have_tokens() {
    let (vendors, folder, issuer) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap(), Issuer::new());
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, issuer.jwks("one")).unwrap();
    let access = jwt_access(keys.to_str().unwrap());
    let text = impatient(&configuration(&vendors, folder.path(), "deadline = \"4s\"", &access));
    let program = Program::serve(folder.path(), &text, "trace");
    let good = issuer.token("one", "ada", "*:*");
    let bad = [issuer.token("unknown", "ada", "*:*"), Issuer::new().token("one", "ada", "*:*"), format!("{good}x")];
    let mut answers = traffic(&program, &vendors, &MATRIX42, &good).await;
    for token in &bad {
        let request = program.caller().get("/systems").header("Authorization", &format!("Bearer {token}"));
        answers.push(request.send().await);
    }
    assert!(answers.iter().rev().take(bad.len()).all(|answer| answer.status == 401));
    let all: Vec<&str> = [&good].into_iter().chain(&bad).flat_map(|token| [token, signed_part(token)]).collect();
    look_everywhere(&program, folder.path(), &answers, &secrets(&vendors, &all));
    let problems = json!(answers.iter().map(|answer| &answer.text).collect::<Vec<_>>()).to_string();
    assert!(problems.contains("unauthenticated"));
}

fn signed_part(token: &str) -> &str {
    token.rsplit('.').next().unwrap()
}
