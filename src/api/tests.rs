//! The API from outside, over doubles.

use std::sync::Arc;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service};

use super::testing::{Answered, Bench, admin, bench, operation, record, told};
use super::{Present, configure_ops};
use crate::gateway::{Done, Guarantee, Told, Verdict, WriteKind};
use crate::problem::{Problem, ProblemName};
use crate::record::Precondition;

const PATCH: &str = r#"{"fields":{"n":2}}"#;

fn patch() -> TestRequest {
    admin("PATCH", "/records/crm/a:b")
        .insert_header(("if-match", "\"c7.x\""))
        .insert_header(("content-type", "application/merge-patch+json"))
        .set_payload(PATCH)
}

fn verdict(bench: &Bench, done: Done, change: impl FnOnce(&mut crate::gateway::Told)) {
    let mut told = told(done);
    change(&mut told);
    *bench.backend.verdict.lock().expect("a lock") = told;
}

#[actix_web::test]
async fn a_record_is_read_with_its_tag_and_revalidated_with_304() {
    let bench = bench();
    let read = bench.send(admin("GET", "/records/crm/a:b")).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.body, r#"{"system":"crm","id":"a:b c","etag":"\"c7.x\"","fields":{"n":1.10},"read_only":[]}"#);
    let fields = |answer: &Answered| {
        ["etag", "cache-control", "vary"].map(|name| answer.field(name).map(str::to_owned)).to_vec()
    };
    let expected = [Some("\"c7.x\""), Some("private, no-cache, no-transform"), Some("Authorization, Prefer")];
    assert_eq!(fields(&read), expected.map(|one| one.map(str::to_owned)));
    assert_eq!(read.field("content-type"), Some("application/json"));

    let known = bench.send(admin("GET", "/records/crm/a:b").insert_header(("if-none-match", "W/\"c7.x\""))).await;
    assert_eq!(known.status, 304);
    assert_eq!(fields(&known), fields(&read));
    assert!(known.body.is_empty() && known.field("content-type").is_none());

    let stale = bench.send(admin("GET", "/records/crm/a:b").insert_header(("if-match", "\"old\""))).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(stale.json()["current_etag"], "\"c7.x\"");
    assert!(stale.field("etag").is_none());
    let head = bench.send(admin("HEAD", "/records/crm/a:b")).await;
    assert_eq!((head.status, head.field("etag")), (200, Some("\"c7.x\"")));
}

/// Contract 4, order of checks: each fault is put into a request that has all the later ones too, and wins.
#[actix_web::test]
async fn of_two_faults_the_earlier_check_answers() {
    let bench = bench();
    for (index, (wanted, first)) in FAULTS.iter().enumerate() {
        for (later, second) in &FAULTS[index..] {
            let mut parts = Parts::default();
            // The earlier fault is applied last: where both touch one part, it is its own.
            second(&mut parts);
            first(&mut parts);
            let seen = bench.send(parts.request()).await.problem();
            assert_eq!(seen, *wanted, "{wanted} with {later}");
        }
    }
    assert_eq!(bench.written(), 0);
}

struct Parts {
    method: &'static str,
    target: (&'static str, &'static str, String),
    fields: Vec<(&'static str, String)>,
    body: String,
}

impl Default for Parts {
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

impl Parts {
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

type Fault = (&'static str, fn(&mut Parts));

const FAULTS: &[Fault] = &[
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
async fn problems_carry_the_fields_their_status_asks_for() {
    let bench = bench();
    let unknown = bench.send(TestRequest::get().uri("/systems")).await;
    assert_eq!(unknown.field("www-authenticate"), Some("Bearer realm=\"records-gateway\""));
    let wrong = TestRequest::get().uri("/systems").insert_header(("authorization", "Bearer x"));
    let challenge = "Bearer realm=\"records-gateway\", error=\"invalid_token\"";
    assert_eq!(bench.send(wrong).await.field("www-authenticate"), Some(challenge));

    let put = bench.send(admin("PUT", "/records/crm/a:b")).await;
    assert_eq!(put.field("allow"), Some("GET, HEAD, PATCH, DELETE, OPTIONS"));
    let read_only = bench.send(admin("DELETE", "/records/docs/a:b").insert_header(("if-match", "*"))).await;
    assert_eq!((read_only.status, read_only.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let trace = bench.send(admin("TRACE", "/records/crm/a:b")).await;
    assert_eq!(trace.problem(), "method-not-allowed");

    let text = bench.send(patch().insert_header(("content-type", "text/plain"))).await;
    assert_eq!(text.field("accept-patch"), Some("application/merge-patch+json, application/json-patch+json"));
    assert!(text.field("accept-encoding").is_none());
    let zipped = bench.send(patch().insert_header(("content-encoding", "gzip"))).await;
    assert_eq!((zipped.status, zipped.field("accept-encoding")), (415, Some("identity")));
    assert_eq!(zipped.field("accept-patch"), text.field("accept-patch"));
    assert_eq!(bench.send(admin("GET", "/records/crm/a%00:b")).await.problem(), "malformed-request");
    assert_eq!(bench.send(admin("GET", "/records/crm/a:b?x=1")).await.problem(), "malformed-request");
    assert_eq!(bench.send(admin("GET", "/records/crm/a:b/preview")).await.problem(), "not-found");
    assert_eq!(bench.written(), 0);
}

#[actix_web::test]
async fn a_body_is_cut_off_at_the_limit_even_without_a_length() {
    let answer = bench().send(patch().set_payload(" ".repeat(101))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"));
}

#[actix_web::test]
async fn a_write_reaches_the_gateway_with_all_its_terms() {
    let bench = bench();
    let request = patch()
        .append_header(("if-match", "\"other\""))
        .insert_header(("prefer", "return=representation, wait=3"))
        .insert_header(("accept-loss", "linked-questions"))
        .insert_header(("require-guarantee", "native"))
        .insert_header(("if-none-match", "*"))
        .insert_header(("idempotency-key", "\"k\""));
    let answer = bench.send(request).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    assert_eq!(answer.field("operation"), Some("/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11"));
    assert_eq!((answer.field("cache-control"), answer.field("vary")), (Some("no-store"), Some("Prefer")));
    let writes = bench.backend.writes.lock().expect("a lock");
    let [write] = writes.as_slice() else { panic!("one write") };
    assert!(matches!(&write.kind, WriteKind::Update { id, .. } if id.as_str() == "a:b"));
    assert!(matches!(&write.precondition, Some(Precondition::AnyOf(tags)) if tags.len() == 2));
    assert_eq!(write.none_match, Some(Precondition::Exists));
    assert!(write.require_native && write.prefer.representation && write.prefer.wait.is_some());
    assert_eq!(write.accept_loss, ["linked-questions"]);
    assert_eq!(write.idempotency.as_ref().map(|key| key.key.as_str()), Some("k"));
}

#[actix_web::test]
async fn who_may_not_read_learns_nothing_of_a_record_by_writing() {
    let bench = bench();
    let stale = Problem {
        current_etag: Some("\"c8.x\"".to_owned()),
        changed: vec!["/fields/Email".to_owned()],
        ..ProblemName::PreconditionFailed.with("stale")
    };
    let stale = Told { verdict: Verdict::Problem(Box::new(stale)), replayed: false, operation: None };
    *bench.backend.verdict.lock().expect("a lock") = stale;
    let changed = serde_json::json!(["/fields/Email"]);
    for (caller, tag, changed) in [("admin", Some("\"c8.x\""), Some(&changed)), ("writer", None, None)] {
        let request = patch().insert_header(("authorization", format!("Bearer {caller}")));
        let answer = bench.send(request.insert_header(("prefer", "return=representation"))).await;
        assert_eq!((answer.status, answer.json()["current_etag"].as_str()), (412, tag), "{caller}");
        assert_eq!(answer.json().get("changed"), changed, "{caller}");
    }
    let representations = || {
        let writes = bench.backend.writes.lock().expect("a lock");
        writes.iter().map(|write| write.prefer.representation).collect::<Vec<_>>()
    };
    assert_eq!(representations(), [true, false]);

    // What warns a caller comes with a record, and here without what that record holds.
    verdict(&bench, Done::Shown(Box::new(record())), |_| {});
    let warned = bench.send(patch().insert_header(("authorization", "Bearer writer"))).await;
    assert_eq!((warned.status, warned.field("etag")), (200, None));
    assert_eq!(warned.body, r#"{"system":"crm","id":"a:b c","etag":null,"fields":{},"read_only":[]}"#);

    let asking = r#"[{"op":"test","path":"/fields/n","value":1}]"#;
    let asked = patch().insert_header(("authorization", "Bearer writer"));
    let asked = asked.insert_header(("content-type", "application/json-patch+json")).set_payload(asking);
    assert_eq!(bench.send(asked).await.problem(), "forbidden");
    assert_eq!(representations().len(), 3, "it did not get that far");
}

#[actix_web::test]
async fn each_outcome_of_a_write_has_its_answer() {
    let bench = bench();
    verdict(&bench, Done::Shown(Box::new(record())), |told| {
        told.replayed = true;
        if let Verdict::Written(written) = &mut told.verdict {
            written.guarantee = Some(Guarantee::Native);
            written.preference_applied = Some("return=representation".into());
        }
    });
    let shown = bench.send(patch()).await;
    assert_eq!((shown.status, shown.field("etag")), (200, Some("\"c7.x\"")));
    assert_eq!(shown.field("content-location"), Some("/records/crm/a:b%20c"));
    assert_eq!(shown.field("concurrency-guarantee"), Some("native"));
    assert_eq!(shown.field("preference-applied"), Some("return=representation"));
    assert_eq!(shown.field("idempotency-replayed"), Some("true"));

    verdict(&bench, Done::Created(Box::new(record())), |_| {});
    let body = r#"{"collection":"a","fields":{"n":1}}"#;
    let post = || admin("POST", "/records/crm").insert_header(("content-type", "application/json")).set_payload(body);
    let created = bench.send(post()).await;
    assert_eq!((created.status, created.field("location")), (201, Some("/records/crm/a:b%20c")));
    let only_new = bench.send(post().insert_header(("if-none-match", "*"))).await;
    assert_eq!(only_new.problem(), "precondition-failed");

    verdict(&bench, Done::Accepted, |told| told.operation = Some(operation("crm")));
    let accepted = bench.send(patch()).await;
    assert_eq!((accepted.status, accepted.field("retry-after")), (202, Some("1")));
    assert_eq!(accepted.field("location"), accepted.field("operation"));
    assert_eq!(accepted.json()["state"], "running");

    verdict(&bench, Done::Silent, |told| {
        told.replayed = true;
        told.verdict = Verdict::Problem(Box::new(ProblemName::PreconditionFailed.with("stale")));
    });
    let replayed = bench.send(patch()).await;
    assert_eq!(replayed.problem(), "precondition-failed");
    assert_eq!(replayed.field("idempotency-replayed"), Some("true"));
}

#[actix_web::test]
async fn a_delete_needs_no_body_and_a_tag() {
    let bench = bench();
    assert_eq!(bench.send(admin("DELETE", "/records/crm/a:b")).await.problem(), "precondition-required");
    let bad = bench.send(admin("DELETE", "/records/crm/a:b").insert_header(("if-match", ""))).await;
    assert_eq!(bad.problem(), "malformed-request");
    assert_eq!(bench.send(admin("DELETE", "/records/crm/a:b").insert_header(("if-match", "*"))).await.status, 204);
    assert_eq!(bench.written(), 1);
}

#[actix_web::test]
async fn a_list_links_to_its_next_page_and_the_last_does_not() {
    let bench = bench();
    let page = bench.send(admin("GET", "/records/crm?collection=a%3Ab&limit=1")).await;
    assert_eq!(page.json()["next"], "n/1");
    let link = "</records/crm?collection=a:b&limit=1&cursor=n%2F1>; rel=\"next\"";
    assert_eq!(page.field("link"), Some(link));
    let last = bench.send(admin("GET", "/records/crm?collection=a:b&limit=1&cursor=n%2F1")).await;
    assert!(last.json()["next"].is_null() && last.field("link").is_none());
    assert_eq!(bench.send(admin("GET", "/records/crm?limit=0")).await.problem(), "malformed-request");
}

#[actix_web::test]
async fn options_lists_what_this_very_system_takes() {
    let bench = bench();
    let all = bench.send(admin("OPTIONS", "/records/crm/a:b").insert_header(("if-match", "\"no\""))).await;
    assert_eq!((all.status, all.field("allow")), (204, Some("GET, HEAD, PATCH, DELETE, OPTIONS")));
    assert!(all.field("accept-patch").is_some());
    let read_only = bench.send(admin("OPTIONS", "/records/docs/a:b")).await;
    assert_eq!(read_only.field("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(read_only.field("accept-patch").is_none());
    assert_eq!(bench.send(TestRequest::default().method(actix_web::http::Method::OPTIONS).uri("*")).await.status, 204);
    assert_eq!(bench.send(admin("GET", "/*")).await.problem(), "not-found");
}

#[actix_web::test]
async fn operations_of_systems_one_may_not_read_do_not_exist() {
    let bench = bench();
    let reader = |target: &str| TestRequest::get().uri(target).insert_header(("authorization", "Bearer reader"));
    let running = bench.send(reader("/operations/01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11")).await;
    assert_eq!((running.status, running.field("retry-after")), (200, Some("1")));
    for hidden in ["02920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11", "03920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11", "x"] {
        assert_eq!(bench.send(reader(&format!("/operations/{hidden}"))).await.problem(), "operation-not-found");
    }
    let all = bench.send(reader("/operations?state=running")).await;
    assert_eq!(all.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(bench.send(reader("/operations?system=itsm")).await.problem(), "forbidden");
    assert_eq!(bench.send(reader("/operations?state=odd")).await.problem(), "malformed-request");
    assert_eq!(bench.send(reader("/ledger")).await.problem(), "forbidden");
    let ledger = bench.send(admin("GET", "/ledger?system=crm&since=2026-01-01T00:00:00Z")).await;
    assert_eq!(ledger.json()["items"][0]["systems"][0], "crm");
    assert_eq!(bench.send(admin("GET", "/ledger?since=yesterday")).await.problem(), "malformed-request");
}

#[actix_web::test]
async fn a_panic_is_a_500_and_counted() {
    let bench = bench();
    let answer = bench.send(admin("GET", "/records/crm/a:panic").insert_header(("x-request-id", "abc"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal-error"));
    assert_eq!(answer.field("x-request-id"), Some("abc"));
    let counted = bench.metrics.0.lock().expect("a lock");
    assert_eq!(*counted, [(Some("crm".to_owned()), "read", Some("internal-error"))]);
}

#[actix_web::test]
async fn unconfigured_names_never_become_a_label() {
    let bench = bench();
    bench.send(admin("GET", "/records/nowhere/a:b")).await;
    bench.send(admin("GET", "/nowhere")).await;
    let counted = bench.metrics.0.lock().expect("a lock");
    assert_eq!(*counted, [(None, "read", Some("system-not-found")), (None, "other", Some("not-found"))]);
}

#[actix_web::test]
async fn pages_are_open_and_load_nothing_from_elsewhere() {
    let bench = bench();
    for target in ["/", "/problems/rejected", "/docs/", "/docs/swagger-ui-bundle.js", "/openapi.json", "/healthz"] {
        let answer = bench.send(TestRequest::get().uri(target)).await;
        assert_eq!(answer.status, 200, "{target}");
        if answer.field("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            assert!(answer.field("content-security-policy").is_some(), "{target}");
            assert!(!answer.body.contains("src=\"http") && !answer.body.contains("href=\"http"), "{target}");
        }
    }
    assert_eq!(bench.send(TestRequest::get().uri("/docs")).await.field("location"), Some("/docs/"));
    assert_eq!(bench.send(TestRequest::get().uri("/docs/nothing")).await.problem(), "not-found");
    let unready = bench.send(TestRequest::get().uri("/readyz")).await;
    assert_eq!((unready.status, unready.field("retry-after")), (503, Some("1")));
    assert_eq!(bench.send(TestRequest::get().uri("/metrics")).await.body, "up 1\n");
}

#[actix_web::test]
async fn systems_show_what_they_can_and_cannot() {
    let shown = bench().send(admin("GET", "/systems/docs")).await.json();
    assert_eq!(shown["capabilities"], serde_json::json!(["read"]));
    assert!(shown["guarantee"]["update"].is_null());
    assert_eq!(shown["health"]["circuit"], "closed");
    assert_eq!(bench().send(admin("GET", "/systems")).await.json()["items"].as_array().map(Vec::len), Some(3));
}

#[actix_web::test]
async fn health_and_metrics_move_to_their_own_listener() {
    let mut bench = bench();
    std::sync::Arc::get_mut(&mut bench.api).expect("unshared").separate_ops = true;
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(bench.send(TestRequest::get().uri(target)).await.problem(), "not-found", "{target}");
    }
    let ops = init_service(App::new().configure(configure_ops(&Present::new(Arc::clone(&bench.api))))).await;
    for (target, status) in
        [("/healthz", 200), ("/metrics", 200), ("/", 404), ("/records/crm/a:b", 404), ("/systems", 404)]
    {
        let answer = call_service(&ops, admin("GET", target).to_request()).await;
        assert_eq!(answer.status().as_u16(), status, "{target}");
    }
}

#[actix_web::test]
async fn problems_that_promise_a_time_always_say_one() {
    let bench = bench();
    for name in [ProblemName::OperationInProgress, ProblemName::VendorBusy, ProblemName::RateLimited] {
        verdict(&bench, Done::Silent, |told| told.verdict = Verdict::Problem(Box::new(name.with("busy"))));
        assert_eq!(bench.send(patch()).await.field("retry-after"), Some("1"), "{name:?}");
    }
}
