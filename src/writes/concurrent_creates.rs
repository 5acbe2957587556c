//! What the gateway's other creates reveal about one whose response was lost: a record with the
//! expected values may be another create's.

use super::concurrent_writes::{MAX_PAGES, PAGE_SIZE, lookback_start};
use super::in_flight_write::InFlightWrite;
use super::intent::{ExpectedState, WriteIntent};
use crate::journal::{Journal, OperationQuery};
use crate::record::{Action, OperationId, RecordId, values_equal};
use crate::system::System;

/// Keeps of `found`, the records that a create with a lost response may have made, those that no
/// other create has made. `None`: another create that is unresolved, or that ended `unknown`, could
/// have made them; or that cannot be excluded.
pub(super) async fn exclude_others_creates(
    journal: &Journal,
    system: &System,
    write: &InFlightWrite,
    found: Vec<RecordId>,
) -> Option<Vec<RecordId>> {
    if found.is_empty() {
        return Some(found);
    }
    let since = lookback_start(system, write);
    if !journal.is_complete_since(since).await.ok()? {
        return None;
    }
    // Read first: a create that ends meanwhile is listed with its record below.
    let unresolved = journal.unresolved_creates(system.name.as_str(), since, PAGE_SIZE).await.ok()?;
    let is_contested = unresolved.len() >= PAGE_SIZE
        || unresolved.iter().any(|(id, intent)| *id != write.operation && may_be_same_record(intent.as_deref(), write));
    if is_contested {
        return None;
    }
    let mut left = Vec::new();
    for id in found {
        let creates = list_creates(journal, system, &id).await?;
        if creates.iter().all(|create| *create == write.operation) {
            left.push(id);
        }
    }
    Some(left)
}

/// Whether a create with this stored intent could have made the record of this one.
fn may_be_same_record(intent: Option<&str>, write: &InFlightWrite) -> bool {
    let intent = intent.and_then(WriteIntent::from_json);
    intent.is_none_or(|intent| could_be_same_record(&intent.expected, &write.expected))
}

/// The creates that made a record. `None`: the store is unavailable, or there are too many.
async fn list_creates(journal: &Journal, system: &System, record: &RecordId) -> Option<Vec<OperationId>> {
    let mut query = OperationQuery {
        systems: vec![system.name.as_str().to_owned()],
        record: Some(record.as_str().to_owned()),
        limit: PAGE_SIZE,
        ..OperationQuery::default()
    };
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = journal.operations(query.clone()).await.ok()?;
        let creates = page.items.into_iter().filter(|operation| operation.action == Action::Create);
        found.extend(creates.map(|operation| operation.id));
        query.after = page.next;
        if query.after.is_none() {
            return Some(found);
        }
    }
    None
}

/// Whether one record can have the values of both creates.
fn could_be_same_record(one: &ExpectedState, other: &ExpectedState) -> bool {
    let (
        ExpectedState::Created { collection, fields, .. },
        ExpectedState::Created { collection: other_collection, fields: other_fields, .. },
    ) = (one, other)
    else {
        return false;
    };
    collection == other_collection
        && fields.iter().all(|(name, value)| other_fields.get(name).is_none_or(|other| values_equal(value, other)))
}
