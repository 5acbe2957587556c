//! What is known of an item of a stored batch that has begun before, perhaps in another process.

use std::collections::HashMap;

use crate::journal::{Journal, JournalError};
use crate::record::OperationId;

/// What a batch's key is for each of its items. No key of a caller has a space.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// What the ledger calls an item; `batch` is what it calls the batch.
pub(super) fn item_name(batch: &str, item: &str) -> String {
    format!("{batch}/{item}")
}

/// Who holds the key of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyHolder {
    /// The item's own write.
    Item,
    /// Another request that was given the same key.
    OtherRequest,
}

/// Who holds the item's key by this operation; `None` if the key is not that of the operation.
pub(super) async fn key_holder(
    journal: &Journal,
    caller: &str,
    (name, key): (&str, &str),
    id: &OperationId,
) -> Result<Option<KeyHolder>, JournalError> {
    let claimed = journal.claimed_keys(caller, key, Vec::new()).await?;
    if claimed.get(key) != Some(id) {
        return Ok(None);
    }
    let operation = journal.operation(id).await?;
    let is_own = operation.is_some_and(|operation| operation.batch.as_deref() == Some(name));
    Ok(Some(if is_own { KeyHolder::Item } else { KeyHolder::OtherRequest }))
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
    items: Vec<OpenItem>,
) -> Result<HashMap<usize, OperationId>, JournalError> {
    let own = items.iter().map(|item| &item.key).filter(|key| !key.starts_with(prefix)).cloned().collect();
    let claimed = journal.claimed_keys(caller, prefix, own).await?;
    let mut begun = HashMap::new();
    for OpenItem { position, name, key } in items {
        let Some(operation) = claimed.get(&key) else { continue };
        // A store that does not have the operation any more had it when the key was claimed.
        let found = journal.operation(operation).await?;
        if found.is_none_or(|found| found.batch.as_deref() == Some(&*name)) {
            begun.insert(position, operation.clone());
        }
    }
    Ok(begun)
}
