//! The items that a batch had made when it was sent before.

use std::collections::HashMap;

use super::interrupted_item::EarlierAttempt;
use super::request::{BatchItem, own_item_key};
use crate::journal::{Journal, JournalError};

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
