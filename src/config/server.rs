//! `[server]`: where the gateway listens and how much of a request it takes.

use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::Duration;

use super::section::Section;
use super::tls::TlsConfig;

const MAX_WORKERS: u32 = 512;
const MAX_BODY_BYTES: u32 = 64 * 1024 * 1024;
const TLS: &str = "{ certificate = \"PATH\", private_key = \"PATH\" }, and client_ca for mutual TLS";
const ADDRESS: &str = "IP:PORT, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the API and the Swagger UI are; port 0 = any free one. Default `127.0.0.1:8080`.
    pub bind: SocketAddr,
    /// Where metrics and health are, instead of on `bind`.
    pub ops_bind: Option<SocketAddr>,
    /// Worker threads, 1 to 512. Default: the number of cores.
    pub workers: usize,
    /// The longest request body in bytes, 1 to 64 MiB. Default 1 MiB.
    pub max_body: usize,
    /// The longest that a caller waits for one request, 100 ms to 1 h. Default 30 s.
    pub deadline: Duration,
    /// How long a stop waits for what is in flight, 0 s to 1 h. Default 30 s.
    pub shutdown_timeout: Duration,
    /// TLS on `bind`. Default none.
    pub tls: Option<TlsConfig>,
}

impl ServerConfig {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let cores = available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(MAX_WORKERS));
        let bind = address(&mut section, "bind").unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
        let server = Self {
            bind,
            ops_bind: address(&mut section, "ops_bind"),
            workers: section.integer("workers", cores.min(MAX_WORKERS), 1..=MAX_WORKERS) as usize,
            max_body: section.integer("max_body", 1024 * 1024, 1..=MAX_BODY_BYTES) as usize,
            deadline: section.duration("deadline", secs(30), Duration::from_millis(100)..=secs(3600)),
            shutdown_timeout: section.duration("shutdown_timeout", secs(30), Duration::ZERO..=secs(3600)),
            tls: section.entry("tls").and_then(|entry| TlsConfig::read(Section::of(section.reader, entry, TLS)?)),
        };
        if let Some(entry) = section.entry("ops_bind").filter(|_| server.has_duplicate_bind()) {
            section.reader.fault(&entry.place, "is the same address as bind", "another port, or no ops_bind at all");
        }
        section.finish(|_| None);
        server
    }

    /// Whether `ops_bind` is `bind` once more; with port 0 each gets a port of its own.
    pub(super) fn has_duplicate_bind(&self) -> bool {
        self.ops_bind == Some(self.bind) && self.bind.port() != 0
    }
}

fn address(section: &mut Section<'_, '_>, key: &'static str) -> Option<SocketAddr> {
    let text = section.text(key, ADDRESS)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        section.reader.fault(&text.place, format!("{} is not an address", text.shown()), ADDRESS);
    }
    address
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
