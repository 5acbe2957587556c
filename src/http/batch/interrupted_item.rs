//! What is known of an item of a stored batch that has begun before, perhaps in another process.

use std::collections::HashMap;

use crate::journal::{Journal, JournalError};
use crate::record::OperationId;

/// The operation of an item, by what a problem says of one: a problem can name another writer's, as
/// well. `name` is what the ledger calls the item. `None`: the store cannot be read now.
pub(super) async fn find_own_operation(journal: &Journal, name: &str, id: &OperationId) -> Option<bool> {
    let operation = journal.operation(id).await.ok()?;
    Some(operation.is_some_and(|operation| operation.batch.as_deref() == Some(name)))
}

/// The beginning of the key of each item of a batch. It has a space, which no caller's key has.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// The items whose writes have an intent, each with its operation. `keys` has the idempotency key of
/// each item that writes.
pub(super) async fn find_begun(
    journal: &Journal,
    caller: &str,
    prefix: &str,
    keys: HashMap<usize, String>,
) -> Result<HashMap<usize, OperationId>, JournalError> {
    let own = keys.values().filter(|key| !key.starts_with(prefix)).cloned().collect();
    let claimed = journal.claimed_keys(caller, prefix, own).await?;
    let begun = |(item, key): (usize, String)| Some((item, claimed.get(&key)?.clone()));
    Ok(keys.into_iter().filter_map(begun).collect())
}
