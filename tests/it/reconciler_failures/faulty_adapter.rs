//! An adapter whose reads panic as a test needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use records_gateway::record::{
    Action, FieldError, RawJson, RawObject, RecordId, Secret, VendorError, VendorRecord, Version,
};
use records_gateway::sandbox::matrix42;
use records_gateway::transport::{Token, Transport, VendorProtocol, VendorRequest, VendorResponse};
use records_gateway::vendors::{
    Adapter, Capabilities, CollectionList, CreatedRecord, FieldFilter, ListPage, PlannedRequest, RecordSchema,
    Settings, UpdateInput, UpdateTerms, UpdatedRecord, find_vendor,
};
use serde_json::{Map, Value};

/// An adapter with a bug: some of its reads panic.
pub(super) struct FaultyAdapter {
    inner: Arc<dyn Adapter>,
    pub(super) reads: AtomicUsize,
    should_panic: fn(usize) -> bool,
}

#[async_trait(?Send)]
impl VendorProtocol for FaultyAdapter {
    fn classify(&self, call: &VendorRequest, response: &VendorResponse) -> Option<VendorError> {
        self.inner.classify(call, response)
    }
    fn kept_headers(&self) -> &'static [&'static str] {
        self.inner.kept_headers()
    }
    fn sign(&self, call: &mut VendorRequest, token: &Token) {
        self.inner.sign(call, token);
    }
    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, VendorError> {
        self.inner.sign_in(transport).await
    }
}

#[async_trait(?Send)]
impl Adapter for FaultyAdapter {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }
    fn parse_collection(&self, raw: &str) -> Option<String> {
        self.inner.parse_collection(raw)
    }
    fn parse_key(&self, raw: &str) -> Option<String> {
        self.inner.parse_key(raw)
    }
    fn compares(&self, action: Action, collection: &str) -> bool {
        self.inner.compares(action, collection)
    }
    fn is_reserved(&self, collection: &str, member: &str) -> bool {
        self.inner.is_reserved(collection, member)
    }
    fn is_read_only(&self, collection: &str, member: &str) -> bool {
        self.inner.is_read_only(collection, member)
    }
    fn is_stamped(&self, collection: &str, member: &str) -> bool {
        self.inner.is_stamped(collection, member)
    }
    fn to_read_form(&self, collection: &str, member: &str, value: &RawJson) -> Option<RawJson> {
        self.inner.to_read_form(collection, member, value)
    }
    async fn find_missing_references(
        &self,
        transport: &dyn Transport,
        collection: &str,
        change: &UpdateInput<'_>,
    ) -> Result<Vec<FieldError>, VendorError> {
        self.inner.find_missing_references(transport, collection, change).await
    }
    fn parse_updated(&self, id: &RecordId, response: &VendorResponse) -> UpdatedRecord {
        self.inner.parse_updated(id, response)
    }
    async fn read(&self, transport: &dyn Transport, id: &RecordId) -> Result<VendorRecord, VendorError> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(!(self.should_panic)(number), "read {number}: a bug");
        self.inner.read(transport, id).await
    }
    async fn list(
        &self,
        transport: &dyn Transport,
        collection: &str,
        filters: &[FieldFilter],
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ListPage, VendorError> {
        self.inner.list(transport, collection, filters, limit, cursor).await
    }
    async fn collections(&self, transport: &dyn Transport) -> Result<CollectionList, VendorError> {
        self.inner.collections(transport).await
    }
    async fn schema(&self, transport: &dyn Transport, collection: &str) -> Result<RecordSchema, VendorError> {
        self.inner.schema(transport, collection).await
    }
    fn validate_patch(&self, patch: &RawObject) -> Vec<FieldError> {
        self.inner.validate_patch(patch)
    }
    fn validate_create(&self, fields: &Map<String, Value>) -> Vec<FieldError> {
        self.inner.validate_create(fields)
    }
    fn plan_update(
        &self,
        id: &RecordId,
        change: &UpdateInput<'_>,
        terms: &UpdateTerms<'_>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        self.inner.plan_update(id, change, terms)
    }
    fn plan_delete(
        &self,
        id: &RecordId,
        before: Option<&VendorRecord>,
        expected: Option<&Version>,
    ) -> Result<PlannedRequest, Vec<FieldError>> {
        self.inner.plan_delete(id, before, expected)
    }
    fn plan_create(&self, collection: &str, fields: &Map<String, Value>) -> Result<PlannedRequest, Vec<FieldError>> {
        self.inner.plan_create(collection, fields)
    }
    fn parse_created(&self, collection: &str, response: &VendorResponse) -> Result<CreatedRecord, VendorError> {
        self.inner.parse_created(collection, response)
    }
    async fn find_matching(
        &self,
        transport: &dyn Transport,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<RecordId>>, VendorError> {
        self.inner.find_matching(transport, collection, fields).await
    }
    fn created_at(&self, id: &RecordId) -> Option<Timestamp> {
        self.inner.created_at(id)
    }
}

/// Matrix42's adapter; `should_panic` decides by the number of the read.
pub(super) fn faulty_adapter(should_panic: fn(usize) -> bool) -> Arc<FaultyAdapter> {
    let inner =
        (find_vendor("matrix42").unwrap().build)(&Settings::from([("api_token", Secret::new(matrix42::API_TOKEN))]));
    Arc::new(FaultyAdapter { inner: inner.unwrap(), reads: AtomicUsize::new(0), should_panic })
}
