//! The log of the real program: one line per failure, and none for what goes well or what callers did wrong.

use actix_web::http::Method;
use records_gateway::problem::failure_log::{OPTIONAL_FIELDS, REQUIRED_FIELDS};
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use super::gateway_program::{GatewayProgram, configuration};
use super::support::{MATRIX42, Request};

const OPEN_ACCESS: &str = "mode = \"open\"\n";
/// Every call is tried once and given up soon; nothing opens the circuit.
const SHORT_TIMEOUTS: &str =
    "[systems.itsm]\nretries = 0\ntimeout = \"400ms\"\ncircuit_failures = 10000\ncompletion_poll = \"20ms\"\n";

struct FailureLogEnv {
    vendors: Sandbox,
    program: GatewayProgram,
    _folder: TempDir,
}

impl FailureLogEnv {
    fn start() -> Self {
        Self::start_with_completion_timeout("3s")
    }

    /// With a time for which the fate of a write is looked for.
    fn start_with_completion_timeout(completion_timeout: &str) -> Self {
        let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
        let text = configuration(&vendors, folder.path(), "deadline = \"2s\"", OPEN_ACCESS);
        let text = text
            .replace("[systems.itsm]\n", &format!("{SHORT_TIMEOUTS}completion_timeout = \"{completion_timeout}\"\n"));
        let program = GatewayProgram::serve_with(folder.path(), &text, "info", &["--log-format", "json"], &[]);
        Self { vendors, program, _folder: folder }
    }

    fn request(&self, id: &str, method: Method, key: &str) -> Request {
        self.program.client().request(method, &MATRIX42.path(key)).header("X-Request-Id", id)
    }

    fn read(&self, id: &str) -> Request {
        self.request(id, Method::GET, MATRIX42.key)
    }

    fn patch(&self, id: &str, tag: &str) -> Request {
        self.request(id, Method::PATCH, MATRIX42.key).if_match(tag).fields(&MATRIX42.text_patch(id))
    }

    /// Every line about failures, after the program has ended. Every line of the log is one JSON object.
    fn stop_and_read_failures(self) -> Vec<Value> {
        let log = self.program.stop_and_read_log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let is_failure = |line: &Value| line["level"] != "INFO";
        lines.into_iter().filter(is_failure).collect()
    }
}

fn summary_fields(line: &Value) -> [&str; 5] {
    ["message", "request_id", "system", "action", "outcome"].map(|member| line[member].as_str().unwrap())
}

#[actix_web::test]
async fn each_failure_logs_one_line_with_all_its_fields() {
    let env = FailureLogEnv::start();
    env.read("well").send().await.assert_status(200);
    let faults = &env.vendors.matrix42.faults;
    for (id, fault, status, problem) in [
        ("unavailable", InjectedFault::status(503), 503, "vendor-unavailable"),
        ("hang", InjectedFault::Hang, 504, "vendor-timeout"),
        ("html", InjectedFault::HtmlPage, 502, "vendor-protocol-error"),
        ("limit", InjectedFault::retry_after(429, "7"), 429, "rate-limited"),
        ("rights", InjectedFault::status(403), 403, "vendor-forbidden"),
    ] {
        faults.once(CallKind::Read, fault);
        env.read(id).send().await.assert_problem(status, problem);
    }
    env.vendors.matrix42.pause().await;
    env.read("refused").send().await.assert_problem(503, "vendor-unavailable");
    env.vendors.matrix42.resume().unwrap();

    let lines = env.stop_and_read_failures();
    let told: Vec<_> = lines.iter().map(summary_fields).collect();
    let wanted = [
        ("unavailable", "vendor-unavailable", 503),
        ("hang", "vendor-timeout", 504),
        ("html", "vendor-protocol-error", 502),
        ("limit", "rate-limited", 429),
        ("rights", "vendor-forbidden", 403),
        ("refused", "vendor-unavailable", 503),
    ];
    assert_eq!(told, wanted.map(|(id, problem, _)| ["request failed", id, "itsm", "read", problem]));
    for (line, (id, _, status)) in lines.iter().zip(wanted) {
        let members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(REQUIRED_FIELDS.iter().all(|name| members.contains(name)), "{line}");
        let known = |name: &&str| REQUIRED_FIELDS.contains(name) || OPTIONAL_FIELDS.contains(name);
        assert!(members.iter().all(known), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["gateway_ms"].is_u64(), "{line}");
        // The vendor hung until it was given up, and answered at once in all other cases.
        assert_eq!(line["vendor_ms"].as_u64().unwrap() >= 400, id == "hang", "{line}");
        let answered = line.get("vendor_status").map(|status| status.as_u64().unwrap());
        assert_eq!(answered.is_some(), !["hang", "refused"].contains(&id), "{line}");
    }
    assert!(lines[5]["detail"].as_str().unwrap().contains("no connection to the vendor"), "{}", lines[5]);
}

#[actix_web::test]
async fn successes_and_client_errors_log_no_failure_line() {
    let env = FailureLogEnv::start();
    env.read("well").send().await.assert_status(200);
    env.patch("written", "*").send().await.assert_status(204);
    env.request("missing", Method::GET, MATRIX42.missing_key).send().await.assert_problem(404, "record-not-found");
    env.patch("stale", "\"stale\"").send().await.assert_problem(412, "precondition-failed");
    env.patch("nonsense", "*").merge_patch("{").send().await.assert_problem(400, "malformed-request");
    env.request("unknown", Method::from_bytes(b"FOO").unwrap(), MATRIX42.key)
        .send()
        .await
        .assert_problem(501, "not-implemented");
    env.patch("later", "*").prefer("respond-async").send().await.assert_status(202);
    assert_eq!(env.stop_and_read_failures(), Vec::<Value>::new());
}

#[actix_web::test]
async fn an_async_write_that_fails_logs_one_line_of_its_own() {
    let env = FailureLogEnv::start();
    let faults = &env.vendors.matrix42.faults;
    env.read("well").send().await.assert_status(200);
    faults.always(CallKind::Update, InjectedFault::status(403));
    env.patch("async", "*").prefer("respond-async").send().await.assert_status(202);
    env.program.wait_for_log("operation failed", 1).await;
    faults.clear();
    faults.always(CallKind::Update, InjectedFault::Hang);
    env.patch("unknown", "*").send().await.assert_problem(504, "outcome-unknown");
    env.program.wait_for_log("operation failed", 2).await;
    faults.clear();

    let lines = env.stop_and_read_failures();
    let told: Vec<_> = lines.iter().map(summary_fields).collect();
    assert_eq!(
        told,
        [
            ["operation failed", "async", "itsm", "update", "vendor-forbidden"],
            ["request failed", "unknown", "itsm", "update", "outcome-unknown"],
            ["operation failed", "unknown", "itsm", "update", "outcome-unknown"],
        ]
    );
    assert_eq!(lines[1]["operation"], lines[2]["operation"]);
    assert!(lines.iter().all(|line| REQUIRED_FIELDS.iter().all(|name| line.get(name).is_some())), "{lines:#?}");
    assert!(lines[2]["vendor_ms"].as_u64().unwrap() >= 400, "{}", lines[2]);
}

#[actix_web::test]
async fn an_unknown_write_logs_its_outcome_once_it_is_known() {
    let env = FailureLogEnv::start_with_completion_timeout("30s");
    env.read("well").send().await.assert_status(200);
    let faults = &env.vendors.matrix42.faults;
    faults.always(CallKind::Update, InjectedFault::Hang);
    env.patch("unknown", "*").send().await.assert_problem(504, "outcome-unknown");
    faults.clear();
    env.program.wait_for_log("\"settled\"", 1).await;
    assert!(env.program.log().contains("\"state\":\"applied\""), "{}", env.program.log());
    let lines = env.stop_and_read_failures();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}
