//! The configuration: read whole or rejected whole, with every error at once.
//!
//! Each table is deserialized by serde into the struct that the program uses. `table_reader` makes
//! serde collect all errors instead of stopping at the first.

mod access;
mod base_url;
mod caller;
mod diagnostics;
mod env_or_file;
mod error;
mod grant;
mod jwt;
mod metrics;
mod models;
mod server;
mod spanned_value;
mod store;
mod system;
mod table_reader;
#[cfg(test)]
mod tests;
mod tls;
mod value_error;
mod vendor;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub use access::AccessConfig;
pub use caller::{ANONYMOUS, CallerConfig, CallerKey, CallerLimits, KeyDigest};
pub use error::{ConfigError, ConfigErrors, Position};
pub use grant::{Grant, Permission};
pub(crate) use jwt::MAX_JWKS_BYTES;
pub use jwt::{JwksLocation, JwtConfig};
pub use metrics::MetricsConfig;
pub use server::ServerConfig;
pub use system::{SystemConfig, SystemPolicy, Validation};
pub use tls::{TlsConfig, TlsError, TlsIdentity};
pub use vendor::VendorConfig;

use crate::journal::{JournalSettings, MAX_CONNECT_TIMEOUT};
use crate::models::Model;
use crate::record::SystemName;
use crate::vendors::AdapterFactory;
use diagnostics::{Diagnostics, Environment, KeyPath};
use spanned_value::SpannedValue;
use table_reader::TableReader;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[store]`.
    pub store: JournalSettings,
    /// `[metrics]`.
    pub metrics: MetricsConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[systems.*]`, in the order of the text; never empty.
    pub systems: Vec<SystemConfig>,
    /// `[models.*]`, in the order of the text.
    pub models: Vec<Arc<Model>>,
    /// The files of `{ file = "PATH" }`.
    value_files: Vec<PathBuf>,
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let source = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|error| ConfigErrors::unreadable(&source, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        ConfigErrors::unreadable(&source, format!("is not UTF-8 from byte {valid} on"))
    })?;
    Config::parse(&text, &source)
}

impl Config {
    /// Parses a configuration; `source` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, source: &str) -> Result<Self, ConfigErrors> {
        Self::parse_in(text, source, &|name| std::env::var(name))
    }

    /// The vendor of a system.
    #[must_use]
    pub fn vendor_of(&self, system: &str) -> Option<&'static AdapterFactory> {
        self.systems.iter().find(|one| one.name.as_str() == system).map(|one| one.vendor.factory)
    }

    /// The same with an environment that a test can choose.
    fn parse_in(text: &str, source: &str, environment: Environment<'_>) -> Result<Self, ConfigErrors> {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let diagnostics = Diagnostics::new(text, &syntax, environment);
        let root = KeyPath { path: String::new(), offset: 0 };
        let mut config = Self::read(TableReader::new(&diagnostics, root, Some(document.get_ref())));
        if !diagnostics.is_ok() {
            return Err(diagnostics.into_errors(source));
        }
        config.value_files = diagnostics.into_files();
        Ok(config)
    }

    fn read(root: TableReader<'_>) -> Self {
        let server = ServerConfig::read(root.table("server"));
        let store = store::read_store(root.table("store"));
        let metrics = MetricsConfig::read(root.table("metrics"));
        let systems = root.table("systems");
        let names: Vec<&str> = systems.entries().iter().map(|(name, _)| *name).collect();
        if names.is_empty() {
            root.diagnostics.missing_key(&systems.at, "NAME", "one table [systems.NAME] or more");
        }
        root.require(&[("access", "a table [access] with mode = \"keys\", \"jwt\" or \"open\"")]);
        let access = if root.has("access") {
            AccessConfig::read(root.table("access"), &names)
        } else {
            AccessConfig::Keys(Vec::new())
        };
        if let Err(message) = check_open_access(&access, server.bind) {
            root.error("access", message, format!("a loopback server.bind, {OPEN_ACCESS_HINT}"));
        }
        let mut systems = read_systems(&systems, server.bind);
        if store.is_shared() {
            // A write is not sent later than another replica could have taken it over.
            for system in &mut systems {
                system.stack.connect_timeout = system.stack.connect_timeout.min(MAX_CONNECT_TIMEOUT);
            }
        }
        let models = models::read_models(&root.table("models"), &systems);
        root.reject_unknown(|_| None);
        Self { models, server, store, metrics, access, systems, value_files: Vec::new() }
    }

    /// The files whose content belongs to the configuration: those of `{ file = "PATH" }` and of
    /// `ca_certificate`. The files of `server.tls` and a file of JWKS can change by themselves.
    pub fn named_files(&self) -> impl Iterator<Item = &Path> {
        let authorities = self.systems.iter().filter_map(|system| system.stack.ca_certificate.as_deref());
        self.value_files.iter().map(PathBuf::as_path).chain(authorities.map(Path::new))
    }

    /// Why the file of a SQLite store can neither be opened nor created; `None` if it can, and for
    /// a server. Creates nothing.
    #[must_use]
    pub fn store_path_error(&self) -> Option<String> {
        store::path_error(Path::new(self.store.url.strip_prefix("sqlite:")?))
    }

    /// Replaces `server.bind` (`--bind`).
    ///
    /// # Errors
    /// Why the configuration is not valid with that address.
    pub fn override_bind(&mut self, bind: SocketAddr) -> Result<(), String> {
        check_open_access(&self.access, bind)
            .map_err(|message| format!("{message}; valid: a loopback address, {OPEN_ACCESS_HINT}"))?;
        if let Some(system) = self.systems.iter().find(|system| system.points_to_self(bind)) {
            return Err(format!("{bind} is the base_url of the system {}", system.name));
        }
        let server = ServerConfig { bind, ..self.server.clone() };
        if server.has_duplicate_bind() {
            return Err(format!("{bind} is ops_bind already"));
        }
        self.server = server;
        Ok(())
    }
}

/// What else is valid where access is open.
const OPEN_ACCESS_HINT: &str = "mode = \"keys\", or allow_open = true";

/// Open access is for loopback addresses, unless `allow_open` says that it is intended elsewhere.
fn check_open_access(access: &AccessConfig, bind: SocketAddr) -> Result<(), String> {
    match access {
        AccessConfig::Open { allow_open: false, .. } if !bind.ip().to_canonical().is_loopback() => {
            Err(format!("access is open to everybody who can reach {bind}"))
        }
        _ => Ok(()),
    }
}

/// The `system` label of metrics for requests that name no system.
const UNROUTED: &str = "none";

fn read_systems(systems: &TableReader<'_>, bind: SocketAddr) -> Vec<SystemConfig> {
    let read_one = |(text, value): (&str, SpannedValue<'_>)| {
        let name = SystemName::parse(text).filter(|name| name.as_str() != UNROUTED);
        if name.is_none() {
            value.error("is not a system's name", "[a-z][a-z0-9-]*, but not \"none\"");
        }
        SystemConfig::read(TableReader::of(&value, "a table")?, name, bind)
    };
    systems.entries().into_iter().filter_map(read_one).collect()
}
