//! `[systems.NAME]`: one vendor's system, and how hard it may be pressed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::base_url::{base_url, is_self_address};
use super::section::{Section, either};
use super::text::text;
use super::vendor::{VendorConfig, words};
use crate::record::SystemName;
use crate::vendors::AdapterFactory;

/// `[systems.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemConfig {
    /// The name, `[a-z][a-z0-9-]*`.
    pub name: SystemName,
    /// The vendor with its own keys.
    pub vendor: VendorConfig,
    /// Scheme, host, optional port and prefix, without a slash at its end; a path is appended as it is.
    pub base_url: String,
    /// Whether http to a host that is not loopback is wanted. Default no.
    pub allow_http: bool,
    /// The collection that callers may leave out of ids, in the vendor's form. Default none.
    pub collection: Option<String>,
    /// Whether a write without `If-Match` is refused; if not it counts as `If-Match: *`. Default yes.
    pub require_if_match: bool,
    /// What happens to a write that the vendor is documented to destroy something with.
    pub on_lossy_write: OnLossyWrite,
    /// How calls are timed, counted and repeated.
    pub limits: LimitsConfig,
    /// PEM file of the vendor's private authorities; it could be read when the configuration was.
    pub ca_certificate: Option<PathBuf>,
}

/// `on_lossy_write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLossyWrite {
    /// Refused unless the caller accepts each loss by name.
    Refuse,
    /// Done, with a warning.
    Warn,
}

/// How a system's calls are timed, counted and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// One vendor call, connect to last byte, 10 ms to 1 h. Default 10 s.
    pub timeout: Duration,
    /// Its connect, 1 ms to 5 min and no longer than `timeout`. Default 2 s, or `timeout` where that is shorter.
    pub connect_timeout: Duration,
    /// Vendor calls at once, 1 to 65536. Default 64.
    pub max_in_flight: usize,
    /// Calls that wait for one of those, 0 to 1000000. Default 256.
    pub max_queue: usize,
    /// Calls a second, up to 1000000; `None` (written 0) = no limit. Default none.
    pub rate_limit: Option<u32>,
    /// Safe repeats of one call, 0 to 10. Default 2.
    pub retries: u32,
    /// The pause before the first of them, 1 ms to 1 min. Default 100 ms.
    pub retry_backoff: Duration,
    /// Failing calls in a row that open the circuit, 1 to 10000. Default 5.
    pub circuit_failures: u32,
    /// How long it stays open, 10 ms to 1 h. Default 10 s.
    pub circuit_open_for: Duration,
    /// How long before its end a token is replaced, 0 s to 1 h. Default 60 s.
    pub token_refresh_ahead: Duration,
    /// How long the effect of a queued write is looked for, 10 ms to 24 h. Default 10 min.
    pub completion_timeout: Duration,
    /// The pause before the first look, 1 ms to 10 s. Default 500 ms.
    pub completion_poll: Duration,
    /// The longest answer of the vendor in bytes, 1 KiB to 1 GiB. Default 16 MiB.
    pub max_vendor_body: usize,
}

impl SystemConfig {
    pub(super) fn read(mut section: Section<'_, '_>, name: Option<SystemName>, bind: SocketAddr) -> Option<Self> {
        let words = words();
        let vendor = section.word("vendor", &words);
        if !section.has("vendor") {
            section.reader.missing(&section.place, "vendor", either(&words));
        }
        let allow_http = section.boolean("allow_http", false);
        let base_url = read_base_url(&mut section, vendor, allow_http, bind);
        let collection = read_collection(&mut section, vendor);
        let vendor_config = vendor.and_then(|vendor| VendorConfig::read(vendor, &mut section));
        let require_if_match = section.boolean("require_if_match", true);
        let lossy = section.word("on_lossy_write", &[("refuse", OnLossyWrite::Refuse), ("warn", OnLossyWrite::Warn)]);
        let limits = LimitsConfig::read(&mut section);
        let ca_certificate = section.certificates("ca_certificate");
        section.finish(|key| foreign(key, vendor));
        Some(Self {
            name: name?,
            vendor: vendor_config?,
            base_url: base_url?,
            allow_http,
            collection,
            require_if_match,
            on_lossy_write: lossy.unwrap_or(OnLossyWrite::Refuse),
            limits,
            ca_certificate,
        })
    }

    /// Whether the system's address is the gateway's own.
    pub(super) fn points_to_self(&self, bind: SocketAddr) -> bool {
        is_self_address(&self.base_url, bind)
    }
}

impl LimitsConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let timeout = section.duration("timeout", secs(10), millis(10)..=secs(3600));
        let connect_timeout = section.duration("connect_timeout", secs(2).min(timeout), millis(1)..=secs(300));
        if let Some(entry) = section.entry("connect_timeout").filter(|_| connect_timeout > timeout) {
            section.reader.fault(&entry.place, "is longer than timeout, which includes it", "the same or shorter");
        }
        Self {
            timeout,
            connect_timeout,
            max_in_flight: section.integer("max_in_flight", 64, 1..=65_536) as usize,
            max_queue: section.integer("max_queue", 256, 0..=1_000_000) as usize,
            rate_limit: Some(section.integer("rate_limit", 0, 0..=1_000_000)).filter(|rate| *rate > 0),
            retries: section.integer("retries", 2, 0..=10),
            retry_backoff: section.duration("retry_backoff", millis(100), millis(1)..=secs(60)),
            circuit_failures: section.integer("circuit_failures", 5, 1..=10_000),
            circuit_open_for: section.duration("circuit_open_for", secs(10), millis(10)..=secs(3600)),
            token_refresh_ahead: section.duration("token_refresh_ahead", secs(60), Duration::ZERO..=secs(3600)),
            completion_timeout: section.duration("completion_timeout", secs(600), millis(10)..=secs(86_400)),
            completion_poll: section.duration("completion_poll", millis(500), millis(1)..=secs(10)),
            max_vendor_body: section.integer("max_vendor_body", 16_777_216, 1024..=1_073_741_824) as usize,
        }
    }
}

fn read_base_url(
    section: &mut Section<'_, '_>,
    vendor: Option<&AdapterFactory>,
    allow_http: bool,
    bind: SocketAddr,
) -> Option<String> {
    let text = section.required("base_url", "the vendor's address, such as \"https://vendor.example\"")?;
    let added_paths = vendor.map_or(&[][..], |vendor| vendor.added_paths);
    let url = base_url(section.reader, &text, allow_http, added_paths)?;
    if is_self_address(&url, bind) {
        section.reader.fault(&text.place, "is the address of the gateway itself", "the vendor's address");
        return None;
    }
    Some(url)
}

fn read_collection(section: &mut Section<'_, '_>, vendor: Option<&AdapterFactory>) -> Option<String> {
    let form = vendor.map_or("a string", |vendor| vendor.collection_form);
    let entry = section.entry("collection")?;
    // Empty means none, wherever the emptiness comes from.
    let text = text(section.reader, &entry, form).filter(|text| !text.value.is_empty())?;
    let vendor = vendor?;
    if !(vendor.is_collection)(&text.value) {
        section.reader.fault(&text.place, format!("{} is not a collection of this vendor", text.shown()), form);
        return None;
    }
    Some(text.value)
}

/// What to say of a key that belongs to a vendor: to another one, or to any while this system's is not known.
fn foreign(key: &str, vendor: Option<&AdapterFactory>) -> Option<String> {
    let (owner, _) = words().into_iter().find(|(_, other)| other.find_setting(key).is_some())?;
    Some(match vendor {
        Some(_) => format!("is a key of vendor {owner:?}, not of this one"),
        None => format!("is a key of vendor {owner:?}, and this system's vendor is not known"),
    })
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
