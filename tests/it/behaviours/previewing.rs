//! Previews (contract 4.11): what a write would do is shown, and nothing is written.

use actix_web::http::Method;
use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use crate::support::{
    BLUEDOLPHIN, MATRIX42, PRETECTUM, Request, TestEnv, TestResponse, VendorFixture, for_each_vendor,
};

for_each_vendor!(
    what_is_previewed_is_what_is_sent,
    a_preview_leaves_no_trace_anywhere,
    a_preview_shows_the_values_before_and_after,
    a_preview_of_a_change_that_changes_nothing_sends_nothing,
    a_preview_of_a_delete_shows_what_would_be_gone,
    what_stops_the_write_stops_its_preview_with_the_same_problem,
    a_preview_shows_no_secret,
    an_operation_that_runs_is_shown_instead_of_refused,
    a_preview_of_a_repetition_shows_the_response_that_is_replayed,
    a_preview_of_what_still_runs_says_so,
);

pub(super) fn plan(response: &TestResponse) -> String {
    response.assert_status(200).json()["plan"].as_str().expect("a plan").to_owned()
}

/// Fails unless the preview's call is the vendor's last call of this kind, byte for byte.
fn assert_same_call(env: &TestEnv, preview: &Value, kind: CallKind) {
    let sent = env.last_call(kind);
    let call = &preview["calls"][0];
    let query = if sent.query.is_empty() { String::new() } else { format!("?{}", sent.query) };
    let base = env.fixture.vendor(&env.vendors).base_url();
    assert_eq!(call["url"], format!("{}{}{query}", base.trim_end_matches('/'), sent.path));
    assert_eq!((&call["method"], &call["call"]), (&json!(sent.method), &json!(kind)));
    assert_eq!(call["body_sha256"], const_hex::encode(sha256([&sent.body[..]])), "{}", sent.text());
    let body = if sent.body.is_empty() { Value::Null } else { sent.json() };
    assert_eq!(call["body"], body);
    for (name, value) in call["headers"].as_object().expect("headers") {
        let received = sent.header(name).unwrap_or_else(|| panic!("{name} was not sent"));
        assert!(value == received || value == "•••", "{name}: {value}, {received}");
    }
}

/// How many random changes are compared for each vendor; `PREVIEW_ROUNDS` sets another number.
fn rounds() -> usize {
    std::env::var("PREVIEW_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

async fn what_is_previewed_is_what_is_sent(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let mut random = fastrand::Rng::with_seed(4_011);
    for round in 0..rounds() {
        let tag = env.current_etag(fixture.key).await;
        let text: String =
            (0..random.usize(1..9)).map(|_| random.choice(['a', 'é', '"', '\\', '/', ' ', '1']).unwrap()).collect();
        let text = format!("{round}{text}");
        let changes = [json!(text), json!(format!("{text}!"))];
        let request = || match round % 3 {
            0 => env.set_text(fixture.key, &tag, &text),
            1 => env.set_text(fixture.key, "*", &text),
            _ => env.patch(fixture.key).if_match(&tag).json_patch(&json!([
                {"op": "replace", "path": format!("/fields/{}", fixture.text), "value": changes[0]},
                {"op": "replace", "path": format!("/fields/{}", fixture.text), "value": changes[1]},
            ])),
        };
        let preview = request().preview().send().await;
        let shown = preview.assert_status(200).json();
        assert_eq!(env.write_call_count(), 0);
        let applied = request().header("If-Plan", &plan(&preview)).send().await;
        applied.assert_status(fixture.patch_status);
        assert_same_call(&env, &shown, CallKind::Update);
        assert_eq!((&shown["based_on"], &shown["guarantee"]), (&json!(tag), &json!(fixture.guarantee())));
    }
    let created = env.create("from a plan").preview().send().await.assert_status(200).json();
    env.create("from a plan").header("If-Plan", created["plan"].as_str().unwrap()).send().await.assert_status(201);
    assert_same_call(&env, &created, CallKind::Create);
    assert_eq!((&created["record"], &created["would"]), (&Value::Null, &json!({"status": 201})));
}

async fn a_preview_leaves_no_trace_anywhere(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let (value, count) = (env.vendor_value(fixture.key), env.record_count());
    let patch = || env.set_text(fixture.key, &tag, "never").idempotency_key("kept");
    let (delete, create) = (env.delete(fixture.deletable_key, "*"), env.create("never"));
    for preview in [patch(), delete, create] {
        let response = preview.preview().send().await;
        response.assert_status(200);
        assert_eq!((response.header("operation"), response.header("cache-control")), (None, Some("no-store")));
    }
    assert_eq!((env.vendor_value(fixture.key), env.record_count(), env.write_call_count()), (value, count, 0));
    assert_eq!(env.list_operations().await, Vec::<Value>::new());
    assert_eq!(env.read_ledger().await.json()["items"], json!([]));
    // Neither the key nor the record is taken.
    let written = patch().send().await;
    written.assert_status(fixture.patch_status);
    assert_eq!(written.header("idempotency-replayed"), None);
}

async fn a_preview_shows_the_values_before_and_after(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.read(fixture.key).send().await.json()["fields"][fixture.text].clone();
    let preview = env.set_text(fixture.key, "*", "after").preview().send().await.assert_status(200).json();
    let pointer = format!("/fields/{}", fixture.text);
    assert_eq!(preview["changes"], json!([{"pointer": pointer, "from": before, "to": "after"}]));
    assert_eq!((&preview["action"], &preview["system"]), (&json!("update"), &json!(fixture.system)));
    assert_eq!((&preview["record"], &preview["changes_nothing"]), (&json!(fixture.id(fixture.key)), &json!(false)));
    assert_eq!(preview["would"], json!({ "status": fixture.patch_status }));
    let completion = if fixture.queued { "queued" } else { "direct" };
    assert_eq!(preview["completion"], completion);
    if fixture.queued {
        let waiting = env.set_text(fixture.key, "*", "after").without_prefer().preview().send().await.json();
        assert_eq!(waiting["would"], json!({"status": 202}));
        assert!(waiting["then"].as_str().unwrap().starts_with("read until the wanted state shows"), "{waiting}");
    }
}

async fn a_preview_of_a_change_that_changes_nothing_sends_nothing(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let before = env.vendor_value(fixture.key).unwrap();
    let request = || env.set_text(fixture.key, "*", &before);
    let preview = request().preview().send().await;
    let shown = preview.assert_status(200).json();
    assert_eq!((&shown["changes_nothing"], &shown["changes"], &shown["calls"]), (&json!(true), &json!([]), &json!([])));
    assert_eq!(shown["would"], json!({"status": 204}));
    request().header("If-Plan", &plan(&preview)).send().await.assert_status(204);
    (fixture.external_touch)(&env.vendors, fixture.key);
    let changed = request().header("If-Plan", &plan(&preview)).send().await;
    assert_eq!(changed.assert_problem(409, "plan-changed").json()["differs"], json!(["based_on"]));
    assert_eq!(env.write_call_count(), 0);
}

async fn a_preview_of_a_delete_shows_what_would_be_gone(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let (tag, count) = (env.current_etag(fixture.deletable_key).await, env.record_count());
    let request = || env.delete(fixture.deletable_key, &tag);
    let preview = request().preview().send().await;
    let shown = preview.assert_status(200).json();
    assert_eq!((&shown["action"], env.record_count()), (&json!("delete"), count));
    let changes = shown["changes"].as_array().unwrap();
    assert!(!changes.is_empty() && changes.iter().all(|change| change["to"].is_null()), "{shown}");
    request().header("If-Plan", &plan(&preview)).send().await;
    env.wait_until("the delete", |env| env.record_count() == count - 1).await;
    assert_same_call(&env, &shown, CallKind::Delete);
}

async fn what_stops_the_write_stops_its_preview_with_the_same_problem(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let stale = env.current_etag(fixture.key).await;
    (fixture.external_touch)(&env.vendors, fixture.key);
    let foreign = env.current_etag(fixture.other_key).await;
    let record = fixture.path(fixture.key);
    let text = format!("/fields/{}", fixture.text);
    let patch = || env.patch(fixture.key).if_match("*");
    let create = |body: Value| env.request(Method::POST, &format!("/records/{}", fixture.system)).json(&body);
    let mut requests: Vec<Request> = vec![
        env.set_text(fixture.missing_key, "*", "x"),
        env.set_text(fixture.malformed_ids[0], "*", "x"),
        env.patch(fixture.key).fields(&fixture.text_patch("x")),
        env.patch(fixture.key).if_match(&stale).json_patch(&json!([{"op": "replace", "path": text, "value": "x"}])),
        env.set_text(fixture.key, &foreign, "x"),
        env.set_text(fixture.key, "tag", "x"),
        env.patch(fixture.key).if_match("*").header("If-None-Match", "*").fields(&fixture.text_patch("x")),
        patch().merge_patch("{"),
        patch().merge_patch("[]"),
        patch().merge_patch("{\"fields\":null}"),
        patch().merge_patch("{\"id\":\"other\",\"fields\":{}}"),
        patch().json_patch(&json!([{"op": "test", "path": text, "value": "never"}])),
        patch().json_patch(&json!([{"op": "remove", "path": "/fields/No Such/Place"}])),
        patch().json_patch(&json!({"op": "test"})),
        patch().header("Content-Type", "text/plain").body("x"),
        patch().header("Accept", "text/html").fields(&fixture.text_patch("x")),
        patch().header("Require-Guarantee", "best").fields(&fixture.text_patch("x")),
        patch().header("Idempotency-Key", "").fields(&fixture.text_patch("x")),
        patch().header("If-Plan", "\"c1\"").fields(&fixture.text_patch("x")),
        patch().header("If-Plan", "W/\"p.AA\"").fields(&fixture.text_patch("x")),
        env.request(Method::PATCH, "/records/nowhere/x").if_match("*").merge_patch("{}"),
        env.request(Method::DELETE, &record),
        env.delete(fixture.missing_key, "*"),
        env.delete(fixture.key, &foreign),
        create(json!([])),
        create(json!({"collection": "no collection"})),
        create(json!({"collection": fixture.collection(), "fields": []})),
        create(json!({"collection": fixture.collection(), "fields": {}})).header("Require-Guarantee", "native"),
        create(json!({"collection": fixture.collection(), "fields": {}})).if_match("\"x\""),
    ];
    // Where the vendor compares versions on a delete, nothing stops this one.
    let native_delete = env.delete(fixture.deletable_key, "*").header("Require-Guarantee", "native");
    let is_guarded = native_delete.clone().preview().send().await.status == 409;
    requests.extend(is_guarded.then_some(native_delete));
    env.forget_calls();
    for (index, request) in requests.into_iter().enumerate() {
        let preview = request.clone().preview().send().await;
        assert_eq!(env.write_call_count(), 0, "{index}: {preview:?}");
        let written = request.send().await;
        assert!(written.status >= 400, "{index}: {written:?}");
        assert_eq!((preview.status, preview.problem()), (written.status, written.problem()), "{index}: {preview:?}");
        env.forget_calls();
    }
}

async fn a_preview_shows_no_secret(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let mut secrets = Vec::new();
    let sent = env.set_text(fixture.key, "*", "written").send().await;
    sent.assert_status(fixture.patch_status);
    let call = env.last_call(CallKind::Update);
    let previews = [env.set_text(fixture.key, "*", "x"), env.delete(fixture.deletable_key, "*"), env.create("x")];
    for preview in previews.map(Request::preview) {
        let shown = preview.send().await;
        let headers = shown.assert_status(200).json()["calls"][0]["headers"].clone();
        for (name, value) in headers.as_object().unwrap() {
            if value == "•••" {
                secrets.push(call.header(name).unwrap().to_owned());
            }
        }
        assert!(!secrets.is_empty() && secrets.iter().all(|secret| !shown.text.contains(secret)), "{shown:?}");
    }
}

async fn an_operation_that_runs_is_shown_instead_of_refused(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let asynchronous = env.set_text(fixture.key, "*", "slow").without_prefer().prefer("respond-async").send();
    asynchronous.await.assert_status(202);
    env.wait_for_calls(CallKind::Update, 1).await;
    let preview = env.set_text(fixture.key, "*", "next").preview().send().await.assert_status(200).json();
    assert_eq!(preview["would"], json!({"status": 409, "problem": "operation-in-progress"}));
    env.set_text(fixture.key, &tag, "next").send().await.assert_problem(409, "operation-in-progress");
    env.faults().release();
}

async fn a_preview_of_a_repetition_shows_the_response_that_is_replayed(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let tag = env.current_etag(fixture.key).await;
    let patch = |text: &str| env.set_text(fixture.key, &tag, text).idempotency_key("patch");
    let create = |text: &str| env.create(text).idempotency_key("create");
    let unchanged = || env.set_text(fixture.key, "*", "once").idempotency_key("unchanged");
    let mut firsts = Vec::new();
    for request in [patch("once"), create("created"), unchanged()] {
        firsts.push(request.send().await.status);
    }
    assert_eq!(firsts, [fixture.patch_status, 201, 204]);
    let stale = env.set_text(fixture.key, &tag, "late").idempotency_key("new");
    env.forget_calls();
    // By now the tag is stale, and another record has these values: the write would not look.
    for (request, status) in [patch("once"), create("created"), unchanged()].into_iter().zip(firsts) {
        let shown = request.clone().preview().send().await.assert_status(200).json();
        assert_eq!(shown["would"], json!({"status": status, "replayed": true}), "{shown}");
        assert_eq!((&shown["plan"], &shown["calls"], &shown["changes"]), (&Value::Null, &json!([]), &json!([])));
        let again = request.send().await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (status, Some("true")));
    }
    let delete = env.delete(fixture.key, &tag).idempotency_key("patch");
    for other in [patch("another"), create("another"), delete] {
        other.clone().preview().send().await.assert_problem(422, "idempotency-key-reused");
        other.send().await.assert_problem(422, "idempotency-key-reused");
    }
    env.assert_nothing_sent();
    stale.preview().send().await.assert_problem(412, "precondition-failed");
}

async fn a_preview_of_what_still_runs_says_so(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    env.inject_once(CallKind::Update, InjectedFault::Hold);
    let request = || env.set_text(fixture.key, "*", "slow").idempotency_key("k");
    let others = async {
        env.wait_for_calls(CallKind::Update, 1).await;
        let shown = request().preview().send().await.assert_status(200).json();
        assert_eq!(shown["would"], json!({"status": 409, "problem": "operation-in-progress"}), "{shown}");
        request().send().await.assert_problem(409, "operation-in-progress");
        env.faults().release();
    };
    let (first, ()) = futures_util::future::join(request().send(), others).await;
    first.assert_status(fixture.patch_status);
    let shown = request().preview().send().await.assert_status(200).json();
    assert_eq!(shown["would"], json!({"status": fixture.patch_status, "replayed": true}));
    assert_eq!(env.call_count(CallKind::Update), 1);
}

#[actix_web::test]
async fn losses_are_shown_with_whether_they_are_accepted() {
    let env = TestEnv::start(&BLUEDOLPHIN);
    let fixture = env.fixture;
    let request = || env.set_text(fixture.key, "*", "planned").without_header("Accept-Loss");
    let preview = request().preview().send().await;
    let shown = preview.assert_status(200).json();
    let losses = shown["losses"].as_array().unwrap();
    assert!(!losses.is_empty() && losses.iter().all(|loss| loss["accepted"] == false), "{shown}");
    assert_eq!(shown["would"], json!({"status": 409, "problem": "lossy-write"}));
    let accepted = env.set_text(fixture.key, "*", "planned").preview().send().await.json();
    assert!(accepted["losses"].as_array().unwrap().iter().all(|loss| loss["accepted"] == true), "{accepted}");
    // A plan is no consent, and consent changes no plan.
    request().header("If-Plan", &plan(&preview)).send().await.assert_problem(409, "lossy-write");
    let applied = env.set_text(fixture.key, "*", "planned").header("If-Plan", &plan(&preview)).send().await;
    applied.assert_status(200);
}

#[actix_web::test]
async fn a_preview_needs_the_permissions_to_write_and_to_read() {
    for (fixture, allow) in [(&PRETECTUM, "crm:update"), (&MATRIX42, "itsm:read")] {
        let env = TestEnv::start_with(fixture, |config| config.api_keys(&[("some", "some-key-0123456789ab", allow)]));
        let preview = env.set_text(fixture.key, "*", "x").header("Authorization", "Bearer some-key-0123456789ab");
        preview.preview().send().await.assert_problem(403, "forbidden");
        env.assert_nothing_sent();
    }
}

#[actix_web::test]
async fn only_post_is_taken_at_a_preview_and_only_known_actions() {
    let env = TestEnv::start(&PRETECTUM);
    let path = env.fixture.path(env.fixture.key);
    for path in [format!("{path}/preview"), "/records/crm/preview".to_owned()] {
        let response = env.get(&path).send().await;
        response.assert_problem(405, "method-not-allowed");
        assert_eq!(response.header("allow"), Some("POST, OPTIONS"));
    }
    let preview = |query: &str| {
        env.request(Method::POST, &format!("{path}/preview?{query}")).if_match("*").fields(&json!({"Phone": "1"}))
    };
    preview("action=update").send().await.assert_status(200);
    preview("action=create").send().await.assert_problem(400, "malformed-request");
    preview("other=1").send().await.assert_problem(400, "malformed-request");
    for action in ["delete", "create", "update"] {
        let create = env.request(Method::POST, &format!("/records/crm/preview?action={action}"));
        let create = create.json(&json!({"collection": PRETECTUM.collection(), "fields": {"Last Name": "x"}}));
        create.send().await.assert_problem(400, "malformed-request");
    }
    assert_eq!(env.write_call_count(), 0);
}

#[actix_web::test]
async fn numbers_keep_their_form_in_a_preview() {
    let env = TestEnv::start(&PRETECTUM);
    let patch = env.patch(env.fixture.key).if_match("*");
    let body = r#"{"fields":{"Credit Limit":12345678901234567890.10}}"#;
    let preview = patch.merge_patch(body).preview().send().await;
    preview.assert_status(200);
    assert!(preview.text.contains(r#""to":12345678901234567890.10"#), "{preview:?}");
    assert_eq!(preview.text.matches("12345678901234567890.10").count(), 2);
}
