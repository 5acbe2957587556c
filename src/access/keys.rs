//! Authentication by key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use subtle::ConstantTimeEq;

use super::principal::Principal;
use super::quota::CallerQuota;
use crate::config::{self, CallerConfig, CallerLimits, Grant, KeyDigest};
use crate::record::{CallerName, sha256};

/// The use of keys is recorded to the minute.
const MINUTE: u64 = 60;

/// Authenticates the callers of a configuration by their keys.
#[derive(Debug)]
pub struct ApiKeyAuth {
    anonymous: Option<Arc<Principal>>,
    callers: Vec<KeyedCaller>,
    keys: Vec<ApiKey>,
}

/// A configured caller, without its keys.
#[derive(Debug)]
struct KeyedCaller {
    principal: Arc<Principal>,
    key_ids: Vec<String>,
    not_after: Option<SystemTime>,
    last_used: Arc<LastUse>,
}

/// A caller's key. Once a request has shown the key, its BLAKE3 hash is cached: comparing that
/// costs a quarter of the work.
struct ApiKey {
    key_sha256: KeyDigest,
    blake3_cache: OnceLock<blake3::Hash>,
    not_after: Option<SystemTime>,
    principal: Arc<Principal>,
    last_used: Arc<LastUse>,
}

/// Prints neither digest.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ApiKey").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Why a key does not authenticate a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No caller has it.
    Unknown,
    /// Its `not_after` has passed.
    Expired,
}

/// A configured caller as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerStatus {
    /// The configured name.
    pub name: CallerName,
    /// The first eight digits of each key's SHA-256, in the order of the configuration.
    pub key_ids: Vec<String>,
    /// When the last of its keys expires; `None` if one of them never does.
    pub not_after: Option<SystemTime>,
    /// The minute of its last authenticated request to this process.
    pub last_used: Option<SystemTime>,
}

/// The minutes since 1970 of the last use; 0 = never.
#[derive(Debug, Default)]
struct LastUse(AtomicU64);

impl LastUse {
    fn record(&self, now: SystemTime) {
        let minute = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / MINUTE);
        // Workers share the line of the cache, so it is written once a minute.
        if self.0.load(Ordering::Relaxed) != minute {
            self.0.store(minute, Ordering::Relaxed);
        }
    }

    fn get(&self) -> Option<SystemTime> {
        let minute = Some(self.0.load(Ordering::Relaxed)).filter(|minute| *minute > 0)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(minute * MINUTE))
    }
}

impl ApiKeyAuth {
    /// Open access: every caller is anonymous and has every permission; all share these limits.
    #[must_use]
    pub fn new_open(limits: CallerLimits) -> Self {
        let everything = [Grant { system: None, permission: None }];
        let anonymous = Principal::new(CallerName(config::ANONYMOUS.into()), &everything);
        let anonymous = anonymous.with_quota(CallerQuota::new(limits));
        Self { anonymous: Some(Arc::new(anonymous)), callers: Vec::new(), keys: Vec::new() }
    }

    /// Access with the keys of these callers.
    #[must_use]
    pub fn with_keys(callers: &[CallerConfig]) -> Self {
        Self::replacing(None, callers)
    }

    /// The same after a change of the configuration. A caller of the same name keeps what it has
    /// used of unchanged limits.
    #[must_use]
    pub fn replacing(former: Option<&Self>, callers: &[CallerConfig]) -> Self {
        let known = |name: &CallerName| former?.callers.iter().find(|caller| caller.principal.name() == name);
        let mut access = Self { anonymous: None, callers: Vec::new(), keys: Vec::new() };
        for config in callers {
            let known = known(&config.name);
            let quota = known.and_then(|known| known.principal.quota());
            let quota = match quota.filter(|quota| quota.limits() == config.limits) {
                Some(quota) => Some(Arc::clone(quota)),
                None => CallerQuota::new(config.limits),
            };
            let principal = Principal::new(config.name.clone(), &config.allow);
            let principal = Arc::new(principal.with_quota(quota).with_weight(config.weight));
            let last_used = known.map(|known| Arc::clone(&known.last_used)).unwrap_or_default();
            access.add(config, principal, last_used);
        }
        access
    }

    fn add(&mut self, config: &CallerConfig, principal: Arc<Principal>, last_used: Arc<LastUse>) {
        self.keys.extend(config.keys.iter().map(|key| ApiKey {
            key_sha256: key.digest,
            blake3_cache: OnceLock::new(),
            not_after: key.not_after,
            principal: Arc::clone(&principal),
            last_used: Arc::clone(&last_used),
        }));
        let ends: Option<Vec<SystemTime>> = config.keys.iter().map(|key| key.not_after).collect();
        let key_id = |key: &config::CallerKey| const_hex::encode(key.digest.0).chars().take(8).collect();
        self.callers.push(KeyedCaller {
            principal,
            key_ids: config.keys.iter().map(key_id).collect(),
            not_after: ends.and_then(|ends| ends.into_iter().max()),
            last_used,
        });
    }

    /// The principal of every caller where access is open; then keys are not checked.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<Principal>> {
        self.anonymous.clone()
    }

    /// The principal of a caller by its name, as it is configured now.
    #[must_use]
    pub fn principal(&self, name: &CallerName) -> Option<Arc<Principal>> {
        let configured = self.callers.iter().find(|caller| caller.principal.name() == name);
        self.anonymous
            .clone()
            .filter(|caller| caller.name() == name)
            .or_else(|| Some(Arc::clone(&configured?.principal)))
    }

    /// The configured callers, in the order of the configuration.
    #[must_use]
    pub fn callers(&self) -> Vec<CallerStatus> {
        let status = |caller: &KeyedCaller| CallerStatus {
            name: caller.principal.name().clone(),
            key_ids: caller.key_ids.clone(),
            not_after: caller.not_after,
            last_used: caller.last_used.get(),
        };
        self.callers.iter().map(status).collect()
    }

    /// The caller with this key (the text after `Bearer `), or the anonymous caller where access is
    /// open.
    ///
    /// Digests are compared in constant time, so that the duration reveals nothing about other
    /// keys.
    ///
    /// # Errors
    /// A key that no caller has, or that has expired.
    pub fn authenticate(&self, bearer: &str) -> Result<Arc<Principal>, KeyError> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(Arc::clone(anonymous));
        }
        let key = self.find(bearer).ok_or(KeyError::Unknown)?;
        let now = SystemTime::now();
        if key.not_after.is_some_and(|end| now > end) {
            return Err(KeyError::Expired);
        }
        key.last_used.record(now);
        Ok(Arc::clone(&key.principal))
    }

    fn find(&self, bearer: &str) -> Option<&ApiKey> {
        // BLAKE3 hashes compare in constant time.
        let hash = blake3::hash(bearer.as_bytes());
        if let Some(cached) = self.keys.iter().find(|key| key.blake3_cache.get() == Some(&hash)) {
            return Some(cached);
        }
        let digest = sha256([bearer.as_bytes()]);
        let mut found = None;
        for key in &self.keys {
            if key.key_sha256.0.ct_eq(&digest).into() {
                found = Some(key);
            }
        }
        // A concurrent request may have set it first.
        let _ = found.map(|key| key.blake3_cache.set(hash));
        found
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::config::{CallerKey, Permission};
    use crate::record::SystemName;

    fn caller(name: &str, key: &str, allow: &[(Option<&str>, Option<Permission>)]) -> config::CallerConfig {
        let grant = |(system, permission): &(Option<&str>, Option<Permission>)| Grant {
            system: system.and_then(SystemName::parse),
            permission: *permission,
        };
        config::CallerConfig {
            name: CallerName(name.into()),
            keys: vec![CallerKey { digest: KeyDigest(sha256([key.as_bytes()])), not_after: None }],
            allow: allow.iter().map(grant).collect(),
            limits: CallerLimits::default(),
            weight: NonZeroU16::MIN,
        }
    }

    fn access() -> ApiKeyAuth {
        ApiKeyAuth::with_keys(&[
            caller(
                "billing",
                "key-one",
                &[(Some("crm"), Some(Permission::Read)), (Some("crm"), Some(Permission::Update))],
            ),
            caller("auditor", "key-two", &[(None, Some(Permission::Ledger)), (Some("itsm"), None)]),
        ])
    }

    #[test]
    fn a_key_identifies_its_caller_and_any_other_key_is_rejected() {
        let access = access();
        assert_eq!(access.authenticate("key-one").unwrap().name().0.as_ref(), "billing");
        for _ in 0..2 {
            assert_eq!(access.authenticate("key-two").unwrap().name().0.as_ref(), "auditor");
        }
        for stranger in ["", "key-on", "key-one ", "KEY-ONE", "key-three"] {
            assert_eq!(access.authenticate(stranger).err(), Some(KeyError::Unknown), "{stranger:?}");
        }
        assert!(access.anonymous().is_none());
    }

    #[test]
    fn permissions_apply_only_to_the_granted_systems_and_actions() {
        let billing = access().authenticate("key-one").unwrap();
        assert!(billing.can("crm", Permission::Read));
        assert!(billing.can("crm", crate::record::Action::Update));
        assert!(!billing.can("crm", Permission::Delete));
        assert!(!billing.can("itsm", Permission::Read));
    }

    #[test]
    fn wildcards_grant_every_system_or_every_action() {
        let auditor = access().authenticate("key-two").unwrap();
        assert!(auditor.can("crm", Permission::Ledger));
        assert!(!auditor.can("crm", Permission::Read));
        assert!(auditor.can("itsm", Permission::Delete));
        assert!(auditor.can("itsm", Permission::Create));
    }

    #[test]
    fn open_access_gives_anonymous_every_permission() {
        let open = ApiKeyAuth::new_open(CallerLimits::default());
        let anyone = open.authenticate("whatever").unwrap();
        assert_eq!(anyone.name().0.as_ref(), "anonymous");
        assert!(anyone.can("crm", Permission::Ledger));
        assert!(open.anonymous().is_some());
    }

    #[test]
    fn neither_keys_nor_their_digests_are_printed() {
        let shown = format!("{:?}", access());
        assert!(shown.contains("billing"));
        assert!(!shown.contains(&const_hex::encode(sha256([&b"key-one"[..]]))));
        assert!(!shown.contains("[0, ") && !shown.contains(", 0"), "{shown}");
    }

    #[test]
    fn an_expired_key_is_another_error_than_an_unknown_one() {
        let key = |key: &str, not_after| CallerKey { digest: KeyDigest(sha256([key.as_bytes()])), not_after };
        let now = SystemTime::now();
        let (past, future) = (now - Duration::from_secs(1), now + Duration::from_hours(1));
        let mut billing = caller("billing", "", &[(None, None)]);
        billing.keys = vec![key("old", Some(past)), key("next", Some(future)), key("new", None)];
        let access = ApiKeyAuth::with_keys(&[billing]);
        assert_eq!(access.callers()[0].last_used, None);
        let expected = [("old", Some(KeyError::Expired)), ("next", None), ("new", None)];
        for (key, error) in expected.into_iter().chain(expected) {
            assert_eq!(access.authenticate(key).err(), error, "{key}");
        }
        let status = &access.callers()[0];
        assert_eq!((status.key_ids.len(), status.not_after), (3, None));
        let used = status.last_used.expect("used");
        assert!(used <= SystemTime::now() && now.duration_since(used).is_ok_and(|since| since.as_secs() < 60));
    }

    #[test]
    fn a_reload_keeps_what_a_caller_has_used() {
        let limits = |rate| CallerLimits { rate, burst: 1, in_flight: 0 };
        let config = |rate| config::CallerConfig { limits: limits(rate), ..caller("a", "key", &[(None, None)]) };
        let first = ApiKeyAuth::with_keys(&[config(1)]);
        let admit = |access: &ApiKeyAuth| access.authenticate("key").unwrap().admit().is_ok();
        assert_eq!([admit(&first), admit(&first)], [true, false]);
        let second = ApiKeyAuth::replacing(Some(&first), &[config(1)]);
        assert!(!admit(&second) && second.callers()[0].last_used.is_some());
        let other_limits = ApiKeyAuth::replacing(Some(&second), &[config(2)]);
        assert!(admit(&other_limits));
    }
}
