//! A vendor with compare-and-swap whose responses a test decides: an adapter, and the HTTP server
//! that it calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::Method;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::record::{
    Action, FieldError, RawJson, RawObject, RecordId, SystemName, VendorError, VendorErrorKind, VendorRecord, Version,
};
use crate::sandbox::{CallKind, FakeRequest, FakeResponse, FakeVendor, VendorModel};
use crate::system::{System, SystemPolicy};
use crate::transport::{
    StackSettings, Token, Transport, TransportStack, VendorProtocol, VendorRequest, VendorRequestKind, VendorResponse,
};
use crate::vendors::{
    Adapter, Capabilities, CollectionList, Completion, CreatedRecord, DataLoss, FieldFilter, Filterable, ListItem,
    ListPage, PlannedRequest, RecordSchema, SchemaSource, UpdateInput, UpdateStyle, UpdateTerms, UpdatedRecord,
};

/// One record that every id names, and its version, from 7 on.
pub(super) struct ScriptedVendor {
    fields: Mutex<Map<String, Value>>,
    version: AtomicU64,
    shown_by_updates: Mutex<UpdatedRecord>,
}

impl Default for ScriptedVendor {
    fn default() -> Self {
        let fields = serde_json::from_str(r#"{"n":1.10}"#).expect("JSON");
        Self { fields: Mutex::new(fields), version: AtomicU64::new(7), shown_by_updates: Mutex::default() }
    }
}

impl ScriptedVendor {
    /// What the responses to updates show from now on.
    pub(super) fn show_in_updates(&self, shown: UpdatedRecord) {
        *self.shown_by_updates.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    fn record(&self) -> VendorRecord {
        let fields = RawObject::from(&*self.fields.lock().unwrap_or_else(PoisonError::into_inner));
        let version = Some(Version::Sequence(self.version.load(Ordering::SeqCst)));
        VendorRecord { fields, version, warnings: Vec::new() }
    }
}

impl VendorModel for ScriptedVendor {
    const NAME: &'static str = "scripted";
    const SYSTEM: &'static str = "scripted";
    const TEXT_MEMBER: &'static str = "n";

    fn settings(_base_url: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn call_kind(&self, request: &FakeRequest<'_>) -> CallKind {
        match *request.method {
            Method::PUT => CallKind::Update,
            Method::POST => CallKind::Create,
            Method::DELETE => CallKind::Delete,
            _ => CallKind::Other,
        }
    }
    fn respond(&self, request: &FakeRequest<'_>) -> FakeResponse {
        if let Some(Value::Object(members)) = request.json() {
            self.fields.lock().unwrap_or_else(PoisonError::into_inner).extend(members);
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        FakeResponse::json(200, &json!({}))
    }
    fn records(&self) -> Value {
        Value::Null
    }
    fn external_update(&self, _: &[String], _: &Map<String, Value>) -> bool {
        false
    }
    fn set_option(&self, _: &str, _: &Value) -> Result<(), String> {
        Err("there are no options".to_owned())
    }
}

/// The ids `…:missing` and `…:panic` name no record and a fault of the adapter; the record `…:slow`
/// takes 12 s to read.
struct ScriptedAdapter {
    capabilities: Capabilities,
    vendor: Arc<ScriptedVendor>,
}

fn planned(kind: VendorRequestKind, method: Method, body: Option<String>) -> PlannedRequest {
    let request = VendorRequest::new(kind, method, "/record");
    let request = match body {
        Some(body) => request.body(body),
        None => request,
    };
    PlannedRequest { request, losses: Vec::new(), completion: Completion::Now, idempotent: true }
}

#[async_trait(?Send)]
impl VendorProtocol for ScriptedAdapter {
    fn classify(&self, _: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        (response.status != 200).then(|| VendorError::new(VendorErrorKind::ServerError))
    }
    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }
    fn sign(&self, _: &mut VendorRequest, _: &Token) {}
    async fn sign_in(&self, _: &dyn Transport) -> Result<Token, VendorError> {
        Ok(Token { secret: actix_web::http::header::HeaderValue::from_static("token"), expires: None })
    }
}

#[async_trait(?Send)]
impl Adapter for ScriptedAdapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn parse_collection(&self, raw: &str) -> Option<String> {
        (!raw.is_empty()).then(|| raw.to_owned())
    }
    fn parse_key(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn compares(&self, action: Action, _: &str) -> bool {
        self.capabilities.compares.contains(&action)
    }
    fn is_reserved(&self, _: &str, _: &str) -> bool {
        false
    }
    fn is_read_only(&self, _: &str, _: &str) -> bool {
        false
    }
    fn is_stamped(&self, _: &str, _: &str) -> bool {
        false
    }
    fn to_read_form(&self, _: &str, _: &str, _: &RawJson) -> Option<RawJson> {
        None
    }
    async fn find_missing_references(
        &self,
        _: &dyn Transport,
        _: &str,
        _: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError> {
        Ok(Vec::new())
    }
    async fn read(&self, _: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        assert_ne!(id.key(), "panic", "a panic in a handler");
        if id.key() == "slow" {
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        if id.key() == "missing" {
            return Err(VendorError::new(VendorErrorKind::NotFound));
        }
        Ok(self.vendor.record())
    }
    async fn list(
        &self,
        _: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        _: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        assert!(filters.is_empty(), "there is no schema to filter by");
        let item = ListItem { id: RecordId::new(collection, "b"), record: self.vendor.record(), partial: false };
        Ok(ListPage { items: vec![item], next: cursor.is_none().then(|| "2".to_owned()) })
    }
    async fn collections(&self, _: &dyn Transport) -> Result<CollectionList, VendorError> {
        Ok(CollectionList::default())
    }
    async fn schema(&self, _: &dyn Transport, _: &str) -> Result<RecordSchema, VendorError> {
        Err(VendorError::unsupported("there are no schemas"))
    }
    fn validate_patch(&self, _: &RawObject) -> Vec<FieldError> {
        Vec::new()
    }
    fn validate_create(&self, _: &Map<String, Value>) -> Vec<FieldError> {
        Vec::new()
    }
    fn plan_update(
        &self,
        _: &RecordId,
        change: &UpdateInput<'_>,
        _: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        let UpdateInput::Members(members) = change else { return Err(Vec::new()) };
        let body = Value::Object(members.to_map()).to_string();
        Ok(planned(VendorRequestKind::Update, Method::PUT, Some(body)))
    }
    fn parse_updated(&self, _: &RecordId, _: &VendorResponse) -> UpdatedRecord {
        self.vendor.shown_by_updates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn plan_delete(
        &self,
        _: &RecordId,
        _: Option<&VendorRecord>,
        _: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(planned(VendorRequestKind::Delete, Method::DELETE, None))
    }
    fn plan_create(&self, _: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        Ok(planned(VendorRequestKind::Create, Method::POST, Some(Value::Object(fields.clone()).to_string())))
    }
    fn parse_created(&self, collection: &str, _: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        Ok(CreatedRecord { id: RecordId::new(collection, "b c"), record: Some(self.vendor.record()) })
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

/// A system of this vendor with these actions.
pub(super) fn scripted_system(
    name: &SystemName,
    actions: &'static [Action],
    vendor: &FakeVendor<ScriptedVendor>,
    metrics: &Arc<Metrics>,
) -> Arc<System> {
    const LOSSES: &[DataLoss] =
        &[DataLoss { name: "linked-questions", detail: "lost", actions: &[Action::Update], caller_must_accept: false }];
    let capabilities = Capabilities {
        vendor: "pretectum",
        id_form: "collection:key",
        id_example: "a:b",
        compares: &[Action::Update],
        has_weak_versions: false,
        update_style: UpdateStyle::Partial,
        actions,
        losses: LOSSES,
        version_is_sequence: true,
        ids_are_timestamped: false,
        list_is_complete: true,
        filters: Filterable::Only(&[]),
        ignores_case: false,
        schema_source: SchemaSource::None,
    };
    let adapter = Arc::new(ScriptedAdapter { capabilities, vendor: Arc::clone(&vendor.state) });
    let settings = StackSettings::for_base_url(vendor.base_url());
    let transport = TransportStack::new(name, Arc::clone(&adapter) as _, &settings, None, metrics).expect("a stack");
    let transport = Arc::new(transport);
    let catalog = Catalog::new("/systems/x", Arc::clone(&adapter) as _, Arc::clone(&transport), Duration::from_mins(1));
    Arc::new(System {
        index: metrics.index(name).expect("an index"),
        transport,
        catalog,
        name: name.clone(),
        tenant_fingerprint: "".into(),
        key_expires: None,
        adapter,
        policy: SystemPolicy {
            collection: None,
            require_if_match: true,
            warn_on_loss: false,
            allow_rebase: true,
            require_plan: Vec::new(),
            together: Vec::new(),
            timeout: Duration::from_secs(10),
            settle_timeout: Duration::from_secs(30),
            completion_timeout: Duration::from_mins(10),
            completion_poll: Duration::from_millis(500),
            ..SystemPolicy::default()
        },
    })
}
