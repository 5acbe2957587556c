//! Traces to a collector: the ids that vendors are sent are the ids of the spans, and a collector costs callers nothing.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use records_gateway::sandbox::{CallKind, Fault, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::access_program::{Program, configuration};
use super::support::{Bench, MATRIX42, PRETECTUM, Request};
use super::tls::{Authority, Issued};

const OPEN: &str = "mode = \"open\"\n";
/// Longest time that something which must come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const CALLER: &str = "00f067aa0ba902b7";

/// A `traceparent` with an id of its own.
fn parent(number: u8, flags: &str) -> (String, String) {
    let trace = format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}");
    let parent = format!("00-{trace}-{CALLER}-{flags}");
    (trace, parent)
}

/// What a collector has received.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_behind(None)
    }

    /// Behind TLS, where there is a certificate.
    fn start_behind(certificate: Option<&Issued>) -> Self {
        let received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let taken = Arc::clone(&received);
        let take = move |request: HttpRequest, body: Bytes| {
            assert_eq!((request.method(), request.path()), (&Method::POST, "/v1/traces"));
            taken.lock().unwrap().push((request.headers().clone(), body));
            std::future::ready(HttpResponse::Ok().content_type("application/json").body("{}"))
        };
        let server = HttpServer::new(move || App::new().default_service(web::to(take.clone())));
        let server = server.workers(1).disable_signals();
        let (server, scheme) = match certificate {
            Some(certificate) => (server.bind_rustls_0_23(("127.0.0.1", 0), certificate.serving()).unwrap(), "https"),
            None => (server.bind(("127.0.0.1", 0)).unwrap(), "http"),
        };
        let url = format!("{scheme}://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, received }
    }

    /// What switches traces on, in a form that can be read here, soon.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ]
    }

    /// Everything, as it came.
    pub(crate) fn all(&self) -> Vec<(HeaderMap, Bytes)> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn spans(&self) -> Vec<Value> {
        let documents = self.all().into_iter().map(|(_, body)| serde_json::from_slice::<Value>(&body).unwrap());
        let lists = documents.flat_map(|document| {
            let resources = document["resourceSpans"].as_array().unwrap().clone();
            resources.into_iter().flat_map(|one| one["scopeSpans"].as_array().unwrap().clone())
        });
        lists.flat_map(|scope| scope["spans"].as_array().unwrap().clone()).collect()
    }

    /// The spans of a trace: the request's, and those of its calls. Waits for the request's, which is the last to end.
    async fn trace(&self, trace: &str) -> (Value, Vec<Value>) {
        let until = Instant::now() + PATIENCE;
        loop {
            let of_it: Vec<Value> = self.spans().into_iter().filter(|span| span["traceId"] == trace).collect();
            let (servers, calls): (Vec<Value>, Vec<Value>) = of_it.into_iter().partition(|span| span["kind"] == 2);
            match servers.as_slice() {
                [] => assert!(Instant::now() < until, "no span of {trace}: {:#?}", self.spans()),
                [server] => return (server.clone(), calls),
                more => panic!("{more:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A span's attributes as one object.
fn attributes(span: &Value) -> Value {
    let pairs = span["attributes"].as_array().unwrap().iter().map(|pair| {
        let value = &pair["value"];
        let value = match value.get("intValue") {
            // 64-bit integers are strings in JSON.
            Some(number) => json!(number.as_str().map_or_else(|| number.as_i64(), |text| text.parse().ok())),
            None => value["stringValue"].clone(),
        };
        (pair["key"].as_str().unwrap().to_owned(), value)
    });
    Value::Object(pairs.collect())
}

fn parent_of(span: &Value) -> &str {
    span["parentSpanId"].as_str().unwrap_or_default()
}

fn ids(spans: &[Value]) -> BTreeSet<String> {
    spans.iter().map(|span| span["spanId"].as_str().unwrap().to_owned()).collect()
}

struct House {
    vendors: Sandbox,
    program: Program,
    folder: TempDir,
}

impl House {
    fn start(environment: &[(&str, &str)]) -> Self {
        let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
        let text = configuration(&vendors, folder.path(), "deadline = \"3s\"", OPEN);
        let text = text.replace("[systems.itsm]\n", "[systems.itsm]\nretry_backoff = \"2ms\"\n");
        let program = Program::serve_with(folder.path(), &text, "info", &["--log-format", "json"], environment);
        Self { vendors, program, folder }
    }

    fn read(&self, bench: &Bench) -> Request {
        self.program.caller().get(&bench.path(bench.key))
    }

    fn patch(&self, bench: &Bench) -> Request {
        let request = self.program.caller().request(Method::PATCH, &bench.path(bench.key));
        request.if_match("*").fields(&bench.text_is("traced"))
    }

    /// The ids (and flags) that the vendor was sent in a trace.
    fn sent(&self, bench: &Bench, trace: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let calls = (bench.log)(&self.vendors).all();
        let parents = calls.iter().map(|call| call.header("traceparent").expect("a traceparent").to_owned());
        let of_it = parents.filter(|parent| parent.contains(trace));
        of_it.map(|parent| (parent[36..52].to_owned(), parent[53..].to_owned())).unzip()
    }
}

#[actix_web::test]
async fn a_sampled_request_is_one_span_and_each_vendor_call_another_with_the_id_the_vendor_was_sent() {
    let collector = Collector::start();
    let house = House::start(&collector.environment());
    for (number, bench) in [(1, &PRETECTUM), (2, &MATRIX42)] {
        let (trace, parent) = parent(number, "01");
        house.patch(bench).header("traceparent", &parent).header("tracestate", "x=1").send().await.is_done(204);
        let (server, calls) = collector.trace(&trace).await;
        assert_eq!((parent_of(&server), &server["name"]), (CALLER, &json!("PATCH /records/{system}/{id}")));
        let wanted = json!({ "http.request.method": "PATCH", "url.scheme": "http", "http.response.status_code": 204,
            "http.route": "/records/{system}/{id}", "records_gateway.action": "update",
            "records_gateway.system": bench.system });
        assert_eq!(attributes(&server), wanted);

        let (sent, flags) = house.sent(bench, &trace);
        assert_eq!((ids(&calls), flags), (sent, BTreeSet::from(["01".to_owned()])));
        let kinds: BTreeSet<_> = calls
            .iter()
            .map(|call| {
                assert_eq!((&call["kind"], parent_of(call)), (&json!(3), server["spanId"].as_str().unwrap()));
                let told = attributes(call);
                assert_eq!((&told["server.address"], &told["error.type"]), (&json!("127.0.0.1"), &Value::Null));
                assert!(told["server.port"].is_i64() && told["http.response.status_code"].is_i64(), "{told}");
                assert_eq!(told["records_gateway.system"], bench.system);
                told["records_gateway.call"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(kinds.contains("sign_in") && kinds.contains("update"), "{kinds:?}");
    }
    let (_, body) = collector.all().remove(0);
    let resource: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(attributes(&resource["resourceSpans"][0]["resource"])["service.name"], "records-gateway");
}

#[actix_web::test]
async fn failures_and_repeats_are_seen_in_the_trace() {
    let collector = Collector::start();
    let house = House::start(&collector.environment());
    house.read(&MATRIX42).send().await.is_done(200);
    let faults = &house.vendors.matrix42.faults;
    faults.next(Some(CallKind::Read), 3, Fault::status(503));
    let (trace, parent) = parent(3, "01");
    house.read(&MATRIX42).header("traceparent", &parent).send().await.is(503, "vendor-unavailable");
    let (server, calls) = collector.trace(&trace).await;
    let told = attributes(&server);
    assert_eq!((&told["error.type"], &told["http.response.status_code"]), (&json!("vendor-unavailable"), &json!(503)));
    assert_eq!((&server["status"]["code"], calls.len()), (&json!(2), 3), "{calls:#?}");
    assert_eq!(ids(&calls), house.sent(&MATRIX42, &trace).0);
    for call in &calls {
        assert_eq!((&attributes(call)["error.type"], &call["status"]["code"]), (&json!("503"), &json!(2)));
    }
    let resent = calls.iter().map(|call| attributes(call)["http.request.resend_count"].as_i64());
    assert_eq!(resent.collect::<BTreeSet<_>>(), BTreeSet::from([None, Some(1), Some(2)]));

    let (trace, header) = self::parent(4, "01");
    let missing = house.program.caller().get("/records/itsm/nonsense").header("traceparent", &header);
    missing.send().await.is(404, "record-not-found");
    let (server, calls) = collector.trace(&trace).await;
    assert_eq!((attributes(&server)["error.type"].as_str(), calls.len()), (Some("record-not-found"), 0));
    assert_ne!(server["status"]["code"], 2, "what a caller did wrong is no error of the server's");
}

#[actix_web::test]
async fn the_callers_decision_is_heeded_and_a_trace_without_one_is_the_samplers() {
    let collector = Collector::start();
    let house = House::start(&collector.environment());
    let (unsampled, parent_unsampled) = parent(5, "00");
    house.read(&MATRIX42).header("traceparent", &parent_unsampled).send().await.is_done(200);
    assert_eq!(house.sent(&MATRIX42, &unsampled).1, BTreeSet::from(["00".to_owned()]));
    house.program.caller().get("/metrics").send().await.is_done(200);
    house.vendors.matrix42.log.clear();
    house.read(&MATRIX42).send().await.is_done(200);
    let begun = house.vendors.matrix42.log.all();
    let begun = begun[0].header("traceparent").unwrap();
    assert!(begun.ends_with("-03"), "sampled, and the id is random: {begun}");
    let (server, _) = collector.trace(&begun[3..35]).await;
    assert_eq!(parent_of(&server), "");
    assert!(collector.spans().iter().all(|span| span["traceId"] != unsampled.as_str()));
    assert!(collector.spans().iter().all(|span| span["name"] != "GET /metrics"));

    let mut environment = collector.environment();
    environment.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    let house = House::start(&environment);
    house.read(&MATRIX42).send().await.is_done(200);
    let calls = house.vendors.matrix42.log.all();
    assert!(calls.iter().all(|call| call.header("traceparent").unwrap().ends_with("-02")));
}

#[actix_web::test]
async fn exports_are_protobuf_unless_asked_otherwise_and_go_over_tls_to_a_private_authority() {
    let authority = Authority::new();
    let collector = Collector::start_behind(Some(&authority.issue()));
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("authority.pem").display().to_string();
    std::fs::write(&certificate, authority.pem()).unwrap();
    let house = House::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate),
        ("OTEL_SERVICE_NAME", "records-of-the-house"),
    ]);
    let (trace, parent) = parent(7, "01");
    house.read(&MATRIX42).header("traceparent", &parent).send().await.is_done(200);
    // What is left is sent when the program stops.
    let log = house.program.stopped_log();
    let exports = collector.all();
    assert!(!exports.is_empty(), "{log}");
    assert!(exports.iter().all(|(head, _)| head.get("content-type").unwrap() == "application/x-protobuf"));
    let body: Vec<u8> = exports.iter().flat_map(|(_, body)| body.to_vec()).collect();
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(
        holds(&const_hex::decode(trace).unwrap()) && holds(b"records-of-the-house") && holds(b"/records/{system}/{id}")
    );
}

#[actix_web::test]
async fn without_the_environments_word_nothing_is_recorded() {
    let collector = Collector::start();
    let mut environment = collector.environment();
    environment.push(("OTEL_SDK_DISABLED", "true"));
    for environment in [&environment[..], &[]] {
        let house = House::start(environment);
        let (trace, parent) = parent(6, "01");
        house.patch(&MATRIX42).header("traceparent", &parent).send().await.is_done(204);
        let (sent, flags) = house.sent(&MATRIX42, &trace);
        assert!(
            sent.len() >= 2 && flags == BTreeSet::from(["01".to_owned()]),
            "the caller's trace goes on all the same"
        );
        assert_eq!(house.program.stop(), Some(0));
    }
    assert!(collector.all().is_empty());
}

#[actix_web::test]
async fn a_collector_that_is_down_or_hangs_costs_callers_nothing_and_is_told_of_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    // Connections are made and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", silent.local_addr().unwrap());
    for endpoint in [nobody, hanging] {
        let few = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
        let more = [("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "100")];
        let all: Vec<_> =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())].into_iter().chain(few).chain(more).collect();
        let house = House::start(&all);
        for _ in 0..20 {
            house.read(&MATRIX42).send().await.is_done(200);
            house.patch(&MATRIX42).send().await.is_done(204);
        }
        house.program.says("traces cannot be exported", 1).await;
        for _ in 0..20 {
            house.read(&MATRIX42).send().await.is_done(200);
        }
        let log = house.program.stopped_log();
        assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
        assert!(house.folder.path().exists());
    }
}

#[test]
fn a_variable_that_cannot_be_used_ends_the_start_with_2_and_a_sentence() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "not a url"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_records-gateway"));
        command.args(["sandbox", "--bind", "127.0.0.1:0"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
        let mut process = command.env(name, value).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                process.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.starts_with(&format!("{name} cannot be used: ")), "{said}");
    }
}
