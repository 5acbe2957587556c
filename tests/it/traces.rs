//! Traces sent to a collector: vendors receive the ids of the spans, and a failing collector does
//! not affect callers.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::{Value, json};

use super::support::{MATRIX42, PRETECTUM, PROGRAM, Request, TestProcess, VendorFixture};
use super::tls::{IssuedCertificate, TestCa};

/// Longest time that an expected event is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

const CALLER_SPAN_ID: &str = "00f067aa0ba902b7";

/// A `traceparent` with an id of its own.
fn traceparent(number: u8, flags: &str) -> (String, String) {
    let trace = format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}");
    let parent = format!("00-{trace}-{CALLER_SPAN_ID}-{flags}");
    (trace, parent)
}

/// What a collector has received.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_with_tls(None)
    }

    /// With TLS, where there is a certificate.
    fn start_with_tls(certificate: Option<&IssuedCertificate>) -> Self {
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
            Some(certificate) => {
                (server.bind_rustls_0_23(("127.0.0.1", 0), certificate.server_config()).unwrap(), "https")
            }
            None => (server.bind(("127.0.0.1", 0)).unwrap(), "http"),
        };
        let url = format!("{scheme}://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, received }
    }

    /// The variables that enable traces, sent soon and as JSON.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ]
    }

    /// Everything that was received.
    pub(crate) fn exports(&self) -> Vec<(HeaderMap, Bytes)> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn spans(&self) -> Vec<Value> {
        let documents = self.exports().into_iter().map(|(_, body)| serde_json::from_slice::<Value>(&body).unwrap());
        let lists = documents.flat_map(|document| {
            let resources = document["resourceSpans"].as_array().unwrap().clone();
            resources.into_iter().flat_map(|one| one["scopeSpans"].as_array().unwrap().clone())
        });
        lists.flat_map(|scope| scope["spans"].as_array().unwrap().clone()).collect()
    }

    /// The spans of a trace: the request's and those of its vendor calls. Waits for the request's,
    /// which ends last.
    async fn wait_for_trace(&self, trace: &str) -> (Value, Vec<Value>) {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let of_trace: Vec<Value> = self.spans().into_iter().filter(|span| span["traceId"] == trace).collect();
            let (servers, calls): (Vec<Value>, Vec<Value>) = of_trace.into_iter().partition(|span| span["kind"] == 2);
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
            // OTLP writes 64-bit integers as strings.
            Some(number) => json!(number.as_str().map_or_else(|| number.as_i64(), |text| text.parse().ok())),
            None => value["stringValue"].clone(),
        };
        (pair["key"].as_str().unwrap().to_owned(), value)
    });
    Value::Object(pairs.collect())
}

fn parent_span_id(span: &Value) -> &str {
    span["parentSpanId"].as_str().unwrap_or_default()
}

fn span_ids(spans: &[Value]) -> BTreeSet<String> {
    spans.iter().map(|span| span["spanId"].as_str().unwrap().to_owned()).collect()
}

struct TracingEnv(TestProcess);

impl TracingEnv {
    fn start(environment: &[(&str, &str)]) -> Self {
        let builder = TestProcess::builder().log_as_json().environment(environment);
        Self(builder.configure(|config| config.server("deadline", "3s").system("itsm", "retry_backoff", "2ms")).start())
    }

    fn read(&self, fixture: &VendorFixture) -> Request {
        self.0.client().get(&fixture.path(fixture.key))
    }

    fn patch(&self, fixture: &VendorFixture) -> Request {
        let request = self.0.client().request(Method::PATCH, &fixture.path(fixture.key));
        request.if_match("*").fields(&fixture.text_patch("traced"))
    }

    /// The parent ids and the flags that the vendor received in a trace.
    fn sent_parent_ids(&self, fixture: &VendorFixture, trace: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let calls = fixture.log(&self.0.vendors).all();
        let parents = calls.iter().map(|call| call.header("traceparent").expect("a traceparent").to_owned());
        let of_trace = parents.filter(|parent| parent.contains(trace));
        of_trace.map(|parent| (parent[36..52].to_owned(), parent[53..].to_owned())).unzip()
    }
}

#[actix_web::test]
async fn a_sampled_request_has_one_span_and_one_more_per_vendor_call() {
    let collector = Collector::start();
    let env = TracingEnv::start(&collector.environment());
    for (number, fixture) in [(1, &PRETECTUM), (2, &MATRIX42)] {
        let (trace, parent) = traceparent(number, "01");
        env.patch(fixture).header("traceparent", &parent).header("tracestate", "x=1").send().await.assert_status(204);
        let (server, calls) = collector.wait_for_trace(&trace).await;
        assert_eq!(
            (parent_span_id(&server), &server["name"]),
            (CALLER_SPAN_ID, &json!("PATCH /records/{system}/{id}"))
        );
        let expected = json!({ "http.request.method": "PATCH", "url.scheme": "http", "http.response.status_code": 204,
            "http.route": "/records/{system}/{id}", "records_gateway.action": "update",
            "records_gateway.system": fixture.system });
        assert_eq!(attributes(&server), expected);

        let (sent, flags) = env.sent_parent_ids(fixture, &trace);
        assert_eq!((span_ids(&calls), flags), (sent, BTreeSet::from(["01".to_owned()])));
        let kinds: BTreeSet<_> = calls
            .iter()
            .map(|call| {
                assert_eq!((&call["kind"], parent_span_id(call)), (&json!(3), server["spanId"].as_str().unwrap()));
                let attributes = attributes(call);
                assert_eq!(
                    (&attributes["server.address"], &attributes["error.type"]),
                    (&json!("127.0.0.1"), &Value::Null)
                );
                assert!(
                    attributes["server.port"].is_i64() && attributes["http.response.status_code"].is_i64(),
                    "{attributes}"
                );
                assert_eq!(attributes["records_gateway.system"], fixture.system);
                attributes["records_gateway.call"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(kinds.contains("sign_in") && kinds.contains("update"), "{kinds:?}");
    }
    let (_, body) = collector.exports().remove(0);
    let resource: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(attributes(&resource["resourceSpans"][0]["resource"])["service.name"], "records-gateway");
}

#[actix_web::test]
async fn failures_and_retries_appear_in_the_trace() {
    let collector = Collector::start();
    let env = TracingEnv::start(&collector.environment());
    env.read(&MATRIX42).send().await.assert_status(200);
    let faults = &env.0.vendors.matrix42.faults;
    faults.next(Some(CallKind::Read), 3, InjectedFault::status(503));
    let (trace, parent) = traceparent(3, "01");
    env.read(&MATRIX42).header("traceparent", &parent).send().await.assert_problem(503, "vendor-unavailable");
    let (server, calls) = collector.wait_for_trace(&trace).await;
    let shown = attributes(&server);
    assert_eq!(
        (&shown["error.type"], &shown["http.response.status_code"]),
        (&json!("vendor-unavailable"), &json!(503))
    );
    assert_eq!((&server["status"]["code"], calls.len()), (&json!(2), 3), "{calls:#?}");
    assert_eq!(span_ids(&calls), env.sent_parent_ids(&MATRIX42, &trace).0);
    for call in &calls {
        assert_eq!((&attributes(call)["error.type"], &call["status"]["code"]), (&json!("503"), &json!(2)));
    }
    let resent = calls.iter().map(|call| attributes(call)["http.request.resend_count"].as_i64());
    assert_eq!(resent.collect::<BTreeSet<_>>(), BTreeSet::from([None, Some(1), Some(2)]));

    let (trace, header) = traceparent(4, "01");
    let missing = env.0.client().get("/records/itsm/nonsense").header("traceparent", &header);
    missing.send().await.assert_problem(404, "record-not-found");
    let (server, calls) = collector.wait_for_trace(&trace).await;
    assert_eq!((attributes(&server)["error.type"].as_str(), calls.len()), (Some("record-not-found"), 0));
    assert_ne!(server["status"]["code"], 2, "an error of the caller is not an error of the server");
}

#[actix_web::test]
async fn the_callers_sampling_decision_wins_over_the_sampler() {
    let collector = Collector::start();
    let env = TracingEnv::start(&collector.environment());
    let (unsampled, parent_unsampled) = traceparent(5, "00");
    env.read(&MATRIX42).header("traceparent", &parent_unsampled).send().await.assert_status(200);
    assert_eq!(env.sent_parent_ids(&MATRIX42, &unsampled).1, BTreeSet::from(["00".to_owned()]));
    env.0.client().get("/metrics").send().await.assert_status(200);
    env.0.vendors.matrix42.log.clear();
    env.read(&MATRIX42).send().await.assert_status(200);
    let calls = env.0.vendors.matrix42.log.all();
    let traceparent = calls[0].header("traceparent").unwrap();
    assert!(traceparent.ends_with("-03"), "sampled, and the id is random: {traceparent}");
    let (server, _) = collector.wait_for_trace(&traceparent[3..35]).await;
    assert_eq!(parent_span_id(&server), "");
    assert!(collector.spans().iter().all(|span| span["traceId"] != unsampled.as_str()));
    assert!(collector.spans().iter().all(|span| span["name"] != "GET /metrics"));

    let mut environment = collector.environment();
    environment.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    let env = TracingEnv::start(&environment);
    env.read(&MATRIX42).send().await.assert_status(200);
    let calls = env.0.vendors.matrix42.log.all();
    assert!(calls.iter().all(|call| call.header("traceparent").unwrap().ends_with("-02")));
}

#[actix_web::test]
async fn exports_default_to_protobuf_and_work_over_tls_with_a_private_ca() {
    let authority = TestCa::new();
    let collector = Collector::start_with_tls(Some(&authority.issue()));
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("authority.pem").display().to_string();
    std::fs::write(&certificate, authority.pem()).unwrap();
    let env = TracingEnv::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate),
        ("OTEL_SERVICE_NAME", "records-gateway-of-this-test"),
    ]);
    let (trace, parent) = traceparent(7, "01");
    env.read(&MATRIX42).header("traceparent", &parent).send().await.assert_status(200);
    // The remaining spans are sent when the program stops.
    let log = env.0.stop_and_read_log();
    let exports = collector.exports();
    assert!(!exports.is_empty(), "{log}");
    assert!(exports.iter().all(|(head, _)| head.get("content-type").unwrap() == "application/x-protobuf"));
    let body: Vec<u8> = exports.iter().flat_map(|(_, body)| body.to_vec()).collect();
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(
        holds(&const_hex::decode(trace).unwrap())
            && holds(b"records-gateway-of-this-test")
            && holds(b"/records/{system}/{id}")
    );
}

#[actix_web::test]
async fn nothing_is_recorded_unless_the_environment_enables_traces() {
    let collector = Collector::start();
    let mut environment = collector.environment();
    environment.push(("OTEL_SDK_DISABLED", "true"));
    for environment in [&environment[..], &[]] {
        let env = TracingEnv::start(environment);
        let (trace, parent) = traceparent(6, "01");
        env.patch(&MATRIX42).header("traceparent", &parent).send().await.assert_status(204);
        let (sent, flags) = env.sent_parent_ids(&MATRIX42, &trace);
        assert!(sent.len() >= 2 && flags == BTreeSet::from(["01".to_owned()]), "the caller's trace is continued");
        assert_eq!(env.0.terminate(), Some(0));
    }
    assert!(collector.exports().is_empty());
}

#[actix_web::test]
async fn a_failing_collector_does_not_affect_requests_and_is_logged_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    // Connections are accepted and get no response.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", silent.local_addr().unwrap());
    for endpoint in [refusing, hanging] {
        let few = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
        let more = [("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "100")];
        let all: Vec<_> =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())].into_iter().chain(few).chain(more).collect();
        let env = TracingEnv::start(&all);
        for _ in 0..20 {
            env.read(&MATRIX42).send().await.assert_status(200);
            env.patch(&MATRIX42).send().await.assert_status(204);
        }
        env.0.wait_for_log("traces cannot be exported", 1).await;
        for _ in 0..20 {
            env.read(&MATRIX42).send().await.assert_status(200);
        }
        let log = env.0.stop_and_read_log();
        assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
        assert!(env.0.folder().exists());
    }
}

#[test]
fn an_invalid_otel_variable_exits_with_2_and_an_error_message() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "not a url"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["sandbox", "--bind", "127.0.0.1:0"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
        let mut process = command.env(name, value).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + WAIT_TIMEOUT;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                process.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = process.wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        assert!(message.starts_with(&format!("{name} cannot be used: ")), "{message}");
    }
}
