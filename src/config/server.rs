//! `[server]`: where the gateway listens and how much of a request it accepts.

use std::fmt;
use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::base_url;
use super::table_reader::TableReader;
use super::tls::TlsConfig;
use crate::bounded;

const MAX_WORKERS: u32 = 512;

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerConfig {
    /// The address of the API and the Swagger UI; port 0 = any free port. Default `127.0.0.1:8080`.
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
    /// The address of metrics and health, instead of `bind`.
    #[serde(deserialize_with = "optional_address")]
    pub ops_bind: Option<SocketAddr>,
    /// Worker threads, 1 to 512. Default: the number of cores.
    #[serde(deserialize_with = "bounded::integer::<1, MAX_WORKERS, _, _>")]
    pub workers: usize,
    /// The longest request body in bytes, 1 to 64 MiB. Default 1 MiB.
    #[serde(deserialize_with = "bounded::integer::<1, 67_108_864, _, _>")]
    pub max_body: usize,
    /// The longest that a caller waits for one request, 100 ms to 1 h. Default 30 s.
    #[serde(deserialize_with = "bounded::duration::<100, 3_600_000, _>")]
    pub deadline: Duration,
    /// How long a plan is valid, 1 s to 24 h. Default 15 min.
    #[serde(deserialize_with = "bounded::duration::<1000, 86_400_000, _>")]
    pub plan_ttl: Duration,
    /// How long a shutdown waits for requests and writes in flight, 0 s to 1 h. Default 30 s.
    #[serde(deserialize_with = "bounded::duration::<0, 3_600_000, _>")]
    pub shutdown_timeout: Duration,
    /// How callers reach the gateway, without a slash at its end: the beginning of the URLs in
    /// responses. Default empty: they are paths.
    pub external_url: String,
    /// Whether the console is served. Default yes.
    pub console: bool,
    /// How long events of the feed of changes are kept, 1 s to 3650 d. Default 7 d.
    #[serde(deserialize_with = "bounded::duration::<1000, 315_360_000_000, _>")]
    pub changes_retention: Duration,
    /// The most streams of changes at a time, 1 to 10,000. Default 256.
    #[serde(deserialize_with = "bounded::integer::<1, 10_000, _, _>")]
    pub max_streams: usize,
    /// One line per request on standard error. Default no.
    pub access_log: bool,
    /// HTTP/2 with callers, where TLS is on. Default no: `h2` 0.3, which actix-http uses, lets a
    /// caller fill the memory with empty frames (RUSTSEC-2026-0258).
    pub http2: bool,
    /// The most items of a batch, 1 to 1000. Default 100.
    #[serde(deserialize_with = "bounded::integer::<1, 1000, _, _>")]
    pub max_batch_items: usize,
    /// The most items of an asynchronous batch, 1 to 100000. Default 10000.
    #[serde(deserialize_with = "bounded::integer::<1, 100_000, _, _>")]
    pub max_async_batch_items: usize,
    /// The longest body of a batch in bytes, 1 to 64 MiB. Default 4 MiB.
    #[serde(deserialize_with = "bounded::integer::<1, 67_108_864, _, _>")]
    pub max_batch_body: usize,
    /// The most items of one batch that run at once, 1 to 32. Default 8.
    #[serde(deserialize_with = "bounded::integer::<1, 32, _, _>")]
    pub batch_concurrency: usize,
    /// How long items of a batch may begin, 100 ms to 1 h. Default 2 min.
    #[serde(deserialize_with = "bounded::duration::<100, 3_600_000, _>")]
    pub batch_deadline: Duration,
    /// TLS on `bind`. Default none.
    #[serde(skip)]
    pub tls: Option<TlsConfig>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ops_bind: None,
            workers: cores.min(MAX_WORKERS as usize),
            max_body: 1024 * 1024,
            deadline: Duration::from_secs(30),
            plan_ttl: Duration::from_mins(15),
            shutdown_timeout: Duration::from_secs(30),
            external_url: String::new(),
            console: true,
            changes_retention: Duration::from_hours(7 * 24),
            max_streams: 256,
            access_log: false,
            http2: false,
            max_batch_items: 100,
            max_async_batch_items: 10_000,
            max_batch_body: 4 * 1024 * 1024,
            batch_concurrency: 8,
            batch_deadline: Duration::from_mins(2),
            tls: None,
        }
    }
}

impl ServerConfig {
    pub(super) fn read(table: TableReader<'_>) -> Self {
        let mut server: Self = table.read().unwrap_or_default();
        server.tls = table.get("tls").and_then(|value| TlsConfig::read(TableReader::of(&value, TlsConfig::EXPECTED)?));
        if !server.external_url.is_empty() {
            match base_url::normalize(&server.external_url, true, &[]) {
                Ok(url) => server.external_url = url,
                Err((message, expected)) => table.error("external_url", message, expected),
            }
        }
        if server.has_duplicate_bind() {
            table.error("ops_bind", "is the same address as bind", "another port, or no ops_bind at all");
        }
        table.reject_unknown(|_| None);
        server
    }

    /// Whether `ops_bind` equals `bind`; with port 0 each gets its own port.
    pub(super) fn has_duplicate_bind(&self) -> bool {
        self.ops_bind == Some(self.bind) && self.bind.port() != 0
    }
}

struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = SocketAddr;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("IP:PORT, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(AddressVisitor)
}

fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}
