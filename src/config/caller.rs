//! `[[access.callers]]`: callers with keys, and the limits of callers.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::time::SystemTime;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

use super::grant::{Grant, Permission};
use super::spanned_value::SpannedValue;
use super::table_reader::TableReader;
use crate::bounded;
use crate::record::{CallerName, parse_time};

/// The name of every caller where access is open.
pub const ANONYMOUS: &str = "anonymous";

const MAX_NAME_LEN: usize = 128;
const MAX_WEIGHT: u32 = 1000;
/// SHA-256 of nothing: what `printf '' | sha256sum` prints when a variable was not set.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) const CALLERS: &str = "one [[access.callers]] or more";
const NAME: &str = "1 to 128 visible ASCII characters, another name for each caller";
const DIGEST: &str = "64 lower-case hexadecimal digits, as `records-gateway hash-key` prints them";
const ALLOW: &str = "a list of \"SYSTEM:ACTION\", such as [\"crm:read\", \"itsm:*\", \"*:read\"]";
const KEYS: &str = "a digest, { sha256 = \"DIGEST\", not_after = \"RFC 3339\" }, or a list of these";
const NOT_AFTER: &str = "a time of RFC 3339, such as \"2027-03-31T00:00:00Z\"";
const LIMITS: &str = "a table such as { rate = 50, burst = 100, in_flight = 32 }";

/// A caller with keys: `[[access.callers]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerConfig {
    /// 1 to 128 visible ASCII characters; in ledger, operations and logs.
    pub name: CallerName,
    /// Its keys, never none: several while one is replaced by another.
    pub keys: Vec<CallerKey>,
    /// What the caller may do; never empty.
    pub allow: Vec<Grant>,
    /// Its limits: its own or the default ones.
    pub limits: CallerLimits,
    /// Its share of a congested vendor beside the other callers. Default 1.
    pub weight: NonZeroU16,
}

/// One key of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    /// SHA-256 of the key's bytes.
    pub digest: KeyDigest,
    /// When the key stops being accepted; `None` = never.
    pub not_after: Option<SystemTime>,
}

/// SHA-256 of a caller's key. Not printed: a weak key can be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"…\"")
    }
}

/// What a caller may send: `limits` and `default_limits`. 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CallerLimits {
    /// Requests per second in the long run, 0 to 1000000. Default 0.
    #[serde(deserialize_with = "bounded::integer::<0, 1_000_000, _, _>")]
    pub rate: u32,
    /// Requests at once after a pause, 0 to 1000000. Default: `rate`.
    #[serde(deserialize_with = "bounded::integer::<0, 1_000_000, _, _>")]
    pub burst: u32,
    /// Requests in flight at once, 0 to 65536. Default 0.
    #[serde(deserialize_with = "bounded::integer::<0, 65_536, _, _>")]
    pub in_flight: u32,
}

impl CallerLimits {
    pub(super) fn read(value: &SpannedValue<'_>) -> Self {
        let Some(table) = TableReader::of(value, LIMITS) else { return Self::default() };
        let limits: Self = table.read().unwrap_or_default();
        if limits.rate == 0 && limits.burst > 0 {
            table.error("burst", "limits nothing without a rate", "a rate beside it, or no burst");
        }
        table.reject_unknown(|_| None);
        limits
    }
}

/// The members that serde reads.
#[derive(Deserialize)]
struct CallerFields {
    #[serde(deserialize_with = "caller_name")]
    name: CallerName,
    #[serde(default = "default_weight", deserialize_with = "bounded::integer::<1, MAX_WEIGHT, _, _>")]
    weight: u16,
}

fn default_weight() -> u16 {
    1
}

/// Reads every caller. `systems` are the names under `[systems]`.
pub(super) fn read_callers(callers: &SpannedValue<'_>, systems: &[&str], default: CallerLimits) -> Vec<CallerConfig> {
    let (mut names, mut digests) = (BTreeMap::new(), BTreeMap::new());
    let read_caller = |element: SpannedValue<'_>| {
        let table = TableReader::of(&element, "a table")?;
        table.require(&[("name", NAME), ("key_sha256", DIGEST), ("allow", ALLOW)]);
        let allow = table.get("allow").map(|list| read_grants(&list, systems));
        let keys = table.get("key_sha256").map(|keys| read_keys(&keys, &element.at.path, &mut digests));
        let limits = table.get("limits").map_or(default, |limits| CallerLimits::read(&limits));
        let caller: Option<CallerFields> = table.read();
        if let Some(CallerFields { name, .. }) = &caller
            && let Some(other) = names.insert(name.0.to_string(), element.at.path.clone())
        {
            table.error("name", format!("is the name of {other} as well"), NAME);
        }
        table.reject_unknown(|_| None);
        let CallerFields { name, weight } = caller?;
        let weight = NonZeroU16::new(weight).unwrap_or(NonZeroU16::MIN);
        Some(CallerConfig { name, keys: keys?, allow: allow?, limits, weight })
    };
    callers.elements(CALLERS).into_iter().flatten().filter_map(read_caller).collect()
}

/// Reads one key or a list of keys. `digests` has those read before, with the path of their caller.
fn read_keys(value: &SpannedValue<'_>, caller: &str, digests: &mut BTreeMap<KeyDigest, String>) -> Vec<CallerKey> {
    let values = if value.value.is_array() { value.elements(KEYS).unwrap_or_default() } else { vec![value.clone()] };
    let mut keys = Vec::new();
    for value in &values {
        let Some(key) = read_key(value) else { continue };
        match digests.insert(key.digest, caller.to_owned()) {
            Some(other) => value.error(format!("is the key of {other} as well"), DIGEST),
            None => keys.push(key),
        }
    }
    keys
}

fn read_key(value: &SpannedValue<'_>) -> Option<CallerKey> {
    let Some(table) = value.value.as_table().filter(|table| table.contains_key("sha256")) else {
        return Some(CallerKey { digest: value.read()?, not_after: None });
    };
    let has_end = table.contains_key("not_after");
    let table = TableReader::of(value, KEYS)?;
    let digest = table.value("sha256");
    let not_after: Option<EndTime> = table.value("not_after");
    table.reject_unknown(|_| None);
    if has_end && not_after.is_none() {
        return None;
    }
    Some(CallerKey { digest: digest?, not_after: not_after.map(|end| end.0) })
}

struct EndTime(SystemTime);

impl<'de> Deserialize<'de> for EndTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text)
            .map(|time| Self(time.into()))
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Other("is not a time with a zone"), &NOT_AFTER))
    }
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
        let expected = "read, create, update, delete, ledger, operate or * after the colon";
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
