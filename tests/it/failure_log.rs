//! The log of the program: one line per failure, and none for successes or for mistakes of callers.

use actix_web::http::Method;
use records_gateway::problem::failure_log::{OPTIONAL_FIELDS, REQUIRED_FIELDS};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::Value;

use super::support::{MATRIX42, Request, TestProcess};

struct FailureLogEnv(TestProcess);

impl FailureLogEnv {
    fn start() -> Self {
        Self::start_with_settle_timeout("3s")
    }

    /// Every vendor call is tried once and times out soon; the circuit stays closed.
    fn start_with_settle_timeout(settle_timeout: &str) -> Self {
        let builder = TestProcess::builder().configure(|config| {
            let config = config.server("deadline", "2s").system("itsm", "retries", 0);
            let config = config.system("itsm", "timeout", "400ms").system("itsm", "circuit_failures", 10_000);
            config.system("itsm", "completion_poll", "20ms").system("itsm", "settle_timeout", settle_timeout)
        });
        Self(builder.log_as_json().start())
    }

    fn request(&self, id: &str, method: Method, key: &str) -> Request {
        self.0.client().request(method, &MATRIX42.path(key)).header("X-Request-Id", id)
    }

    fn read(&self, id: &str) -> Request {
        self.request(id, Method::GET, MATRIX42.key)
    }

    fn patch(&self, id: &str, tag: &str) -> Request {
        self.request(id, Method::PATCH, MATRIX42.key).if_match(tag).fields(&MATRIX42.text_patch(id))
    }

    /// The log lines about failures, after the program has ended. Every line of the log is one JSON
    /// object.
    fn stop_and_read_failures(self) -> Vec<Value> {
        let log = self.0.stop_and_read_log();
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
    let faults = &env.0.vendors.matrix42.faults;
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
    env.0.vendors.matrix42.pause().await;
    env.read("refused").send().await.assert_problem(503, "vendor-unavailable");
    env.0.vendors.matrix42.resume().unwrap();

    let lines = env.stop_and_read_failures();
    let summaries: Vec<_> = lines.iter().map(summary_fields).collect();
    let expected = [
        ("unavailable", "vendor-unavailable", 503),
        ("hang", "vendor-timeout", 504),
        ("html", "vendor-protocol-error", 502),
        ("limit", "rate-limited", 429),
        ("rights", "vendor-forbidden", 403),
        ("refused", "vendor-unavailable", 503),
    ];
    assert_eq!(summaries, expected.map(|(id, problem, _)| ["request failed", id, "itsm", "read", problem]));
    for (line, (id, _, status)) in lines.iter().zip(expected) {
        let members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(REQUIRED_FIELDS.iter().all(|name| members.contains(name)), "{line}");
        let known = |name: &&str| REQUIRED_FIELDS.contains(name) || OPTIONAL_FIELDS.contains(name);
        assert!(members.iter().all(known), "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["gateway_ms"].is_u64(), "{line}");
        // The vendor hung until the timeout, and responded at once in all other cases.
        assert_eq!(line["vendor_ms"].as_u64().unwrap() >= 400, id == "hang", "{line}");
        let vendor_status = line.get("vendor_status").map(|status| status.as_u64().unwrap());
        assert_eq!(vendor_status.is_some(), !["hang", "refused"].contains(&id), "{line}");
    }
    assert!(lines[5]["detail"].as_str().unwrap().contains("no connection to the server"), "{}", lines[5]);
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
    let faults = &env.0.vendors.matrix42.faults;
    env.read("well").send().await.assert_status(200);
    faults.always(CallKind::Update, InjectedFault::status(403));
    env.patch("async", "*").prefer("respond-async").send().await.assert_status(202);
    env.0.wait_for_log("operation failed", 1).await;
    faults.clear();
    faults.always(CallKind::Update, InjectedFault::Hang);
    env.patch("unknown", "*").send().await.assert_problem(504, "outcome-unknown");
    env.0.wait_for_log("operation failed", 2).await;
    faults.clear();

    let lines = env.stop_and_read_failures();
    let summaries: Vec<_> = lines.iter().map(summary_fields).collect();
    assert_eq!(
        summaries,
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
    let env = FailureLogEnv::start_with_settle_timeout("30s");
    env.read("well").send().await.assert_status(200);
    let faults = &env.0.vendors.matrix42.faults;
    faults.always(CallKind::Update, InjectedFault::Hang);
    env.patch("unknown", "*").send().await.assert_problem(504, "outcome-unknown");
    faults.clear();
    env.0.wait_for_log("\"write resolved\"", 1).await;
    assert!(env.0.log().contains("\"state\":\"applied\""), "{}", env.0.log());
    let lines = env.stop_and_read_failures();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}
