//! The layers of one system's transport, in their order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::auth::{AuthLayer, TokenProvider};
use super::bulkhead::{BulkheadLayer, BulkheadSettings};
use super::circuit_breaker::{BreakerLayer, CircuitBreaker, CircuitState, LastFailure};
use super::client::Client;
use super::redact::SecretRedactor;
use super::retry::RetryLayer;
use super::timed_attempt::AttemptLayer;
use super::trace::PeerAttributes;
use super::{Layer, Transport, VendorProtocol, VendorRequest, VendorResponse};
use crate::metrics::Metrics;
use crate::record::{Secret, SystemName, VendorError};

/// How one vendor is reached and how much is asked of it (contract 2, `[systems.*]`).
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// Scheme, host and an optional prefix of the path.
    pub base_url: String,
    /// One call, connect to last byte.
    pub timeout: Duration,
    /// Name look-up and TCP; a TLS handshake may take as long again.
    pub connect_timeout: Duration,
    /// How long a connection may lie idle and still be used: shorter than the vendor keeps it.
    pub keep_alive: Duration,
    /// Calls at once.
    pub max_in_flight: usize,
    /// Calls that wait.
    pub max_queue: usize,
    /// Calls a second; 0 = as many as there are.
    pub rate_limit: u32,
    /// Repeats of one call, at most.
    pub retries: u32,
    /// The first pause before a repeat.
    pub retry_backoff: Duration,
    /// Failing calls in a row that open the circuit.
    pub circuit_failures: u32,
    /// How long it stays open.
    pub circuit_open_for: Duration,
    /// How long before its end a token is replaced, but never more than half its life.
    pub token_refresh_ahead: Duration,
    /// The longest answer that is read, in bytes.
    pub max_vendor_body: usize,
    /// The vendor's private CA (PEM), trusted instead of the system's roots.
    pub ca_certificate: Option<PathBuf>,
    /// The gateway's name in `Via`.
    pub via: String,
    /// What must not be seen, whatever the vendor repeats of it and where.
    pub secrets: Vec<Secret>,
}

impl StackSettings {
    /// Most servers close idle connections after five seconds or more; a connection they are just closing is what a write
    /// must not be sent on.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(4);

    /// The contract's defaults for a base URL.
    #[must_use]
    pub fn for_base_url(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            keep_alive: Self::KEEP_ALIVE,
            max_in_flight: 64,
            max_queue: 256,
            rate_limit: 0,
            retries: 2,
            retry_backoff: Duration::from_millis(100),
            circuit_failures: 5,
            circuit_open_for: Duration::from_secs(10),
            token_refresh_ahead: Duration::from_mins(1),
            max_vendor_body: 16 * 1024 * 1024,
            ca_certificate: None,
            via: "records-gateway".to_owned(),
            secrets: Vec::new(),
        }
    }
}

/// Why a stack cannot be built: a fault of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The metrics were made without this system.
    #[error("the system {0} has no metrics")]
    UnknownSystem(SystemName),
    /// `base_url`.
    #[error("base_url {url:?} cannot be used: {why}")]
    BaseUrl {
        /// As configured.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// `ca_certificate`.
    #[error("ca_certificate {} cannot be used: {why}", path.display())]
    Certificate {
        /// As configured.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The name in `Via`.
    #[error("the name for Via is not a token")]
    Via,
}

/// How a vendor fares, for `GET /systems/{system}`.
#[derive(Clone, Debug)]
pub struct VendorHealth {
    /// The circuit.
    pub circuit: CircuitState,
    /// When a call last showed that the vendor works.
    pub last_success: Option<SystemTime>,
    /// The last call that failed.
    pub last_failure: Option<LastFailure>,
    /// When the present token expires.
    pub token_expires: Option<SystemTime>,
}

type UnauthenticatedStack = BreakerLayer<BulkheadLayer<AttemptLayer<Client>>>;

/// The transport of one system: one per process, shared by all workers.
///
/// To be used on actix workers: connections and refreshes ahead of need run as local tasks.
pub struct TransportStack {
    layers: RetryLayer<AuthLayer<UnauthenticatedStack>>,
    circuit: Arc<CircuitBreaker>,
    tokens: Arc<TokenProvider<UnauthenticatedStack>>,
    redactor: Arc<SecretRedactor>,
}

impl TransportStack {
    /// Puts the layers together.
    ///
    /// # Errors
    /// A base URL or a certificate that cannot be used.
    pub fn new(
        system: &SystemName,
        vendor: Arc<dyn VendorProtocol>,
        settings: &StackSettings,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StackError> {
        let index = metrics.index(system).ok_or_else(|| StackError::UnknownSystem(system.clone()))?;
        let measured = || Arc::clone(metrics);
        let bounds = BulkheadSettings {
            max_in_flight: settings.max_in_flight,
            max_queue: settings.max_queue,
            rate_limit: settings.rate_limit,
            default_wait: settings.timeout,
        };
        let secrets = SecretRedactor::new(&settings.secrets);
        let circuit = CircuitBreaker::new(settings.circuit_failures, settings.circuit_open_for, measured(), index);

        // From the wire outwards.
        // The wire itself: knows whether anything was sent.
        let client = Client::new(settings)?;
        let (host, port) = client.address();
        let callee = PeerAttributes { system: system.to_string(), host, port };
        // Times what is on the wire and nothing else; judges each answer once, so that all above speak of faults.
        let attempt = AttemptLayer::new(
            client,
            Arc::clone(&vendor),
            callee,
            Arc::clone(&secrets),
            settings.timeout,
            measured(),
            index,
        );
        // Counts every single attempt, a repeat and a sign-in included; waiting is not part of the call's timeout.
        let limit = BulkheadLayer::new(attempt, &bounds, measured(), index);
        // Before the queue, so that an open circuit answers at once; sees every attempt, so that repeats count.
        let breaker = BreakerLayer::new(limit, Arc::clone(&circuit));
        // Above the breaker, so that a sign-in is guarded too and a refused token is no failure of the vendor.
        let tokens =
            TokenProvider::new(breaker, vendor, Arc::clone(&secrets), settings.token_refresh_ahead, measured(), index);
        // Outermost: a repeat takes a fresh token, asks the circuit and waits its turn like any other call.
        let layers = RetryLayer::new(
            AuthLayer(Arc::clone(&tokens)),
            settings.retries,
            settings.retry_backoff,
            settings.timeout,
            measured(),
            index,
        );
        Ok(Self { layers, circuit, tokens, redactor: secrets })
    }

    /// A fault as it may be told: an adapter that could not read an answer may have quoted it.
    #[must_use]
    pub fn redact_fault(&self, fault: VendorError) -> VendorError {
        self.redactor.redact_fault(fault)
    }

    /// Takes the vendor's secrets out of words that it added to a success.
    pub fn redact_texts<'t>(&self, texts: impl Iterator<Item = &'t mut String>) {
        self.redactor.redact_texts(texts);
    }

    /// How the vendor fares.
    #[must_use]
    pub fn health(&self) -> VendorHealth {
        let (circuit, last_success, last_failure) = self.circuit.health();
        VendorHealth { circuit, last_success, last_failure, token_expires: self.tokens.expires_at() }
    }
}

#[async_trait(?Send)]
impl Transport for TransportStack {
    async fn send(&self, mut call: VendorRequest) -> Result<VendorResponse, VendorError> {
        self.layers.call(&mut call).await
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
