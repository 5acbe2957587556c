//! An asynchronous batch that is sent again with its key when the first one is over (contract
//! 4.10): a new batch shows what the first one made, and does the rest.

use std::sync::Arc;

use bytes::Bytes;

use super::head::{BatchHead, parse_state};
use super::outcome::{ItemClass, Summary};
use crate::http::headers::names;
use crate::journal::{BatchRow, IdempotencyClaim, Journal, JournalError, Lease};
use crate::record::{JsonObjectWriter, OperationId, RawJson, RawObject};

/// How many rows are copied at once.
const COPIED_AT_ONCE: usize = 100;

/// The batch that has a key, if it is over and has left something to do: an item failed, was
/// skipped, or has an unknown outcome. What a person has cancelled stays so.
///
/// # Errors
/// The store cannot be read.
pub(in crate::http) async fn find_unfinished(
    journal: &Journal,
    claim: &IdempotencyClaim,
) -> Result<Option<OperationId>, JournalError> {
    let Some(first) = journal.claiming_operation(&claim.caller, &claim.key).await? else { return Ok(None) };
    let head = journal.batch_rows(first.as_str(), BatchRow::HEAD, 1).await?;
    let is_final = |row: &BatchRow| row.status == BatchRow::OPEN || parse_state(row.response.as_deref()).is_cancelled;
    if head.iter().any(is_final) {
        return Ok(None);
    }
    let summary = Summary::of_stored(&journal.batch_counts(first.as_str()).await?, true);
    Ok((!summary.is_success()).then_some(first))
}

/// Gives a batch that repeats another one the outcomes of the items that succeeded there: they
/// outlive the keys of these items. `false` = the lease is no longer held.
///
/// # Errors
/// The store cannot be read or written.
pub(super) async fn adopt_outcomes(journal: &Journal, id: &Arc<str>, lease: &Lease) -> Result<bool, JournalError> {
    let head = journal.batch_rows(id, BatchRow::HEAD, 1).await?;
    let head = head.first().and_then(|row| serde_json::from_str::<BatchHead>(&row.request).ok());
    let Some(first) = head.and_then(|head| head.repeats) else { return Ok(true) };
    let mut from = 0;
    loop {
        let rows = journal.batch_rows(first.as_str(), from, COPIED_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        from = last.position + 1;
        let succeeded = rows.into_iter().filter(|row| row.status == ItemClass::Ok as i64);
        let copies =
            succeeded.map(|row| BatchRow { id: Arc::clone(id), response: row.response.map(mark_replayed), ..row });
        let copies: Vec<BatchRow> = copies.collect();
        if !copies.is_empty() && !journal.save_rows_of_running_batch(lease, copies).await? {
            return Ok(false);
        }
    }
}

/// An item's document with the header of a replay; its body stays as it is.
fn mark_replayed(document: String) -> String {
    let Ok(item) = RawObject::parse(&Bytes::from(document.clone())) else { return document };
    let Some(headers) = item.get("headers").and_then(|headers| headers.to_object().ok()) else { return document };
    let is_other = |(name, _): &(&str, &RawJson)| *name != names::IDEMPOTENCY_REPLAYED.as_str();
    let mark = |headers_of: JsonObjectWriter| {
        headers_of.raw_members(headers.iter().filter(is_other)).string(names::IDEMPOTENCY_REPLAYED.as_str(), "true")
    };
    let write = |document: JsonObjectWriter, (name, value): (&str, &RawJson)| match name {
        "headers" => document.object(name, mark),
        _ => document.raw(name, value.as_str()),
    };
    item.iter().fold(JsonObjectWriter::new(), write).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_a_repeated_item_is_marked_and_else_unchanged() {
        let made = r#"{"id":"a","status":201,"headers":{"etag":"\"c1\""},"body":{"fields":{"n":1E5,"m":1.10}}}"#;
        let marked = made.replace(r#"c1\""}"#, r#"c1\"","idempotency-replayed":"true"}"#);
        assert_ne!(marked, made);
        assert_eq!(mark_replayed(made.to_owned()), marked);
        assert_eq!(mark_replayed(marked.clone()), marked, "it is marked once");
    }
}
