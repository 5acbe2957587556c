//! Who a caller is, by the key or the token they send, and what they may do.

mod jwks;
mod key_store;
mod ring;
mod tokens;

use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq;

use crate::config::{self, Allow, KeyDigest, Right};
use crate::record::{CallerName, SystemName, sha256};

pub use key_store::KeySource;
pub use tokens::{Refusal, Tokens};

/// The callers of a configuration who have keys, ready to be asked for.
#[derive(Debug)]
pub struct Access {
    open: Option<Arc<CallerRights>>,
    callers: Vec<KeyHolder>,
}

/// A caller with the digest of its key. Once the key has been shown its BLAKE3 is known, too, which takes a quarter of the work.
struct KeyHolder {
    key_sha256: KeyDigest,
    shown: OnceLock<blake3::Hash>,
    rights: Arc<CallerRights>,
}

/// Neither digest.
impl std::fmt::Debug for KeyHolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyHolder").field("rights", &self.rights).finish_non_exhaustive()
    }
}

/// A caller who is known, with what they may do.
#[derive(Debug)]
pub struct CallerRights {
    name: CallerName,
    everywhere: RightSet,
    by_system: Vec<(SystemName, RightSet)>,
}

impl Access {
    /// Everybody, with every right.
    #[must_use]
    pub fn open() -> Self {
        let everything = [Allow { system: None, right: None }];
        let anonymous = CallerRights::new(CallerName(config::ANONYMOUS.into()), &everything);
        Self { open: Some(Arc::new(anonymous)), callers: Vec::new() }
    }

    /// Those who have one of these keys.
    #[must_use]
    pub fn keys(callers: &[config::Caller]) -> Self {
        let holder = |caller: &config::Caller| KeyHolder {
            key_sha256: caller.key_sha256,
            shown: OnceLock::new(),
            rights: Arc::new(CallerRights::new(caller.name.clone(), &caller.allow)),
        };
        Self { open: None, callers: callers.iter().map(holder).collect() }
    }

    /// Everybody's rights, where access is open: then no key is looked at.
    #[must_use]
    pub fn anonymous(&self) -> Option<Arc<CallerRights>> {
        self.open.clone()
    }

    /// The caller who has this key (what stands after `Bearer `), or everybody where access is open.
    ///
    /// Digests are compared to their ends, so that the time taken tells nothing about any key that was not shown.
    #[must_use]
    pub fn authenticate(&self, bearer: &str) -> Option<Arc<CallerRights>> {
        if let Some(anonymous) = &self.open {
            return Some(Arc::clone(anonymous));
        }
        // Hashes of this kind compare in constant time.
        let shown = blake3::hash(bearer.as_bytes());
        if let Some(known) = self.callers.iter().find(|holder| holder.shown.get() == Some(&shown)) {
            return Some(Arc::clone(&known.rights));
        }
        let digest = sha256([bearer.as_bytes()]);
        let mut found = None;
        for holder in &self.callers {
            if holder.key_sha256.0.ct_eq(&digest).into() {
                found = Some(holder);
            }
        }
        found.map(|holder| {
            // Whoever comes second finds it set.
            let _ = holder.shown.set(shown);
            Arc::clone(&holder.rights)
        })
    }
}

impl CallerRights {
    fn new(name: CallerName, allow: &[Allow]) -> Self {
        let mut rights = Self { name, everywhere: RightSet::default(), by_system: Vec::new() };
        for Allow { system, right } in allow {
            let added = right.map_or(RightSet::ALL, RightSet::of);
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
    pub fn may(&self, system: &str, right: impl Into<Right>) -> bool {
        let wanted = RightSet::of(right.into());
        let here = self.by_system.iter().find(|(name, _)| name.as_str() == system).map(|(_, set)| *set);
        self.everywhere.has(wanted) || here.is_some_and(|set| set.has(wanted))
    }
}

/// A set of rights, one bit each.
#[derive(Clone, Copy, Debug, Default)]
struct RightSet(u8);

impl RightSet {
    const ALL: Self = Self(u8::MAX);

    fn of(right: Right) -> Self {
        Self(match right {
            Right::Read => 1,
            Right::Create => 2,
            Right::Update => 4,
            Right::Delete => 8,
            Right::Ledger => 16,
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

    fn caller(name: &str, key: &str, allow: &[(Option<&str>, Option<Right>)]) -> config::Caller {
        let word = |(system, right): &(Option<&str>, Option<Right>)| Allow {
            system: system.and_then(SystemName::parse),
            right: *right,
        };
        config::Caller {
            name: CallerName(name.into()),
            key_sha256: KeyDigest(sha256([key.as_bytes()])),
            allow: allow.iter().map(word).collect(),
        }
    }

    fn access() -> Access {
        Access::keys(&[
            caller("billing", "key-one", &[(Some("crm"), Some(Right::Read)), (Some("crm"), Some(Right::Update))]),
            caller("auditor", "key-two", &[(None, Some(Right::Ledger)), (Some("itsm"), None)]),
        ])
    }

    #[test]
    fn a_key_names_its_caller_and_any_other_key_nobody() {
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
    fn rights_hold_where_they_were_given_and_nowhere_else() {
        let billing = access().authenticate("key-one").unwrap();
        assert!(billing.may("crm", Right::Read));
        assert!(billing.may("crm", crate::record::Action::Update));
        assert!(!billing.may("crm", Right::Delete));
        assert!(!billing.may("itsm", Right::Read));
    }

    #[test]
    fn stars_stand_for_every_system_and_every_action() {
        let auditor = access().authenticate("key-two").unwrap();
        assert!(auditor.may("crm", Right::Ledger));
        assert!(!auditor.may("crm", Right::Read));
        assert!(auditor.may("itsm", Right::Delete));
        assert!(auditor.may("itsm", Right::Create));
    }

    #[test]
    fn open_access_knows_everybody_as_anonymous_with_every_right() {
        let open = Access::open();
        let anyone = open.authenticate("whatever").unwrap();
        assert_eq!(anyone.name().0.as_ref(), "anonymous");
        assert!(anyone.may("crm", Right::Ledger));
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
