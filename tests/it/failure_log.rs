//! The log of the real program: one line per failure, and none for what goes well or what callers did wrong.

use actix_web::http::Method;
use records_gateway::problem::failure_log::{OPTIONAL_FIELDS, REQUIRED_FIELDS};
use records_gateway::sandbox::{CallKind, Fault, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use super::access_program::{Program, configuration};
use super::support::{MATRIX42, Request};

const OPEN: &str = "mode = \"open\"\n";
/// Every call is tried once and given up soon; nothing opens the circuit.
const IMPATIENT: &str =
    "[systems.itsm]\nretries = 0\ntimeout = \"400ms\"\ncircuit_failures = 10000\ncompletion_poll = \"20ms\"\n";

struct Bench {
    vendors: Sandbox,
    program: Program,
    _folder: TempDir,
}

impl Bench {
    fn start() -> Self {
        Self::following("3s")
    }

    /// With a time for which the fate of a write is looked for.
    fn following(completion_timeout: &str) -> Self {
        let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
        let text = configuration(&vendors, folder.path(), "deadline = \"2s\"", OPEN);
        let text =
            text.replace("[systems.itsm]\n", &format!("{IMPATIENT}completion_timeout = \"{completion_timeout}\"\n"));
        let program = Program::serve_with(folder.path(), &text, "info", &["--log-format", "json"], &[]);
        Self { vendors, program, _folder: folder }
    }

    fn request(&self, id: &str, method: Method, key: &str) -> Request {
        self.program.caller().request(method, &MATRIX42.path(key)).header("X-Request-Id", id)
    }

    fn read(&self, id: &str) -> Request {
        self.request(id, Method::GET, MATRIX42.key)
    }

    fn patch(&self, id: &str, tag: &str) -> Request {
        self.request(id, Method::PATCH, MATRIX42.key).if_match(tag).fields(&MATRIX42.text_is(id))
    }

    /// Every line about failures, after the program has ended. Every line of the log is one JSON object.
    fn failures(self) -> Vec<Value> {
        let log = self.program.stopped_log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let is_failure = |line: &Value| line["level"] != "INFO";
        lines.into_iter().filter(is_failure).collect()
    }
}

fn words(line: &Value) -> [&str; 5] {
    ["message", "request_id", "system", "action", "outcome"].map(|member| line[member].as_str().unwrap())
}

#[actix_web::test]
async fn each_failure_leaves_one_line_with_all_its_members() {
    let bench = Bench::start();
    bench.read("well").send().await.is_done(200);
    let faults = &bench.vendors.matrix42.faults;
    for (id, fault, status, problem) in [
        ("unavailable", Fault::status(503), 503, "vendor-unavailable"),
        ("hang", Fault::Hang, 504, "vendor-timeout"),
        ("html", Fault::HtmlPage, 502, "vendor-protocol-error"),
        ("limit", Fault::retry_after(429, "7"), 429, "rate-limited"),
        ("rights", Fault::status(403), 403, "vendor-forbidden"),
    ] {
        faults.once(CallKind::Read, fault);
        bench.read(id).send().await.is(status, problem);
    }
    bench.vendors.matrix42.pause().await;
    bench.read("refused").send().await.is(503, "vendor-unavailable");
    bench.vendors.matrix42.resume().unwrap();

    let lines = bench.failures();
    let told: Vec<_> = lines.iter().map(words).collect();
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
async fn what_goes_well_and_what_callers_did_wrong_leave_no_line() {
    let bench = Bench::start();
    bench.read("well").send().await.is_done(200);
    bench.patch("written", "*").send().await.is_done(204);
    bench.request("missing", Method::GET, MATRIX42.missing).send().await.is(404, "record-not-found");
    bench.patch("stale", "\"stale\"").send().await.is(412, "precondition-failed");
    bench.patch("nonsense", "*").merge("{").send().await.is(400, "malformed-request");
    bench.request("unknown", Method::from_bytes(b"FOO").unwrap(), MATRIX42.key).send().await.is(501, "not-implemented");
    bench.patch("later", "*").prefer("respond-async").send().await.is_done(202);
    assert_eq!(bench.failures(), Vec::<Value>::new());
}

#[actix_web::test]
async fn a_write_that_fails_behind_its_callers_back_leaves_one_line_of_its_own() {
    let bench = Bench::start();
    let faults = &bench.vendors.matrix42.faults;
    bench.read("well").send().await.is_done(200);
    faults.always(CallKind::Update, Fault::status(403));
    bench.patch("async", "*").prefer("respond-async").send().await.is_done(202);
    bench.program.says("operation failed", 1).await;
    faults.clear();
    faults.always(CallKind::Update, Fault::Hang);
    bench.patch("unknown", "*").send().await.is(504, "outcome-unknown");
    bench.program.says("operation failed", 2).await;
    faults.clear();

    let lines = bench.failures();
    let told: Vec<_> = lines.iter().map(words).collect();
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
async fn a_write_whose_fate_was_unknown_is_told_when_it_is_known() {
    let bench = Bench::following("30s");
    bench.read("well").send().await.is_done(200);
    let faults = &bench.vendors.matrix42.faults;
    faults.always(CallKind::Update, Fault::Hang);
    bench.patch("unknown", "*").send().await.is(504, "outcome-unknown");
    faults.clear();
    bench.program.says("\"settled\"", 1).await;
    assert!(bench.program.log().contains("\"state\":\"applied\""), "{}", bench.program.log());
    let lines = bench.failures();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}
