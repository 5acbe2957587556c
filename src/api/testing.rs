//! Doubles of the rooms behind the API, and requests against it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, test};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    Api, Authenticator, Health, LedgerQuery, Limits, Listed, OperationsQuery, OperationsView, Present, Records,
    RequestMetrics, Right, Rights, configure,
};
use crate::adapters::{Adapter, Change, Created, Loss, Page, Planned, Profile, UpdateStyle, Versioning};
use crate::gateway::{Ask, Done, Record, RecordPage, System, Told, Verdict, Write, WriteKind, Written};
use crate::problem::{Problem, ProblemName};
use crate::record::{
    Action, CallerName, Fault, Invalid, Members, Operation, OperationId, OperationState, RecordId, Stored, SystemName,
    Version,
};
use crate::transport::{Call, Reply, Token, Transport, Vendor};

/// A vendor that is described and never called.
struct Described(Profile);

#[async_trait(?Send)]
impl Vendor for Described {
    fn fault(&self, _: &Call, _: &Reply) -> Option<Fault> {
        None
    }
    fn sign(&self, _: &mut Call, _: &Token) {}
    async fn sign_in(&self, _: &dyn Transport) -> Result<Token, Fault> {
        Err(Fault::unsupported("a double"))
    }
}

#[async_trait(?Send)]
impl Adapter for Described {
    fn profile(&self) -> &Profile {
        &self.0
    }
    fn collection(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn key(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn read_only(&self, _: &str) -> bool {
        false
    }
    async fn read(&self, _: &dyn Transport, _: &RecordId) -> Result<Stored, Fault> {
        Err(Fault::unsupported("a double"))
    }
    async fn list(&self, _: &dyn Transport, _: &str, _: usize, _: Option<&str>) -> Result<Page, Fault> {
        Err(Fault::unsupported("a double"))
    }
    fn impossible(&self, _: &Members) -> Vec<Invalid> {
        Vec::new()
    }
    fn plan_update(&self, _: &RecordId, _: &Change<'_>, _: Option<&Version>) -> Result<Planned, Vec<Invalid>> {
        Err(Vec::new())
    }
    fn plan_delete(&self, _: &RecordId, _: &Stored) -> Result<Planned, Vec<Invalid>> {
        Err(Vec::new())
    }
    fn plan_create(&self, _: &str, _: &Map<String, Value>) -> Result<Planned, Vec<Invalid>> {
        Err(Vec::new())
    }
    fn created(&self, _: &str, _: &Reply) -> Result<Created, Fault> {
        Err(Fault::unsupported("a double"))
    }
    async fn matching(
        &self,
        _: &dyn Transport,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, Fault> {
        Ok(None)
    }
    fn made_at(&self, _: &RecordId) -> Option<jiff::Timestamp> {
        None
    }
}

fn system(name: &str, actions: &'static [Action]) -> Arc<System> {
    const LOSSES: &[Loss] =
        &[Loss { name: "linked-questions", detail: "lost", actions: &[Action::Update], caller_must_accept: false }];
    let profile = Profile {
        vendor: "pretectum",
        id_form: "collection:key",
        id_example: "a:b",
        versioning: Versioning::Native,
        update_style: UpdateStyle::Partial,
        actions,
        losses: LOSSES,
        version_counts_up: true,
        ids_tell_time: false,
        list_is_whole: true,
    };
    let name = SystemName::parse(name).expect("a name");
    let metrics = crate::metrics::Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let adapter = Arc::new(Described(profile));
    let settings = crate::transport::StackSettings::for_base_url("http://127.0.0.1:9");
    let policy = crate::gateway::Policy {
        collection: None,
        require_if_match: true,
        warn_on_loss: false,
        timeout: Duration::from_secs(10),
        completion_timeout: Duration::from_mins(10),
        completion_poll: Duration::from_millis(500),
    };
    Arc::new(System {
        index: metrics.index(&name).expect("a row"),
        stack: Arc::new(
            crate::transport::Stack::new(&name, Arc::clone(&adapter) as _, &settings, &metrics).expect("a stack"),
        ),
        name,
        installation: "".into(),
        adapter,
        policy,
    })
}

/// A gateway that remembers what reached it and answers as it is told.
pub(super) struct Backend {
    systems: Vec<Arc<System>>,
    pub(super) writes: Mutex<Vec<Write>>,
    pub(super) verdict: Mutex<Told>,
}

pub(super) fn record() -> Record {
    Record {
        system: "crm".into(),
        id: "a:b c".into(),
        etag: Some("\"c7.x\"".into()),
        fields: r#"{"n":1.10}"#.into(),
        read_only: Vec::new(),
        warnings: Vec::new(),
        pending_operation: None,
        partial: false,
    }
}

pub(super) fn told(done: Done) -> Told {
    let id = OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11");
    let written = Written { done, operation: id, guarantee: None, etag: None, preference_applied: None };
    Told { verdict: Verdict::Written(written), replayed: false, operation: None }
}

#[async_trait(?Send)]
impl Records for Backend {
    fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }
    fn record_id(&self, _: &System, raw: &str) -> Result<RecordId, Problem> {
        let parts = raw.split_once(':').ok_or_else(|| ProblemName::RecordNotFound.with("ids look like a:b"))?;
        Ok(RecordId::new(parts.0, parts.1))
    }
    fn collection(&self, _: &System, raw: Option<&str>) -> Result<String, Problem> {
        raw.map(str::to_owned).ok_or_else(|| ProblemName::Rejected.with("no collection"))
    }
    async fn read(&self, _: &Arc<System>, id: &RecordId, _: &Ask) -> Result<Record, Problem> {
        assert_ne!(id.key(), "panic", "a panic in a handler");
        if id.key() == "missing" { Err(ProblemName::RecordNotFound.with("missing")) } else { Ok(record()) }
    }
    fn precondition_failed(&self, _: &System) {}
    async fn list(
        &self,
        _: &Arc<System>,
        _: &str,
        _: usize,
        cursor: Option<&str>,
        _: &Ask,
    ) -> Result<RecordPage, Problem> {
        let next = cursor.is_none().then(|| "n/1".to_owned());
        Ok(RecordPage { items: vec![record()], next })
    }
    async fn write(&self, _: &Arc<System>, write: Write, _: &Ask) -> Result<Told, Problem> {
        if let WriteKind::Update { id, .. } | WriteKind::Delete { id } = &write.kind
            && id.key() == "missing"
        {
            return Err(ProblemName::RecordNotFound.with("missing"));
        }
        self.writes.lock().expect("a lock").push(write);
        Ok(self.verdict.lock().expect("a lock").clone())
    }
}

struct Caller(CallerName);

impl Rights for Caller {
    fn name(&self) -> &CallerName {
        &self.0
    }
    fn may(&self, system: &str, right: Right) -> bool {
        let own = if &*self.0.0 == "writer" { Action::Update } else { Action::Read };
        &*self.0.0 == "admin" || (system == "crm" && right == Right::Records(own))
    }
}

struct Keys;

#[async_trait(?Send)]
impl Authenticator for Keys {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn Rights>, Problem> {
        match bearer {
            Some(name @ ("admin" | "reader" | "writer")) => Ok(Arc::new(Caller(CallerName(name.into())))),
            _ => Err(ProblemName::Unauthenticated.with("unknown")),
        }
    }
}

struct Store;

pub(super) fn operation(system: &str) -> Operation {
    Operation {
        id: OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11").expect("an id"),
        state: OperationState::Running,
        action: Action::Update,
        system: system.into(),
        record: Some("a:b".into()),
        caller: "admin".into(),
        started_at: "2026-11-21T10:15:30.123Z".into(),
        finished_at: None,
        etag: None,
        warnings: Vec::new(),
        problem: None,
        observed: None,
    }
}

#[async_trait(?Send)]
impl OperationsView for Store {
    async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, Problem> {
        Ok(match id.as_str().get(..2) {
            Some("01") => Some(operation("crm")),
            Some("02") => Some(operation("itsm")),
            _ => None,
        })
    }
    async fn operations(&self, query: &OperationsQuery) -> Result<Listed<Operation>, Problem> {
        Ok(Listed { items: query.systems.iter().map(|system| operation(system)).collect(), next: None })
    }
    async fn ledger(&self, query: &LedgerQuery) -> Result<Listed<Value>, Problem> {
        Ok(Listed { items: vec![json!({"systems": query.systems})], next: Some("7".into()) })
    }
}

struct Healthy;

#[async_trait(?Send)]
impl Health for Healthy {
    async fn ready(&self) -> Result<(), String> {
        Err("the store cannot be reached".into())
    }
    fn system(&self, _: &str) -> Value {
        json!({"circuit": "closed"})
    }
}

/// System, action and outcome of a request.
pub(super) type Count = (Option<String>, &'static str, Option<&'static str>);

/// Remembers outcomes.
#[derive(Default)]
pub(super) struct Counted(pub(super) Mutex<Vec<Count>>);

impl RequestMetrics for Counted {
    fn began(&self, _: Option<&str>) {}
    fn ended(&self, system: Option<&str>, action: &'static str, outcome: Option<&'static str>, _: Duration) {
        self.0.lock().expect("a lock").push((system.map(str::to_owned), action, outcome));
    }
    fn render(&self) -> String {
        "up 1\n".into()
    }
}

/// An API in front of doubles.
pub(super) struct Bench {
    pub(super) api: Arc<Api>,
    pub(super) backend: Arc<Backend>,
    pub(super) metrics: Arc<Counted>,
}

/// Systems `crm` (everything), `itsm` (everything) and `docs` (reading only); callers `admin` (everything) and `reader`
/// (`crm:read`); bodies up to 100 bytes.
pub(super) fn bench() -> Bench {
    const ALL: &[Action] = &[Action::Read, Action::Create, Action::Update, Action::Delete];
    let backend = Arc::new(Backend {
        systems: vec![system("crm", ALL), system("itsm", ALL), system("docs", &[Action::Read])],
        writes: Mutex::default(),
        verdict: Mutex::new(told(Done::Silent)),
    });
    let metrics = Arc::new(Counted::default());
    let api = Arc::new(Api {
        records: Arc::<Backend>::clone(&backend),
        access: Arc::new(Keys),
        operations: Arc::new(Store),
        health: Arc::new(Healthy),
        metrics: Arc::<Counted>::clone(&metrics),
        limits: Limits { max_body: 100, body_timeout: Duration::from_secs(5), deadline: Duration::from_secs(30) },
        spans: None,
        separate_ops: false,
    });
    Bench { api, backend, metrics }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answered {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
    /// The problem's name, after checking that it is a whole problem document.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.field("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.field("x-request-id"));
        for member in ["title", "detail", "instance"] {
            assert!(document[member].is_string(), "{member}");
        }
        assert!(document["retryable"].is_boolean());
        document["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).expect("a type").to_owned()
    }
}

impl Bench {
    /// Sends a request.
    pub(super) async fn send(&self, request: TestRequest) -> Answered {
        let app = init_service(App::new().configure(configure(&Present::new(Arc::clone(&self.api))))).await;
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8(test::read_body(response).await.to_vec()).expect("UTF-8");
        Answered { status, headers, body }
    }

    /// How many writes reached the gateway.
    pub(super) fn written(&self) -> usize {
        self.backend.writes.lock().expect("a lock").len()
    }
}

/// A request of the administrator.
pub(super) fn admin(method: &str, target: &str) -> TestRequest {
    let method = actix_web::http::Method::from_bytes(method.as_bytes()).expect("a method");
    TestRequest::default().method(method).uri(target).insert_header(("authorization", "Bearer admin"))
}
