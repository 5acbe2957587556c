//! What is known of an item of a stored batch that has begun before, perhaps in another process.

use std::collections::HashMap;

use crate::journal::{Journal, JournalError};
use crate::record::{Operation, OperationId, OperationState, percent_encode_id};

/// What a batch's key is for each of its items. No key of a caller has a space.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// What the ledger calls an item; `batch` is what it calls the batch.
pub(super) fn item_name(batch: &str, item: &str) -> String {
    format!("{batch}/{item}")
}

/// What keeps an item from a response of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PendingCause {
    /// Its own write, which this operation is now.
    OwnWrite(OperationId),
    /// Something that ends before long: another request with its key, or a write that has just
    /// ended.
    Transient,
    /// Another writer of the record.
    OtherWriter,
}

/// What the operation `named` in the 409 of an item is to the item that the ledger calls `name`.
/// The item's own write can be another one by now: after a conflict it is tried again.
pub(super) async fn find_pending_cause(
    journal: &Journal,
    caller: &str,
    key: &str,
    name: &str,
    named: &OperationId,
) -> Result<PendingCause, JournalError> {
    let is_own = |operation: &Operation| operation.batch.as_deref() == Some(name);
    if let Some(claiming) = journal.claiming_operation(caller, key).await? {
        let is_own = journal.operation(&claiming).await?.is_some_and(|operation| is_own(&operation));
        return Ok(if is_own { PendingCause::OwnWrite(claiming) } else { PendingCause::Transient });
    }
    let is_passing = |operation: Operation| is_own(&operation) || operation.state != OperationState::Running;
    let is_passing = journal.operation(named).await?.is_none_or(is_passing);
    Ok(if is_passing { PendingCause::Transient } else { PendingCause::OtherWriter })
}

/// What is known of an item that began before: in an earlier process, or when its batch was sent
/// before.
#[derive(Default)]
pub(super) struct EarlierAttempt {
    /// The operation of its own write, which is followed to its end. `None`: only its key is known
    /// to be claimed, and it gets what that replays.
    pub(super) operation: Option<OperationId>,
    /// The record that it named, as a segment of a path.
    pub(super) record: Option<String>,
}

impl EarlierAttempt {
    pub(super) fn record_of(operation: Option<Operation>) -> Option<String> {
        operation.and_then(|found| found.record).map(|id| percent_encode_id(&id).to_string())
    }
}

/// An item that writes and has not ended.
pub(super) struct OpenItem {
    pub(super) position: usize,
    /// What the ledger calls it.
    pub(super) name: String,
    /// Its idempotency key.
    pub(super) key: String,
}

/// The items whose writes have an intent. A key that a caller gave to an
/// item may be claimed by another request; such an item has not begun.
pub(super) async fn find_begun(
    journal: &Journal,
    (caller, prefix): (&str, &str),
    items: Vec<OpenItem>,
) -> Result<HashMap<usize, EarlierAttempt>, JournalError> {
    let own = items.iter().map(|item| &item.key).filter(|key| !key.starts_with(prefix)).cloned().collect();
    let mut claimed = journal.claimed_keys_with_prefix(caller, prefix).await?;
    claimed.extend(journal.claimed_keys(caller, own).await?);
    let mut begun = HashMap::new();
    for OpenItem { position, name, key } in items {
        // An item that changed nothing is only replayed, like one that has not begun.
        let Some(operation) = claimed.get(&key).filter(|operation| !operation.is_nil()) else { continue };
        // A store that does not have the operation any more had it when the key was claimed.
        let found = journal.operation(operation).await?;
        if found.as_ref().is_none_or(|found| found.batch.as_deref() == Some(&*name)) {
            let (operation, record) = (Some(operation.clone()), EarlierAttempt::record_of(found));
            begun.insert(position, EarlierAttempt { operation, record });
        }
    }
    Ok(begun)
}
