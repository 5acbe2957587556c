//! The configuration of one system's transport.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::bounded;
use crate::record::{Secret, SystemName};

/// How one vendor is reached and how many calls it gets: the keys of `[systems.NAME]` that concern
/// single vendor calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StackSettings {
    /// Scheme, host, optional port and prefix, without a slash at its end. Paths are appended to
    /// it.
    pub base_url: String,
    /// The same for the host that issues tokens, where that is another one.
    #[serde(skip)]
    pub sign_in_url: Option<String>,
    /// One call, connect to last byte, 10 ms to 1 h. Default 10 s.
    #[serde(deserialize_with = "bounded::duration::<10, 3_600_000, _>")]
    pub timeout: Duration,
    /// DNS and TCP, 1 ms to 5 min and no longer than `timeout`; a TLS handshake may take as long
    /// again. Default 2 s, or `timeout` where that is shorter.
    #[serde(deserialize_with = "bounded::duration::<1, 300_000, _>")]
    pub connect_timeout: Duration,
    /// How long a connection may be idle and still be used: shorter than the vendor keeps it.
    #[serde(skip)]
    pub keep_alive: Duration,
    /// Concurrent calls, 1 to 65536. Default 64.
    #[serde(deserialize_with = "bounded::integer::<1, 65_536, _, _>")]
    pub max_in_flight: usize,
    /// Calls that wait for one of those, 0 to 1000000. Default 256.
    #[serde(deserialize_with = "bounded::integer::<0, 1_000_000, _, _>")]
    pub max_queue: usize,
    /// Calls per second, up to 1000000; 0 = no limit. Default 0.
    #[serde(deserialize_with = "bounded::integer::<0, 1_000_000, _, _>")]
    pub rate_limit: u32,
    /// Repeats of one call that is safe to repeat, 0 to 10. Default 2.
    #[serde(deserialize_with = "bounded::integer::<0, 10, _, _>")]
    pub retries: u32,
    /// The pause before the first repeat, 1 ms to 1 min. Default 100 ms.
    #[serde(deserialize_with = "bounded::duration::<1, 60_000, _>")]
    pub retry_backoff: Duration,
    /// Failing calls in a row that open the circuit, 1 to 10000. Default 5.
    #[serde(deserialize_with = "bounded::integer::<1, 10_000, _, _>")]
    pub circuit_failures: u32,
    /// How long the circuit stays open, 10 ms to 1 h. Default 10 s.
    #[serde(deserialize_with = "bounded::duration::<10, 3_600_000, _>")]
    pub circuit_open_for: Duration,
    /// How long before its expiry a token is replaced, but never more than half its lifetime; 0 s
    /// to 1 h. Default 60 s.
    #[serde(deserialize_with = "bounded::duration::<0, 3_600_000, _>")]
    pub token_refresh_ahead: Duration,
    /// The longest response body that is read, in bytes, 1 KiB to 1 GiB. Default 16 MiB.
    #[serde(deserialize_with = "bounded::integer::<1024, 1_073_741_824, _, _>")]
    pub max_vendor_body: usize,
    /// PEM file of the vendor's private CA, trusted instead of the system's roots.
    pub ca_certificate: Option<PathBuf>,
    /// The gateway's name in `Via` (RFC 9110 §7.6.3).
    #[serde(skip)]
    pub via: &'static str,
    /// Values that are redacted wherever the vendor repeats them.
    #[serde(skip)]
    pub secrets: Vec<Secret>,
}

impl StackSettings {
    /// The default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// The defaults for a base URL.
    #[must_use]
    pub fn for_base_url(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..Self::default() }
    }
}

impl Default for StackSettings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            sign_in_url: None,
            timeout: Self::TIMEOUT,
            connect_timeout: Duration::from_secs(2),
            // Most servers close idle connections after five seconds or more. A write must not be
            // sent on a connection that its server is closing.
            keep_alive: Duration::from_secs(4),
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
            via: "records-gateway",
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
