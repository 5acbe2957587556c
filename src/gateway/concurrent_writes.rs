//! What the gateway's other writes tell about one whose answer was lost: a record that shows what was wanted may be their work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use super::{Gateway, System};
use crate::record::{Action, ObservedState, OperationId, OperationState, RecordId, values_equal};
use crate::store::{ChangedPaths as _, LedgerEvent, LedgerQuery, OperationQuery};

/// How much earlier than this write a rival may have begun, beside the time that its settling may take.
const LOOKBACK: Duration = Duration::from_mins(15);
/// How many operations or entries are asked for at once, and how often: what is still left then leaves the question open.
const PAGE_SIZE: usize = 1000;
const MAX_PAGES: usize = 32;

/// The creates that run in this process.
#[derive(Default)]
pub(super) struct InFlightCreates(Mutex<CreateMap>);

type CreateMap = HashMap<OperationId, Arc<WriteIntent>>;

impl InFlightCreates {
    /// A create has begun; any other write is none of this.
    pub(super) fn insert_if_create(&self, pending: &InFlightWrite) {
        if matches!(pending.expected, ExpectedState::Created { .. }) {
            self.lock().insert(pending.operation.clone(), Arc::clone(&pending.intent));
        }
    }

    /// It has ended.
    pub(super) fn remove(&self, operation: &OperationId) {
        let mut running = self.lock();
        if !running.is_empty() {
            running.remove(operation);
        }
    }

    fn lock(&self) -> MutexGuard<'_, CreateMap> {
        // Nothing can panic between two halves of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of other creates that one record could fulfil together with this one; and all there are.
    fn competing_creates(&self, pending: &InFlightWrite) -> (bool, HashSet<OperationId>) {
        let running = self.lock();
        let rivals = running.iter().any(|(operation, other)| {
            *operation != pending.operation
                && other.system == pending.system
                && could_be_same_record(&other.expected, &pending.expected)
        });
        (rivals, running.keys().cloned().collect())
    }
}

/// Whether one record could be what both wanted to make.
fn could_be_same_record(one: &ExpectedState, other: &ExpectedState) -> bool {
    let (
        ExpectedState::Created { collection, fields, .. },
        ExpectedState::Created { collection: there, fields: wanted, .. },
    ) = (one, other)
    else {
        return false;
    };
    collection == there
        && fields.iter().all(|(name, value)| wanted.get(name).is_none_or(|other| values_equal(value, other)))
}

/// What the ledger knows of other writes of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConcurrentWrites {
    /// One that was bound to the very same version was done: of such writes only one can be.
    pub another_applied: bool,
    /// One that was bound to the same version runs, or nobody knows whose the values are that the record showed; or one that may
    /// have been bound to it, or may have come after it unseen, and writes the same places.
    pub another_unresolved: bool,
    /// One that began after this one was done, or may have been, perhaps on the version that this one has made.
    pub later_writer: bool,
}

/// Whether a write was bound to the version of a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VersionMatch {
    Exact,
    Possible,
    No,
}

impl VersionMatch {
    /// What the vendor compares tells it, or else what the caller sent.
    fn classify(bound_to: Option<&str>, precondition: Option<&str>, tag: &str) -> Self {
        match bound_to.or(precondition) {
            Some(known) if known == tag => Self::Exact,
            None | Some("*") => Self::Possible,
            Some(sent) if sent.split(", ").any(|one| one == tag) => Self::Possible,
            Some(_) => Self::No,
        }
    }
}

/// Whether a write of these places writes any of those.
fn paths_overlap(some: &[String], others: &[String]) -> bool {
    let within = |place: &str, above: &str| {
        place.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    some.iter().any(|one| others.iter().any(|other| within(one, other) || within(other, one)))
}

impl Gateway {
    /// Looks in the ledger for other writes of the record. `None` = the store is away.
    pub(super) async fn find_concurrent_writes(
        &self,
        system: &System,
        pending: &InFlightWrite,
    ) -> Option<ConcurrentWrites> {
        let (Some(id), Some(before)) = (pending.id(), &pending.etag_before) else {
            return Some(ConcurrentWrites::default());
        };
        let earlier = i64::try_from((LOOKBACK + system.policy.completion_timeout).as_millis()).unwrap_or(i64::MAX);
        let mut query = LedgerQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: Some(id.as_str().to_owned()),
            since: Timestamp::from_millisecond(pending.begun_ms.saturating_sub(earlier)).ok(),
            limit: PAGE_SIZE,
            ..LedgerQuery::default()
        };
        let paths = pending.paths();
        let counts_up = system.adapter.capabilities().version_is_sequence;
        let mut begun = false;
        let (mut undecided, mut later) = (HashSet::new(), HashSet::new());
        for _ in 0..MAX_PAGES {
            let page = self.store.ledger(query.clone()).await.ok()?;
            for entry in page.items {
                let bound =
                    VersionMatch::classify(entry.compared_etag.as_deref(), entry.precondition.as_deref(), before);
                let applied = entry.state == OperationState::Applied.as_str();
                if entry.operation == pending.operation {
                    begun = true;
                } else if entry.event == LedgerEvent::Intent {
                    if begun && bound != VersionMatch::Exact {
                        later.insert(entry.operation.clone());
                    }
                    // A write for any state has read before it was sent: what it wanted was not there. Where the version does not tell
                    // who has made it, what is there may be by the work of such a one.
                    let read_later = begun && !counts_up && entry.compared_etag.is_some();
                    if bound == VersionMatch::Exact
                        || (bound == VersionMatch::Possible || read_later) && paths_overlap(&entry.paths, &paths)
                    {
                        undecided.insert(entry.operation);
                    }
                } else if applied && bound == VersionMatch::Exact {
                    return Some(ConcurrentWrites { another_applied: true, ..ConcurrentWrites::default() });
                } else if entry.state == OperationState::NotApplied.as_str() {
                    later.remove(&entry.operation);
                    undecided.remove(&entry.operation);
                } else if applied && !begun || !applied && self.ended_without_effect(&entry.operation).await? {
                    undecided.remove(&entry.operation);
                }
            }
            query.after_seq = page.next;
            if page.next.is_none() {
                return Some(ConcurrentWrites {
                    another_applied: false,
                    another_unresolved: !undecided.is_empty(),
                    later_writer: !later.is_empty(),
                });
            }
        }
        Some(ConcurrentWrites { another_applied: false, another_unresolved: true, later_writer: true })
    }

    /// Whether the last look of a write that ended `unknown` showed that the values there are not its work. `None` = the store is
    /// away.
    async fn ended_without_effect(&self, operation: &OperationId) -> Option<bool> {
        let ended = self.store.operation(operation).await.ok()?;
        Some(ended.is_none_or(|ended| matches!(ended.observed, Some(ObservedState::Unchanged | ObservedState::Other))))
    }

    /// Those of the records that a lost create may have made which no other create has made; `None` = another one is running
    /// that could have made them.
    pub(super) async fn exclude_others_creates(
        &self,
        system: &System,
        pending: &InFlightWrite,
        found: Vec<RecordId>,
    ) -> Option<Vec<RecordId>> {
        if found.is_empty() {
            return Some(found);
        }
        let (rivals, known) = self.in_flight_creates.competing_creates(pending);
        let running = self.list_creates(system, None, Some(OperationState::Running)).await?;
        if rivals || running.iter().any(|id| *id != pending.operation && !known.contains(id)) {
            return None;
        }
        let mut left = Vec::new();
        for id in found {
            let creates = self.list_creates(system, Some(&id), None).await?;
            if creates.iter().all(|create| *create == pending.operation) {
                left.push(id);
            }
        }
        Some(left)
    }

    /// The creates of a system, perhaps of one record, perhaps in one state; `None` = the store is away, or they are too many.
    async fn list_creates(
        &self,
        system: &System,
        record: Option<&RecordId>,
        state: Option<OperationState>,
    ) -> Option<Vec<OperationId>> {
        let mut query = OperationQuery {
            systems: vec![system.name.as_str().to_owned()],
            record: record.map(|id| id.as_str().to_owned()),
            state,
            limit: PAGE_SIZE,
            after: None,
        };
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
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
    fn paths_overlap_when_equal_or_when_one_is_below_the_other() {
        let texts = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        for (some, others, expected) in [
            (&["/fields/a", "/fields/b"][..], &["/fields/b", "/fields/c"][..], true),
            (&["/fields/p"], &["/fields/p/x/value"], true),
            (&["/fields/p/x/value"], &["/fields/p"], true),
            (&["/fields/a"], &["/fields/ab"], false),
            (&[], &["/fields/a"], false),
        ] {
            assert_eq!(paths_overlap(&texts(some), &texts(others)), expected, "{some:?} {others:?}");
        }
    }

    #[test]
    fn the_version_match_uses_the_compared_etag_before_the_precondition() {
        let of = |bound_to, precondition| VersionMatch::classify(bound_to, precondition, "\"v7\"");
        assert!(of(None, Some("\"v7\"")) == VersionMatch::Exact);
        for perhaps in [None, Some("*"), Some("\"v6\", \"v7\"")] {
            assert!(of(None, perhaps) == VersionMatch::Possible, "{perhaps:?}");
            assert!(of(Some("\"v7\""), perhaps) == VersionMatch::Exact, "{perhaps:?}");
            assert!(of(Some("\"v6\""), perhaps) == VersionMatch::No, "{perhaps:?}");
        }
        assert!(of(None, Some("\"v6\"")) == VersionMatch::No);
    }
}
