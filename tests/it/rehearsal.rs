//! `Sandbox-Fault`: failures on demand, in the sandbox alone.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{bluedolphin, matrix42};
use serde_json::{Value, json};

use super::support::{FIXTURES, MATRIX42, PROGRAM, Request, TestClient, TestEnv, TestResponse};

/// The longest wait for what must come.
const TIMEOUT: Duration = Duration::from_mins(1);

struct SandboxProcess {
    child: Child,
    client: TestClient,
}

impl SandboxProcess {
    fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["sandbox", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap();
        Self { client: TestClient::new(url.to_owned()), child }
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.client.get(path).send().await
    }

    /// Waits until a document shows what must come.
    async fn wait_for(&self, path: &str, shows: impl Fn(&Value) -> bool) {
        let until = Instant::now() + TIMEOUT;
        loop {
            let document = self.get(path).await.assert_status(200).json();
            if shows(&document) {
                return;
            }
            assert!(Instant::now() < until, "{path}: {document}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn patch(&self, path: &str, tag: &str, fault: &str) -> Request {
        self.client.request(Method::PATCH, path).if_match(tag).header("Sandbox-Fault", fault)
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn facility() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

#[actix_web::test]
async fn each_failure_can_be_rehearsed_and_is_over_with_its_request() {
    let sandbox = SandboxProcess::start();
    let fields = json!({ "Description": "Facilities" });
    let tag = sandbox.get(&facility()).await.etag().to_owned();
    let conflict = sandbox.patch(&facility(), &tag, "conflict").fields(&fields).send().await;
    conflict.assert_problem(412, "precondition-failed");
    let tag = sandbox.get(&facility()).await.etag().to_owned();
    sandbox.patch(&facility(), &tag, "quota").fields(&fields).send().await.assert_problem(429, "rate-limited");
    sandbox.patch(&facility(), &tag, "busy").fields(&fields).send().await.assert_problem(503, "vendor-unavailable");
    sandbox.patch(&facility(), &tag, "fire").fields(&fields).send().await.assert_problem(400, "malformed-request");
    let application = format!("/records/architecture/object-definitions:{}", bluedolphin::NEW_APPLICATION_ID);
    let busy = sandbox.patch(&application, "*", "busy").header("Accept-Loss", "linked-questions, source-connections");
    let busy = busy.fields(&json!({ "properties": { "Supplier": { "value": "Contoso" } } })).send().await;
    busy.assert_problem(409, "vendor-busy");

    let unknown = sandbox.patch(&facility(), &tag, "unknown").fields(&fields).send().await;
    unknown.assert_problem(504, "outcome-unknown");
    let operation = unknown.json()["operation"].as_str().unwrap().to_owned();
    sandbox.wait_for(&operation, |operation| operation["state"] != "running").await;
    assert_eq!(sandbox.get(&operation).await.json()["state"], "applied");
    assert_eq!(sandbox.get(&facility()).await.json()["fields"]["Description"], "Facilities");
}

#[actix_web::test]
async fn a_conflict_can_be_rehearsed_at_every_vendor() {
    let sandbox = SandboxProcess::start();
    for fixture in FIXTURES {
        let path = fixture.path(fixture.key);
        let tag = sandbox.get(&path).await.assert_status(200).etag().to_owned();
        let patch = sandbox.patch(&path, &tag, "conflict").header("Accept-Loss", &fixture.losses.join(", "));
        let refused = patch.fields(&fixture.text_patch("mine")).send().await;
        refused.assert_problem(412, "precondition-failed");
    }
}

#[actix_web::test]
async fn a_rehearsed_failure_is_that_of_its_request_alone() {
    let sandbox = SandboxProcess::start();
    let tag = sandbox.get(&facility()).await.etag().to_owned();
    let fields = json!({ "Description": "mine" });
    // A write whose response is lost takes until the deadline; meanwhile others work as ever.
    let lost = sandbox.patch(&facility(), &tag, "unknown").fields(&fields).send();
    let running = "/operations?state=running";
    let has_begun = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == 1);
    let others = async {
        sandbox.wait_for(running, has_begun).await;
        sandbox.get(&facility()).await.assert_status(200);
        let limited = sandbox.client.get(&facility()).header("Sandbox-Fault", "quota").send().await;
        limited.assert_problem(429, "rate-limited");
        sandbox.get(&facility()).await.assert_status(200);
        assert!(has_begun(&sandbox.get(running).await.json()), "the write has ended too early");
    };
    let (lost, ()) = futures_util::future::join(lost, others).await;
    lost.assert_problem(504, "outcome-unknown");
}

#[actix_web::test]
async fn where_a_failure_cannot_be_rehearsed_the_header_is_refused() {
    let sandbox = SandboxProcess::start();
    for path in ["/systems", "/systems/itsm", "/operations"] {
        let refused = sandbox.client.get(path).header("Sandbox-Fault", "busy").send().await;
        let problem = refused.assert_problem(400, "malformed-request");
        assert!(problem.text.contains("/records/{system}"), "{}", problem.text);
    }
    let read = sandbox.client.get(&facility()).header("Sandbox-Fault", "Busy!").send().await;
    read.assert_problem(400, "malformed-request");
}

#[actix_web::test]
async fn a_conflict_can_be_rehearsed_in_any_spelling_of_an_id() {
    let sandbox = SandboxProcess::start();
    let upper = matrix42::FACILITY_ID.to_uppercase();
    for (path, fields) in [
        (format!("/records/itsm/{}:{upper}", matrix42::CATEGORY_CLASS), json!({ "Description": "mine" })),
        (format!("/models/asset/itsm/{upper}"), json!({ "name": "mine" })),
    ] {
        let tag = sandbox.get(&path).await.assert_status(200).etag().to_owned();
        let refused = sandbox.patch(&path, &tag, "conflict").fields(&fields).send().await;
        refused.assert_problem(412, "precondition-failed");
    }
}

#[actix_web::test]
async fn outside_the_sandbox_the_header_has_no_meaning() {
    let gateway = TestEnv::start(&MATRIX42);
    let read = gateway.read(MATRIX42.key).header("Sandbox-Fault", "quota").send().await;
    read.assert_status(200);
}
