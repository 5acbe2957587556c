//! What is known of the items of a batch that began before: in an earlier process, or when their
//! batch was sent before.

use std::collections::HashMap;

use super::request::{BatchItem, own_item_key};
use crate::journal::{Journal, JournalError};
use crate::record::{Operation, OperationId, percent_encode_id};

/// What is known of one of them.
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
        if found.as_ref().is_none_or(|found| found.batch_item.as_deref() == Some(&*name)) {
            let (operation, record) = (Some(operation.clone()), EarlierAttempt::record_of(found));
            begun.insert(position, EarlierAttempt { operation, record });
        }
    }
    Ok(begun)
}

/// The items whose keys are claimed, by their positions.
pub(super) async fn find_claimed(
    journal: &Journal,
    (caller, prefix): (&str, &str),
    items: &[BatchItem],
) -> Result<HashMap<usize, EarlierAttempt>, JournalError> {
    let key_of = |item: &BatchItem| {
        // An item's own key is bound to the values of its references, which are not known yet.
        let is_bound = item.record_of.or(item.tag_of).is_some() && own_item_key(&item.method, &item.headers).is_some();
        item.write_key(prefix).filter(|_| !is_bound)
    };
    let keys: Vec<Option<String>> = items.iter().map(key_of).collect();
    let claimed = journal.claimed_keys(caller, keys.iter().flatten().cloned().collect()).await?;
    let mut found = HashMap::new();
    for (position, (item, key)) in items.iter().zip(keys).enumerate() {
        let Some(operation) = key.and_then(|key| claimed.get(&key)) else { continue };
        let mut record = None;
        if item.record_of.is_some() && !operation.is_nil() {
            record = EarlierAttempt::record_of(journal.operation(operation).await?);
        }
        found.insert(position, EarlierAttempt { operation: None, record });
    }
    Ok(found)
}
