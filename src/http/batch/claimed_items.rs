//! The items that a direct batch had made when it was sent before.

use std::collections::HashMap;

use actix_web::http::Method;

use super::request::{BatchItem, own_item_key};
use crate::journal::{Journal, JournalError};
use crate::record::percent_encode_id;

/// The items whose keys are claimed, by their positions; an item that names the record of another
/// one with the record that it had, as a segment of its path.
pub(super) async fn find_claimed(
    journal: &Journal,
    (caller, prefix): (&str, &str),
    items: &[BatchItem],
) -> Result<HashMap<usize, Option<String>>, JournalError> {
    let key_of = |item: &BatchItem| match own_item_key(&item.method, &item.headers) {
        _ if item.method == Method::GET => None,
        // An item's own key is bound to the values of its references, which are not known yet.
        Some(_) if item.record_of.or(item.tag_of).is_some() => None,
        Some(own) => Some(own),
        None => Some([prefix, &item.id].concat()),
    };
    let keys: Vec<Option<String>> = items.iter().map(key_of).collect();
    let claimed = journal.claimed_keys(caller, keys.iter().flatten().cloned().collect()).await?;
    let mut found = HashMap::new();
    for (position, (item, key)) in items.iter().zip(keys).enumerate() {
        let Some(operation) = key.and_then(|key| claimed.get(&key)) else { continue };
        let mut record = None;
        if item.record_of.is_some() && !operation.is_none() {
            let operation = journal.operation(operation).await?;
            record = operation.and_then(|found| found.record).map(|id| percent_encode_id(&id).to_string());
        }
        found.insert(position, record);
    }
    Ok(found)
}
