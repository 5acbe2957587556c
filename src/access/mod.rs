//! Authentication of callers by key or token, and their permissions.

mod jwks;
mod jwks_cache;
mod jwt;
mod jwt_crypto;

use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

pub use crate::config::Permission;
use crate::config::{self, Grant, KeyDigest};
use crate::record::{CallerName, CallerShare, SystemName, sha256};

pub use jwks_cache::JwksSource;
pub use jwt::{AuthError, JwtVerifier};

/// Authenticates the callers of a configuration by their keys.
#[derive(Debug)]
pub struct ApiKeyAuth {
    anonymous: Option<Arc<Principal>>,
    keys: Vec<ApiKey>,
}

/// A caller's key. Once a request has shown the key, its BLAKE3 hash is cached: comparing that
/// costs a quarter of the work.
struct ApiKey {
    key_sha256: KeyDigest,
    blake3_cache: OnceLock<blake3::Hash>,
    principal: Arc<Principal>,
}

/// Prints neither digest.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ApiKey").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// An authenticated caller with its permissions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "StoredPrincipal", into = "StoredPrincipal")]
pub struct Principal {
    name: CallerName,
    share: CallerShare,
    everywhere: PermissionSet,
    by_system: Vec<(SystemName, PermissionSet)>,
}

impl ApiKeyAuth {
    /// Open access: every caller is anonymous and has every permission.
    #[must_use]
    pub fn new_open() -> Self {
        let everything = [Grant { system: None, permission: None }];
        let anonymous = Principal::new(CallerName(config::ANONYMOUS.into()), &everything);
        Self { anonymous: Some(Arc::new(anonymous)), keys: Vec::new() }
    }

    /// Access with one of these keys.
    #[must_use]
    pub fn with_keys(callers: &[config::CallerConfig]) -> Self {
        let api_key = |caller: &config::CallerConfig| ApiKey {
            key_sha256: caller.key_sha256,
            blake3_cache: OnceLock::new(),
            principal: Arc::new(Principal::new(caller.name.clone(), &caller.allow)),
        };
        Self { anonymous: None, keys: callers.iter().map(api_key).collect() }
    }

    /// The principal of every caller where access is open; then keys are not checked.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<Principal>> {
        self.anonymous.clone()
    }

    /// The caller with this key (the text after `Bearer `), or the anonymous caller where access is
    /// open.
    ///
    /// Digests are compared in constant time, so that the duration reveals nothing about other
    /// keys.
    #[must_use]
    pub fn authenticate(&self, bearer: &str) -> Option<Arc<Principal>> {
        if let Some(anonymous) = &self.anonymous {
            return Some(Arc::clone(anonymous));
        }
        // BLAKE3 hashes compare in constant time.
        let hash = blake3::hash(bearer.as_bytes());
        if let Some(cached) = self.keys.iter().find(|key| key.blake3_cache.get() == Some(&hash)) {
            return Some(Arc::clone(&cached.principal));
        }
        let digest = sha256([bearer.as_bytes()]);
        let mut found = None;
        for key in &self.keys {
            if key.key_sha256.0.ct_eq(&digest).into() {
                found = Some(key);
            }
        }
        found.map(|key| {
            // A concurrent request may have set it first.
            let _ = key.blake3_cache.set(hash);
            Arc::clone(&key.principal)
        })
    }
}

impl Principal {
    fn new(name: CallerName, grants: &[Grant]) -> Self {
        let share = CallerShare::new(&name, NonZeroU16::MIN);
        let mut principal = Self { name, share, everywhere: PermissionSet::default(), by_system: Vec::new() };
        for Grant { system, permission } in grants {
            let added = permission.map_or(PermissionSet::ALL, PermissionSet::from_permission);
            match system {
                None => principal.everywhere.add(added),
                Some(system) => match principal.by_system.iter_mut().find(|(name, _)| name == system) {
                    Some((_, set)) => set.add(added),
                    None => principal.by_system.push((system.clone(), added)),
                },
            }
        }
        principal
    }

    /// The caller's name.
    #[must_use]
    pub fn name(&self) -> &CallerName {
        &self.name
    }

    /// Its share of a congested vendor.
    #[must_use]
    pub fn share(&self) -> CallerShare {
        self.share
    }

    /// Whether the caller has any permission for that system.
    #[must_use]
    pub fn can_anything(&self, system: &str) -> bool {
        let anything = |set: PermissionSet| set.has(PermissionSet::ALL);
        anything(self.everywhere) || self.by_system.iter().any(|(name, set)| name.as_str() == system && anything(*set))
    }

    /// Whether the caller has this permission for that system.
    #[must_use]
    pub fn can(&self, system: &str, permission: impl Into<Permission>) -> bool {
        let needed = PermissionSet::from_permission(permission.into());
        let here = self.by_system.iter().find(|(name, _)| name.as_str() == system).map(|(_, set)| *set);
        self.everywhere.has(needed) || here.is_some_and(|set| set.has(needed))
    }
}

/// A [`Principal`] as an asynchronous batch keeps it: what it may do when the batch is accepted.
#[derive(Serialize, Deserialize)]
struct StoredPrincipal {
    name: String,
    weight: NonZeroU16,
    everywhere: PermissionSet,
    by_system: Vec<(String, PermissionSet)>,
}

impl From<Principal> for StoredPrincipal {
    fn from(principal: Principal) -> Self {
        let by_system = principal.by_system.into_iter().map(|(name, set)| (name.as_str().to_owned(), set)).collect();
        let (name, weight) = (principal.name.0.to_string(), principal.share.weight);
        Self { name, weight, everywhere: principal.everywhere, by_system }
    }
}

impl From<StoredPrincipal> for Principal {
    fn from(stored: StoredPrincipal) -> Self {
        let name = CallerName(stored.name.into());
        let known = |(name, set): (String, PermissionSet)| Some((SystemName::parse(&name)?, set));
        let by_system = stored.by_system.into_iter().filter_map(known).collect();
        Self { share: CallerShare::new(&name, stored.weight), name, everywhere: stored.everywhere, by_system }
    }
}

/// A set of permissions, one bit each.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct PermissionSet(u8);

impl PermissionSet {
    const ALL: Self = Self(u8::MAX);

    fn from_permission(permission: Permission) -> Self {
        Self(match permission {
            Permission::Read => 1,
            Permission::Create => 2,
            Permission::Update => 4,
            Permission::Delete => 8,
            Permission::Ledger => 16,
        })
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn has(self, needed: Self) -> bool {
        self.0 & needed.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, key: &str, allow: &[(Option<&str>, Option<Permission>)]) -> config::CallerConfig {
        let grant = |(system, permission): &(Option<&str>, Option<Permission>)| Grant {
            system: system.and_then(SystemName::parse),
            permission: *permission,
        };
        config::CallerConfig {
            name: CallerName(name.into()),
            key_sha256: KeyDigest(sha256([key.as_bytes()])),
            allow: allow.iter().map(grant).collect(),
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
            assert!(access.authenticate(stranger).is_none(), "{stranger:?}");
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
        let open = ApiKeyAuth::new_open();
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
}
