//! What sends a request: the whole stack for an adapter, one layer for the layer above it.

use std::sync::Arc;

use async_trait::async_trait;

use super::request::VendorRequest;
use super::response::VendorResponse;
use crate::record::VendorError;

/// Sends one request to a vendor.
#[async_trait(?Send)]
pub trait Transport {
    /// Returns a response that the vendor's protocol defines as a success.
    ///
    /// # Errors
    /// Everything else, as [`VendorProtocol::classify`] or the layer that failed reports it.
    ///
    /// [`VendorProtocol::classify`]: super::VendorProtocol::classify
    async fn send(&self, request: VendorRequest) -> Result<VendorResponse, VendorError>;
}

/// One layer between the stack's entrance and the connection.
///
/// A layer borrows the request because it may send it several times: no layer copies it.
pub(super) trait Layer {
    async fn call(&self, request: &mut VendorRequest) -> Result<VendorResponse, VendorError>;
}

impl<T: Layer> Layer for Arc<T> {
    async fn call(&self, call: &mut VendorRequest) -> Result<VendorResponse, VendorError> {
        self.as_ref().call(call).await
    }
}
