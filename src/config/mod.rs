//! The configuration: read whole or refused whole, with every fault at once.
//!
//! Each table has a file and a struct of its own; `reader` and `section` know TOML, and nobody else does.

mod access;
mod base_url;
mod duration;
mod error;
mod jwt;
mod reader;
mod section;
mod server;
mod store;
mod system;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod vendor;

use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeTable;

pub use access::{ANONYMOUS, AccessConfig, CallerConfig, Grant, KeyDigest, Permission};
pub use error::{ConfigError, ConfigErrors, Position};
pub(crate) use jwt::MAX_JWKS_BYTES;
pub use jwt::{JwksLocation, JwtConfig};
pub use server::ServerConfig;
pub use store::{Durability, StoreConfig, StoreUrl};
pub use system::{LimitsConfig, OnLossyWrite, SystemConfig};
pub use tls::{TlsConfig, TlsError, TlsIdentity};
pub use vendor::VendorConfig;

use crate::record::SystemName;
use reader::{Environment, Reader};
use section::Section;

/// A configuration without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[systems.*]`, in the order of the text; never empty.
    pub systems: Vec<SystemConfig>,
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let origin = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|error| ConfigErrors::unreadable(&origin, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        ConfigErrors::unreadable(&origin, format!("is not UTF-8 from byte {valid} on"))
    })?;
    Config::parse(&text, &origin)
}

impl Config {
    /// Reads a configuration's text; `origin` is what faults call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigErrors> {
        Self::parse_in(text, origin, &|name| std::env::var(name))
    }

    /// The same in an environment that a test can choose.
    fn parse_in(text: &str, origin: &str, environment: Environment<'_>) -> Result<Self, ConfigErrors> {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let reader = Reader::new(text, &syntax, environment);
        let config = Self::read(reader.root(document.get_ref()));
        if reader.is_clean() { Ok(config) } else { Err(reader.into_faults(origin)) }
    }

    fn read(mut root: Section<'_, '_>) -> Self {
        let reader = root.reader;
        let server = ServerConfig::read(root.table("server"));
        let store = StoreConfig::read(root.table("store"));
        let systems = root.table("systems");
        let names: Vec<&str> = systems.entries().iter().map(|(name, _)| *name).collect();
        if names.is_empty() {
            reader.missing(&systems.place, "NAME", "one table [systems.NAME] or more");
        }
        let access = if root.has("access") {
            AccessConfig::read(root.table("access"), &names)
        } else {
            reader.missing(&root.place, "access", "a table [access] with mode = \"keys\", \"jwt\" or \"open\"");
            AccessConfig::Keys(Vec::new())
        };
        if let (Err(wrong), Some(entry)) = (check_open_access(&access, server.bind), root.entry("access")) {
            reader.fault(&entry.place, wrong, format!("a loopback server.bind, {OPEN_ACCESS_HINT}"));
        }
        let systems = read_systems(&systems, server.bind);
        root.finish(|_| None);
        Self { server, store, access, systems }
    }

    /// Listens elsewhere than the configuration says (`--bind`).
    ///
    /// # Errors
    /// Why the configuration cannot listen there.
    pub fn override_bind(&mut self, bind: SocketAddr) -> Result<(), String> {
        check_open_access(&self.access, bind)
            .map_err(|wrong| format!("{wrong}; a loopback address, {OPEN_ACCESS_HINT}"))?;
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

/// Open access is for one's own machine, unless somebody says that it is meant.
fn check_open_access(access: &AccessConfig, bind: SocketAddr) -> Result<(), String> {
    match access {
        AccessConfig::Open { allow_open: false } if !bind.ip().to_canonical().is_loopback() => {
            Err(format!("access is open to everybody who can reach {bind}"))
        }
        _ => Ok(()),
    }
}

/// The `system` label of metrics for requests that name no system.
const UNROUTED: &str = "none";

fn read_systems(section: &Section<'_, '_>, bind: SocketAddr) -> Vec<SystemConfig> {
    let mut systems = Vec::new();
    for (raw, entry) in section.entries() {
        let name = SystemName::parse(raw).filter(|name| name.as_str() != UNROUTED);
        if name.is_none() {
            section.reader.fault(&entry.place, "is not a system's name", "[a-z][a-z0-9-]*, but not \"none\"");
        }
        let Some(table) = Section::of(section.reader, entry, "a table") else { continue };
        systems.extend(SystemConfig::read(table, name, bind));
    }
    systems
}
