//! `[systems.NAME]`: one vendor's system.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::base_url::{self, is_self_address};
use super::table_reader::TableReader;
use super::vendor::{VendorConfig, vendor_choices};
use crate::bounded;
use crate::record::{Secret, SystemName};
use crate::transport::StackSettings;
use crate::vendors::{AdapterFactory, VENDORS, find_vendor};

/// `[systems.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemConfig {
    /// The name, `[a-z][a-z0-9-]*`.
    pub name: SystemName,
    /// The vendor with its own keys.
    pub vendor: VendorConfig,
    /// How the gateway uses the system.
    pub policy: SystemPolicy,
    /// How the vendor is reached. A `ca_certificate` was readable when the configuration was read.
    pub stack: StackSettings,
}

/// How the gateway uses a system: the keys of `[systems.NAME]` that do not concern single vendor
/// calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SystemPolicy {
    /// The collection that callers may leave out of ids, in the vendor's form. Default none.
    #[serde(deserialize_with = "none_if_empty")]
    pub collection: Option<String>,
    /// Whether a write without `If-Match` is rejected; if not, it counts as `If-Match: *`. Default
    /// yes.
    pub require_if_match: bool,
    /// `on_lossy_write = "warn"`: a loss that the caller need not accept by name is only a warning.
    /// Default `"refuse"`.
    #[serde(rename = "on_lossy_write", deserialize_with = "is_warn")]
    pub warn_on_loss: bool,
    /// One vendor call, connect to last byte (see [`StackSettings::timeout`]).
    #[serde(deserialize_with = "bounded::duration::<10, 3_600_000, _>")]
    pub timeout: Duration,
    /// How long the gateway looks for what became of a direct write whose answer was lost, 10 ms to
    /// 24 h. Default 30 s.
    #[serde(deserialize_with = "bounded::duration::<10, 86_400_000, _>")]
    pub settle_timeout: Duration,
    /// How long the gateway polls for the effect of a queued write, 10 ms to 24 h. Default 10 min.
    #[serde(deserialize_with = "bounded::duration::<10, 86_400_000, _>")]
    pub completion_timeout: Duration,
    /// The pause before the first poll, 1 ms to 10 s. Default 500 ms.
    #[serde(deserialize_with = "bounded::duration::<1, 10_000, _>")]
    pub completion_poll: Duration,
}

impl Default for SystemPolicy {
    fn default() -> Self {
        Self {
            collection: None,
            require_if_match: true,
            warn_on_loss: false,
            timeout: StackSettings::TIMEOUT,
            settle_timeout: Duration::from_secs(30),
            completion_timeout: Duration::from_mins(10),
            completion_poll: Duration::from_millis(500),
        }
    }
}

fn none_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(text).filter(|text| !text.is_empty()))
}

fn is_warn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum OnLossyWrite {
        Refuse,
        Warn,
    }
    Ok(matches!(OnLossyWrite::deserialize(deserializer)?, OnLossyWrite::Warn))
}

impl SystemConfig {
    /// `name` is `None` where the name is wrong. `None` if the system is incomplete; then the
    /// errors say why.
    pub(super) fn read(table: TableReader<'_>, name: Option<SystemName>, bind: SocketAddr) -> Option<Self> {
        table.require(&[
            ("vendor", &vendor_choices()),
            ("base_url", "the vendor's address, such as \"https://vendor.example\""),
        ]);
        let vendor = read_vendor(&table);
        let mut stack: StackSettings = table.read().unwrap_or_default();
        let policy: SystemPolicy = table.read().unwrap_or_default();
        check_base_url(&table, &mut stack, vendor, bind);
        check_connect_timeout(&table, &mut stack);
        check_collection(&table, &policy, vendor);
        check_certificates(&table, &stack);
        let settings = vendor.and_then(|vendor| VendorConfig::read(vendor, &table));
        table.reject_unknown(|key| other_vendor_hint(key, vendor));
        let vendor = settings?;
        stack.secrets = vendor.secrets().cloned().collect::<Vec<Secret>>();
        Some(Self { name: name?, vendor, policy, stack })
    }

    /// Whether the system's address is the gateway's own.
    pub(super) fn points_to_self(&self, bind: SocketAddr) -> bool {
        is_self_address(&self.stack.base_url, bind)
    }
}

fn read_vendor(table: &TableReader<'_>) -> Option<&'static AdapterFactory> {
    let word: String = table.value("vendor")?;
    let vendor = find_vendor(&word);
    if vendor.is_none() {
        let value = table.get("vendor")?;
        value.error(format!("cannot be {}", value.display_redacted()), vendor_choices());
    }
    vendor
}

fn check_base_url(
    table: &TableReader<'_>,
    stack: &mut StackSettings,
    vendor: Option<&AdapterFactory>,
    bind: SocketAddr,
) {
    let allow_http = table.value("allow_http").unwrap_or(false);
    let added_paths = vendor.map_or(&[][..], |vendor| vendor.added_paths);
    match base_url::normalize(&stack.base_url, allow_http, added_paths) {
        Ok(url) if is_self_address(&url, bind) => {
            table.error("base_url", "is the address of the gateway itself", "the vendor's address");
        }
        Ok(url) => stack.base_url = url,
        Err((message, expected)) => table.error("base_url", message, expected),
    }
}

fn check_connect_timeout(table: &TableReader<'_>, stack: &mut StackSettings) {
    if !table.has("connect_timeout") {
        stack.connect_timeout = stack.connect_timeout.min(stack.timeout);
    } else if stack.connect_timeout > stack.timeout {
        table.error(
            "connect_timeout",
            "is longer than timeout, which includes it",
            "the same duration or a shorter one",
        );
    }
}

fn check_collection(table: &TableReader<'_>, policy: &SystemPolicy, vendor: Option<&AdapterFactory>) {
    let (Some(collection), Some(vendor), Some(value)) = (&policy.collection, vendor, table.get("collection")) else {
        return;
    };
    if !(vendor.is_collection)(collection) {
        let message = format!("{} is not a collection of this vendor", value.display_redacted());
        value.error(message, vendor.collection_form);
    }
}

fn check_certificates(table: &TableReader<'_>, stack: &StackSettings) {
    if let Some(path) = &stack.ca_certificate
        && let Err(message) = super::tls::check_certificates(path)
    {
        table.error("ca_certificate", message, "the path of a readable PEM file of certificates");
    }
}

/// Names the vendor that an unknown key belongs to.
fn other_vendor_hint(key: &str, vendor: Option<&AdapterFactory>) -> Option<String> {
    let owner = VENDORS.iter().find(|other| other.find_setting(key).is_some())?.vendor;
    Some(match vendor {
        Some(_) => format!("is a key of vendor {owner:?}, not of this one"),
        None => format!("is a key of vendor {owner:?}, and this system's vendor is not known"),
    })
}
