//! `[access]`: who may call, and what they may do.

use std::collections::BTreeMap;
use std::fmt;

use super::jwt::JwtConfig;
use super::reader::Entry;
use super::section::{Section, wrong_type};
use super::text::{Text, text};
use crate::record::{Action, CallerName, SystemName};

/// The name of everybody where access is open.
pub const ANONYMOUS: &str = "anonymous";
const MAX_NAME_LEN: usize = 128;
/// SHA-256 over nothing: what `printf '' | sha256sum` prints when a variable was not set.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessConfig {
    /// Everybody may do everything.
    Open {
        /// Whether that is wanted on an address that is not loopback, too.
        allow_open: bool,
    },
    /// Callers have keys.
    Keys(Vec<CallerConfig>),
    /// Callers have tokens of an issuer.
    Jwt(JwtConfig),
}

/// A caller with a key: `[[access.callers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerConfig {
    /// 1 to 128 visible ASCII characters; in ledger, operations and logs.
    pub name: CallerName,
    /// SHA-256 over the key's bytes.
    pub key_sha256: KeyDigest,
    /// What the caller may do; never empty.
    pub allow: Vec<Grant>,
}

/// SHA-256 over a caller's key. Not printed: a weak key can be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"…\"")
    }
}

/// One `system:action` word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where; `None` = `*`, every system.
    pub system: Option<SystemName>,
    /// What; `None` = `*`, everything.
    pub permission: Option<Permission>,
}

impl Grant {
    /// Reads a word, whether or not its system is configured.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let (system, action) = word.split_once(':')?;
        let right = match action {
            "*" => None,
            action => Some(Permission::parse(action)?),
        };
        let system = match system {
            "*" => None,
            system => Some(SystemName::parse(system)?),
        };
        Some(Self { system, permission: right })
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
}

impl Permission {
    /// Every right with its word.
    pub(super) const WORDS: [(&'static str, Self); 5] = [
        ("read", Self::Read),
        ("create", Self::Create),
        ("update", Self::Update),
        ("delete", Self::Delete),
        ("ledger", Self::Ledger),
    ];

    fn parse(action: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == action).map(|(_, right)| *right)
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

#[derive(Clone, Copy)]
enum Mode {
    Keys,
    Jwt,
    Open,
}

impl AccessConfig {
    /// `systems` are the names under `[systems]`, well-formed or not: a word about a system with a fault is no second fault.
    pub(super) fn read(mut section: Section<'_, '_>, systems: &[&str]) -> Self {
        let modes = [("keys", Mode::Keys), ("jwt", Mode::Jwt), ("open", Mode::Open)];
        let mode = section.word("mode", &modes);
        if !section.has("mode") {
            section.reader.missing(&section.place, "mode", "\"keys\", \"jwt\" or \"open\"");
        }
        let allow_open = section.boolean("allow_open", false);
        let (callers, jwt) = (section.entry("callers"), section.entry("jwt"));
        let unwanted = match mode {
            Some(Mode::Open) => [callers.as_ref(), jwt.as_ref()],
            Some(Mode::Jwt) => [callers.as_ref(), None],
            Some(Mode::Keys) => [None, jwt.as_ref()],
            None => [None, None],
        };
        for entry in unwanted.into_iter().flatten() {
            section.reader.fault(&entry.place, "has no meaning in this mode", "another mode, or nothing here");
        }
        let access = match (mode, callers) {
            (Some(Mode::Open), _) => Self::Open { allow_open },
            (Some(Mode::Jwt), _) => JwtConfig::read(&section, jwt).map_or_else(|| Self::Keys(Vec::new()), Self::Jwt),
            (_, Some(entry)) => Self::Keys(callers_of(&section, &entry, systems)),
            (Some(Mode::Keys), None) => {
                section.reader.missing(&section.place, "callers", CALLERS);
                Self::Keys(Vec::new())
            }
            (None, None) => Self::Keys(Vec::new()),
        };
        section.finish(|_| None);
        access
    }
}

const CALLERS: &str = "one [[access.callers]] or more";

fn callers_of(section: &Section<'_, '_>, entry: &Entry<'_>, systems: &[&str]) -> Vec<CallerConfig> {
    let reader = section.reader;
    let Some(elements) = entry.elements() else {
        wrong_type(reader, entry, CALLERS);
        return Vec::new();
    };
    if elements.is_empty() {
        reader.fault(&entry.place, "is empty", CALLERS);
    }
    let mut names = BTreeMap::new();
    let mut digests = BTreeMap::new();
    let mut callers = Vec::new();
    for element in elements {
        let path = element.place.path.clone();
        let Some(mut caller) = Section::of(reader, element, "a table") else { continue };
        let name = caller.required("name", NAME).and_then(|text| name(&caller, &text, &mut names, &path));
        let digest = caller.required("key_sha256", DIGEST).and_then(|text| digest(&caller, &text, &mut digests, &path));
        let allow = allow(&mut caller, systems);
        caller.finish(|_| None);
        if let (Some(name), Some(key_sha256), Some(allow)) = (name, digest, allow) {
            callers.push(CallerConfig { name, key_sha256, allow });
        }
    }
    callers
}

const NAME: &str = "1 to 128 visible ASCII characters, another name for each caller";

fn name(section: &Section<'_, '_>, text: &Text, seen: &mut BTreeMap<String, String>, path: &str) -> Option<CallerName> {
    let wrong = if text.value.len() > MAX_NAME_LEN || !text.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        "is not a name".to_owned()
    } else if text.value == ANONYMOUS {
        "is the name of everybody where access is open".to_owned()
    } else if let Some(other) = seen.insert(text.value.clone(), path.to_owned()) {
        format!("is the name of {other} as well")
    } else {
        return Some(CallerName(text.value.as_str().into()));
    };
    section.reader.fault(&text.place, wrong, NAME);
    None
}

const DIGEST: &str = "64 lower-case hexadecimal digits, as `records-gateway hash-key` prints them";

/// The faults do not show the value: it may be the key itself.
fn digest(
    section: &Section<'_, '_>,
    text: &Text,
    seen: &mut BTreeMap<KeyDigest, String>,
    path: &str,
) -> Option<KeyDigest> {
    let mut bytes = [0; 32];
    let is_lower = !text.value.bytes().any(|byte| byte.is_ascii_uppercase());
    let wrong = if !is_lower || const_hex::decode_to_slice(&text.value, &mut bytes).is_err() {
        "is not a SHA-256".to_owned()
    } else if text.value == EMPTY_SHA256 {
        "is the SHA-256 of an empty key".to_owned()
    } else if let Some(other) = seen.insert(KeyDigest(bytes), path.to_owned()) {
        format!("is the key of {other} as well")
    } else {
        return Some(KeyDigest(bytes));
    };
    section.reader.fault(&text.place, wrong, DIGEST);
    None
}

const ALLOW: &str = "a list of \"SYSTEM:ACTION\", such as [\"crm:read\", \"itsm:*\", \"*:read\"]";

fn allow(section: &mut Section<'_, '_>, systems: &[&str]) -> Option<Vec<Grant>> {
    let reader = section.reader;
    let Some(entry) = section.entry("allow") else {
        reader.missing(&section.place, "allow", ALLOW);
        return None;
    };
    let Some(elements) = entry.elements() else {
        wrong_type(reader, &entry, ALLOW);
        return None;
    };
    if elements.is_empty() {
        reader.fault(&entry.place, "is empty", ALLOW);
    }
    let words = elements.iter().filter_map(|element| allow_word(section, &text(reader, element, ALLOW)?, systems));
    Some(words.collect())
}

fn allow_word(section: &Section<'_, '_>, text: &Text, systems: &[&str]) -> Option<Grant> {
    let Some((system, action)) = text.value.split_once(':') else {
        section.reader.fault(&text.place, format!("{} is not a system and an action", text.shown()), ALLOW);
        return None;
    };
    let right = Permission::parse(action);
    if right.is_none() && action != "*" {
        let wrong = format!("{} names no known action", text.shown());
        section.reader.fault(&text.place, wrong, "read, create, update, delete, ledger or * after the colon");
        return None;
    }
    if system == "*" {
        return Some(Grant { system: None, permission: right });
    }
    if !systems.contains(&system) {
        let wrong = format!("{} names a system that is not configured", text.shown());
        section.reader.fault(&text.place, wrong, format!("{} or * before the colon", systems.join(", ")));
        return None;
    }
    Some(Grant { system: Some(SystemName::parse(system)?), permission: right })
}
