//! The API from outside, over doubles.

use std::sync::Arc;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service};

use super::testing::{TestApi, TestResponse, admin_request, sample_operation, sample_record, test_api, write_result};
use super::{SharedApiState, configure_ops};
use crate::gateway::{Guarantee, SuccessBody, WriteOp, WriteOutcome, WriteResponse};
use crate::problem::{Problem, ProblemKind};
use crate::record::Precondition;

const PATCH: &str = r#"{"fields":{"n":2}}"#;

fn patch_request() -> TestRequest {
    admin_request("PATCH", "/records/crm/a:b")
        .insert_header(("if-match", "\"c7.x\""))
        .insert_header(("content-type", "application/merge-patch+json"))
        .set_payload(PATCH)
}

fn set_write_result(bench: &TestApi, done: SuccessBody, change: impl FnOnce(&mut crate::gateway::WriteResponse)) {
    let mut told = write_result(done);
    change(&mut told);
    *bench.backend.response.lock().expect("a lock") = told;
}

#[actix_web::test]
async fn a_record_is_read_with_its_tag_and_revalidated_with_304() {
    let bench = test_api();
    let read = bench.send(admin_request("GET", "/records/crm/a:b")).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.body, r#"{"system":"crm","id":"a:b c","etag":"\"c7.x\"","fields":{"n":1.10},"read_only":[]}"#);
    let fields = |answer: &TestResponse| {
        ["etag", "cache-control", "vary"].map(|name| answer.header(name).map(str::to_owned)).to_vec()
    };
    let expected = [Some("\"c7.x\""), Some("private, no-cache, no-transform"), Some("Authorization, Prefer")];
    assert_eq!(fields(&read), expected.map(|one| one.map(str::to_owned)));
    assert_eq!(read.header("content-type"), Some("application/json"));

    let known =
        bench.send(admin_request("GET", "/records/crm/a:b").insert_header(("if-none-match", "W/\"c7.x\""))).await;
    assert_eq!(known.status, 304);
    assert_eq!(fields(&known), fields(&read));
    assert!(known.body.is_empty() && known.header("content-type").is_none());

    let stale = bench.send(admin_request("GET", "/records/crm/a:b").insert_header(("if-match", "\"old\""))).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(stale.json()["current_etag"], "\"c7.x\"");
    assert!(stale.header("etag").is_none());
    let head = bench.send(admin_request("HEAD", "/records/crm/a:b")).await;
    assert_eq!((head.status, head.header("etag")), (200, Some("\"c7.x\"")));
}

/// Contract 4, order of checks: each fault is put into a request that has all the later ones too, and wins.
#[actix_web::test]
async fn the_first_failing_check_determines_the_response() {
    let bench = test_api();
    for (index, (wanted, first)) in CHECK_CASES.iter().enumerate() {
        for (later, second) in &CHECK_CASES[index..] {
            let mut parts = RequestParts::default();
            // The earlier fault is applied last: where both touch one part, it is its own.
            second(&mut parts);
            first(&mut parts);
            let seen = bench.send(parts.request()).await.problem();
            assert_eq!(seen, *wanted, "{wanted} with {later}");
        }
    }
    assert_eq!(bench.write_count(), 0);
}

struct RequestParts {
    method: &'static str,
    target: (&'static str, &'static str, String),
    fields: Vec<(&'static str, String)>,
    body: String,
}

impl Default for RequestParts {
    fn default() -> Self {
        let fields = [("authorization", "Bearer admin"), ("content-type", "application/json"), ("if-match", "*")];
        Self {
            method: "PATCH",
            target: ("/records/", "crm", "/a:b".into()),
            fields: fields.map(|(name, value)| (name, value.to_owned())).to_vec(),
            body: PATCH.into(),
        }
    }
}

impl RequestParts {
    fn set(&mut self, name: &'static str, value: &str) {
        self.remove(name);
        self.fields.push((name, value.to_owned()));
    }
    fn remove(&mut self, name: &str) {
        self.fields.retain(|(other, _)| *other != name);
    }
    fn request(self) -> TestRequest {
        let method = actix_web::http::Method::from_bytes(self.method.as_bytes()).expect("a method");
        let target = format!("{}{}{}", self.target.0, self.target.1, self.target.2);
        let length = self.body.len().to_string();
        let request = TestRequest::default().method(method).uri(&target).insert_header(("content-length", length));
        self.fields.into_iter().fold(request, TestRequest::append_header).set_payload(self.body)
    }
}

type CheckCase = (&'static str, fn(&mut RequestParts));

const CHECK_CASES: &[CheckCase] = &[
    ("not-implemented", |parts| parts.method = "patch"),
    ("headers-too-large", |parts| parts.set("x-large", &"v".repeat(9000))),
    ("uri-too-long", |parts| parts.target.2 = format!("/a:b?{}", "x".repeat(8000))),
    ("not-found", |parts| parts.target.0 = "/recordz/"),
    ("method-not-allowed", |parts| parts.method = "PUT"),
    ("unauthenticated", |parts| parts.remove("authorization")),
    ("system-not-found", |parts| parts.target.1 = "nowhere"),
    ("forbidden", |parts| parts.set("authorization", "Bearer reader")),
    ("record-not-found", |parts| parts.target.2 = "/formless".into()),
    ("not-acceptable", |parts| parts.set("accept", "text/html")),
    ("body-too-large", |parts| parts.body = " ".repeat(101)),
    ("unsupported-media-type", |parts| parts.set("content-type", "text/plain")),
    ("malformed-request", |parts| parts.body = "{".into()),
    ("malformed-request", |parts| parts.set("idempotency-key", "a b")),
    ("precondition-required", |parts| parts.remove("if-match")),
    ("read-only-member", |parts| parts.body = "[]".into()),
    ("record-not-found", |parts| parts.target.2 = "/a:missing".into()),
];

#[actix_web::test]
async fn problem_responses_have_the_headers_that_their_status_requires() {
    let bench = test_api();
    let unknown = bench.send(TestRequest::get().uri("/systems")).await;
    assert_eq!(unknown.header("www-authenticate"), Some("Bearer realm=\"records-gateway\""));
    let wrong = TestRequest::get().uri("/systems").insert_header(("authorization", "Bearer x"));
    let challenge = "Bearer realm=\"records-gateway\", error=\"invalid_token\"";
    assert_eq!(bench.send(wrong).await.header("www-authenticate"), Some(challenge));

    let put = bench.send(admin_request("PUT", "/records/crm/a:b")).await;
    assert_eq!(put.header("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
    let read_only = bench.send(admin_request("DELETE", "/records/docs/a:b").insert_header(("if-match", "*"))).await;
    assert_eq!((read_only.status, read_only.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let trace = bench.send(admin_request("TRACE", "/records/crm/a:b")).await;
    assert_eq!(trace.problem(), "method-not-allowed");

    let text = bench.send(patch_request().insert_header(("content-type", "text/plain"))).await;
    assert_eq!(text.header("accept-patch"), Some("application/merge-patch+json, application/json-patch+json"));
    assert!(text.header("accept-encoding").is_none());
    let zipped = bench.send(patch_request().insert_header(("content-encoding", "gzip"))).await;
    assert_eq!((zipped.status, zipped.header("accept-encoding")), (415, Some("identity")));
    assert_eq!(zipped.header("accept-patch"), text.header("accept-patch"));
    assert_eq!(bench.send(admin_request("GET", "/records/crm/a%00:b")).await.problem(), "malformed-request");
    assert_eq!(bench.send(admin_request("GET", "/records/crm/a:b?x=1")).await.problem(), "malformed-request");
    assert_eq!(bench.send(admin_request("GET", "/records/crm/a:b/preview")).await.problem(), "not-found");
    assert_eq!(bench.write_count(), 0);
}

#[actix_web::test]
async fn a_body_over_the_limit_is_rejected_even_without_a_length() {
    let answer = test_api().send(patch_request().set_payload(" ".repeat(101))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"));
}

#[actix_web::test]
async fn a_write_command_carries_all_write_headers() {
    let bench = test_api();
    let request = patch_request()
        .append_header(("if-match", "\"other\""))
        .insert_header(("prefer", "return=representation, wait=3"))
        .insert_header(("accept-loss", "linked-questions"))
        .insert_header(("require-guarantee", "native"))
        .insert_header(("if-none-match", "*"))
        .insert_header(("idempotency-key", "\"k\""));
    let answer = bench.send(request).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    assert_eq!(answer.header("operation"), Some("/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11"));
    assert_eq!((answer.header("cache-control"), answer.header("vary")), (Some("no-store"), Some("Prefer")));
    let writes = bench.backend.writes.lock().expect("a lock");
    let [write] = writes.as_slice() else { panic!("one write") };
    assert!(matches!(&write.kind, WriteOp::Update { id, .. } if id.as_str() == "a:b"));
    assert!(matches!(&write.precondition, Some(Precondition::AnyOf(tags)) if tags.len() == 2));
    assert_eq!(write.if_none_match, Some(Precondition::Exists));
    assert!(write.require_native && write.prefer.return_representation && write.prefer.wait.is_some());
    assert_eq!(write.accept_loss, ["linked-questions"]);
    assert_eq!(write.idempotency.as_ref().map(|key| key.key.as_str()), Some("k"));
}

#[actix_web::test]
async fn a_write_reveals_no_record_data_without_read_permission() {
    let bench = test_api();
    let stale = Problem {
        current_etag: Some("\"c8.x\"".to_owned()),
        changed: vec!["/fields/Email".to_owned()],
        ..ProblemKind::PreconditionFailed.with_detail("stale")
    };
    let stale = WriteResponse { outcome: WriteOutcome::Problem(Box::new(stale)), replayed: false, operation: None };
    *bench.backend.response.lock().expect("a lock") = stale;
    let changed = serde_json::json!(["/fields/Email"]);
    for (caller, tag, changed) in [("admin", Some("\"c8.x\""), Some(&changed)), ("writer", None, None)] {
        let request = patch_request().insert_header(("authorization", format!("Bearer {caller}")));
        let answer = bench.send(request.insert_header(("prefer", "return=representation"))).await;
        assert_eq!((answer.status, answer.json()["current_etag"].as_str()), (412, tag), "{caller}");
        assert_eq!(answer.json().get("changed"), changed, "{caller}");
    }
    let representations = || {
        let writes = bench.backend.writes.lock().expect("a lock");
        writes.iter().map(|write| write.prefer.return_representation).collect::<Vec<_>>()
    };
    assert_eq!(representations(), [true, false]);

    // What warns a caller comes with a record, and here without what that record holds.
    set_write_result(&bench, SuccessBody::Record(Box::new(sample_record())), |_| {});
    let warned = bench.send(patch_request().insert_header(("authorization", "Bearer writer"))).await;
    assert_eq!((warned.status, warned.header("etag")), (200, None));
    assert_eq!(warned.body, r#"{"system":"crm","id":"a:b c","etag":null,"fields":{},"read_only":[]}"#);

    let asking = r#"[{"op":"test","path":"/fields/n","value":1}]"#;
    let asked = patch_request().insert_header(("authorization", "Bearer writer"));
    let asked = asked.insert_header(("content-type", "application/json-patch+json")).set_payload(asking);
    assert_eq!(bench.send(asked).await.problem(), "forbidden");
    assert_eq!(representations().len(), 3, "it did not get that far");
}

#[actix_web::test]
async fn each_write_outcome_has_its_response() {
    let bench = test_api();
    set_write_result(&bench, SuccessBody::Record(Box::new(sample_record())), |told| {
        told.replayed = true;
        if let WriteOutcome::Success(written) = &mut told.outcome {
            written.guarantee = Some(Guarantee::Native);
            written.preference_applied = Some("return=representation".into());
        }
    });
    let shown = bench.send(patch_request()).await;
    assert_eq!((shown.status, shown.header("etag")), (200, Some("\"c7.x\"")));
    assert_eq!(shown.header("content-location"), Some("/records/crm/a:b%20c"));
    assert_eq!(shown.header("concurrency-guarantee"), Some("native"));
    assert_eq!(shown.header("preference-applied"), Some("return=representation"));
    assert_eq!(shown.header("idempotency-replayed"), Some("true"));

    set_write_result(&bench, SuccessBody::Created(Box::new(sample_record())), |_| {});
    let body = r#"{"collection":"a","fields":{"n":1}}"#;
    let post =
        || admin_request("POST", "/records/crm").insert_header(("content-type", "application/json")).set_payload(body);
    let created = bench.send(post()).await;
    assert_eq!((created.status, created.header("location")), (201, Some("/records/crm/a:b%20c")));
    let only_new = bench.send(post().insert_header(("if-none-match", "*"))).await;
    assert_eq!(only_new.problem(), "precondition-failed");

    set_write_result(&bench, SuccessBody::Accepted, |told| told.operation = Some(sample_operation("crm")));
    let accepted = bench.send(patch_request()).await;
    assert_eq!((accepted.status, accepted.header("retry-after")), (202, Some("1")));
    assert_eq!(accepted.header("location"), accepted.header("operation"));
    assert_eq!(accepted.json()["state"], "running");

    set_write_result(&bench, SuccessBody::NoContent, |told| {
        told.replayed = true;
        told.outcome = WriteOutcome::Problem(Box::new(ProblemKind::PreconditionFailed.with_detail("stale")));
    });
    let replayed = bench.send(patch_request()).await;
    assert_eq!(replayed.problem(), "precondition-failed");
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
}

#[actix_web::test]
async fn a_delete_needs_if_match_and_no_body() {
    let bench = test_api();
    assert_eq!(bench.send(admin_request("DELETE", "/records/crm/a:b")).await.problem(), "precondition-required");
    let bad = bench.send(admin_request("DELETE", "/records/crm/a:b").insert_header(("if-match", ""))).await;
    assert_eq!(bad.problem(), "malformed-request");
    assert_eq!(
        bench.send(admin_request("DELETE", "/records/crm/a:b").insert_header(("if-match", "*"))).await.status,
        204
    );
    assert_eq!(bench.write_count(), 1);
}

#[actix_web::test]
async fn every_page_but_the_last_links_to_the_next_page() {
    let bench = test_api();
    let page = bench.send(admin_request("GET", "/records/crm?collection=a%3Ab&limit=1")).await;
    assert_eq!(page.json()["next"], "n/1");
    let link = "</records/crm?collection=a:b&limit=1&cursor=n%2F1>; rel=\"next\"";
    assert_eq!(page.header("link"), Some(link));
    let last = bench.send(admin_request("GET", "/records/crm?collection=a:b&limit=1&cursor=n%2F1")).await;
    assert!(last.json()["next"].is_null() && last.header("link").is_none());
    assert_eq!(bench.send(admin_request("GET", "/records/crm?limit=0")).await.problem(), "malformed-request");
}

#[actix_web::test]
async fn options_lists_the_methods_that_the_system_allows() {
    let bench = test_api();
    let all = bench.send(admin_request("OPTIONS", "/records/crm/a:b").insert_header(("if-match", "\"no\""))).await;
    assert_eq!((all.status, all.header("allow")), (204, Some("GET, HEAD, PATCH, DELETE, OPTIONS")));
    assert!(all.header("accept-patch").is_some());
    let read_only = bench.send(admin_request("OPTIONS", "/records/docs/a:b")).await;
    assert_eq!(read_only.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(read_only.header("accept-patch").is_none());
    assert_eq!(bench.send(TestRequest::default().method(actix_web::http::Method::OPTIONS).uri("*")).await.status, 204);
    assert_eq!(bench.send(admin_request("GET", "/*")).await.problem(), "not-found");
}

#[actix_web::test]
async fn operations_of_unreadable_systems_are_not_found() {
    let bench = test_api();
    let reader = |target: &str| TestRequest::get().uri(target).insert_header(("authorization", "Bearer reader"));
    let running = bench.send(reader("/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")).await;
    assert_eq!((running.status, running.header("retry-after")), (200, Some("1")));
    for hidden in ["02920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11", "03920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11", "x"] {
        assert_eq!(bench.send(reader(&format!("/operations/{hidden}"))).await.problem(), "operation-not-found");
    }
    let all = bench.send(reader("/operations?state=running")).await;
    assert_eq!(all.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(bench.send(reader("/operations?system=itsm")).await.problem(), "forbidden");
    assert_eq!(bench.send(reader("/operations?state=odd")).await.problem(), "malformed-request");
    assert_eq!(bench.send(reader("/ledger")).await.problem(), "forbidden");
    let ledger = bench.send(admin_request("GET", "/ledger?system=crm&since=2026-01-01T00:00:00Z")).await;
    assert_eq!(ledger.json()["items"][0]["systems"][0], "crm");
    assert_eq!(bench.send(admin_request("GET", "/ledger?since=yesterday")).await.problem(), "malformed-request");
}

#[actix_web::test]
async fn a_panic_is_a_500_and_counted() {
    let bench = test_api();
    let answer = bench.send(admin_request("GET", "/records/crm/a:panic").insert_header(("x-request-id", "abc"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal-error"));
    assert_eq!(answer.header("x-request-id"), Some("abc"));
    let counted = bench.metrics.0.lock().expect("a lock");
    assert_eq!(*counted, [(Some("crm".to_owned()), "read", Some("internal-error"))]);
}

#[actix_web::test]
async fn unconfigured_system_names_never_become_metric_labels() {
    let bench = test_api();
    bench.send(admin_request("GET", "/records/nowhere/a:b")).await;
    bench.send(admin_request("GET", "/nowhere")).await;
    let counted = bench.metrics.0.lock().expect("a lock");
    assert_eq!(*counted, [(None, "read", Some("system-not-found")), (None, "other", Some("not-found"))]);
}

#[actix_web::test]
async fn html_pages_are_public_and_load_only_local_resources() {
    let bench = test_api();
    for target in ["/", "/problems/rejected", "/docs/", "/docs/swagger-ui-bundle.js", "/openapi.json", "/healthz"] {
        let answer = bench.send(TestRequest::get().uri(target)).await;
        assert_eq!(answer.status, 200, "{target}");
        if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            assert!(answer.header("content-security-policy").is_some(), "{target}");
            assert!(!answer.body.contains("src=\"http") && !answer.body.contains("href=\"http"), "{target}");
        }
    }
    assert_eq!(bench.send(TestRequest::get().uri("/docs")).await.header("location"), Some("/docs/"));
    assert_eq!(bench.send(TestRequest::get().uri("/docs/nothing")).await.problem(), "not-found");
    let unready = bench.send(TestRequest::get().uri("/readyz")).await;
    assert_eq!((unready.status, unready.header("retry-after")), (503, Some("1")));
    assert_eq!(bench.send(TestRequest::get().uri("/metrics")).await.body, "up 1\n");
}

#[actix_web::test]
async fn a_system_resource_lists_its_capabilities() {
    let shown = test_api().send(admin_request("GET", "/systems/docs")).await.json();
    assert_eq!(shown["capabilities"], serde_json::json!(["read"]));
    assert!(shown["guarantee"]["update"].is_null());
    assert_eq!(shown["health"]["circuit"], "closed");
    assert_eq!(
        test_api().send(admin_request("GET", "/systems")).await.json()["items"].as_array().map(Vec::len),
        Some(3)
    );
}

#[actix_web::test]
async fn health_and_metrics_move_to_their_own_listener() {
    let mut bench = test_api();
    std::sync::Arc::get_mut(&mut bench.api).expect("unshared").separate_ops = true;
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(bench.send(TestRequest::get().uri(target)).await.problem(), "not-found", "{target}");
    }
    let ops = init_service(App::new().configure(configure_ops(&SharedApiState::new(Arc::clone(&bench.api))))).await;
    for (target, status) in
        [("/healthz", 200), ("/metrics", 200), ("/", 404), ("/records/crm/a:b", 404), ("/systems", 404)]
    {
        let answer = call_service(&ops, admin_request("GET", target).to_request()).await;
        assert_eq!(answer.status().as_u16(), status, "{target}");
    }
}

#[actix_web::test]
async fn problems_that_require_retry_after_always_have_it() {
    let bench = test_api();
    for name in [ProblemKind::OperationInProgress, ProblemKind::VendorBusy, ProblemKind::RateLimited] {
        set_write_result(&bench, SuccessBody::NoContent, |told| {
            told.outcome = WriteOutcome::Problem(Box::new(name.with_detail("busy")))
        });
        assert_eq!(bench.send(patch_request()).await.header("retry-after"), Some("1"), "{name:?}");
    }
}
