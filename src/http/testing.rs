//! Doubles of the rooms behind the API, and requests against it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, test};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    ApiState, AuthenticatedCaller, Authenticator, HealthChecks, LedgerQuery, ListingPage, OperationReader,
    OperationsQuery, Permission, RecordService, RequestLimits, RequestRecorder, SharedApiState, configure,
};
use crate::gateway::{
    OpContext, RecordPage, RecordView, SuccessBody, System, WriteCommand, WriteOp, WriteOutcome, WriteResponse,
    WriteSuccess,
};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    Action, CallerName, FieldError, Operation, OperationId, OperationState, RawObject, RecordId, SystemName,
    VendorError, VendorRecord, Version,
};
use crate::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorResponse};
use crate::vendors::{
    Adapter, Capabilities, CreatedRecord, DataLoss, ListPage, PlannedRequest, UpdateInput, UpdateStyle, Versioning,
};

/// A vendor that is described and never called.
struct StubAdapter(Capabilities);

#[async_trait(?Send)]
impl VendorProtocol for StubAdapter {
    fn classify(&self, _: &VendorRequest, _: &VendorResponse) -> Option<VendorError> {
        None
    }
    fn sign(&self, _: &mut VendorRequest, _: &Token) {}
    async fn sign_in(&self, _: &dyn Transport) -> Result<Token, VendorError> {
        Err(VendorError::unsupported("a double"))
    }
}

#[async_trait(?Send)]
impl Adapter for StubAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }
    fn parse_collection(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn parse_key(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn is_read_only(&self, _: &str) -> bool {
        false
    }
    async fn read(&self, _: &dyn Transport, _: &RecordId) -> Result<VendorRecord, VendorError> {
        Err(VendorError::unsupported("a double"))
    }
    async fn list(&self, _: &dyn Transport, _: &str, _: usize, _: Option<&str>) -> Result<ListPage, VendorError> {
        Err(VendorError::unsupported("a double"))
    }
    fn validate_patch(&self, _: &RawObject) -> Vec<FieldError> {
        Vec::new()
    }
    fn plan_update(
        &self,
        _: &RecordId,
        _: &UpdateInput<'_>,
        _: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Err(Vec::new())
    }
    fn plan_delete(&self, _: &RecordId, _: &VendorRecord) -> Result<PlannedRequest, Vec<FieldError>> {
        Err(Vec::new())
    }
    fn plan_create(&self, _: &str, _: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        Err(Vec::new())
    }
    fn parse_created(&self, _: &str, _: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        Err(VendorError::unsupported("a double"))
    }
    async fn find_matching(
        &self,
        _: &dyn Transport,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        Ok(None)
    }
    fn created_at(&self, _: &RecordId) -> Option<jiff::Timestamp> {
        None
    }
}

fn stub_system(name: &str, actions: &'static [Action]) -> Arc<System> {
    const LOSSES: &[DataLoss] =
        &[DataLoss { name: "linked-questions", detail: "lost", actions: &[Action::Update], caller_must_accept: false }];
    let profile = Capabilities {
        vendor: "pretectum",
        id_form: "collection:key",
        id_example: "a:b",
        versioning: Versioning::Native,
        update_style: UpdateStyle::Partial,
        actions,
        losses: LOSSES,
        version_is_sequence: true,
        ids_are_timestamped: false,
        list_is_complete: true,
    };
    let name = SystemName::parse(name).expect("a name");
    let metrics = crate::metrics::Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let adapter = Arc::new(StubAdapter(profile));
    let settings = crate::transport::StackSettings::for_base_url("http://127.0.0.1:9");
    let policy = crate::gateway::SystemPolicy {
        collection: None,
        require_if_match: true,
        warn_on_loss: false,
        timeout: Duration::from_secs(10),
        completion_timeout: Duration::from_mins(10),
        completion_poll: Duration::from_millis(500),
    };
    Arc::new(System {
        index: metrics.index(&name).expect("a row"),
        transport: Arc::new(
            crate::transport::TransportStack::new(&name, Arc::clone(&adapter) as _, &settings, &metrics)
                .expect("a stack"),
        ),
        name,
        tenant_fingerprint: "".into(),
        adapter,
        policy,
    })
}

/// A gateway that remembers what reached it and answers as it is told.
pub(super) struct StubRecordService {
    systems: Vec<Arc<System>>,
    pub(super) writes: Mutex<Vec<WriteCommand>>,
    pub(super) response: Mutex<WriteResponse>,
}

pub(super) fn sample_record() -> RecordView {
    RecordView {
        system: "crm".into(),
        id: "a:b c".into(),
        etag: Some("\"c7.x\"".into()),
        fields: (&serde_json::from_str::<serde_json::Value>(r#"{"n":1.10}"#).expect("JSON")).into(),
        read_only: Vec::new(),
        warnings: Vec::new(),
        pending_operation: None,
        partial: false,
    }
}

pub(super) fn write_result(done: SuccessBody) -> WriteResponse {
    let id = OperationId::parse("01920f3e-5c0e-7a50-9d3e-0f2f5a3c9b11");
    let written = WriteSuccess { body: done, operation: id, guarantee: None, etag: None, preference_applied: None };
    WriteResponse { outcome: WriteOutcome::Success(written), replayed: false, operation: None }
}

#[async_trait(?Send)]
impl RecordService for StubRecordService {
    fn systems(&self) -> &[Arc<System>] {
        &self.systems
    }
    fn record_id(&self, _: &System, raw: &str) -> Result<RecordId, Problem> {
        let parts = raw.split_once(':').ok_or_else(|| ProblemKind::RecordNotFound.with_detail("ids look like a:b"))?;
        Ok(RecordId::new(parts.0, parts.1))
    }
    fn collection(&self, _: &System, raw: Option<&str>) -> Result<String, Problem> {
        raw.map(str::to_owned).ok_or_else(|| ProblemKind::Rejected.with_detail("no collection"))
    }
    async fn read(&self, _: &Arc<System>, id: &RecordId, _: &OpContext) -> Result<RecordView, Problem> {
        assert_ne!(id.key(), "panic", "a panic in a handler");
        if id.key() == "missing" {
            Err(ProblemKind::RecordNotFound.with_detail("missing"))
        } else {
            Ok(sample_record())
        }
    }
    fn count_precondition_failure(&self, _: &System) {}
    async fn list(
        &self,
        _: &Arc<System>,
        _: &str,
        _: usize,
        cursor: Option<&str>,
        _: &OpContext,
    ) -> Result<RecordPage, Problem> {
        let next = cursor.is_none().then(|| "n/1".to_owned());
        Ok(RecordPage { items: vec![sample_record()], next })
    }
    async fn write(&self, _: &Arc<System>, write: WriteCommand, _: &OpContext) -> Result<WriteResponse, Problem> {
        if let WriteOp::Update { id, .. } | WriteOp::Delete { id } = &write.kind
            && id.key() == "missing"
        {
            return Err(ProblemKind::RecordNotFound.with_detail("missing"));
        }
        self.writes.lock().expect("a lock").push(write);
        Ok(self.response.lock().expect("a lock").clone())
    }
}

struct StubCaller(CallerName);

impl AuthenticatedCaller for StubCaller {
    fn name(&self) -> &CallerName {
        &self.0
    }
    fn can(&self, system: &str, right: Permission) -> bool {
        let own = if &*self.0.0 == "writer" { Action::Update } else { Action::Read };
        &*self.0.0 == "admin" || (system == "crm" && right == Permission::Record(own))
    }
}

struct StubAuthenticator;

#[async_trait(?Send)]
impl Authenticator for StubAuthenticator {
    async fn authenticate(&self, bearer: Option<&str>) -> Result<Arc<dyn AuthenticatedCaller>, Problem> {
        match bearer {
            Some(name @ ("admin" | "reader" | "writer")) => Ok(Arc::new(StubCaller(CallerName(name.into())))),
            _ => Err(ProblemKind::Unauthenticated.with_detail("unknown")),
        }
    }
}

struct StubOperationReader;

pub(super) fn sample_operation(system: &str) -> Operation {
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
impl OperationReader for StubOperationReader {
    async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, Problem> {
        Ok(match id.as_str().get(..2) {
            Some("01") => Some(sample_operation("crm")),
            Some("02") => Some(sample_operation("itsm")),
            _ => None,
        })
    }
    async fn operations(&self, query: &OperationsQuery) -> Result<ListingPage<Operation>, Problem> {
        Ok(ListingPage { items: query.systems.iter().map(|system| sample_operation(system)).collect(), next: None })
    }
    async fn ledger(&self, query: &LedgerQuery) -> Result<ListingPage<Value>, Problem> {
        Ok(ListingPage { items: vec![json!({"systems": query.systems})], next: Some("7".into()) })
    }
}

struct StubHealth;

#[async_trait(?Send)]
impl HealthChecks for StubHealth {
    async fn ready(&self) -> Result<(), String> {
        Err("the store cannot be reached".into())
    }
    fn system(&self, _: &str) -> Value {
        json!({"circuit": "closed"})
    }
}

/// System, action and outcome of a request.
pub(super) type MetricSample = (Option<String>, &'static str, Option<&'static str>);

/// Remembers outcomes.
#[derive(Default)]
pub(super) struct RecordedMetrics(pub(super) Mutex<Vec<MetricSample>>);

impl RequestRecorder for RecordedMetrics {
    fn on_start(&self, _: Option<&str>) {}
    fn on_finish(&self, system: Option<&str>, action: &'static str, outcome: Option<&'static str>, _: Duration) {
        self.0.lock().expect("a lock").push((system.map(str::to_owned), action, outcome));
    }
    fn render(&self) -> String {
        "up 1\n".into()
    }
}

/// An API in front of doubles.
pub(super) struct TestApi {
    pub(super) api: Arc<ApiState>,
    pub(super) backend: Arc<StubRecordService>,
    pub(super) metrics: Arc<RecordedMetrics>,
}

/// Systems `crm` (everything), `itsm` (everything) and `docs` (reading only); callers `admin` (everything) and `reader`
/// (`crm:read`); bodies up to 100 bytes.
pub(super) fn test_api() -> TestApi {
    const ALL: &[Action] = &[Action::Read, Action::Create, Action::Update, Action::Delete];
    let backend = Arc::new(StubRecordService {
        systems: vec![stub_system("crm", ALL), stub_system("itsm", ALL), stub_system("docs", &[Action::Read])],
        writes: Mutex::default(),
        response: Mutex::new(write_result(SuccessBody::NoContent)),
    });
    let metrics = Arc::new(RecordedMetrics::default());
    let api = Arc::new(ApiState {
        records: Arc::<StubRecordService>::clone(&backend),
        access: Arc::new(StubAuthenticator),
        operations: Arc::new(StubOperationReader),
        health: Arc::new(StubHealth),
        metrics: Arc::<RecordedMetrics>::clone(&metrics),
        limits: RequestLimits {
            max_body: 100,
            body_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        },
        tracer: None,
        separate_ops: false,
    });
    TestApi { api, backend, metrics }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct TestResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl TestResponse {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
    /// The problem's name, after checking that it is a whole problem document.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"));
        for member in ["title", "detail", "instance"] {
            assert!(document[member].is_string(), "{member}");
        }
        assert!(document["retryable"].is_boolean());
        document["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).expect("a type").to_owned()
    }
}

impl TestApi {
    /// Sends a request.
    pub(super) async fn send(&self, request: TestRequest) -> TestResponse {
        let app = init_service(App::new().configure(configure(&SharedApiState::new(Arc::clone(&self.api))))).await;
        let response = call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8(test::read_body(response).await.to_vec()).expect("UTF-8");
        TestResponse { status, headers, body }
    }

    /// How many writes reached the gateway.
    pub(super) fn write_count(&self) -> usize {
        self.backend.writes.lock().expect("a lock").len()
    }
}

/// A request of the administrator.
pub(super) fn admin_request(method: &str, target: &str) -> TestRequest {
    let method = actix_web::http::Method::from_bytes(method.as_bytes()).expect("a method");
    TestRequest::default().method(method).uri(target).insert_header(("authorization", "Bearer admin"))
}
