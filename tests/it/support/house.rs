//! A house: three stand-in vendors, a gateway in front of them on a thread of its own, and a caller.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::app::{Application, sandbox};
use records_gateway::config::Config;
use records_gateway::sandbox::{CallKind, Fault, Faults, Received, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Answer, Bench, Caller, Request};

/// Longest time that something which must come is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Short times, so that what a vendor does not do is found out soon; a test says where it needs others.
const QUICK: &[(&str, &str, &str)] = &[
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
pub(crate) struct Gateway {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Gateway {
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

    pub(crate) fn caller(&self) -> Caller {
        Caller::new(format!("http://{}", self.address))
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
pub(crate) struct House {
    pub(crate) bench: &'static Bench,
    pub(crate) vendors: Sandbox,
    gateway: Option<Gateway>,
    caller: Caller,
    folder: TempDir,
    changes: Vec<(String, String, String)>,
}

impl Deref for House {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl House {
    pub(crate) async fn start(bench: &'static Bench) -> Self {
        Self::with(bench, &[]).await
    }

    /// With these configuration keys: `(section, key, TOML value)`; the section `vendor` is that of every system.
    #[expect(clippy::unused_async, reason = "a house is waited for wherever it is used")]
    pub(crate) async fn with(bench: &'static Bench, changes: &[(&str, &str, &str)]) -> Self {
        let vendors = Sandbox::start().unwrap();
        vendors.bluedolphin.state.configure(|settings| settings.queue_delay = Some(Duration::from_millis(10)));
        let folder = tempfile::tempdir().unwrap();
        let own = |(section, key, value): &(&str, &str, &str)| {
            ((*section).to_owned(), (*key).to_owned(), (*value).to_owned())
        };
        let changes: Vec<_> = QUICK.iter().chain(changes).map(own).collect();
        let gateway = Gateway::start(&configuration(&vendors, folder.path(), "store", &changes));
        Self { bench, caller: gateway.caller(), gateway: Some(gateway), vendors, folder, changes }
    }

    /// Another gateway in front of the same vendors, with a store of its own.
    pub(crate) fn second_gateway(&self) -> Gateway {
        Gateway::start(&configuration(&self.vendors, self.folder.path(), "second", &self.changes))
    }

    /// Stops the gateway and starts another on the same store.
    pub(crate) async fn restart(&mut self) {
        self.gateway.take().unwrap().stop().await;
        let gateway = Gateway::start(&configuration(&self.vendors, self.folder.path(), "store", &self.changes));
        self.caller = gateway.caller();
        self.gateway = Some(gateway);
    }

    /// The same, and other vendors than before are behind the systems' names then; gives the former ones back.
    pub(crate) async fn restart_before(&mut self, vendors: Sandbox) -> Sandbox {
        let former = std::mem::replace(&mut self.vendors, vendors);
        self.restart().await;
        former
    }

    /// Another caller, with connections of its own.
    pub(crate) fn second_caller(&self) -> Caller {
        self.gateway.as_ref().unwrap().caller()
    }

    pub(crate) fn read(&self, key: &str) -> Request {
        self.get(&self.bench.path(key))
    }

    /// The present tag of a record. The calls it takes are forgotten.
    pub(crate) async fn tag(&self, key: &str) -> String {
        let answer = self.read(key).send().await;
        self.forget_calls();
        answer.is_done(200).etag().to_owned()
    }

    /// A PATCH that accepts every loss and waits for what is queued.
    pub(crate) fn patch(&self, key: &str) -> Request {
        self.write(Method::PATCH, &self.bench.path(key))
    }

    /// A PATCH of the text field.
    pub(crate) fn set_text(&self, key: &str, tag: &str, text: &str) -> Request {
        self.patch(key).if_match(tag).fields(&self.bench.text_is(text))
    }

    pub(crate) fn delete(&self, key: &str, tag: &str) -> Request {
        self.write(Method::DELETE, &self.bench.path(key)).if_match(tag)
    }

    pub(crate) fn create(&self, text: &str) -> Request {
        let body = json!({ "collection": self.bench.collection(), "fields": (self.bench.new_record)(text) });
        self.write(Method::POST, &format!("/records/{}", self.bench.system)).json(&body)
    }

    fn write(&self, method: Method, path: &str) -> Request {
        let mut request = self.request(method, path);
        if !self.bench.losses.is_empty() {
            request = request.header("Accept-Loss", &self.bench.losses.join(", "));
        }
        if self.bench.queued { request.prefer("wait=5") } else { request }
    }

    pub(crate) fn held(&self, key: &str) -> Option<String> {
        (self.bench.held)(&self.vendors, key)
    }

    pub(crate) fn count(&self) -> usize {
        (self.bench.count)(&self.vendors)
    }

    pub(crate) fn faults(&self) -> &Faults {
        (self.bench.faults)(&self.vendors)
    }

    /// The next call of this kind meets the fault.
    pub(crate) fn once(&self, call: CallKind, fault: Fault) {
        self.faults().once(call, fault);
    }

    pub(crate) fn calls(&self, call: CallKind) -> usize {
        (self.bench.log)(&self.vendors).count(call)
    }

    pub(crate) fn last(&self, call: CallKind) -> std::sync::Arc<Received> {
        (self.bench.log)(&self.vendors).last(call).expect("a call of this kind")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        (self.bench.log)(&self.vendors).lines()
    }

    /// Waits until the vendor has received so many calls of a kind.
    pub(crate) async fn received(&self, call: CallKind, count: usize) {
        let waiting = (self.bench.log)(&self.vendors).wait_for(call, count);
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.lines()));
    }

    /// Every call that changes something.
    pub(crate) fn writes(&self) -> usize {
        [CallKind::Create, CallKind::Update, CallKind::Delete].into_iter().map(|kind| self.calls(kind)).sum()
    }

    pub(crate) fn forget_calls(&self) {
        (self.bench.log)(&self.vendors).clear();
    }

    /// Fails if the vendor was asked for anything.
    #[track_caller]
    pub(crate) fn nothing_was_sent(&self) {
        assert_eq!(self.lines(), Vec::<String>::new());
    }

    /// The operation that an answer names, when it is settled.
    pub(crate) async fn settled(&self, answer: &Answer) -> Value {
        let path = answer.header("operation").map(str::to_owned);
        let path = path.or_else(|| Some(answer.json()["operation"].as_str()?.to_owned()));
        self.settled_at(&path.unwrap_or_else(|| panic!("no operation in {answer:?}"))).await
    }

    pub(crate) async fn settled_at(&self, path: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let operation = self.get(path).send().await.is_done(200).json();
            if operation["state"] != "running" {
                return operation;
            }
            assert!(Instant::now() < until, "still running: {operation}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The operations of the system, newest or oldest first as the gateway gives them.
    pub(crate) async fn operations(&self) -> Vec<Value> {
        let page = self.get(&format!("/operations?system={}", self.bench.system)).send().await.is_done(200).json();
        page["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn ledger(&self) -> Answer {
        let answer = self.get(&format!("/ledger?system={}", self.bench.system)).send().await;
        answer.is_done(200);
        answer
    }

    /// Waits until a condition holds of what the vendor holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < until, "never came: {what}; {:?}", self.lines());
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
