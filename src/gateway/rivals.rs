//! What the gateway's other writes tell about one whose answer was lost: a record that shows what was wanted may be their work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::pending::{Pending, Wanted};
use super::{Gateway, System};
use crate::record::{Action, OperationId, OperationState, RecordId, values_equal};
use crate::store::{LedgerEvent, LedgerQuery, OperationQuery};

/// How much earlier than this write a rival may have begun.
const EARLIER_MS: i64 = 15 * 60 * 1000;
/// So many operations or entries are looked at.
const MOST: usize = 1000;

/// The creates that run in this process, and what they want.
#[derive(Default)]
pub(super) struct Creates(Mutex<HashMap<OperationId, (String, Arc<Wanted>)>>);

impl Creates {
    /// A create has begun; any other write is none of this.
    pub(super) fn begun(&self, pending: &Pending) {
        if matches!(*pending.wanted, Wanted::Made { .. }) {
            self.running().insert(pending.operation.clone(), (pending.system.clone(), Arc::clone(&pending.wanted)));
        }
    }

    /// It has ended.
    pub(super) fn ended(&self, operation: &OperationId) {
        self.running().remove(operation);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<OperationId, (String, Arc<Wanted>)>> {
        // Nothing can panic between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of other creates that one record could fulfil together with this one; and all there are.
    fn beside(&self, pending: &Pending) -> (bool, HashSet<OperationId>) {
        let running = self.running();
        let rivals = running.iter().any(|(operation, (system, wanted))| {
            *operation != pending.operation && *system == pending.system && fit_one_record(wanted, &pending.wanted)
        });
        (rivals, running.keys().cloned().collect())
    }
}

/// Whether one record could be what both wanted to make.
fn fit_one_record(one: &Wanted, other: &Wanted) -> bool {
    let (Wanted::Made { collection, fields, .. }, Wanted::Made { collection: there, fields: wanted, .. }) =
        (one, other)
    else {
        return false;
    };
    collection == there
        && fields.iter().all(|(name, value)| wanted.get(name).is_none_or(|other| values_equal(value, other)))
}

/// What is known of other writes that were bound to the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rival {
    /// There is none.
    Nobody,
    /// One is still running.
    Running,
    /// One was done: of writes bound to one version only one can be.
    Won,
}

impl Gateway {
    /// Looks in the ledger for other writes with the very tag that this one is bound to. A store that is away tells nothing.
    pub(super) async fn rival(&self, system: &System, pending: &Pending) -> Rival {
        let (Some(id), Some(before)) = (pending.id(), &pending.before) else { return Rival::Nobody };
        let entries = self.store.ledger(LedgerQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: Some(id.as_str().to_owned()),
            since: Timestamp::from_millisecond(pending.begun_ms.saturating_sub(EARLIER_MS)).ok(),
            limit: MOST,
            ..LedgerQuery::default()
        });
        let Ok(page) = entries.await else { return Rival::Nobody };
        let bound_alike = page
            .items
            .iter()
            .filter(|entry| entry.operation != pending.operation && entry.precondition.as_ref() == Some(before));
        let mut running = HashSet::new();
        for entry in bound_alike {
            match entry.event {
                LedgerEvent::Intent => {
                    running.insert(&entry.operation);
                }
                LedgerEvent::Outcome if entry.state == OperationState::Applied.as_str() => return Rival::Won,
                LedgerEvent::Outcome => {
                    running.remove(&entry.operation);
                }
            }
        }
        if running.is_empty() { Rival::Nobody } else { Rival::Running }
    }

    /// Those of the records that a lost create may have made which no other create has made; `None` = another one is running
    /// that could have made them.
    pub(super) async fn not_made_by_others(
        &self,
        system: &System,
        pending: &Pending,
        found: Vec<RecordId>,
    ) -> Option<Vec<RecordId>> {
        if found.is_empty() {
            return Some(found);
        }
        let (rivals, known) = self.creates.beside(pending);
        let running = self.operations_of(system, None, Some(OperationState::Running)).await?;
        if rivals || running.iter().any(|id| *id != pending.operation && !known.contains(id)) {
            return None;
        }
        let mut left = Vec::new();
        for id in found {
            let creates = self.operations_of(system, Some(&id), None).await?;
            if creates.iter().all(|create| *create == pending.operation) {
                left.push(id);
            }
        }
        Some(left)
    }

    /// The creates of a system, perhaps of one record, perhaps in one state; `None` = the store is away.
    async fn operations_of(
        &self,
        system: &System,
        record: Option<&RecordId>,
        state: Option<OperationState>,
    ) -> Option<Vec<OperationId>> {
        let page = self.store.operations(OperationQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: record.map(|id| id.as_str().to_owned()),
            state,
            limit: MOST,
            after: None,
        });
        let page = page.await.ok()?;
        let creates = page.items.into_iter().filter(|operation| operation.action == Action::Create);
        Some(creates.map(|operation| operation.id).collect())
    }
}
