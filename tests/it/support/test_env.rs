//! A gateway with fake vendors, seen from one vendor's fixture.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::sandbox::{CallKind, Faults, InjectedFault, ReceivedRequest, Sandbox};
use serde_json::{Value, json};

use super::test_server::TestGateway;
use super::{Request, TestClient, TestConfig, TestResponse, TestServer, VendorFixture};

/// Longest time that an expected event is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Short timeouts, so that a test soon sees what a vendor fails to do. A test sets others where it
/// needs them.
fn with_short_timeouts(config: TestConfig) -> TestConfig {
    let config = config.server("deadline", "5s").every_system("timeout", "3s").every_system("connect_timeout", "1s");
    let config = config.every_system("retry_backoff", "2ms").every_system("circuit_failures", 10_000);
    config
        .every_system("completion_poll", "10ms")
        .every_system("completion_timeout", "5s")
        .every_system("settle_timeout", "5s")
}

/// The environment of one test. Requests can be made on it directly.
pub(crate) struct TestEnv {
    pub(crate) fixture: &'static VendorFixture,
    pub(crate) vendors: Sandbox,
    server: TestServer,
    client: TestClient,
}

impl Deref for TestEnv {
    type Target = TestClient;
    fn deref(&self) -> &TestClient {
        &self.client
    }
}

impl TestEnv {
    pub(crate) fn start(fixture: &'static VendorFixture) -> Self {
        Self::start_with(fixture, |config| config)
    }

    /// With what the closure changes in the configuration.
    pub(crate) fn start_with(
        fixture: &'static VendorFixture,
        configure: impl FnOnce(TestConfig) -> TestConfig,
    ) -> Self {
        let server = TestServer::start_with(|config| configure(with_short_timeouts(config)));
        server.vendors.bluedolphin.state.configure(|settings| settings.queue_delay = Some(Duration::from_millis(10)));
        Self { fixture, vendors: server.vendors.clone(), client: server.client(), server }
    }

    /// Another gateway in front of the same vendors, with a store of its own.
    pub(crate) fn start_second_gateway(&self) -> TestGateway {
        self.server.start_second_gateway()
    }

    /// A replica: another gateway in front of the same vendors, on the same PostgreSQL store.
    pub(crate) fn start_replica(&self) -> TestGateway {
        self.server.start_replica()
    }

    /// Stops the gateway and starts another on the same store.
    pub(crate) async fn restart(&mut self) {
        self.server.restart().await;
        self.client = self.server.client();
    }

    /// The same, with what the closure changes in the configuration.
    pub(crate) async fn restart_with(&mut self, configure: impl FnOnce(TestConfig) -> TestConfig) {
        self.server.restart_with(configure).await;
        self.client = self.server.client();
    }

    /// The same, with other fake vendors behind the systems' names. Returns the former ones.
    pub(crate) async fn restart_with_vendors(&mut self, vendors: Sandbox) -> Sandbox {
        self.vendors = vendors.clone();
        let former = self.server.restart_with_vendors(vendors).await;
        self.client = self.server.client();
        former
    }

    /// Another client, with connections of its own.
    pub(crate) fn second_client(&self) -> TestClient {
        self.server.client()
    }

    pub(crate) fn read(&self, key: &str) -> Request {
        self.get(&self.fixture.path(key))
    }

    /// The current ETag of a record. The vendor calls it takes are removed from the log.
    pub(crate) async fn current_etag(&self, key: &str) -> String {
        let response = self.read(key).send().await;
        self.forget_calls();
        response.assert_status(200).etag().to_owned()
    }

    /// A PATCH that accepts every loss and waits for a queued update.
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
        self.fixture.faults(&self.vendors)
    }

    /// Injects the fault into the next call of this kind.
    pub(crate) fn inject_once(&self, call: CallKind, fault: InjectedFault) {
        self.faults().once(call, fault);
    }

    pub(crate) fn call_count(&self, call: CallKind) -> usize {
        self.fixture.log(&self.vendors).count(call)
    }

    pub(crate) fn last_call(&self, call: CallKind) -> Arc<ReceivedRequest> {
        self.fixture.log(&self.vendors).last(call).expect("a call of this kind")
    }

    /// The requests that the vendor has received, without those for schemas: they belong to no
    /// request of a caller.
    pub(crate) fn requests(&self) -> Vec<String> {
        let received = self.fixture.log(&self.vendors).all();
        let line = |entry: &Arc<ReceivedRequest>| match entry.query.as_str() {
            "" => format!("{} {}", entry.method, entry.path),
            query => format!("{} {}?{query}", entry.method, entry.path),
        };
        received.iter().filter(|entry| entry.kind != CallKind::Schema).map(line).collect()
    }

    /// Waits until the vendor has received so many calls of a kind.
    pub(crate) async fn wait_for_calls(&self, call: CallKind, count: usize) {
        let waiting = self.fixture.log(&self.vendors).wait_for(call, count);
        tokio::time::timeout(WAIT_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.requests()));
    }

    /// Every call that changes something.
    pub(crate) fn write_call_count(&self) -> usize {
        [CallKind::Create, CallKind::Update, CallKind::Delete].into_iter().map(|kind| self.call_count(kind)).sum()
    }

    pub(crate) fn forget_calls(&self) {
        self.fixture.log(&self.vendors).clear();
    }

    /// Fails if the vendor has received a request.
    #[track_caller]
    pub(crate) fn assert_nothing_sent(&self) {
        assert_eq!(self.requests(), Vec::<String>::new());
    }

    /// The operation that a response names, once it has ended.
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

    /// Repeats a request that the schema refuses until a response is the last one: only a schema
    /// that is a second old is read again before it refuses.
    pub(crate) async fn repeat_refused(
        &self,
        request: impl Fn() -> Request,
        is_last: impl Fn(&TestResponse) -> bool,
    ) -> TestResponse {
        let until = Instant::now() + WAIT_TIMEOUT;
        loop {
            let response = request().send().await;
            if is_last(&response) {
                return response;
            }
            response.assert_problem(422, "rejected");
            assert!(Instant::now() < until, "still refused: {response:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The operations of the system, in the order of the gateway.
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

    /// Waits until a condition holds.
    pub(crate) async fn wait_until(&self, event: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + WAIT_TIMEOUT;
        while !holds(self) {
            assert!(Instant::now() < until, "{event} did not happen; {:?}", self.requests());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
