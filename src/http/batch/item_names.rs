//! The names of the items of a batch: their idempotency keys, and what the ledger calls them.

/// What a batch's key is for each of its items. No key of a caller has a space.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// What the ledger calls an item; `batch` is what it calls the batch.
pub(super) fn item_name(batch: &str, item: &str) -> String {
    format!("{batch}/{item}")
}
