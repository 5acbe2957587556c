//! The vendor calls that read collections and schemas. They belong to no write: the ledger does not
//! count them as its calls.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::compiled::CollectionSchema;
use crate::record::VendorError;
use crate::transport::trace::{CallTrace, TraceContext};
use crate::transport::{Priority, Transport, TransportStack, VendorRequest, VendorResponse};
use crate::vendors::{Adapter, CollectionList, MAX_DESCRIPTION_WAIT};

/// Whose request needs a schema.
#[derive(Clone, Copy)]
pub struct Requester<'r> {
    /// The trace that the request belongs to.
    pub trace: &'r Arc<TraceContext>,
    /// Where its calls wait while the vendor is congested.
    pub priority: Priority,
    /// How long it waits.
    pub deadline: Instant,
}

/// Reads the vendor's description.
pub(super) struct SchemaReader {
    adapter: Arc<dyn Adapter>,
    transport: Arc<TransportStack>,
}

impl SchemaReader {
    pub(super) fn new(adapter: Arc<dyn Adapter>, transport: Arc<TransportStack>) -> Self {
        Self { adapter, transport }
    }

    /// Reads and compiles the schema of a collection. `path` is that of the collections.
    pub(super) async fn read_schema(
        &self,
        path: &str,
        collection: &str,
        requester: Requester<'_>,
    ) -> Result<CollectionSchema, VendorError> {
        // Others may wait for it longer than this request does.
        let bounded = self.transport_for(Requester { deadline: Instant::now() + MAX_DESCRIPTION_WAIT, ..requester });
        let schema = self.adapter.schema(&bounded, collection).await?;
        CollectionSchema::compile(path, collection, schema)
            .map_err(|why| VendorError::invalid_response(why).without_effect())
    }

    /// Reads the list of collections.
    pub(super) async fn read_collections(&self, requester: Requester<'_>) -> Result<CollectionList, VendorError> {
        self.adapter.collections(&self.transport_for(requester)).await
    }

    fn transport_for<'t>(&'t self, requester: Requester<'t>) -> SchemaTransport<'t> {
        SchemaTransport { inner: &self.transport, requester }
    }
}

/// The system's transport for one requester.
struct SchemaTransport<'t> {
    inner: &'t TransportStack,
    requester: Requester<'t>,
}

#[async_trait(?Send)]
impl Transport for SchemaTransport<'_> {
    async fn send(&self, mut request: VendorRequest) -> Result<VendorResponse, VendorError> {
        request.deadline = Some(self.requester.deadline);
        request.priority = self.requester.priority;
        request.trace = CallTrace::child_of(self.requester.trace);
        self.inner.send(request).await
    }
}
