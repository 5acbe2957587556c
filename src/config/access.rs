//! `[access]`: who may call, and what each caller may do.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

use super::jwt::JwtConfig;
use super::spanned_value::SpannedValue;
use super::table_reader::TableReader;
use crate::record::{Action, CallerName, SystemName};

/// The name of every caller where access is open.
pub const ANONYMOUS: &str = "anonymous";
const MAX_NAME_LEN: usize = 128;
/// SHA-256 of nothing: what `printf '' | sha256sum` prints when a variable was not set.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const MODES: &str = "\"keys\", \"jwt\" or \"open\"";
const CALLERS: &str = "one [[access.callers]] or more";
const NAME: &str = "1 to 128 visible ASCII characters, another name for each caller";
const DIGEST: &str = "64 lower-case hexadecimal digits, as `records-gateway hash-key` prints them";
const ALLOW: &str = "a list of \"SYSTEM:ACTION\", such as [\"crm:read\", \"itsm:*\", \"*:read\"]";

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessConfig {
    /// Every caller may do everything.
    Open {
        /// Whether that is intended on an address that is not loopback, too.
        allow_open: bool,
    },
    /// Callers have keys.
    Keys(Vec<CallerConfig>),
    /// Callers have tokens of an issuer.
    Jwt(JwtConfig),
}

/// A caller with a key: `[[access.callers]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CallerConfig {
    /// 1 to 128 visible ASCII characters; in ledger, operations and logs.
    #[serde(deserialize_with = "caller_name")]
    pub name: CallerName,
    /// SHA-256 of the key's bytes.
    pub key_sha256: KeyDigest,
    /// What the caller may do; never empty.
    #[serde(skip)]
    pub allow: Vec<Grant>,
}

/// SHA-256 of a caller's key. Not printed: a weak key can be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"…\"")
    }
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
    /// Settle and resolve operations, and see the state of the gateway.
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

    fn parse(action: &str) -> Option<Self> {
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
        let access = match (mode, callers) {
            (Some(Mode::Open), _) => Self::Open { allow_open },
            (Some(Mode::Jwt), _) => read_jwt(&table, jwt.as_ref()).map_or_else(|| Self::Keys(Vec::new()), Self::Jwt),
            (_, Some(callers)) => Self::Keys(read_callers(&callers, systems)),
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

fn read_callers(callers: &SpannedValue<'_>, systems: &[&str]) -> Vec<CallerConfig> {
    let (mut names, mut digests) = (BTreeMap::new(), BTreeMap::new());
    let read_caller = |element: SpannedValue<'_>| {
        let table = TableReader::of(&element, "a table")?;
        table.require(&[("name", NAME), ("key_sha256", DIGEST), ("allow", ALLOW)]);
        let allow = table.get("allow").map(|list| read_grants(&list, systems));
        let caller: Option<CallerConfig> = table.read();
        if let Some(CallerConfig { name, key_sha256, .. }) = &caller {
            let at = &element.at.path;
            if let Some(other) = names.insert(name.0.to_string(), at.clone()) {
                table.error("name", format!("is the name of {other} as well"), NAME);
            }
            if let Some(other) = digests.insert(*key_sha256, at.clone()) {
                table.error("key_sha256", format!("is the key of {other} as well"), DIGEST);
            }
        }
        table.reject_unknown(|_| None);
        Some(CallerConfig { allow: allow?, ..caller? })
    };
    callers.elements(CALLERS).into_iter().flatten().filter_map(read_caller).collect()
}

fn caller_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CallerName, D::Error> {
    let text = String::deserialize(deserializer)?;
    let message = if !(1..=MAX_NAME_LEN).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "is not a name"
    } else if text == ANONYMOUS {
        "is the name of every caller where access is open"
    } else {
        return Ok(CallerName(text.into()));
    };
    Err(D::Error::invalid_value(Unexpected::Other(message), &NAME))
}

impl<'de> Deserialize<'de> for KeyDigest {
    /// The errors do not show the value: it may be the key itself.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let message = if !is_lower || const_hex::decode_to_slice(&text, &mut bytes).is_err() {
            "is not a SHA-256"
        } else if text == EMPTY_SHA256 {
            "is the SHA-256 of an empty key"
        } else {
            return Ok(Self(bytes));
        };
        Err(D::Error::invalid_value(Unexpected::Other(message), &DIGEST))
    }
}

fn read_grants(list: &SpannedValue<'_>, systems: &[&str]) -> Vec<Grant> {
    list.elements(ALLOW).into_iter().flatten().filter_map(|element| read_grant(&element, systems)).collect()
}

fn read_grant(element: &SpannedValue<'_>, systems: &[&str]) -> Option<Grant> {
    let text: String = element.read()?;
    let shown = element.display_redacted();
    let Some((system, action)) = text.split_once(':') else {
        element.error(format!("{shown} is not a system and an action"), ALLOW);
        return None;
    };
    if action != "*" && Permission::parse(action).is_none() {
        let expected = "read, create, update, delete, ledger or * after the colon";
        element.error(format!("{shown} names no known action"), expected);
        return None;
    }
    if system != "*" && !systems.contains(&system) {
        let expected = format!("{} or * before the colon", systems.join(", "));
        element.error(format!("{shown} names a system that is not configured"), expected);
        return None;
    }
    Grant::parse(&text)
}
