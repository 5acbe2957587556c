//! The order of checks (contract 4): each fault is put into a request that has all the later ones
//! too, and decides.

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::test_api::{PATCH, TestApi};

#[actix_web::test]
async fn the_first_failing_check_determines_the_response() {
    let api = TestApi::start().await;
    for (index, (expected, first)) in CHECK_CASES.iter().enumerate() {
        for (later, second) in &CHECK_CASES[index..] {
            let mut parts = RequestParts::default();
            // The earlier fault is applied last: where both touch one part, it is its own.
            second(&mut parts);
            first(&mut parts);
            let problem = api.send(parts.request()).await.problem();
            assert_eq!(problem, *expected, "{expected} with {later}");
        }
    }
    assert_eq!(api.write_count(), 0);
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
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method");
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
