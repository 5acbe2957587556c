//! The layers of one system's transport and the order they stand in.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::auth::{AuthLayer, TokenProvider};
use super::body_budget::BodyBudget;
use super::bulkhead::BulkheadLayer;
use super::circuit_breaker::{BreakerLayer, CircuitBreaker, CircuitState, LastFailure};
use super::client::Client;
use super::credential_fallback::{FallbackLayer, SecondSecret};
use super::layer::{Layer, Transport};
use super::protocol::VendorProtocol;
use super::redact::SecretRedactor;
use super::request::VendorRequest;
use super::response::VendorResponse;
use super::retry::RetryLayer;
use super::settings::{StackError, StackSettings};
use super::shared_token::{SharedToken, TokenStore};
use super::timed_attempt::AttemptLayer;
use super::trace::PeerAttributes;
use crate::metrics::Metrics;
use crate::record::{SystemName, VendorError};

/// The state of a vendor as this process sees it, for `GET /systems/{system}`.
#[derive(Clone, Debug)]
pub struct VendorHealth {
    /// The state of the circuit breaker.
    pub circuit: CircuitState,
    /// When a response last showed that the vendor works.
    pub last_success: Option<SystemTime>,
    /// The last request that failed.
    pub last_failure: Option<LastFailure>,
    /// When the current token expires.
    pub token_expires: Option<SystemTime>,
}

/// The layers below authentication: a sign-in passes these alone.
type UnauthenticatedStack = Arc<BreakerLayer<BulkheadLayer<AttemptLayer<Client>>>>;

/// The transport of one system, shared by all workers of the process.
///
/// It must be used on actix workers: connections and background token refreshes are local tasks.
pub struct TransportStack {
    layers: RetryLayer<FallbackLayer<UnauthenticatedStack>>,
    circuit: Arc<CircuitBreaker>,
    tokens: Arc<TokenProvider<UnauthenticatedStack>>,
    redactor: Arc<SecretRedactor>,
    bodies: Arc<BodyBudget>,
    base_url: String,
}

impl TransportStack {
    /// Builds the layers, from the connection outwards. Read from the bottom up, the comments
    /// follow a request on its way in.
    ///
    /// # Errors
    /// A base URL or a certificate that cannot be used.
    pub fn new(
        system: &SystemName,
        protocol: Arc<dyn VendorProtocol>,
        settings: &StackSettings,
        token_store: Option<Arc<dyn TokenStore>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StackError> {
        Self::with_second_secret(system, protocol, None, settings, token_store, metrics)
    }

    /// The same for a system with two secrets: `second` signs with the second one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_second_secret(
        system: &SystemName,
        protocol: Arc<dyn VendorProtocol>,
        second: Option<Arc<dyn VendorProtocol>>,
        settings: &StackSettings,
        token_store: Option<Arc<dyn TokenStore>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StackError> {
        let index = metrics.index(system).ok_or_else(|| StackError::UnknownSystem(system.clone()))?;
        let metrics = || Arc::clone(metrics);
        let redactor = SecretRedactor::new(&settings.secrets);

        // Innermost, the connection: only here is it known whether anything was sent.
        let client = Client::new(settings, protocol.kept_headers())?;

        // Directly around the connection, so that the timeout and the duration metric cover the
        // exchange and no wait. Responses are classified here, so that all layers above see only
        // `VendorError`s.
        let bodies = Arc::clone(client.body_budget());
        let peer = PeerAttributes::new(system, |origin| client.address(origin));
        let attempt = AttemptLayer::new(
            client,
            Arc::clone(&protocol),
            peer,
            Arc::clone(&redactor),
            settings.timeout,
            metrics(),
            index,
        );

        // Around the timeout, so that a wait for a permit does not use it up. Below authentication
        // and retry, so that sign-ins and retries count against the limits as well.
        let bulkhead = BulkheadLayer::new(attempt, settings, metrics(), index);

        // In front of the queue, so that an open circuit rejects at once. Below retry, so that
        // every attempt counts.
        let circuit = CircuitBreaker::new(
            settings.circuit_failures,
            settings.circuit_open_for,
            metrics(),
            index,
            system.as_str(),
        );
        let breaker = Arc::new(BreakerLayer::new(bulkhead, Arc::clone(&circuit)));

        // Above the circuit breaker, so that it protects the token endpoint too and a rejected
        // token does not count as a failure of the vendor.
        let shared = token_store.and_then(|store| SharedToken::new(store, system.as_str(), &settings.secrets));
        let tokens_of = |protocol, shared| {
            let (inner, redactor) = (Arc::clone(&breaker), Arc::clone(&redactor));
            TokenProvider::new(inner, protocol, redactor, settings.token_refresh_ahead, shared, metrics(), index)
        };
        let tokens = tokens_of(protocol, shared);

        // Around authentication, so that a fresh token comes before another secret.
        let second = second.map(|protocol| {
            let (system, metrics) = (system.clone(), metrics());
            SecondSecret::new(AuthLayer(tokens_of(protocol, None)), move || {
                metrics.credential_fallback(index);
                tracing::warn!(%system, "the vendor rejects the first secret; the second is used for 5 minutes");
            })
        });
        let auth = FallbackLayer::new(AuthLayer(Arc::clone(&tokens)), second);

        // Outermost, so that a retry passes all the layers again: it gets a fresh token, respects
        // an open circuit and waits for a permit like any other request.
        let layers =
            RetryLayer::new(auth, settings.retries, settings.retry_backoff, settings.timeout, metrics(), index);
        let base_url = settings.base_url.trim_end_matches('/').to_owned();
        Ok(Self { layers, circuit, tokens, redactor, bodies, base_url })
    }

    /// The URL of a request with this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        [&self.base_url, path].concat()
    }

    /// Redacts the system's secrets from an error. An adapter that could not parse a response may
    /// have quoted it.
    #[must_use]
    pub fn redact_fault(&self, fault: VendorError) -> VendorError {
        self.redactor.redact_fault(fault)
    }

    /// Redacts the system's secrets from texts that the vendor added to a success.
    pub fn redact_texts<'t>(&self, texts: impl Iterator<Item = &'t mut String>) {
        self.redactor.redact_texts(texts);
    }

    /// Keeps a part of the memory for the system's large bodies until this response has been read;
    /// `None` if there is not so much left.
    #[must_use]
    pub fn hold_response_body(&self, body: Bytes) -> Option<Bytes> {
        let mut reservation = self.bodies.reservation();
        reservation.try_grow_to(body.len()).then(|| reservation.hold(body))
    }

    /// The current state of the vendor.
    #[must_use]
    pub fn health(&self) -> VendorHealth {
        let (circuit, last_success, last_failure) = self.circuit.health();
        VendorHealth { circuit, last_success, last_failure, token_expires: self.tokens.expires_at() }
    }

    /// Sets the metric of the circuit's state: an open circuit becomes half-open by the time alone.
    pub fn refresh_circuit_gauge(&self) {
        self.circuit.refresh_gauge();
    }
}

#[async_trait(?Send)]
impl Transport for TransportStack {
    async fn send(&self, mut request: VendorRequest) -> Result<VendorResponse, VendorError> {
        self.layers.call(&mut request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_send_and_sync<T: Send + Sync>() {}

    #[test]
    fn a_stack_can_be_shared_by_all_workers() {
        assert_send_and_sync::<TransportStack>();
    }
}
