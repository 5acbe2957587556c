//! Who a caller is, by the key or the token they send, and what they may do.

mod jwks;
mod jwks_cache;
mod jwt;
mod jwt_crypto;

use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq;

use crate::config::{self, Grant, KeyDigest, Permission};
use crate::record::{CallerName, SystemName, sha256};

pub use jwks_cache::JwksSource;
pub use jwt::{AuthError, JwtVerifier};

/// The callers of a configuration who have keys, ready to be asked for.
#[derive(Debug)]
pub struct ApiKeyAuth {
    anonymous: Option<Arc<Principal>>,
    keys: Vec<ApiKey>,
}

/// A caller with the digest of its key. Once the key has been shown its BLAKE3 is known, too, which takes a quarter of the work.
struct ApiKey {
    key_sha256: KeyDigest,
    blake3_cache: OnceLock<blake3::Hash>,
    principal: Arc<Principal>,
}

/// Neither digest.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyHolder").field("rights", &self.principal).finish_non_exhaustive()
    }
}

/// A caller who is known, with what they may do.
#[derive(Debug)]
pub struct Principal {
    name: CallerName,
    everywhere: PermissionSet,
    by_system: Vec<(SystemName, PermissionSet)>,
}

impl ApiKeyAuth {
    /// Everybody, with every right.
    #[must_use]
    pub fn new_open() -> Self {
        let everything = [Grant { system: None, permission: None }];
        let anonymous = Principal::new(CallerName(config::ANONYMOUS.into()), &everything);
        Self { anonymous: Some(Arc::new(anonymous)), keys: Vec::new() }
    }

    /// Those who have one of these keys.
    #[must_use]
    pub fn with_keys(callers: &[config::CallerConfig]) -> Self {
        let holder = |caller: &config::CallerConfig| ApiKey {
            key_sha256: caller.key_sha256,
            blake3_cache: OnceLock::new(),
            principal: Arc::new(Principal::new(caller.name.clone(), &caller.allow)),
        };
        Self { anonymous: None, keys: callers.iter().map(holder).collect() }
    }

    /// Everybody's rights, where access is open: then no key is looked at.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<Principal>> {
        self.anonymous.clone()
    }

    /// The caller who has this key (what stands after `Bearer `), or everybody where access is open.
    ///
    /// Digests are compared to their ends, so that the time taken tells nothing about any key that was not shown.
    #[must_use]
    pub fn authenticate(&self, bearer: &str) -> Option<Arc<Principal>> {
        if let Some(anonymous) = &self.anonymous {
            return Some(Arc::clone(anonymous));
        }
        // Hashes of this kind compare in constant time.
        let shown = blake3::hash(bearer.as_bytes());
        if let Some(known) = self.keys.iter().find(|holder| holder.blake3_cache.get() == Some(&shown)) {
            return Some(Arc::clone(&known.principal));
        }
        let digest = sha256([bearer.as_bytes()]);
        let mut found = None;
        for holder in &self.keys {
            if holder.key_sha256.0.ct_eq(&digest).into() {
                found = Some(holder);
            }
        }
        found.map(|holder| {
            // Whoever comes second finds it set.
            let _ = holder.blake3_cache.set(shown);
            Arc::clone(&holder.principal)
        })
    }
}

impl Principal {
    fn new(name: CallerName, allow: &[Grant]) -> Self {
        let mut rights = Self { name, everywhere: PermissionSet::default(), by_system: Vec::new() };
        for Grant { system, permission: right } in allow {
            let added = right.map_or(PermissionSet::ALL, PermissionSet::from_permission);
            match system {
                None => rights.everywhere.add(added),
                Some(system) => match rights.by_system.iter_mut().find(|(name, _)| name == system) {
                    Some((_, set)) => set.add(added),
                    None => rights.by_system.push((system.clone(), added)),
                },
            }
        }
        rights
    }

    /// The caller's name.
    #[must_use]
    pub fn name(&self) -> &CallerName {
        &self.name
    }

    /// Whether the caller may do this in that system.
    #[must_use]
    pub fn can(&self, system: &str, right: impl Into<Permission>) -> bool {
        let wanted = PermissionSet::from_permission(right.into());
        let here = self.by_system.iter().find(|(name, _)| name.as_str() == system).map(|(_, set)| *set);
        self.everywhere.has(wanted) || here.is_some_and(|set| set.has(wanted))
    }
}

/// A set of rights, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct PermissionSet(u8);

impl PermissionSet {
    const ALL: Self = Self(u8::MAX);

    fn from_permission(right: Permission) -> Self {
        Self(match right {
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

    fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, key: &str, allow: &[(Option<&str>, Option<Permission>)]) -> config::CallerConfig {
        let word = |(system, right): &(Option<&str>, Option<Permission>)| Grant {
            system: system.and_then(SystemName::parse),
            permission: *right,
        };
        config::CallerConfig {
            name: CallerName(name.into()),
            key_sha256: KeyDigest(sha256([key.as_bytes()])),
            allow: allow.iter().map(word).collect(),
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
    fn a_key_identifies_its_caller_and_any_other_key_nobody() {
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
