//! A env: three fake vendor vendors, a gateway in front of them on a thread of its own, and a caller.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::app::{Application, sandbox};
use records_gateway::config::Config;
use records_gateway::sandbox::{CallKind, Faults, InjectedFault, ReceivedRequest, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Request, TestClient, TestResponse, VendorFixture};

/// Longest time that something which must come is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Short times, so that what a vendor does not do is found out soon; a test says where it needs others.
const SHORT_TIMEOUTS: &[(&str, &str, &str)] = &[
    ("server", "workers", "1"),
    ("server", "deadline", "\"5s\""),
    ("server", "shutdown_timeout", "\"2s\""),
    ("vendor", "timeout", "\"3s\""),
    ("vendor", "connect_timeout", "\"1s\""),
    ("vendor", "retry_backoff", "\"2ms\""),
    ("vendor", "circuit_failures", "10000"),
    ("vendor", "completion_poll", "\"10ms\""),
    ("vendor", "completion_timeout", "\"5s\""),
];

/// A gateway that runs. It stops when this is dropped.
pub(crate) struct TestGateway {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl TestGateway {
    fn start(text: &str) -> Self {
        let config = Config::parse(text, "test").unwrap_or_else(|faults| panic!("{faults}"));
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let application = Application::build(&config).await.unwrap();
                started.send(application.address()).unwrap();
                application.run(async move { drop(stopped.await) }).await
            })
        });
        Self { address: start.recv().expect("a gateway that starts"), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(format!("http://{}", self.address))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for its end; whether no write was left unfinished.
    pub(crate) async fn stop(mut self) -> bool {
        drop(self.stop.take());
        let thread = self.thread.take().unwrap();
        actix_web::rt::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap()
    }
}

/// See the module. Calls of the caller can be made on it directly.
pub(crate) struct TestEnv {
    pub(crate) fixture: &'static VendorFixture,
    pub(crate) vendors: Sandbox,
    gateway: Option<TestGateway>,
    client: TestClient,
    folder: TempDir,
    config_overrides: Vec<(String, String, String)>,
}

impl Deref for TestEnv {
    type Target = TestClient;
    fn deref(&self) -> &TestClient {
        &self.client
    }
}

impl TestEnv {
    pub(crate) async fn start(fixture: &'static VendorFixture) -> Self {
        Self::start_with(fixture, &[]).await
    }

    /// With these configuration keys: `(section, key, TOML value)`; the section `vendor` is that of every system.
    #[expect(clippy::unused_async, reason = "a env is waited for wherever it is used")]
    pub(crate) async fn start_with(fixture: &'static VendorFixture, changes: &[(&str, &str, &str)]) -> Self {
        let vendors = Sandbox::start().unwrap();
        vendors.bluedolphin.state.configure(|settings| settings.queue_delay = Some(Duration::from_millis(10)));
        let folder = tempfile::tempdir().unwrap();
        let own = |(section, key, value): &(&str, &str, &str)| {
            ((*section).to_owned(), (*key).to_owned(), (*value).to_owned())
        };
        let changes: Vec<_> = SHORT_TIMEOUTS.iter().chain(changes).map(own).collect();
        let gateway = TestGateway::start(&configuration(&vendors, folder.path(), "store", &changes));
        Self { fixture, client: gateway.client(), gateway: Some(gateway), vendors, folder, config_overrides: changes }
    }

    /// Another gateway in front of the same vendors, with a store of its own.
    pub(crate) fn start_second_gateway(&self) -> TestGateway {
        TestGateway::start(&configuration(&self.vendors, self.folder.path(), "second", &self.config_overrides))
    }

    /// Stops the gateway and starts another on the same store.
    pub(crate) async fn restart(&mut self) {
        self.gateway.take().unwrap().stop().await;
        let gateway =
            TestGateway::start(&configuration(&self.vendors, self.folder.path(), "store", &self.config_overrides));
        self.client = gateway.client();
        self.gateway = Some(gateway);
    }

    /// The same, and other vendors than before are behind the systems' names then; gives the former ones back.
    pub(crate) async fn restart_with_vendors(&mut self, vendors: Sandbox) -> Sandbox {
        let former = std::mem::replace(&mut self.vendors, vendors);
        self.restart().await;
        former
    }

    /// Another caller, with connections of its own.
    pub(crate) fn second_client(&self) -> TestClient {
        self.gateway.as_ref().unwrap().client()
    }

    pub(crate) fn read(&self, key: &str) -> Request {
        self.get(&self.fixture.path(key))
    }

    /// The present tag of a record. The calls it takes are forgotten.
    pub(crate) async fn current_etag(&self, key: &str) -> String {
        let response = self.read(key).send().await;
        self.forget_calls();
        response.assert_status(200).etag().to_owned()
    }

    /// A PATCH that accepts every loss and waits for what is queued.
    pub(crate) fn patch(&self, key: &str) -> Request {
        self.write(Method::PATCH, &self.fixture.path(key))
    }

    /// A PATCH of the text field.
    pub(crate) fn set_text(&self, key: &str, tag: &str, text: &str) -> Request {
        self.patch(key).if_match(tag).fields(&self.fixture.text_patch(text))
    }

    pub(crate) fn delete(&self, key: &str, tag: &str) -> Request {
        self.write(Method::DELETE, &self.fixture.path(key)).if_match(tag)
    }

    pub(crate) fn create(&self, text: &str) -> Request {
        let body = json!({ "collection": self.fixture.collection(), "fields": (self.fixture.new_record)(text) });
        self.write(Method::POST, &format!("/records/{}", self.fixture.system)).json(&body)
    }

    fn write(&self, method: Method, path: &str) -> Request {
        let mut request = self.request(method, path);
        if !self.fixture.losses.is_empty() {
            request = request.header("Accept-Loss", &self.fixture.losses.join(", "));
        }
        if self.fixture.queued { request.prefer("wait=5") } else { request }
    }

    pub(crate) fn vendor_value(&self, key: &str) -> Option<String> {
        (self.fixture.read_text)(&self.vendors, key)
    }

    pub(crate) fn record_count(&self) -> usize {
        (self.fixture.count)(&self.vendors)
    }

    pub(crate) fn faults(&self) -> &Faults {
        (self.fixture.faults)(&self.vendors)
    }

    /// The next call of this kind meets the fault.
    pub(crate) fn inject_once(&self, call: CallKind, fault: InjectedFault) {
        self.faults().once(call, fault);
    }

    pub(crate) fn call_count(&self, call: CallKind) -> usize {
        (self.fixture.log)(&self.vendors).count(call)
    }

    pub(crate) fn last_call(&self, call: CallKind) -> std::sync::Arc<ReceivedRequest> {
        (self.fixture.log)(&self.vendors).last(call).expect("a call of this kind")
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        (self.fixture.log)(&self.vendors).request_lines()
    }

    /// Waits until the vendor has received so many calls of a kind.
    pub(crate) async fn wait_for_calls(&self, call: CallKind, count: usize) {
        let waiting = (self.fixture.log)(&self.vendors).wait_for(call, count);
        tokio::time::timeout(WAIT_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.requests()));
    }

    /// Every call that changes something.
    pub(crate) fn write_call_count(&self) -> usize {
        [CallKind::Create, CallKind::Update, CallKind::Delete].into_iter().map(|kind| self.call_count(kind)).sum()
    }

    pub(crate) fn forget_calls(&self) {
        (self.fixture.log)(&self.vendors).clear();
    }

    /// Fails if the vendor was asked for anything.
    #[track_caller]
    pub(crate) fn assert_nothing_sent(&self) {
        assert_eq!(self.requests(), Vec::<String>::new());
    }

    /// The operation that a response names, when it is settled.
    pub(crate) async fn wait_for_operation(&self, response: &TestResponse) -> Value {
        let path = response.header("operation").map(str::to_owned);
        let path = path.or_else(|| Some(response.json()["operation"].as_str()?.to_owned()));
        self.wait_for_operation_at(&path.unwrap_or_else(|| panic!("no operation in {response:?}"))).await
    }

    pub(crate) async fn wait_for_operation_at(&self, path: &str) -> Value {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let operation = self.get(path).send().await.assert_status(200).json();
            if operation["state"] != "running" {
                return operation;
            }
            assert!(Instant::now() < until, "still running: {operation}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The operations of the system, newest or oldest first as the gateway gives them.
    pub(crate) async fn list_operations(&self) -> Vec<Value> {
        let page =
            self.get(&format!("/operations?system={}", self.fixture.system)).send().await.assert_status(200).json();
        page["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn read_ledger(&self) -> TestResponse {
        let response = self.get(&format!("/ledger?system={}", self.fixture.system)).send().await;
        response.assert_status(200);
        response
    }

    /// Waits until a condition holds of what the vendor holds.
    pub(crate) async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while !holds(self) {
            assert!(Instant::now() < until, "never came: {what}; {:?}", self.requests());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The sandbox's configuration with changed keys.
fn configuration(vendors: &Sandbox, folder: &Path, store: &str, changes: &[(String, String, String)]) -> String {
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let base = sandbox::configuration(vendors, bind, &folder.join(store).display().to_string());
    let mut text = String::new();
    let mut section = String::new();
    let concerned =
        |section: &str, wanted: &str| section == wanted || (wanted == "vendor" && section.starts_with("systems."));
    for line in base.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            text.extend([line, "\n"]);
            let mut last: Vec<(&str, &str)> = Vec::new();
            for (_, key, value) in changes.iter().filter(|(wanted, ..)| concerned(&section, wanted)) {
                last.retain(|(known, _)| known != key);
                last.push((key, value));
            }
            for (key, value) in last {
                text.extend([key, " = ", value, "\n"]);
            }
            continue;
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        let replaced = changes.iter().any(|(wanted, known, _)| concerned(&section, wanted) && known == key);
        if !replaced {
            text.extend([line, "\n"]);
        }
    }
    text
}
