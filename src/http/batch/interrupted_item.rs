//! What is known of an item of a stored batch that has begun before, perhaps in another process.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::journal::{Journal, JournalError};
use crate::record::{OperationId, parse_time};

/// What a batch's key is for each of its items. No key of a caller has a space.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// What the ledger calls an item; `batch` is what it calls the batch.
pub(super) fn item_name(batch: &str, item: &str) -> String {
    format!("{batch}/{item}")
}

/// How far the clock of the process that accepted a batch may be ahead of the one that runs it.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Whether an operation is that of the item which the ledger calls `name`, in a batch of this time;
/// `None` where the store does not have it, not yet or no longer. A caller may give two batches one
/// `X-Request-Id`, and so their items one name.
pub(super) async fn is_of_item(
    journal: &Journal,
    (name, accepted_at): (&str, Timestamp),
    id: &OperationId,
) -> Result<Option<bool>, JournalError> {
    let Some(operation) = journal.operation(id).await? else { return Ok(None) };
    let latest_start = parse_time(&operation.started_at).and_then(|started| started.checked_add(MAX_CLOCK_SKEW).ok());
    let is_older = latest_start.is_some_and(|started| started < accepted_at);
    Ok(Some(operation.batch.as_deref() == Some(name) && !is_older))
}

/// An item that writes and has not ended.
pub(super) struct OpenItem {
    pub(super) position: usize,
    /// What the ledger calls it.
    pub(super) name: String,
    /// Its idempotency key.
    pub(super) key: String,
}

/// The items whose writes have an intent, each with its operation. A key that a caller gave to an
/// item may be claimed by another request; such an item has not begun.
pub(super) async fn find_begun(
    journal: &Journal,
    (caller, prefix): (&str, &str),
    accepted_at: Timestamp,
    items: Vec<OpenItem>,
) -> Result<HashMap<usize, OperationId>, JournalError> {
    let own = items.iter().map(|item| &item.key).filter(|key| !key.starts_with(prefix)).cloned().collect();
    let claimed = journal.claimed_keys(caller, prefix, own).await?;
    let mut begun = HashMap::new();
    for OpenItem { position, name, key } in items {
        let Some(operation) = claimed.get(&key) else { continue };
        if is_of_item(journal, (&name, accepted_at), operation).await? != Some(false) {
            begun.insert(position, operation.clone());
        }
    }
    Ok(begun)
}
