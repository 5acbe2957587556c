//! The configuration of one system's transport.

use std::path::PathBuf;
use std::time::Duration;

use crate::record::{Secret, SystemName};

/// How a vendor is reached and how much load it gets (contract 2, `[systems.NAME]`).
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// Scheme, host and an optional path prefix.
    pub base_url: String,
    /// Longest duration of one attempt, from connect to the last byte of the response.
    pub timeout: Duration,
    /// Longest duration of name resolution and TCP connect; the TLS handshake may take as long
    /// again.
    pub connect_timeout: Duration,
    /// How long an idle connection is reused: shorter than the vendor keeps it open.
    pub keep_alive: Duration,
    /// Requests in flight at once.
    pub max_in_flight: usize,
    /// Requests that wait for one in flight to end.
    pub max_queue: usize,
    /// Requests per second; 0 = no limit.
    pub rate_limit: u32,
    /// Retries of one request.
    pub retries: u32,
    /// Pause before the first retry.
    pub retry_backoff: Duration,
    /// Consecutive failures that open the circuit.
    pub circuit_failures: u32,
    /// How long the circuit stays open.
    pub circuit_open_for: Duration,
    /// How long before its expiry a token is refreshed; never more than half its lifetime.
    pub token_refresh_ahead: Duration,
    /// Longest response body, in bytes.
    pub max_vendor_body: usize,
    /// A private CA (PEM), trusted instead of the operating system's roots.
    pub ca_certificate: Option<PathBuf>,
    /// The gateway's name in `Via` (RFC 9110 §7.6.3).
    pub via: String,
    /// Values that are redacted from every text of the vendor.
    pub secrets: Vec<Secret>,
}

impl StackSettings {
    /// Shorter than the five seconds or more after which most servers close idle connections: a
    /// write must not be sent on a connection that the vendor is closing.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(4);

    /// The defaults of contract 2 for a base URL.
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

/// A setting that the stack cannot be built with.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The metrics have no series for this system.
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
    /// The TLS library or the operating system's root certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The name in `Via`.
    #[error("the name for Via is not a token")]
    Via,
}
