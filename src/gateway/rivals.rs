//! What the gateway's other writes tell about one whose answer was lost: a record that shows what was wanted may be their work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::intended::{Intended, Wanted};
use super::pending::Pending;
use super::{Gateway, System};
use crate::record::{Action, Observed, OperationId, OperationState, RecordId, values_equal};
use crate::store::{LedgerEvent, LedgerQuery, OperationQuery, Paths as _};

/// How much earlier than this write a rival may have begun, beside the time that its settling may take.
const EARLIER: Duration = Duration::from_mins(15);
/// How many operations or entries are asked for at once, and how often: what is still left then leaves the question open.
const PAGE: usize = 1000;
const PAGES: usize = 32;

/// The creates that run in this process.
#[derive(Default)]
pub(super) struct Creates(Mutex<Running>);

type Running = HashMap<OperationId, Arc<Intended>>;

impl Creates {
    /// A create has begun; any other write is none of this.
    pub(super) fn begun(&self, pending: &Pending) {
        if matches!(pending.wanted, Wanted::Made { .. }) {
            self.running().insert(pending.operation.clone(), Arc::clone(&pending.intended));
        }
    }

    /// It has ended.
    pub(super) fn ended(&self, operation: &OperationId) {
        let mut running = self.running();
        if !running.is_empty() {
            running.remove(operation);
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing can panic between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of other creates that one record could fulfil together with this one; and all there are.
    fn beside(&self, pending: &Pending) -> (bool, HashSet<OperationId>) {
        let running = self.running();
        let rivals = running.iter().any(|(operation, other)| {
            *operation != pending.operation
                && other.system == pending.system
                && fit_one_record(&other.wanted, &pending.wanted)
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

/// What the ledger knows of other writes of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// One that was bound to the very same version was done: of such writes only one can be.
    pub won: bool,
    /// One that was bound to the same version runs, or nobody knows whose the values are that the record showed; or one that may
    /// have been bound to it, or may have come after it unseen, and writes the same places.
    pub undecided: bool,
    /// One that began after this one was done, or may have been, perhaps on the version that this one has made.
    pub later: bool,
}

/// Whether a write was bound to the version of a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Surely,
    Perhaps,
    No,
}

impl Bound {
    /// What the vendor compares tells it, or else what the caller sent.
    fn of(bound_to: Option<&str>, precondition: Option<&str>, tag: &str) -> Self {
        match bound_to.or(precondition) {
            Some(known) if known == tag => Self::Surely,
            None | Some("*") => Self::Perhaps,
            Some(sent) if sent.split(", ").any(|one| one == tag) => Self::Perhaps,
            Some(_) => Self::No,
        }
    }
}

/// Whether a write of these places writes any of those.
fn meet(some: &[String], others: &[String]) -> bool {
    let within = |place: &str, above: &str| {
        place.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    some.iter().any(|one| others.iter().any(|other| within(one, other) || within(other, one)))
}

impl Gateway {
    /// Looks in the ledger for other writes of the record. `None` = the store is away.
    pub(super) async fn others(&self, system: &System, pending: &Pending) -> Option<Others> {
        let (Some(id), Some(before)) = (pending.id(), &pending.before) else { return Some(Others::default()) };
        let earlier = i64::try_from((EARLIER + system.policy.completion_timeout).as_millis()).unwrap_or(i64::MAX);
        let mut query = LedgerQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: Some(id.as_str().to_owned()),
            since: Timestamp::from_millisecond(pending.begun_ms.saturating_sub(earlier)).ok(),
            limit: PAGE,
            ..LedgerQuery::default()
        };
        let paths = pending.paths();
        let counts_up = system.adapter.profile().version_counts_up;
        let mut begun = false;
        let (mut undecided, mut later) = (HashSet::new(), HashSet::new());
        for _ in 0..PAGES {
            let page = self.store.ledger(query.clone()).await.ok()?;
            for entry in page.items {
                let bound = Bound::of(entry.bound_to.as_deref(), entry.precondition.as_deref(), before);
                let applied = entry.state == OperationState::Applied.as_str();
                if entry.operation == pending.operation {
                    begun = true;
                } else if entry.event == LedgerEvent::Intent {
                    if begun && bound != Bound::Surely {
                        later.insert(entry.operation.clone());
                    }
                    // A write for any state has read before it was sent: what it wanted was not there. Where the version does not tell
                    // who has made it, what is there may be by the work of such a one.
                    let read_later = begun && !counts_up && entry.bound_to.is_some();
                    if bound == Bound::Surely || (bound == Bound::Perhaps || read_later) && meet(&entry.paths, &paths) {
                        undecided.insert(entry.operation);
                    }
                } else if applied && bound == Bound::Surely {
                    return Some(Others { won: true, ..Others::default() });
                } else if entry.state == OperationState::NotApplied.as_str() {
                    later.remove(&entry.operation);
                    undecided.remove(&entry.operation);
                } else if applied && !begun || !applied && self.showed_others(&entry.operation).await? {
                    undecided.remove(&entry.operation);
                }
            }
            query.after_seq = page.next;
            if page.next.is_none() {
                return Some(Others { won: false, undecided: !undecided.is_empty(), later: !later.is_empty() });
            }
        }
        Some(Others { won: false, undecided: true, later: true })
    }

    /// Whether the last look of a write that ended `unknown` showed that the values there are not its work. `None` = the store is
    /// away.
    async fn showed_others(&self, operation: &OperationId) -> Option<bool> {
        let ended = self.store.operation(operation).await.ok()?;
        Some(ended.is_none_or(|ended| matches!(ended.observed, Some(Observed::Unchanged | Observed::Other))))
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
        let running = self.creates_of(system, None, Some(OperationState::Running)).await?;
        if rivals || running.iter().any(|id| *id != pending.operation && !known.contains(id)) {
            return None;
        }
        let mut left = Vec::new();
        for id in found {
            let creates = self.creates_of(system, Some(&id), None).await?;
            if creates.iter().all(|create| *create == pending.operation) {
                left.push(id);
            }
        }
        Some(left)
    }

    /// The creates of a system, perhaps of one record, perhaps in one state; `None` = the store is away, or they are too many.
    async fn creates_of(
        &self,
        system: &System,
        record: Option<&RecordId>,
        state: Option<OperationState>,
    ) -> Option<Vec<OperationId>> {
        let mut query = OperationQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: record.map(|id| id.as_str().to_owned()),
            state,
            limit: PAGE,
            after: None,
        };
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = self.store.operations(query.clone()).await.ok()?;
            let creates = page.items.into_iter().filter(|operation| operation.action == Action::Create);
            found.extend(creates.map(|operation| operation.id));
            query.after = page.next;
            if query.after.is_none() {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writes_meet_where_one_writes_at_or_below_a_place_of_the_other() {
        let texts = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        for (some, others, expected) in [
            (&["/fields/a", "/fields/b"][..], &["/fields/b", "/fields/c"][..], true),
            (&["/fields/p"], &["/fields/p/x/value"], true),
            (&["/fields/p/x/value"], &["/fields/p"], true),
            (&["/fields/a"], &["/fields/ab"], false),
            (&[], &["/fields/a"], false),
        ] {
            assert_eq!(meet(&texts(some), &texts(others)), expected, "{some:?} {others:?}");
        }
    }

    #[test]
    fn what_a_write_was_bound_to_is_told_by_what_the_vendor_compares_or_else_by_its_precondition() {
        let of = |bound_to, precondition| Bound::of(bound_to, precondition, "\"v7\"");
        assert!(of(None, Some("\"v7\"")) == Bound::Surely);
        for perhaps in [None, Some("*"), Some("\"v6\", \"v7\"")] {
            assert!(of(None, perhaps) == Bound::Perhaps, "{perhaps:?}");
            assert!(of(Some("\"v7\""), perhaps) == Bound::Surely, "{perhaps:?}");
            assert!(of(Some("\"v6\""), perhaps) == Bound::No, "{perhaps:?}");
        }
        assert!(of(None, Some("\"v6\"")) == Bound::No);
    }
}
