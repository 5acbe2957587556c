//! `[systems.NAME]`: one vendor's system.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::base_url::{self, is_self_address};
use super::table_reader::TableReader;
use super::vendor::{VendorConfig, vendor_choices};
use crate::bounded;
use crate::record::{Action, Secret, SystemName};
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
    /// Whether callers may rebase a patch: `rebase = "disjoint"` or `"never"`. Default yes.
    #[serde(rename = "rebase", deserialize_with = "is_disjoint")]
    pub allow_rebase: bool,
    /// The writes that are made only with `If-Plan`: `create`, `update`, `delete`. Default none.
    #[serde(deserialize_with = "write_actions")]
    pub require_plan: Vec<Action>,
    /// Groups of members of `fields` that count as one place for a rebase. Default none.
    pub together: Vec<Vec<String>>,
    /// One vendor call, connect to last byte (see [`StackSettings::timeout`]).
    #[serde(deserialize_with = "bounded::duration::<10, 3_600_000, _>")]
    pub timeout: Duration,
    /// How long the gateway looks for the outcome of a direct write whose response was lost, 10 ms
    /// to 24 h. Default 30 s.
    #[serde(deserialize_with = "bounded::duration::<10, 86_400_000, _>")]
    pub settle_timeout: Duration,
    /// How long the gateway polls for the effect of a queued write, 10 ms to 24 h. Default 10 min.
    #[serde(deserialize_with = "bounded::duration::<10, 86_400_000, _>")]
    pub completion_timeout: Duration,
    /// The first pause between two probes of a write whose outcome is unknown, or that is queued,
    /// 1 ms to 10 s. It doubles up to 10 s. Default 500 ms.
    #[serde(deserialize_with = "bounded::duration::<1, 10_000, _>")]
    pub completion_poll: Duration,
    /// Whether writes are checked against the vendor's schema before they are sent. Default
    /// `"refuse"`.
    pub validate: Validation,
    /// How long a schema is used before it is read again, 1 s to 24 h. Default 10 min.
    #[serde(deserialize_with = "bounded::duration::<1_000, 86_400_000, _>")]
    pub schema_ttl: Duration,
    /// Collections to list in addition to those that the vendor names, in the vendor's form.
    pub collections: Vec<String>,
}

/// `validate`: what happens to a write that breaks the vendor's schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// It is refused, and nothing is sent.
    #[default]
    Refuse,
    /// It is sent, and its response has warnings.
    Warn,
    /// Nothing is checked.
    Off,
}

impl Validation {
    /// Every word.
    pub const ALL: [Self; 3] = [Self::Refuse, Self::Warn, Self::Off];

    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

impl Default for SystemPolicy {
    fn default() -> Self {
        Self {
            collection: None,
            require_if_match: true,
            warn_on_loss: false,
            allow_rebase: true,
            require_plan: Vec::new(),
            together: Vec::new(),
            timeout: StackSettings::TIMEOUT,
            settle_timeout: Duration::from_secs(30),
            completion_timeout: Duration::from_mins(10),
            completion_poll: Duration::from_millis(500),
            validate: Validation::Refuse,
            schema_ttl: Duration::from_mins(10),
            collections: Vec::new(),
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

fn write_actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Action>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Write {
        Create,
        Update,
        Delete,
    }
    let words = Vec::<Write>::deserialize(deserializer)?;
    let action = |word| match word {
        Write::Create => Action::Create,
        Write::Update => Action::Update,
        Write::Delete => Action::Delete,
    };
    Ok(words.into_iter().map(action).collect())
}

fn is_disjoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Rebase {
        Disjoint,
        Never,
    }
    Ok(matches!(Rebase::deserialize(deserializer)?, Rebase::Disjoint))
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
        let added_paths = vendor.map_or(&[][..], |vendor| vendor.added_paths);
        if let Some(url) = check_url(&table, "base_url", &stack.base_url, added_paths, bind) {
            stack.base_url = url;
        }
        check_connect_timeout(&table, &mut stack);
        check_collection(&table, &policy, vendor);
        check_certificates(&table, &stack);
        let settings = vendor.and_then(|vendor| VendorConfig::read(vendor, &table));
        if let Some((key, url)) = settings.as_ref().and_then(VendorConfig::sign_in_url) {
            stack.sign_in_url = check_url(&table, key, url.expose(), &[], bind);
        }
        table.reject_unknown(|key| other_vendor_hint(key, vendor));
        let mut vendor = settings?;
        vendor.set_base_url(&stack.base_url);
        stack.secrets = vendor.secrets().cloned().collect::<Vec<Secret>>();
        Some(Self { name: name?, vendor, policy, stack })
    }

    /// Whether an address of the system is the gateway's own.
    pub(super) fn points_to_self(&self, bind: SocketAddr) -> bool {
        let sign_in_url = self.stack.sign_in_url.as_deref();
        [Some(self.stack.base_url.as_str()), sign_in_url].into_iter().flatten().any(|url| is_self_address(url, bind))
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

/// The one spelling of an address of the vendor, under this key.
fn check_url(
    table: &TableReader<'_>,
    key: &'static str,
    url: &str,
    added_paths: &[&str],
    bind: SocketAddr,
) -> Option<String> {
    let allow_http = table.value("allow_http").unwrap_or(false);
    match base_url::normalize(url, allow_http, added_paths) {
        Ok(url) if is_self_address(&url, bind) => {
            table.error(key, "is the address of the gateway itself", "the vendor's address");
            None
        }
        Ok(url) => Some(url),
        Err((message, expected)) => {
            table.error(key, message, expected);
            None
        }
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
    let Some(vendor) = vendor else { return };
    let is_wrong = |collection: &String| !(vendor.is_collection)(collection);
    if let Some(value) = table.get("collection").filter(|_| policy.collection.as_ref().is_some_and(is_wrong)) {
        let message = format!("{} is not a collection of this vendor", value.display_redacted());
        value.error(message, vendor.collection_form);
    }
    if let Some(wrong) = policy.collections.iter().find(|collection| is_wrong(collection)) {
        let message = format!("{wrong:?} is not a collection of this vendor");
        table.error("collections", message, vendor.collection_form);
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
