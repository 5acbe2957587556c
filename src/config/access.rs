//! `[access]`: who may call, and what each caller may do.

use serde::Deserialize;

use super::caller::{CALLERS, CallerConfig, CallerLimits, read_callers};
use super::jwt::JwtConfig;
use super::spanned_value::SpannedValue;
use super::table_reader::TableReader;
use crate::record::{Action, SystemName};

/// The name of every caller where access is open.
pub const ANONYMOUS: &str = "anonymous";

const MODES: &str = "\"keys\", \"jwt\" or \"open\"";

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessConfig {
    /// Every caller may do everything.
    Open {
        /// Whether that is intended on an address that is not loopback, too.
        allow_open: bool,
        /// What all callers together may send.
        limits: CallerLimits,
    },
    /// Callers have keys.
    Keys(Vec<CallerConfig>),
    /// Callers have tokens of an issuer.
    Jwt(JwtConfig),
}

/// One `system:action` of an `allow` list or of a token's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The system; `None` = `*`, every system.
    pub system: Option<SystemName>,
    /// The permission; `None` = `*`, every permission.
    pub permission: Option<Permission>,
}

impl Grant {
    /// Parses `system:action`, whether or not the system is configured.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (system, action) = text.split_once(':')?;
        let permission = match action {
            "*" => None,
            action => Some(Permission::parse(action)?),
        };
        let system = match system {
            "*" => None,
            system => Some(SystemName::parse(system)?),
        };
        Some(Self { system, permission })
    }
}

/// Something that a caller may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read records and operations.
    Read,
    /// Create records.
    Create,
    /// Change records.
    Update,
    /// Delete records.
    Delete,
    /// Read the ledger.
    Ledger,
    /// Find out what became of operations, and see the state of the gateway.
    Operate,
}

impl Permission {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Ledger => "ledger",
            Self::Operate => "operate",
        }
    }

    pub(super) fn parse(action: &str) -> Option<Self> {
        Some(match action {
            "read" => Self::Read,
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            "ledger" => Self::Ledger,
            "operate" => Self::Operate,
            _ => return None,
        })
    }
}

impl From<Action> for Permission {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => Self::Read,
            Action::Create => Self::Create,
            Action::Update => Self::Update,
            Action::Delete => Self::Delete,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Keys,
    Jwt,
    Open,
}

impl AccessConfig {
    /// `systems` are the names under `[systems]`, valid or not: naming a system that has an error
    /// is not an error.
    pub(super) fn read(table: TableReader<'_>, systems: &[&str]) -> Self {
        table.require(&[("mode", MODES)]);
        let mode: Option<Mode> = table.value("mode");
        let allow_open = table.value("allow_open").unwrap_or(false);
        let (callers, jwt) = (table.get("callers"), table.get("jwt"));
        let unused = match mode {
            Some(Mode::Open) => [callers.as_ref(), jwt.as_ref()],
            Some(Mode::Jwt) => [callers.as_ref(), None],
            Some(Mode::Keys) => [None, jwt.as_ref()],
            None => [None, None],
        };
        for value in unused.into_iter().flatten() {
            value.error("has no meaning in this mode", "another mode, or nothing here");
        }
        let limits = table.get("default_limits").map(|limits| CallerLimits::read(&limits)).unwrap_or_default();
        let access = match (mode, callers) {
            (Some(Mode::Open), _) => Self::Open { allow_open, limits },
            (Some(Mode::Jwt), _) => match read_jwt(&table, jwt.as_ref()) {
                Some(jwt) => Self::Jwt(JwtConfig { limits, ..jwt }),
                None => Self::Keys(Vec::new()),
            },
            (_, Some(callers)) => Self::Keys(read_callers(&callers, systems, limits)),
            (Some(Mode::Keys), None) => {
                table.require(&[("callers", CALLERS)]);
                Self::Keys(Vec::new())
            }
            (None, None) => Self::Keys(Vec::new()),
        };
        table.reject_unknown(|_| None);
        access
    }
}

fn read_jwt(table: &TableReader<'_>, jwt: Option<&SpannedValue<'_>>) -> Option<JwtConfig> {
    table.require(&[("jwt", JwtConfig::EXPECTED)]);
    JwtConfig::read(TableReader::of(jwt?, JwtConfig::EXPECTED)?)
}
