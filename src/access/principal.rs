//! An authenticated caller.

use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::quota::{AdmittedRequest, CallerQuota, QuotaExceeded};
use crate::config::{Grant, Permission};
use crate::record::{CallerName, CallerShare, SystemName};

/// An authenticated caller with its permissions and limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "StoredPrincipal", into = "StoredPrincipal")]
pub struct Principal {
    name: CallerName,
    share: CallerShare,
    quota: Option<Arc<CallerQuota>>,
    everywhere: PermissionSet,
    by_system: Vec<(SystemName, PermissionSet)>,
}

impl Principal {
    /// A caller without limits, with weight 1.
    pub(super) fn new(name: CallerName, grants: &[Grant]) -> Self {
        let share = CallerShare::new(&name, NonZeroU16::MIN);
        let mut principal =
            Self { name, share, quota: None, everywhere: PermissionSet::default(), by_system: Vec::new() };
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

    /// The same with limits.
    pub(super) fn with_quota(self, quota: Option<Arc<CallerQuota>>) -> Self {
        Self { quota, ..self }
    }

    /// The same with another weight.
    pub(super) fn with_weight(mut self, weight: NonZeroU16) -> Self {
        self.share.weight = weight;
        self
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

    /// Its limits, if it has some.
    #[must_use]
    pub fn quota(&self) -> Option<&Arc<CallerQuota>> {
        self.quota.as_ref()
    }

    /// Counts one request, or one item of a batch, against the caller's limits. `None` without
    /// limits.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub fn admit(&self) -> Result<Option<AdmittedRequest>, QuotaExceeded> {
        self.quota.as_ref().map(CallerQuota::admit).transpose()
    }

    /// The same for an item that is in flight instead of its batch.
    ///
    /// # Errors
    /// The rate that it would exceed.
    pub fn admit_within_batch(&self) -> Result<Option<AdmittedRequest>, QuotaExceeded> {
        self.quota.as_ref().map(CallerQuota::admit_within_batch).transpose()
    }

    /// The same caller without any permission.
    #[must_use]
    pub fn without_permissions(&self) -> Self {
        Self { quota: None, ..Self::new(self.name.clone(), &[]) }
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
/// Its limits are not kept.
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
        let share = CallerShare::new(&name, stored.weight);
        Self { name, share, quota: None, everywhere: stored.everywhere, by_system }
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
            Permission::Operate => 32,
        })
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn has(self, needed: Self) -> bool {
        self.0 & needed.0 != 0
    }
}
